//! Jobs, attempts, queues and workers as plain data, to show them on a command line or a web page or to use them in a script.
//!
//! Every type serializes, and its field names are the ones that `retraced --json` prints. Instants are RFC 3339 text ([`Timestamp`]); durations are whole
//! milliseconds, in fields that end in `_ms`.

mod act;
mod action;
mod attempt;
mod audit;
mod event;
mod job;
mod queue;
mod text;
mod timestamp;
mod worker;

pub use act::ActDetail;
pub use action::{ActionResult, ActionRow, EnqueuedRow};
pub use attempt::{AttemptDetail, AttemptOutcome, LogLine, Progress};
pub use audit::AuditRow;
pub use event::Event;
pub use job::{JobDetail, JobError, JobRow, LeaseHolder};
pub use queue::{QueueRow, Rates};
pub use text::{duration_text, printable};
pub use timestamp::Timestamp;
pub use worker::WorkerDetail;

pub(crate) use text::with_noun;
