//! What the actors of one queue share.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use retraced_jobs::execution::Runner;
use retraced_jobs::job::QueueName;
use retraced_jobs::store::{Claims, CountCheck};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::claims_stop::ClaimsStop;
use super::postponed_report::PostponedReport;
use super::trim_report::TrimReport;
use crate::address::Address;
use crate::front_door::FrontDoor;
use crate::inflight::{ClaimResult, Inflight, OpenClaim};
use crate::limits::{CLAIM_CALLS_MAX, SETTLE_CALLS_MAX};
use crate::messages::{FetcherMessage, PoolMessage, SettlerMessage};
use crate::options::{QueueOptions, QueueSpec};
use crate::poll_schedule::PollSchedule;

/// The last count of a queue's jobs, and whether an early first count was requested.
#[derive(Default)]
struct Counts {
    /// The last count, and when it was made.
    last: Option<(CountCheck, Instant)>,
    /// An early first count was requested, and no count has succeeded since.
    first_requested: bool,
}

/// One queue: its jobs in flight, the addresses of its actors, and when it is polled.
pub(crate) struct QueueContext {
    pub(crate) name: QueueName,
    pub(crate) options: QueueOptions,
    pub(crate) runner: Arc<Runner>,
    pub(crate) inflight: Arc<Inflight>,
    /// Holds the queue's enqueue buffer.
    pub(crate) front_door: Arc<FrontDoor>,
    pub(crate) fetcher: Address<FetcherMessage>,
    pub(crate) settler: Address<SettlerMessage>,
    pub(crate) pool: Address<PoolMessage>,
    /// Limits the settlement calls under way: [`SETTLE_CALLS_MAX`] permits.
    pub(crate) settle_permits: Arc<Semaphore>,
    /// Limits the claims under way that are not part of a settlement: [`CLAIM_CALLS_MAX`] permits.
    pub(crate) claim_permits: Arc<Semaphore>,
    /// The poll schedule of the retry scheduler.
    pub(crate) promote_schedule: PollSchedule,
    /// The poll schedule of the reclaimer.
    pub(crate) reclaim_schedule: PollSchedule,
    /// The poll schedule of the janitor's trims.
    pub(crate) trim_schedule: PollSchedule,
    /// What the janitor has trimmed and not reported yet.
    pub(crate) trim_report: TrimReport,
    /// What the watchdog has not reported yet of the jobs that a quarantine postponed.
    pub(crate) postponed_report: PostponedReport,
    /// Allows one trim at a time: one permit. It is kept here because a trim may outlive the janitor that began it.
    pub(crate) trim_permit: Arc<Semaphore>,
    /// Set from a request to settle until the settler begins.
    settling_requested: AtomicBool,
    counts: Mutex<Counts>,
    /// The end of the last reported lease grace.
    grace_until: Mutex<Option<Instant>>,
    /// Reports when refused settlements keep the queue from claiming, and when it claims again.
    pub(crate) claims_stop: ClaimsStop,
    /// The last successful claim found too few jobs, so it probably emptied the queue, and the fetcher was not woken since.
    probably_empty: AtomicBool,
}

impl QueueContext {
    /// `threads`: how many threads the tokio runtime of the handlers has.
    pub(crate) fn new(spec: QueueSpec, threads: usize, crashes_max: u32, front_door: Arc<FrontDoor>) -> Self {
        let QueueSpec { name, options, runner } = spec;
        Self {
            inflight: Arc::new(Inflight::new(runner.clone(), options.concurrency, threads, crashes_max)),
            name,
            options,
            runner,
            front_door,
            fetcher: Address::default(),
            settler: Address::default(),
            pool: Address::default(),
            settle_permits: Arc::new(Semaphore::new(SETTLE_CALLS_MAX)),
            claim_permits: Arc::new(Semaphore::new(CLAIM_CALLS_MAX)),
            promote_schedule: PollSchedule::default(),
            reclaim_schedule: PollSchedule::default(),
            trim_schedule: PollSchedule::default(),
            trim_report: TrimReport::default(),
            postponed_report: PostponedReport::default(),
            trim_permit: Arc::new(Semaphore::new(1)),
            settling_requested: AtomicBool::new(false),
            counts: Mutex::default(),
            grace_until: Mutex::new(None),
            claims_stop: ClaimsStop::default(),
            probably_empty: AtomicBool::new(false),
        }
    }

    /// The slots of its executors.
    pub(crate) fn executor_slots(&self) -> Range<u32> {
        0..u32::try_from(self.options.concurrency).unwrap_or(u32::MAX)
    }

    /// Asks the settler to settle outcomes. Further requests are ignored until the settler begins.
    pub(crate) fn request_settling(&self) {
        if !self.settling_requested.swap(true, Ordering::AcqRel) {
            self.settler.send(SettlerMessage::Settle);
        }
    }

    /// The settler begins. Outcomes that enter the table from now on need a new request.
    pub(crate) fn settling_begins(&self) {
        self.settling_requested.store(false, Ordering::Release);
    }

    /// The queue may have jobs, because a hint arrived or this process promoted, reclaimed or released some: wakes the fetcher. Each of these counts as a hint
    /// for a claim under way, which may have missed those jobs.
    pub(crate) fn wake_fetcher(&self) {
        self.inflight.hint();
        self.probably_empty.store(false, Ordering::Release);
        self.fetcher.send(FetcherMessage::Poll);
    }

    /// A claim was answered: its jobs enter the in-flight table.
    pub(crate) fn granted(&self, claim: OpenClaim, claims: Claims, expires: Instant) -> ClaimResult {
        let result = claim.granted(claims, Instant::now(), expires);
        self.probably_empty.store(result.queue_empty, Ordering::Release);
        if result.poll_again {
            self.fetcher.send(FetcherMessage::Poll);
        }
        result
    }

    /// Whether to request an early count: the queue has jobs, but no count has seen any, so a loss of data could not be noticed. To be asked when the queue has
    /// jobs. Returns `true` only once; a successful count allows it again. If the requested count fails, the next audit counts.
    pub(crate) fn take_first_count_request(&self) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let is_counted = counts.last.is_some_and(|(count, _)| count.enqueued_total > 0);
        !is_counted && !std::mem::replace(&mut counts.first_requested, true)
    }

    /// Remembers a count of its jobs. Returns the one before, and how long ago that was.
    pub(crate) fn counted(&self, count: CountCheck) -> Option<(CountCheck, Duration)> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.first_requested = false;
        let before = counts.last.replace((count, Instant::now()));
        before.map(|(count, at)| (count, at.elapsed()))
    }

    /// Returns whether a lease grace that lasts for `grace` from now must be reported, and then records it: not while one that was reported still lasts.
    pub(crate) fn note_lease_grace(&self, grace: Duration) -> bool {
        let mut until = self.grace_until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let new = until.is_none_or(|reported| reported <= now);
        if new {
            *until = Some(now + grace);
        }
        new
    }

    /// An executor is idle: the fetcher claims, unless the queue is probably empty.
    pub(crate) fn executor_idle(&self) {
        if !self.probably_empty.load(Ordering::Acquire) {
            self.fetcher.send(FetcherMessage::Poll);
        }
    }

    /// Plans the next poll of delayed jobs: a claim sent at `sent` found no pending job, and the next delayed job is due after `wait`. Returns whether
    /// the poll is now sooner than before. With a subscription for hints `wait` counts from `sent`. Without one it counts from now, and a poll is never
    /// postponed, because no hint would report a delayed job that is added meanwhile.
    pub(crate) fn plan_promotion(&self, sent: Instant, wait: Duration, hints_subscribed: bool) -> bool {
        if hints_subscribed {
            return self.promote_schedule.plan_from(sent, wait);
        }
        let sooner = wait < self.promote_schedule.remaining();
        self.promote_schedule.request_within(wait);
        sooner
    }
}
