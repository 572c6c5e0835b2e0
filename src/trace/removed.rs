//! What is said of a job that is no longer kept.

use std::fmt;

use retraced_jobs::events::TrimReason;
use retraced_jobs::store::{Removal, Tombstone};

use crate::view::{Timestamp, printable};

/// As in `no job welcome-42 is kept: it had been dead since …, and was removed at … by retention because of its age`.
pub(super) fn write(f: &mut fmt::Formatter<'_>, left: &Tombstone) -> fmt::Result {
    let Tombstone { id, state, ended_ms, removed_ms, removal, .. } = left;
    let since = ended_ms.map(|ended_ms| format!(" since {}", Timestamp::from_ms(ended_ms))).unwrap_or_default();
    let at = Timestamp::from_ms(*removed_ms);
    let was = if since.is_empty() { "was" } else { "had been" };
    write!(f, "no job {id} is kept: it {was} {state}{since}, and was ")?;
    match removal {
        Removal::Trimmed { reason } => {
            let because = match reason {
                TrimReason::Age => "because of its age",
                TrimReason::Count => "because too many jobs were kept",
                TrimReason::Bytes => "because the jobs kept had too many bytes",
                _ => "for a reason that this version does not know",
            };
            write!(f, "removed at {at} by retention {because}")
        }
        Removal::Discarded { by } => write!(f, "discarded at {at} by {}", printable(by.as_str())),
        _ => write!(f, "removed at {at} in a way that this version does not know"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use retraced_jobs::job::{JobId, JobState};

    use super::*;
    use crate::trace::TraceError;

    fn said(state: JobState, ended_ms: Option<u64>, removal: Removal) -> String {
        let id = JobId::parse("welcome-42").unwrap();
        TraceError::Removed(Tombstone::new(id, state, ended_ms, 2_000, removal)).to_string()
    }

    #[test]
    fn what_is_known_of_a_removed_job_is_never_a_guess() {
        let trimmed = said(JobState::Dead, Some(1_000), Removal::Trimmed { reason: TrimReason::Age });
        let expected = "no job welcome-42 is kept: it had been dead since 1970-01-01T00:00:01.000Z, and was removed at 1970-01-01T00:00:02.000Z by retention because of its age";
        assert_eq!(trimmed, expected);
        let discarded = said(JobState::Pending, None, Removal::Discarded { by: "ada\u{1b}[2J".into() });
        let expected =
            "no job welcome-42 is kept: it was pending, and was discarded at 1970-01-01T00:00:02.000Z by ada\\u{1b}[2J";
        assert_eq!(discarded, expected);
    }
}
