//! What a user writes: jobs, handlers and shared state; and the table in which a worker finds the handler of a job.

mod defaults;
mod extract;
mod into;
mod into_failure;
mod output;
mod registry;
mod seal;
mod state;

pub use defaults::{InvalidDefaults, JobDefaults};
pub use extract::{Attempt, Cancelled, FromContext, Needs};
pub(crate) use into::BlockingCall;
pub use into::{Handler, HandlerFuture, IntoBlockingHandler, IntoHandler, IntoRawHandler, Registered};
pub use into_failure::{Boxed, IntoFailure, Own};
pub use output::{IntoOutput, Output};
pub use registry::{HandlerEntry, Handlers, InvalidHandler, MissingState};
pub use seal::{JobOptions, seal_job};
pub use state::{DuplicateState, State, States};

pub use crate::limits::{HANDLER_TIMEOUT, HANDLER_TIMEOUT_MAX, HANDLER_TIMEOUT_MIN};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::job::{JobId, Kind, QueueName};

/// A typed job: its data, and the kind by which workers choose its handler.
///
/// ```
/// use retraced_jobs::handler::Job;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct SendEmail { to: String, subject: String }
/// impl Job for SendEmail { const KIND: &'static str = "email.send"; }
/// ```
pub trait Job: Serialize + DeserializeOwned + Send + 'static {
    /// The kind: 1 to 128 characters of `A-Z a-z 0-9 . _ -`. Producers and workers must agree on it, so keep it when the type is renamed.
    const KIND: &'static str;

    /// What holds for all jobs of this kind, unless their queue or their producer says otherwise. Default: no defaults.
    fn defaults() -> JobDefaults {
        JobDefaults::new()
    }
}

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
