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
use crate::inflight::{ClaimOutcome, Inflight, OpenClaim};
use crate::limits::{CLAIM_CALLS_MAX, SETTLE_CALLS_MAX};
use crate::messages::{FetcherMessage, PoolMessage, SettlerMessage};
use crate::options::{QueueOptions, QueueSpec};
use crate::poll_schedule::PollSchedule;

/// The last count of a queue's jobs, and whether the first one was asked for.
#[derive(Default)]
struct Counts {
    /// The last count, and when it was made.
    last: Option<(CountCheck, Instant)>,
    /// The first count was asked for, and none was made since.
    requested: bool,
}

/// One queue: its jobs in flight, the addresses of its actors, and when it is polled.
pub(crate) struct QueueContext {
    pub(crate) name: QueueName,
    pub(crate) options: QueueOptions,
    pub(crate) runner: Arc<Runner>,
    pub(crate) inflight: Arc<Inflight>,
    pub(crate) door: Arc<FrontDoor>,
    pub(crate) fetcher: Address<FetcherMessage>,
    pub(crate) settler: Address<SettlerMessage>,
    pub(crate) pool: Address<PoolMessage>,
    /// Settlement calls under way: [`SETTLE_CALLS_MAX`] permits.
    pub(crate) settle_calls: Arc<Semaphore>,
    /// Claims under way that are not part of a settlement: [`CLAIM_CALLS_MAX`] permits.
    pub(crate) claim_calls: Arc<Semaphore>,
    /// The poll schedule of the retry scheduler.
    pub(crate) promote_schedule: PollSchedule,
    /// The poll schedule of the reclaimer.
    pub(crate) reclaim_schedule: PollSchedule,
    /// The poll schedule of the janitor's trims.
    pub(crate) trim_schedule: PollSchedule,
    /// What the janitor has trimmed and not reported yet.
    pub(crate) trim_report: TrimReport,
    /// What the watchdog has not reported yet of the jobs that a quarantine delayed.
    pub(crate) postponed_report: PostponedReport,
    /// Trims under way: one permit. It is kept here because a trim may outlive the janitor that began it.
    pub(crate) trim_calls: Arc<Semaphore>,
    /// Set from a request to settle until the settler begins.
    settling_requested: AtomicBool,
    counts: Mutex<Counts>,
    /// The end of the last reported lease grace.
    grace_until: Mutex<Option<Instant>>,
    /// Whether it is reported that the queue claims no more.
    pub(crate) claims_stop: ClaimsStop,
    /// The last claim to be answered emptied the queue, and no hint has come since.
    empty: AtomicBool,
}

impl QueueContext {
    /// `threads`: how many threads the tokio runtime of the handlers has.
    pub(crate) fn new(spec: QueueSpec, threads: usize, crashes_max: u32, door: Arc<FrontDoor>) -> Self {
        let QueueSpec { name, options, runner } = spec;
        Self {
            inflight: Arc::new(Inflight::new(runner.clone(), options.concurrency, threads, crashes_max)),
            name,
            options,
            runner,
            door,
            fetcher: Address::default(),
            settler: Address::default(),
            pool: Address::default(),
            settle_calls: Arc::new(Semaphore::new(SETTLE_CALLS_MAX)),
            claim_calls: Arc::new(Semaphore::new(CLAIM_CALLS_MAX)),
            promote_schedule: PollSchedule::default(),
            reclaim_schedule: PollSchedule::default(),
            trim_schedule: PollSchedule::default(),
            trim_report: TrimReport::default(),
            postponed_report: PostponedReport::default(),
            trim_calls: Arc::new(Semaphore::new(1)),
            settling_requested: AtomicBool::new(false),
            counts: Mutex::default(),
            grace_until: Mutex::new(None),
            claims_stop: ClaimsStop::default(),
            empty: AtomicBool::new(false),
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

    /// The queue may have jobs: wakes the fetcher.
    pub(crate) fn wake_fetcher(&self) {
        self.inflight.hint();
        self.empty.store(false, Ordering::Release);
        self.fetcher.send(FetcherMessage::Poll);
    }

    /// A claim was answered: its jobs enter the in-flight table.
    pub(crate) fn granted(&self, claim: OpenClaim, claims: Claims, expires: Instant) -> ClaimOutcome {
        let outcome = claim.granted(claims, Instant::now(), expires);
        self.empty.store(outcome.queue_empty, Ordering::Release);
        if outcome.poll_again {
            self.fetcher.send(FetcherMessage::Poll);
        }
        outcome
    }

    /// Whether no count has found a job of this queue yet, so that a loss of data could not be noticed. To be asked when the queue has jobs. Returns `true` once until
    /// the next count succeeds: if that count fails, the next audit makes it.
    pub(crate) fn take_first_count_request(&self) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let is_counted = counts.last.is_some_and(|(count, _)| count.enqueued_total > 0);
        !is_counted && !std::mem::replace(&mut counts.requested, true)
    }

    /// Remembers a count of its jobs. Returns the one before, and how long ago that was.
    pub(crate) fn counted(&self, count: CountCheck) -> Option<(CountCheck, Duration)> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.requested = false;
        let before = counts.last.replace((count, Instant::now()));
        before.map(|(count, at)| (count, at.elapsed()))
    }

    /// Whether a lease grace that lasts for `grace` from now is new: none that was reported still lasts. A new one is to be reported.
    pub(crate) fn lease_grace_is_new(&self, grace: Duration) -> bool {
        let mut until = self.grace_until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let new = until.is_none_or(|reported| reported <= now);
        if new {
            *until = Some(now + grace);
        }
        new
    }

    /// An executor is idle: the fetcher claims, unless the queue is known to be empty.
    pub(crate) fn executor_idle(&self) {
        if !self.empty.load(Ordering::Acquire) {
            self.fetcher.send(FetcherMessage::Poll);
        }
    }

    /// Plans the next poll of delayed jobs: a claim sent at `sent` found no pending job, and the next delayed job is due after `wait`. Returns whether
    /// the poll is now sooner than before. Without a subscription for hints a poll is never postponed, because no hint would report a delayed job that is
    /// added meanwhile.
    pub(crate) fn plan_promotion(&self, sent: Instant, wait: Duration, hints_subscribed: bool) -> bool {
        if hints_subscribed {
            return self.promote_schedule.plan_from(sent, wait);
        }
        let sooner = wait < self.promote_schedule.remaining();
        self.promote_schedule.request_within(wait);
        sooner
    }
}
