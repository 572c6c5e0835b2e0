//! The watchdog: inspects running handlers. It reports handlers that do not yield, and settles the attempts of handlers that ignore their timeout: these
//! handlers are zombies. It releases jobs that wait too long for an executor, and ends the runtime when there are too many zombies.
//!
//! It makes no call to the store, so it keeps running during an outage. Bounds: one inspection every [`WATCH_INTERVAL`].

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced_jobs::events::EventKind;
use retraced_jobs::units::millis;
use tokio::time::Instant;

use crate::background::{self, BackgroundTask};
use crate::context::{QueueContext, RuntimeContext};
use crate::inflight::HandlerRun;
use crate::limits::{QUARANTINE_DELAY, WATCH_INTERVAL};
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
        Ok(WatchdogState { runtime, timer: None, zombies_max })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        WatchdogMessage::Inspect: WatchdogMessage,
        state: &mut WatchdogState,
    ) -> Result<(), ActorProcessingErr> {
        state.timer = Some(background::timer(&myself, WATCH_INTERVAL, WatchdogMessage::Inspect));
        for queue in &state.runtime.queues {
            state.inspect(queue);
        }
        state.stop_if_too_many_zombies();
        Ok(())
    }
}

impl WatchdogState {
    fn inspect(&self, queue: &QueueContext) {
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
        queue.postponed_report.add(&queue.inflight.release_unstarted(now));
        self.report_postponed(queue, now);
        // Also for outcomes that returned to the table because their settlement failed.
        if queue.inflight.any_to_settle() {
            queue.request_settling();
        }
    }

    /// Reports jobs that a quarantine delayed.
    fn report_postponed(&self, queue: &QueueContext, now: Instant) {
        if let Some((job, count)) = queue.postponed_report.take_due(now) {
            let delay_ms = millis(QUARANTINE_DELAY);
            let kind = EventKind::JobsPostponed { queue: queue.name.clone(), count, job, delay_ms };
            self.runtime.events.emit(path::WATCHDOG, kind);
        }
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
