//! Finds jobs by a filter, page by page, and acts on them in bulk.
//!
//! A [`JobFilter`] says which jobs. [`Operator::find`](crate::Operator::find) returns one page of them and a [`JobCursor`] for the next page. A cursor can be printed and
//! parsed, so that it fits into a link or a command-line option. [`Operator::redrive_matching`](crate::Operator::redrive_matching),
//! [`Operator::discard_matching`](crate::Operator::discard_matching) and [`Operator::cancel_matching`](crate::Operator::cancel_matching) act on all of them, step by step.

mod bulk;
mod cursor;
mod error;
mod filter;
mod page;
mod recent;
mod search;

pub use bulk::{BulkAction, BulkStep};
pub use cursor::{InvalidCursor, JobCursor};
pub use error::FindError;
pub use filter::JobFilter;
pub use page::FoundJobs;
pub use search::JobSearch;
