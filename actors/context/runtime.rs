//! What all actors of one runtime share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use retraced_jobs::failure::Code;
use retraced_jobs::job::{CurrentInstance, QueueName};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::QueueContext;
use super::exhaustion::Exhaustion;
use crate::address::Address;
use crate::clock::StoreClock;
use crate::inflight::EndedAttempt;
use crate::limits::{AUDIT_INTERVAL_MIN, PROMOTE_POLL_IDLE_MAX, PROMOTE_POLL_MIN};
use crate::messages::RetrySchedulerMessage;
use crate::observer::{AttemptEnded, GuardedObserver, Observer};
use crate::options::TreeOptions;
use crate::random::Random;
use crate::store_calls::StoreCalls;
use crate::supervision::event::Events;
use crate::supervision::messages::SupervisorMessage;
use crate::supervision::registry::Registry;

/// One runtime: its options, its calls to the store, its queues, and what its actors report.
pub(crate) struct RuntimeContext {
    pub(crate) instance: CurrentInstance,
    pub(crate) options: TreeOptions,
    pub(crate) calls: StoreCalls,
    pub(crate) queues: Vec<Arc<QueueContext>>,
    pub(crate) events: Events,
    observer: GuardedObserver,
    pub(crate) registry: Registry,
    pub(crate) store_clock: StoreClock,
    pub(crate) random: Random,
    /// The tokio runtime of the executors, and so of the handlers.
    pub(crate) handlers: Handle,
    pub(crate) root: Address<SupervisorMessage>,
    pub(crate) retry_scheduler: Address<RetrySchedulerMessage>,
    /// Cancelled when the tree has ended: open calls are then given up.
    pub(crate) ended: CancellationToken,
    /// Cancelled when a shutdown is requested.
    pub(crate) shutdown_requested: CancellationToken,
    /// When this runtime began, by the wall clock of its options, in ms since the Unix epoch.
    pub(crate) started_ms: u64,
    /// How many subscriptions for hints are alive. There may be two while the store link is being restarted.
    hint_subscriptions: AtomicUsize,
    /// What this process has run out of.
    pub(crate) exhaustion: Exhaustion,
    /// Wakes the janitor to count jobs early, which finds lost data.
    count_requested: Notify,
}

/// What a [`RuntimeContext`] is made of.
pub(crate) struct RuntimeParts {
    pub(crate) instance: CurrentInstance,
    pub(crate) options: TreeOptions,
    pub(crate) calls: StoreCalls,
    pub(crate) queues: Vec<Arc<QueueContext>>,
    pub(crate) events: Events,
    pub(crate) observer: GuardedObserver,
    pub(crate) registry: Registry,
    pub(crate) handlers: Handle,
    pub(crate) ended: CancellationToken,
}

/// While this lives, a subscription for hints counts as alive. A guard, because its task may be aborted.
pub(crate) struct CountedSubscription<'a>(&'a AtomicUsize);

impl Drop for CountedSubscription<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl RuntimeContext {
    pub(crate) fn new(parts: RuntimeParts) -> Self {
        let RuntimeParts { instance, options, calls, queues, events, observer, registry, handlers, ended } = parts;
        let started_ms = options.wall_clock.now_ms();
        Self {
            instance,
            calls,
            queues,
            events,
            observer,
            registry,
            store_clock: StoreClock::starting_at(started_ms),
            random: Random::new(options.seed),
            handlers,
            root: Address::default(),
            retry_scheduler: Address::default(),
            ended,
            shutdown_requested: CancellationToken::new(),
            started_ms,
            options,
            hint_subscriptions: AtomicUsize::new(0),
            exhaustion: Exhaustion::default(),
            count_requested: Notify::new(),
        }
    }

    pub(crate) fn queue(&self, name: &QueueName) -> Option<&Arc<QueueContext>> {
        self.queues.iter().find(|queue| queue.name == *name)
    }

    /// Calls the observer, if there is one.
    pub(crate) fn observe(&self, call: impl FnOnce(&dyn Observer)) {
        self.observer.notify(call);
    }

    /// Reports to the observer those attempts of one queue that ended without a report from their executor.
    pub(crate) fn observe_ended(&self, queue: &QueueContext) {
        for EndedAttempt { run, verdict, timed_out } in queue.inflight.take_ended() {
            self.observe(|observer| {
                observer.attempt_ended(&AttemptEnded {
                    queue: &queue.name,
                    job: &run.job.id,
                    attempt: run.job.token.attempt,
                    executor: run.executor,
                    ran: run.ran,
                    verdict,
                    failure: timed_out.then_some(Code::Timeout),
                });
            });
        }
    }

    /// Counts a subscription for hints as alive until the result is dropped.
    pub(crate) fn count_hint_subscription(&self) -> CountedSubscription<'_> {
        self.hint_subscriptions.fetch_add(1, Ordering::Relaxed);
        CountedSubscription(&self.hint_subscriptions)
    }

    /// Whether a subscription for hints is alive.
    pub(crate) fn hints_subscribed(&self) -> bool {
        self.hint_subscriptions.load(Ordering::Relaxed) > 0
    }

    /// Asks the janitor to count the jobs of all queues sooner than usual, which finds lost data. One request at most waits to be served.
    pub(crate) fn request_count(&self) {
        self.count_requested.notify_one();
    }

    /// Sleeps [`AUDIT_INTERVAL_MIN`], then waits until `until` for a request to count the jobs, which may have come meanwhile. Returns `false` if none came. A request that
    /// is not served by then stays.
    pub(crate) async fn wait_for_count_request(&self, until: Instant) -> bool {
        tokio::time::sleep(AUDIT_INTERVAL_MIN).await;
        tokio::select! {
            biased;
            // A request that waits already must not win against a time that has passed, or the janitor would only count and never audit.
            () = tokio::time::sleep_until(until) => false,
            () = self.count_requested.notified() => true,
        }
    }

    /// Asks the retry scheduler for a round.
    pub(crate) fn request_promotion(&self) {
        self.retry_scheduler.send(RetrySchedulerMessage::StartRound);
    }

    /// A claim sent at `sent` found no pending job and reported when the next delayed job is due: plans the next poll of the retry scheduler for then.
    pub(crate) fn plan_promotion(&self, queue: &QueueContext, sent: Instant, next_due: Option<Duration>) {
        let wait = next_due.unwrap_or(PROMOTE_POLL_IDLE_MAX).clamp(PROMOTE_POLL_MIN, PROMOTE_POLL_IDLE_MAX);
        let poll_is_sooner = queue.plan_promotion(sent, wait, self.hints_subscribed());
        if poll_is_sooner {
            self.request_promotion();
        }
    }
}
