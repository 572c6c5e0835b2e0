//! What an operator did to a job.

use retraced_jobs::job::JobState;
use retraced_jobs::trace::{Act, ActKind};
use serde::Serialize;

use super::Timestamp;

/// What an operator did to a job.
///
/// ```
/// use retraced::job::{Act, ActKind};
/// use retraced::{JobState, view::ActDetail};
/// let act = Act::new(ActKind::Redrive, 1_893_456_000_000, JobState::Dead, 3, "ada@laptop".into());
/// let json = serde_json::to_value(ActDetail::from(&act)).unwrap();
/// assert_eq!((json["act"].as_str(), json["by"].as_str()), (Some("redrive"), Some("ada@laptop")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ActDetail {
    /// What was done.
    pub act: ActKind,
    /// When.
    pub at: Timestamp,
    /// The state of the job before. `redrive` of a delayed job made it pending; `cancel` of a processing one was only requested.
    pub from: JobState,
    /// The attempts that the job had begun by then.
    pub attempts: u32,
    /// Who did it. It comes from outside: print it through [`printable`](super::printable).
    pub by: String,
}

impl From<&Act> for ActDetail {
    fn from(act: &Act) -> Self {
        Self {
            act: act.kind,
            at: Timestamp::from_ms(act.at_ms),
            from: act.from,
            attempts: act.attempts,
            by: act.by.as_str().to_owned(),
        }
    }
}
