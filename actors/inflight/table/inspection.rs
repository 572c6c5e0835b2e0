//! What the watchdog asks the table about handlers: which of them run, which ignore their timeout, and which do not yield.

use std::time::Duration;

use retraced_jobs::context::Stop;
use tokio::time::Instant;

use super::Table;
use crate::inflight::executors::{Activity, ExecutorPort};
use crate::inflight::phase::{EndedAttempt, HandlerRun, Held, Inspection, Phase};

impl<X: ExecutorPort> Table<X> {
    /// Inspects running handlers: settles the attempts of those that ignore their timeout, and finds those that do not yield.
    pub(in crate::inflight) fn inspect(
        &mut self,
        now: Instant,
        margin: Duration,
        stuck_after: Duration,
        jitter: i16,
    ) -> Inspection {
        let mut found = Inspection::default();
        for (grant, held) in &mut self.held {
            let Phase::Running(run) = &mut held.phase else { continue };
            let ran_by = run.ran_by(now);
            let handler_run = || HandlerRun { executor: run.executor, job: held.job.clone(), ran: ran_by.ran };
            if ran_by.ran >= held.control.timeout().unwrap_or(Duration::MAX).saturating_add(margin) {
                found.zombies.push(handler_run());
                let settlement = self.runner.timed_out(&held.job, ran_by, jitter);
                let ended = EndedAttempt { run: handler_run(), verdict: settlement.verdict, timed_out: true };
                self.ended.push(ended);
                self.executors.set(run.executor, Activity::Zombie);
                held.control.stop(Stop::TimedOut);
                self.outcomes.add(*grant, held, settlement);
            } else if !run.reported_stuck && held.control.not_yielded_for(now).is_some_and(|d| d >= stuck_after) {
                found.stuck.push(handler_run());
                run.reported_stuck = true;
            }
        }
        found
    }

    /// The attempts that have ended without a report from their executor since the last call.
    pub(in crate::inflight) fn take_ended(&mut self) -> Vec<EndedAttempt> {
        std::mem::take(&mut self.ended)
    }

    pub(in crate::inflight) fn running(&self, now: Instant) -> Vec<HandlerRun> {
        let running = |held: &Held| match held.phase {
            Phase::Running(run) => {
                Some(HandlerRun { executor: run.executor, job: held.job.clone(), ran: now.duration_since(run.started) })
            }
            _ => None,
        };
        self.held.values().filter_map(running).collect()
    }
}
