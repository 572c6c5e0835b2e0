//! The steps of a trace: what happened to a job, in order.

use retraced_jobs::failure::Code;
use retraced_jobs::job::{InstanceId, JobState};
use retraced_jobs::limits::{HISTORY_FIRST, HISTORY_LAST};
use retraced_jobs::store::{JobView, LeaseHolder};
use retraced_jobs::trace::{AttemptLog, AttemptRecord, Ended, Released, StoredAttempt};

use super::acts;
use super::explain::explain;
use super::step::{TraceEvent, TraceStep, step};
use crate::view::{Progress, Timestamp, duration_text};

/// All steps of a job.
pub(super) fn of(view: &JobView) -> Vec<TraceStep> {
    let mut steps = Vec::with_capacity(view.history.len() + 3);
    steps.extend(view.enqueued_ms.map(|at_ms| step(TraceEvent::Enqueued, Some(at_ms), "enqueued")));
    steps.extend(acts::dropped(view.acts_dropped));
    let (mut acts, mut previous) = (view.acts.iter().peekable(), 0);
    let all_ended = view.counters.attempts.saturating_sub(u32::from(view.state == JobState::Processing));
    for stored in &view.history {
        let shown = TraceStep { attempt: Some(stored.attempt), ..attempt(stored) };
        while let Some(act) = acts.next_if(|act| acts::precedes(act, stored.attempt, shown.at)) {
            let ended = acts::attempts_ended(act).min(stored.attempt.saturating_sub(1));
            steps.extend(unrecorded(previous, ended, all_ended));
            previous = previous.max(ended);
            steps.push(acts::of(act));
        }
        steps.extend(unrecorded(previous, stored.attempt.saturating_sub(1), all_ended));
        previous = stored.attempt;
        steps.push(shown);
    }
    for act in acts {
        let ended = acts::attempts_ended(act);
        steps.extend(unrecorded(previous, ended, all_ended));
        previous = previous.max(ended);
        steps.push(acts::of(act));
    }
    if view.state != JobState::Completed {
        // The history of a completed job ends with its last attempt.
        steps.extend(unrecorded(previous, all_ended, all_ended));
    }
    steps.push(present_state(view));
    steps
}

/// The steps for the attempts after `previous` up to `last`, of which there is no record. `ended` is how many attempts have ended. The records of the first and of the latest
/// ones are kept, so those of them that left none did not start.
fn unrecorded(previous: u32, last: u32, ended: u32) -> Vec<TraceStep> {
    let run = |from: u32, to: u32, kept: bool| {
        let (from, to) = (from.max(previous + 1), to.min(last));
        let attempts = match to.checked_sub(from)? {
            0 => format!("attempt {from}"),
            _ => format!("attempts {from} to {to}"),
        };
        Some(match (kept, from == to) {
            (true, _) => step(TraceEvent::NotStarted, None, format!("… {attempts} did not start: {GIVEN_BACK}")),
            (false, true) => step(TraceEvent::NotKept, None, format!("… {attempts} is not kept in full")),
            (false, false) => step(TraceEvent::NotKept, None, format!("… {attempts} are not kept in full")),
        })
    };
    let last_dropped = ended.saturating_sub(HISTORY_LAST);
    if last_dropped <= HISTORY_FIRST {
        return run(1, last, true).into_iter().collect();
    }
    let first = run(1, HISTORY_FIRST, true);
    let dropped = run(HISTORY_FIRST + 1, last_dropped, false);
    [first, dropped, run(last_dropped + 1, last, true)].into_iter().flatten().collect()
}

/// Why an attempt left no record.
const GIVEN_BACK: &str = "the worker gave the job back, because no executor was free for 1 s, a job before it went back, or the worker stopped";

fn attempt(stored: &StoredAttempt) -> TraceStep {
    let n = stored.attempt;
    let settled = |event, text| step(event, Some(stored.settled_ms), text);
    match &stored.record {
        Ok(AttemptRecord::Reported(log)) => of_log(n, log),
        Ok(AttemptRecord::Crashed { instance, lease_expired_ms }) => settled(
            TraceEvent::Crashed,
            format!(
                "attempt {n} crashed: worker {} stopped renewing while the handler ran; its lease expired at {}",
                instance.short(),
                Timestamp::from_ms(*lease_expired_ms)
            ),
        ),
        Ok(AttemptRecord::Lost { instance, lease_expired_ms, watched, in_a_row }) => {
            settled(TraceEvent::Lost, lost(n, *instance, *lease_expired_ms, *watched, *in_a_row))
        }
        Ok(AttemptRecord::Postponed { instance, due_ms }) => {
            settled(TraceEvent::Postponed, postponed(n, *instance, *due_ms))
        }
        Ok(AttemptRecord::Unclaimed { instance }) => settled(
            TraceEvent::Unclaimed,
            format!("attempt {n} never began: the grant did not reach worker {}", instance.short()),
        ),
        Ok(_) => settled(TraceEvent::Unknown, format!("attempt {n} ended in a way this version does not know")),
        Err(unreadable) => {
            settled(TraceEvent::Unreadable, format!("attempt {n} cannot be read: {}", unreadable.reason))
        }
    }
}

fn postponed(n: u32, instance: InstanceId, due_ms: u64) -> String {
    let (worker, due) = (instance.short(), Timestamp::from_ms(due_ms));
    format!(
        "attempt {n} did not start: in worker {worker} a job ran that may crash it, and this one must not run beside it; it waits until {due}, counted as nothing"
    )
}

fn lost(n: u32, instance: InstanceId, lease_expired_ms: u64, watched: bool, in_a_row: u32) -> String {
    let begun = match watched {
        true => "before the handler had begun",
        false => "and it is unknown whether the handler had begun",
    };
    let again = if in_a_row > 1 { format!(", {in_a_row} in a row") } else { String::new() };
    let (worker, expired) = (instance.short(), Timestamp::from_ms(lease_expired_ms));
    format!(
        "attempt {n} was lost (counted as a release){again}: worker {worker} stopped renewing {begun}; its lease expired at {expired}"
    )
}

/// An attempt whose worker reported its end.
fn of_log(n: u32, log: &AttemptLog) -> TraceStep {
    let worker = format!("worker {} executor-{}#{}", log.instance.short(), log.executor.slot, log.executor.generation);
    let ran = if log.ran_ms == 0 { "less than 1ms".to_owned() } else { duration_text(log.ran_ms) };
    let started = |event, text| step(event, Some(log.started_ms), text);
    match &log.ended {
        Ended::Completed { .. } => {
            started(TraceEvent::Succeeded, format!("attempt {n} succeeded after {ran} · {worker}"))
        }
        Ended::Released { reason, delay_ms } => {
            let delay =
                if *delay_ms == 0 { String::new() } else { format!(", delayed by {}", duration_text(*delay_ms)) };
            // The instant of this step is that of the start.
            let after = match reason {
                Released::Interrupted | Released::Snoozed => format!(" after {ran}"),
                _ => String::new(),
            };
            let text = format!("attempt {n} {}{after}{delay}, counted as a release · {worker}", released(*reason));
            started(TraceEvent::Released, text)
        }
        Ended::Failed { code, decision, .. } => {
            let (event, verb) = match code {
                Code::Panic => (TraceEvent::Panicked, "panicked"),
                // With a decision it is a failure to which the handler itself gave this code.
                Code::Cancelled if decision.is_none() => (TraceEvent::AttemptCancelled, "was cancelled"),
                _ => (TraceEvent::Failed, "failed"),
            };
            let text = format!("attempt {n} {verb} after {ran} · {code} · {worker}");
            TraceStep { explanation: decision.as_deref().map(explain), ..started(event, text) }
        }
        _ => {
            let text = format!("attempt {n} ended after {ran} in a way this version does not know · {worker}");
            started(TraceEvent::Unknown, text)
        }
    }
}

fn released(reason: Released) -> &'static str {
    match reason {
        Released::Interrupted => "was interrupted by a shutdown or restart",
        Released::Unstarted => "was handed back unstarted: no executor or thread was free in time",
        Released::UnknownKind => "was released: this worker has no handler for its kind",
        Released::Undecodable => "was released: this worker cannot decode its payload",
        Released::OutOfResources => "was released: its worker had run out of open files, ports, memory or threads",
        Released::Snoozed => "was snoozed by its handler",
        _ => "was released",
    }
}

fn present_state(view: &JobView) -> TraceStep {
    let at = view.at_ms.map(|ms| Timestamp::from_ms(ms).to_string()).unwrap_or_default();
    let text = match (view.state, &view.held_by) {
        (JobState::Completed, _) => return step(TraceEvent::Completed, view.at_ms, "completed"),
        (JobState::Pending, _) => "waits to be claimed".to_owned(),
        (JobState::Processing, Some(holder)) => held(view, holder),
        (JobState::Processing, None) => lease(view),
        (JobState::Delayed, _) => {
            let due = view.at_ms.unwrap_or(0);
            match due.checked_sub(view.now_ms) {
                Some(ahead_ms) => format!("due at {at}, in {}", duration_text(ahead_ms)),
                None => {
                    format!("due since {at}, for {}; no worker has promoted it yet", duration_text(view.now_ms - due))
                }
            }
        }
        (JobState::Dead, _) => format!("in the dead letter queue since {at}; redrive or discard it"),
        (JobState::Poisoned, _) => {
            format!("poisoned since {at}{}; fix the cause, then redrive or discard it", why_poisoned(view))
        }
        (JobState::Cancelled, _) => format!("cancelled since {at}"),
    };
    let holder = view.held_by.as_ref();
    let at = holder.map(|holder| holder.claimed_ms).or(view.at_ms);
    TraceStep { attempt: holder.map(|holder| holder.attempt), ..step(TraceEvent::Now, at, text) }
}

/// By whom a job is held, since when and until when, and how far it has come.
fn held(view: &JobView, holder: &LeaseHolder) -> String {
    let since = duration_text(view.now_ms.saturating_sub(holder.claimed_ms));
    let asked = if holder.cancel_asked { ", cancellation requested" } else { "" };
    let reached = view.running_progress().map_or_else(String::new, |stored| {
        format!("; at {} it had reached {}", Timestamp::from_ms(stored.at_ms), Progress::from(stored))
    });
    let (worker, attempt, lease) = (holder.instance.short(), holder.attempt, lease(view));
    format!("claimed {since} ago by worker {worker} as attempt {attempt}, {lease}{asked}{reached}")
}

/// Why a job is poisoned that no worker has settled as such: its last attempt was lost.
fn why_poisoned(view: &JobView) -> String {
    match view.history.last().map(|stored| &stored.record) {
        Some(Ok(AttemptRecord::Crashed { .. })) => {
            let crashes = view.counters.crashes;
            format!(" by crash {crashes}, one too many: see whether the worker ran out of memory or was killed")
        }
        Some(Ok(AttemptRecord::Lost { in_a_row, .. })) => format!(" by loss {in_a_row} in a row, one too many"),
        _ => String::new(),
    }
}

/// Until when the job is leased, or since when its lease has been over.
fn lease(view: &JobView) -> String {
    let expires_ms = view.at_ms.unwrap_or(0);
    let at = Timestamp::from_ms(expires_ms);
    match view.now_ms.checked_sub(expires_ms) {
        Some(past_ms) if past_ms > 0 => {
            format!("its lease expired at {at}, {} ago; no worker has reclaimed it yet", duration_text(past_ms))
        }
        _ => format!("leased until {at}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use retraced_jobs::failure::Class;
    use retraced_jobs::job::{InstanceId, JobId, QueueName};
    use retraced_jobs::retry::{Retry, decide};
    use retraced_jobs::trace::{ExecutorId, Progress, StoredProgress};

    use super::*;
    use crate::trace::Trace;

    fn text_of_delayed(due_ms: u64, now_ms: u64) -> String {
        let (queue, id) = (QueueName::new("email").unwrap(), JobId::parse("welcome-42").unwrap());
        let mut view = JobView::new(queue, id, JobState::Delayed);
        (view.at_ms, view.now_ms) = (Some(due_ms), now_ms);
        present_state(&view).text
    }

    #[test]
    fn a_delayed_job_shows_when_it_is_due_or_how_long_it_has_been_overdue() {
        assert_eq!(text_of_delayed(61_000, 1_000), "due at 1970-01-01T00:01:01.000Z, in 1m");
        let overdue = "due since 1970-01-01T00:00:01.000Z, for 1m50s; no worker has promoted it yet";
        assert_eq!(text_of_delayed(1_000, 111_000), overdue);
    }

    #[test]
    fn a_trace_shows_how_far_each_attempt_came_and_how_far_the_running_one_is() {
        let (queue, id) = (QueueName::new("email").unwrap(), JobId::parse("welcome-42").unwrap());
        let mut view = JobView::new(queue, id, JobState::Processing);
        let instance = InstanceId::from(uuid::Uuid::from_u128(1));
        let crashed = AttemptRecord::Crashed { instance, lease_expired_ms: 900 };
        view.history = vec![StoredAttempt::new(1, 1_000, Ok(crashed))];
        (view.at_ms, view.now_ms) = (Some(9_000), 4_000);
        view.held_by = Some(LeaseHolder::new(instance, 2, 1_500, 9_000));
        let mut traced = |attempt, note: &str| {
            view.progress = Some(StoredProgress::new(attempt, 3_000, Progress::new(40, note)));
            Trace::new(view.clone()).to_string()
        };
        let first = traced(1, "40 of 100\n");
        assert!(first.contains("    it reached 40 %: 40 of 100\\n\n"), "{first}");
        assert!(!first.contains("it had reached"), "{first}");
        let second = traced(2, "");
        assert!(
            second.contains("claimed 2.5s ago by worker 00000001 as attempt 2, leased until 1970-01-01T00:00:09.000Z; at 1970-01-01T00:00:03.000Z it had reached 40 %\n"),
            "{second}"
        );
        assert!(!second.contains("it reached"), "{second}");
    }

    #[test]
    fn an_attempt_that_was_interrupted_or_snoozed_says_how_long_it_ran() {
        let instance = InstanceId::from(uuid::Uuid::from_u128(1));
        let said = |reason| {
            let ended = Ended::Released { reason, delay_ms: 0 };
            of_log(2, &AttemptLog::new(instance, ExecutorId::new(0, 0), 1_000, 65_000, ended)).text
        };
        let interrupted = said(Released::Interrupted);
        assert!(
            interrupted.starts_with("attempt 2 was interrupted by a shutdown or restart after 1m05s, counted"),
            "{interrupted}"
        );
        let snoozed = said(Released::Snoozed);
        assert!(snoozed.starts_with("attempt 2 was snoozed by its handler after 1m05s, counted"), "{snoozed}");
    }

    #[test]
    fn a_failure_with_the_code_of_a_cancellation_is_told_from_a_cancelled_attempt() {
        let instance = InstanceId::from(uuid::Uuid::from_u128(1));
        let event = |decision| {
            let ended = Ended::Failed {
                code: Code::Cancelled,
                message: String::new(),
                chain: Vec::new(),
                location: None,
                backtrace: None,
                decision,
            };
            of_log(2, &AttemptLog::new(instance, ExecutorId::new(0, 0), 1_000, 65_000, ended)).event
        };
        assert_eq!(event(None), TraceEvent::AttemptCancelled);
        let retried = decide(&Retry::default(), 1, Class::Temporary, None, 0);
        assert_eq!(event(Some(Box::new(retried))), TraceEvent::Failed);
    }

    #[test]
    fn a_job_that_was_poisoned_without_a_settlement_says_why() {
        let (queue, id) = (QueueName::new("email").unwrap(), JobId::parse("welcome-42").unwrap());
        let mut view = JobView::new(queue, id, JobState::Poisoned);
        (view.counters.attempts, view.counters.crashes) = (4, 3);
        let instance = InstanceId::from(uuid::Uuid::from_u128(1));
        let mut said = |record| {
            view.history = vec![StoredAttempt::new(4, 2_000, Ok(record))];
            present_state(&view).text
        };
        let crashed = said(AttemptRecord::Crashed { instance, lease_expired_ms: 900 });
        assert!(crashed.contains(" by crash 3, one too many: see whether the worker ran out of memory"), "{crashed}");
        let lost = said(AttemptRecord::Lost { instance, lease_expired_ms: 900, watched: true, in_a_row: 20 });
        assert!(lost.contains(" by loss 20 in a row, one too many; fix the cause"), "{lost}");
    }

    #[test]
    fn attempts_that_left_no_record_are_named_also_at_the_end() {
        let (queue, id) = (QueueName::new("email").unwrap(), JobId::parse("welcome-42").unwrap());
        let mut view = JobView::new(queue, id, JobState::Processing);
        let postponed = AttemptRecord::Postponed { instance: uuid::Uuid::from_u128(1).into(), due_ms: 12_000 };
        view.history = vec![StoredAttempt::new(2, 2_000, Ok(postponed))];
        view.counters.attempts = 6;
        let texts = |view: &JobView| of(view).into_iter().map(|step| step.text).collect::<Vec<_>>();
        let waited = "attempt 2 did not start: in worker 00000001 a job ran that may crash it, and this one must not run beside it; it waits until 1970-01-01T00:00:12.000Z, counted as nothing";
        let said = texts(&view);
        let given_back = |attempts: &str| format!("… {attempts} did not start: {GIVEN_BACK}");
        assert_eq!(said[..3], [given_back("attempt 1"), waited.to_owned(), given_back("attempts 3 to 5")]);
        view.state = JobState::Pending;
        assert_eq!(texts(&view)[2], given_back("attempts 3 to 6"));

        // Of the 14 that have ended, the store keeps those up to 3 and from 8.
        view.counters.attempts = 14;
        let runs = ["attempt 3", "attempts 8 to 14"].map(given_back);
        assert_eq!(texts(&view)[2..5], [&runs[0], "… attempts 4 to 7 are not kept in full", &runs[1]]);
        view.counters.attempts = 11;
        assert_eq!(texts(&view)[3], "… attempt 4 is not kept in full");
    }

    #[test]
    fn a_lease_is_not_said_to_last_until_an_instant_that_has_passed() {
        let (queue, id) = (QueueName::new("email").unwrap(), JobId::parse("welcome-42").unwrap());
        let mut view = JobView::new(queue, id, JobState::Processing);
        let mut text = |expires_ms, now_ms| {
            (view.at_ms, view.now_ms) = (Some(expires_ms), now_ms);
            present_state(&view).text
        };
        assert_eq!(text(2_000, 1_000), "leased until 1970-01-01T00:00:02.000Z");
        let over = "its lease expired at 1970-01-01T00:00:02.000Z, 1m ago; no worker has reclaimed it yet";
        assert_eq!(text(2_000, 62_000), over);
    }
}
