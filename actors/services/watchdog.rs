//! The watchdog: inspects running handlers. It reports handlers that do not yield, and settles the attempts of handlers that ignore their timeout: these
//! handlers are zombies. It releases jobs that wait too long for an executor, and ends the runtime when there are too many zombies.
//!
//! It makes no call to the store, so it keeps running during an outage. Bounds: one inspection every [`WATCH_INTERVAL`].

use std::collections::HashMap;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced_jobs::events::EventKind;
use retraced_jobs::job::{JobId, QueueName};
use retraced_jobs::units::millis;
use tokio::time::Instant;

use crate::background::{self, BackgroundTask};
use crate::context::{QueueContext, RuntimeContext};
use crate::inflight::HandlerRun;
use crate::limits::{POSTPONED_REPORT_INTERVAL, QUARANTINE_DELAY, WATCH_INTERVAL};
use crate::messages::PoolMessage;
use crate::path;
use crate::supervision::messages::SupervisorMessage;

/// What the watchdog sends to itself.
#[derive(Debug)]
pub(crate) enum WatchdogMessage {
    /// An inspection is due: at the start, and when the timer has fired.
    Inspect,
}

/// The actor.
pub(crate) struct Watchdog;

pub(crate) struct WatchdogState {
    runtime: Arc<RuntimeContext>,
    timer: Option<BackgroundTask>,
    zombies_max: usize,
    postponed: HashMap<QueueName, Postponed>,
}

/// Jobs of a queue that a quarantine delayed since they were last reported.
#[derive(Default)]
struct Postponed {
    count: u64,
    /// The first of them, as an example.
    job: Option<JobId>,
    reported: Option<Instant>,
}

impl Actor for Watchdog {
    type Msg = WatchdogMessage;
    type State = WatchdogState;
    type Arguments = Arc<RuntimeContext>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        runtime: Arc<RuntimeContext>,
    ) -> Result<WatchdogState, ActorProcessingErr> {
        myself.cast(WatchdogMessage::Inspect)?;
        let executors = runtime.queues.iter().map(|queue| queue.options.concurrency).sum();
        let zombies_max = runtime.options.zombies_max.unwrap_or(executors);
        Ok(WatchdogState { runtime, timer: None, zombies_max, postponed: HashMap::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        WatchdogMessage::Inspect: WatchdogMessage,
        state: &mut WatchdogState,
    ) -> Result<(), ActorProcessingErr> {
        state.timer = Some(background::timer(&myself, WATCH_INTERVAL, WatchdogMessage::Inspect));
        let runtime = state.runtime.clone();
        for queue in &runtime.queues {
            state.inspect(queue);
        }
        state.stop_if_too_many_zombies();
        Ok(())
    }
}

impl WatchdogState {
    fn inspect(&mut self, queue: &QueueContext) {
        let now = Instant::now();
        let found = queue.inflight.inspect(now, self.runtime.random.retry_jitter());
        for HandlerRun { job, ran, .. } in found.stuck {
            let kind = EventKind::Stuck { queue: queue.name.clone(), job: job.id, ran_ms: millis(ran) };
            self.runtime.events.emit(path::WATCHDOG, kind);
        }
        for zombie in found.zombies {
            self.replace(queue, zombie);
        }
        self.runtime.observe_ended(queue);
        self.report_postponed(queue, &queue.inflight.release_unstarted(now), now);
        // Also for outcomes that returned to the table because their settlement failed.
        if queue.inflight.any_to_settle() {
            queue.request_settling();
        }
    }

    /// Reports jobs that a quarantine delayed: the first ones at once, later ones summed up.
    fn report_postponed(&mut self, queue: &QueueContext, jobs: &[JobId], now: Instant) {
        if jobs.is_empty() && !self.postponed.contains_key(&queue.name) {
            return;
        }
        let postponed = self.postponed.entry(queue.name.clone()).or_default();
        postponed.count += jobs.len() as u64;
        postponed.job = postponed.job.take().or_else(|| jobs.first().cloned());
        if postponed.reported.is_some_and(|at| now.duration_since(at) < POSTPONED_REPORT_INTERVAL) {
            return;
        }
        let Some(job) = postponed.job.take() else { return };
        let count = std::mem::take(&mut postponed.count);
        postponed.reported = Some(now);
        let delay_ms = millis(QUARANTINE_DELAY);
        let kind = EventKind::JobsPostponed { queue: queue.name.clone(), count, job, delay_ms };
        self.runtime.events.emit(path::WATCHDOG, kind);
    }

    /// Reports a zombie and gives its slot to another executor.
    fn replace(&self, queue: &QueueContext, zombie: HandlerRun) {
        let HandlerRun { executor, job, ran } = zombie;
        let (name, attempt) = (queue.name.clone(), job.token.attempt);
        let kind = EventKind::Zombie { queue: name, job: job.id, attempt, ran_ms: millis(ran) };
        self.runtime.events.emit_of_generation(&path::executor(&queue.name, executor.slot), executor.generation, kind);
        queue.pool.send(PoolMessage::Replace { zombie: executor });
        queue.request_settling();
    }

    /// During a shutdown, killed handlers that have not ended count as zombies too. The shutdown has a bound of its own.
    fn stop_if_too_many_zombies(&self) {
        if self.runtime.queues.iter().any(|queue| queue.inflight.is_shutting_down()) {
            return;
        }
        let zombies: usize = self.runtime.queues.iter().map(|queue| queue.inflight.zombies()).sum();
        if zombies >= self.zombies_max {
            let reason = format!(
                "{zombies} handlers ignore their timeout (the limit is {}); restart the process to run their jobs again",
                self.zombies_max
            );
            self.runtime.root.send(SupervisorMessage::Escalate { child: path::WATCHDOG.into(), reason });
        }
    }
}
