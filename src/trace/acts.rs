//! The steps of a trace that operators made.

use retraced_jobs::job::JobState;
use retraced_jobs::trace::{Act, ActKind};

use super::step::{TraceEvent, TraceStep, step};
use crate::view::{Timestamp, printable, with_noun};

/// How many attempts had ended when the operator acted.
pub(super) fn attempts_ended(act: &Act) -> u32 {
    act.attempts.saturating_sub(u32::from(act.from == JobState::Processing))
}

/// Whether the step of this act comes before the step of this attempt. If the attempt ran when the operator acted, its step comes first, unless it shows a later instant
/// than that of the act, such as the attempt's end.
pub(super) fn precedes(act: &Act, attempt: u32, shown_at: Option<Timestamp>) -> bool {
    match act.from {
        JobState::Processing if act.attempts == attempt => shown_at.is_some_and(|at| act.at_ms < at.as_ms()),
        _ => attempts_ended(act) < attempt,
    }
}

/// The step for acts that are not kept.
pub(super) fn dropped(acts: u32) -> Option<TraceStep> {
    let verb = if acts == 1 { "is" } else { "are" };
    let text = format!("… {} of operators {verb} not kept", with_noun(acts, "earlier act"));
    (acts > 0).then(|| step(TraceEvent::NotKept, None, text))
}

pub(super) fn of(act: &Act) -> TraceStep {
    let Act { from, attempts, .. } = act;
    let by = printable(act.by.as_str());
    let (event, text) = match (act.kind, from) {
        (ActKind::Redrive, JobState::Delayed) => {
            (TraceEvent::Promoted, format!("made pending by {by} before it was due"))
        }
        (ActKind::Redrive, from) => {
            let next = attempts.saturating_add(1);
            let text = format!("redriven by {by}, was {from}: attempt {next} is its first try again");
            (TraceEvent::Redriven, text)
        }
        (ActKind::Cancel, JobState::Processing) => {
            (TraceEvent::CancelRequested, format!("cancellation of attempt {attempts} requested by {by}"))
        }
        (ActKind::Cancel, from) => (TraceEvent::Cancelled, format!("cancelled by {by}, was {from}")),
        _ => (TraceEvent::Unknown, format!("{by} did something that this version does not know, was {from}")),
    };
    step(event, Some(act.at_ms), text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use retraced_jobs::job::{InstanceId, JobId, QueueName};
    use retraced_jobs::store::JobView;
    use retraced_jobs::trace::{AttemptRecord, StoredAttempt};
    use uuid::Uuid;

    use crate::trace::Trace;

    use super::*;

    /// What the trace of a dead job prints, without the instants, of these attempts, each with the second of its end, and these acts.
    fn traced(attempts: &[(u32, u64)], acts: &[(ActKind, u64, JobState, u32)]) -> Vec<String> {
        let (queue, id) = (QueueName::new("email").unwrap(), JobId::parse("welcome-42").unwrap());
        let mut view = JobView::new(queue, id, JobState::Dead);
        let instance = InstanceId::from(Uuid::from_u128(1));
        let lost = |&(n, s)| StoredAttempt::new(n, s * 1000, Ok(AttemptRecord::Unclaimed { instance }));
        view.history = attempts.iter().map(lost).collect();
        let act = |&(kind, s, from, attempts)| Act::new(kind, s * 1000, from, attempts, "ada\u{1b}[2J".into());
        view.acts = acts.iter().map(act).collect();
        view.acts_dropped = 2;
        let text = Trace::from(view).to_string();
        let steps = text.lines().skip(2).map(|line| line.get(26..).unwrap_or_default());
        steps.map(|step| step.split(": the ").next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn an_act_never_stands_after_an_attempt_that_began_later() {
        let steps = traced(
            &[(1, 10), (2, 20), (7, 70)],
            &[
                (ActKind::Redrive, 5, JobState::Delayed, 0),
                (ActKind::Cancel, 15, JobState::Processing, 2),
                // By another clock the redrive came before the end of the attempt.
                (ActKind::Redrive, 19, JobState::Cancelled, 2),
                (ActKind::Cancel, 45, JobState::Pending, 4),
                (ActKind::Cancel, 71, JobState::Processing, 7),
                (ActKind::Redrive, 90, JobState::Dead, 9),
            ],
        );
        let by = "ada\\u{1b}[2J";
        let expected = [
            "… 2 earlier acts of operators are not kept".to_owned(),
            format!("made pending by {by} before it was due"),
            "attempt 1 never began".to_owned(),
            format!("cancellation of attempt 2 requested by {by}"),
            "attempt 2 never began".to_owned(),
            format!("redriven by {by}, was cancelled: attempt 3 is its first try again"),
            "… attempts 3 to 4 did not start".to_owned(),
            format!("cancelled by {by}, was pending"),
            "… attempts 5 to 6 did not start".to_owned(),
            "attempt 7 never began".to_owned(),
            format!("cancellation of attempt 7 requested by {by}"),
            "… attempts 8 to 9 did not start".to_owned(),
            format!("redriven by {by}, was dead: attempt 10 is its first try again"),
        ];
        assert_eq!(steps[..steps.len() - 1], expected);
    }
}
