//! Jobs found by filter, page by page, and acted on in bulk.
//!
//! A [`JobFilter`] says which jobs. [`Operator::find`](crate::Operator::find) returns one page of them with a [`JobCursor`] for the next, which can be printed and parsed, so that it fits
//! into a link or an option. [`Operator::redrive_matching`](crate::Operator::redrive_matching) and
//! [`Operator::discard_matching`](crate::Operator::discard_matching) act on all of them, step by step.

mod bulk;
mod cursor;
mod error;
mod filter;
mod page;
mod search;

pub use bulk::{BulkAction, BulkStep};
pub use cursor::{InvalidCursor, JobCursor};
pub use error::FindError;
pub use filter::JobFilter;
pub use page::FoundJobs;
pub use search::JobSearch;
