//! Enqueueing: a job with its options, the receipt for it, and waiting for its outcome.
//!
//! All producers use the same [`QueueHandle`]. Behind it is a [`QueueProducer`]: that of a runtime, or that of a client. Handlers use the latter too.

mod bulk;
mod error;
mod handle;
mod outcome;
mod producer;
mod receipt;
mod request;

pub use bulk::EnqueueAllError;
pub use error::EnqueueError;
pub use handle::{JobHandle, QueueHandle};
pub use outcome::{Outcome, OutcomeError};
pub(crate) use producer::NoProducers;
pub use producer::{Producers, QueueProducer};
pub use receipt::Receipt;
pub use request::{IntoNewJob, JobRequest};
