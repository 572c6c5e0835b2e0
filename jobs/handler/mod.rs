//! What an application writes to run jobs: handlers, and the types they take and return. Also the table in which a worker finds the handler of a job.

mod extract;
mod into;
mod into_failure;
mod output;
mod registry;
mod state;

pub use extract::{Attempt, FromContext, Needs, StopRequest};
pub(crate) use into::BlockingCall;
pub use into::{Handler, HandlerFuture, IntoBlockingHandler, IntoHandler, IntoRawHandler, Registered};
pub use into_failure::{Boxed, IntoFailure, Own};
pub use output::{IntoOutput, Output};
pub use registry::{HandlerEntry, Handlers, InvalidHandler, MissingState};
pub use state::State;

pub use crate::limits::{HANDLER_TIMEOUT, HANDLER_TIMEOUT_MAX, HANDLER_TIMEOUT_MIN};

use bytes::Bytes;

use crate::job::{JobId, Kind, QueueName};

/// A job whose data was not decoded: the first argument of a catch-all handler.
///
/// ```
/// use retraced_jobs::codec;
/// use retraced_jobs::failure::{Code, Failure};
/// use retraced_jobs::handler::RawJob;
/// async fn forward(job: RawJob) -> Result<(), Failure> {
///     let json = codec::to_json(&job.payload).map_err(|e| Failure::permanent(Code::DecodeFailed, e))?;
///     println!("{} {} in {}: {json}", job.kind, job.id, job.queue);
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RawJob {
    /// The job's queue.
    pub queue: QueueName,
    /// The job's id.
    pub id: JobId,
    /// The job's kind.
    pub kind: Kind,
    /// The job's data: usually MessagePack, with structs as maps; [`codec::to_json`](crate::codec::to_json) reads it. Its content was not checked.
    pub payload: Bytes,
}

impl RawJob {
    /// A job with this data, for a test that calls a catch-all handler.
    #[must_use]
    pub fn new(queue: QueueName, id: JobId, kind: Kind, payload: Bytes) -> Self {
        Self { queue, id, kind, payload }
    }
}
