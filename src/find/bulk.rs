//! Redrives, discards or cancels all jobs that match a filter, step by step.

use retraced_jobs::job::{JobId, JobState, QueueName};
use retraced_jobs::store::{JobSummary, Moved, Target};
use retraced_jobs::units::millis;
use tokio::time::Instant;

use super::recent::RecentIds;
use super::{JobFilter, JobSearch};
use crate::limits::{BULK_CLOCK_SLACK, BULK_MISSED_PASSES_MAX, BULK_STEP_EXAMINED_MAX, BULK_STEP_JOBS};
use crate::operator::{Operator, OperatorError};

/// A redrive, a discard or a cancellation of all jobs that match a filter. Each step acts on at most 100 jobs, in the order in which they are found. To stop, drop the
/// `BulkAction`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::sync::Arc;
/// # use retraced::{Client, Job, MemoryStore, Operator, QueueName, Store};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Welcome;
/// # impl Job for Welcome { const KIND: &'static str = "welcome"; }
/// # let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
/// # let client = Client::shared(store.clone()).queue("email")?;
/// # let (operator, queue) = (Operator::shared(store), QueueName::new("email")?);
/// # for _ in 0..3 { let id = client.enqueue(Welcome).await?.id.clone(); operator.cancel(&queue, [id]).await?; }
/// use retraced::find::{BulkAction, BulkStep};
/// use retraced::{JobState, find::JobFilter};
/// let mut redrive: BulkAction = operator.redrive_matching(&queue, &JobFilter::in_state(JobState::Cancelled)).limit(2);
/// while let Some(BulkStep { results, .. }) = redrive.step().await? {
///     println!("{} jobs", results.len());
/// }
/// assert_eq!((redrive.changed(), redrive.unchanged()), (2, 0));
/// # Ok(())
/// # }
/// ```
pub struct BulkAction {
    operator: Operator,
    queue: QueueName,
    action: Action,
    filter: JobFilter,
    search: JobSearch,
    /// Whether [`note_start`](Self::note_start) has run.
    start_noted: bool,
    /// When a cancellation started: in ms since the Unix epoch by the store's clock, and by this process's clock. `None` for other actions, and if the store does not say
    /// its time. If set, the search is repeated.
    started_at: Option<(u64, Instant)>,
    /// Whether the present pass of the search is a repeated one.
    repeated: bool,
    /// How many jobs were moved in the present pass of the search.
    moved: u64,
    /// How many cancellations of the present pass missed, because the job had gone from one state of the filter to another meanwhile.
    missed: u64,
    /// How many passes may yet be repeated for such jobs alone.
    missed_passes_left: u32,
    /// Jobs that were acted on and may be found again. Delayed jobs are listed by ascending due time, so one that was redriven and fails again stands further back in the list; and a
    /// running job that was asked to stop is found by each pass until it ends.
    done: RecentIds,
    /// At most this many jobs are changed.
    limit: u64,
    /// Jobs that were found and not yet acted on.
    unsent: Vec<JobSummary>,
    /// How many jobs the steps so far have examined.
    examined: u64,
    changed: u64,
    asked: u64,
    unchanged: u64,
    /// How many jobs the present pass of the search has passed over as newer than the action.
    newer: u64,
}

/// What one step of a bulk action did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkStep {
    /// The result for each job that was acted on; empty when none of the examined jobs was to be acted on. A job that moved on just then, and that a cancellation tries again in its
    /// next pass, has none yet.
    pub results: Vec<(JobId, Moved)>,
    /// How many jobs this step examined, together with those before it that failed; one step examines at most 2,000.
    pub examined: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Redrive,
    Discard,
    Cancel,
}

impl BulkAction {
    pub(super) fn new(operator: &Operator, queue: &QueueName, filter: &JobFilter, action: Action) -> Self {
        let search = JobSearch::from_the_beginning(operator, queue, filter);
        Self {
            operator: operator.clone(),
            queue: queue.clone(),
            action,
            filter: filter.clone(),
            search,
            start_noted: false,
            started_at: None,
            repeated: false,
            moved: 0,
            missed: 0,
            missed_passes_left: BULK_MISSED_PASSES_MAX,
            done: RecentIds::default(),
            limit: u64::MAX,
            unsent: Vec::new(),
            examined: 0,
            changed: 0,
            asked: 0,
            unchanged: 0,
            newer: 0,
        }
    }

    /// Changes at most this many jobs, those that are found first; one that is asked to stop counts too. Default: no limit.
    #[must_use]
    pub fn limit(self, jobs_max: u64) -> Self {
        Self { limit: jobs_max, ..self }
    }

    /// Acts on the next jobs; `None` when no more match or the limit is reached.
    ///
    /// # Errors
    /// [`OperatorError`] when the store refused or did not answer. The next step then acts on the same jobs again. Jobs that were changed although no answer came are
    /// counted as unchanged.
    pub async fn step(&mut self) -> Result<Option<BulkStep>, OperatorError> {
        self.note_start().await?;
        let left = usize::try_from(self.limit.saturating_sub(self.changed + self.asked)).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(None);
        }
        if self.unsent.is_empty() && self.search.is_over() && self.must_repeat() {
            self.search_again();
        }
        if self.unsent.is_empty() {
            self.find_next(left).await?;
        }
        if self.unsent.is_empty() && self.search.is_over() && !self.must_repeat() {
            return Ok(None);
        }
        let targets: Vec<Target> = self.unsent.iter().map(Target::from).collect();
        let moved = match (self.action, targets.is_empty()) {
            (_, true) => Vec::new(),
            (Action::Redrive, false) => self.operator.redrive(&self.queue, targets).await?,
            (Action::Discard, false) => self.operator.discard(&self.queue, targets).await?,
            (Action::Cancel, false) => self.operator.cancel(&self.queue, targets).await?,
        };
        self.count(&moved);
        self.note_done(&moved);
        let examined = self.search.examined() - std::mem::replace(&mut self.examined, self.search.examined());
        let unsent = std::mem::take(&mut self.unsent);
        let results = unsent.into_iter().map(|job| job.id).zip(moved).filter(|(_, moved)| !self.tries_again(moved));
        let results = results.collect();
        Ok(Some(BulkStep { results, examined }))
    }

    /// Finds the jobs that the next step acts on, at most `left`.
    async fn find_next(&mut self, left: usize) -> Result<(), OperatorError> {
        let found = self.search.take(BULK_STEP_JOBS.min(left), BULK_STEP_EXAMINED_MAX).await?;
        let (newer, unsent): (Vec<_>, _) = found.into_iter().partition(|job| self.is_newer(job));
        self.newer += newer.len() as u64;
        self.unsent = unsent;
        self.unsent.retain(|job| !self.done.contains(&job.id));
        Ok(())
    }

    fn note_done(&mut self, moved: &[Moved]) {
        let may_be_found_again = |(job, moved): &(&JobSummary, &Moved)| match moved {
            Moved::Moved { .. } => self.action == Action::Redrive && job.state == JobState::Delayed,
            Moved::Asked => true,
            _ => false,
        };
        let done: Vec<_> =
            self.unsent.iter().zip(moved).filter(may_be_found_again).map(|(job, _)| job.id.clone()).collect();
        self.done.extend(done);
    }

    /// Whether a later pass tries this job again, because it went from one state of the filter to another, or to another attempt, since it was found.
    fn tries_again(&self, moved: &Moved) -> bool {
        let was_missed = matches!(moved, Moved::Refused { state } if self.filter.states().contains(state));
        was_missed && self.started_at.is_some() && self.missed_passes_left > 0
    }

    /// Asks the store for its time before a cancellation. A page of pending jobs begins at a position, so if jobs in front are claimed meanwhile, others move up and are
    /// missed. Therefore the search is repeated until a pass moves nothing and misses nothing, or misses something too often
    /// ([`BULK_MISSED_PASSES_MAX`]). It leaves out jobs enqueued after the start; otherwise a busy producer would keep it running.
    async fn note_start(&mut self) -> Result<(), OperatorError> {
        if !self.start_noted && self.action == Action::Cancel {
            let asked_at = Instant::now();
            self.started_at = self.operator.probe().await?.now_ms.map(|now_ms| (now_ms, asked_at));
        }
        self.start_noted = true;
        Ok(())
    }

    fn must_repeat(&self) -> bool {
        self.started_at.is_some() && (self.moved > 0 || self.missed > 0 && self.missed_passes_left > 0)
    }

    fn search_again(&mut self) {
        if self.moved == 0 {
            self.missed_passes_left -= 1;
        }
        self.missed = 0;
        self.search = JobSearch::from_the_beginning(&self.operator, &self.queue, &self.filter);
        (self.examined, self.moved, self.newer, self.repeated) = (0, 0, 0, true);
    }

    /// Whether a job was enqueued after this cancellation started. The first search takes two kinds of doubtful jobs: those stamped more than [`BULK_CLOCK_SLACK`] ahead of
    /// the store's clock (enqueued before it was set back), and those without an instant. A repeated search passes over both; otherwise it might never end.
    fn is_newer(&self, job: &JobSummary) -> bool {
        let Some((started_ms, started)) = self.started_at else { return false };
        let now_ms = started_ms.saturating_add(millis(started.elapsed() + BULK_CLOCK_SLACK));
        job.enqueued_ms.map_or(self.repeated, |at_ms| at_ms > started_ms && (self.repeated || at_ms <= now_ms))
    }

    /// How many jobs were moved or removed so far.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.changed
    }

    /// How many running jobs were asked to stop so far; they may still complete, and do not count as [`changed`](Self::changed).
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// How many jobs the last pass of a cancellation passed over as enqueued after it began; in a repeated pass also those whose instant is unknown. They are left alone,
    /// and do not count as [`unchanged`](Self::unchanged).
    #[must_use]
    pub fn newer(&self) -> u64 {
        self.newer
    }

    /// How many jobs were left alone so far: somebody else moved them first, or their state does not allow the action.
    #[must_use]
    pub fn unchanged(&self) -> u64 {
        self.unchanged
    }

    fn count(&mut self, moved: &[Moved]) {
        for moved in moved {
            match moved {
                moved if self.tries_again(moved) => self.missed += 1,
                Moved::Refused { .. } | Moved::NotFound => self.unchanged += 1,
                Moved::Asked => self.asked += 1,
                _ => {
                    self.changed += 1;
                    self.moved += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::time::Duration;

    use retraced_jobs::job::{InstanceId, JobState, NewJob, RunAt};
    use retraced_jobs::store::memory::MemoryStore;
    use retraced_jobs::store::{
        Admin, BATCH_MAX, CallId, ClaimRequest, ClaimedJob, Cursor, Decorator, JobPage, ReplaySlots, Settlement, Store,
        StoreFacts, StoreFuture, Transitions, Verdict,
    };
    use retraced_jobs::trace::OperatorName;
    use uuid::Uuid;

    use super::*;

    /// A store whose first pages of pending jobs lack one job each, as when jobs in front are claimed meanwhile, and to which a producer adds a job at each cancellation.
    struct Busy {
        inner: MemoryStore,
        slots: ReplaySlots,
        gaps_left: AtomicU32,
        produced: AtomicU32,
    }

    impl Busy {
        async fn enqueue(&self, queue: &QueueName, name: String) {
            let job = NewJob { id: name.parse().unwrap(), run_at: RunAt::Now, envelope: "sealed".into() };
            self.inner.enqueue(self.slots.take().await.next_call(), queue, &[job]).await.unwrap();
        }
    }

    impl Decorator for Busy {
        fn inner(&self) -> &dyn Store {
            &self.inner
        }

        fn jobs<'a>(
            &'a self,
            queue: &'a QueueName,
            state: JobState,
            from: Option<Cursor>,
            limit: usize,
        ) -> StoreFuture<'a, JobPage> {
            Box::pin(async move {
                let mut page = self.inner.jobs(queue, state, from, limit).await?;
                let has_gap = self.gaps_left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
                if has_gap && !page.jobs.is_empty() {
                    page.jobs.remove(0);
                }
                Ok(page)
            })
        }

        fn cancel<'a>(
            &'a self,
            call: CallId,
            queue: &'a QueueName,
            by: &'a OperatorName,
            jobs: &'a [Target],
        ) -> StoreFuture<'a, Vec<Moved>> {
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(2)).await;
                let produced = self.produced.fetch_add(1, SeqCst);
                self.enqueue(queue, format!("new-{produced}")).await;
                self.inner.cancel(call, queue, by, jobs).await
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bulk_cancellation_misses_no_job_and_ends_although_a_producer_goes_on() {
        let slots = ReplaySlots::new(InstanceId::from(Uuid::from_u128(1)), 1);
        let (inner, queue) = (MemoryStore::new(), QueueName::new("q").unwrap());
        let store = Arc::new(Busy { inner, slots, gaps_left: AtomicU32::new(4), produced: AtomicU32::new(0) });
        for n in 0..300 {
            store.enqueue(&queue, format!("old-{n}")).await;
        }
        let operator = Operator::shared(store.clone());
        let mut cancel = operator.cancel_matching(&queue, &JobFilter::waiting());
        while cancel.step().await.unwrap().is_some() {}
        let produced = u64::from(store.produced.load(SeqCst));
        let stats = operator.stats(&queue).await.unwrap();
        assert_eq!((cancel.changed(), stats.cancelled, stats.pending), (300, 300, produced));
    }

    #[tokio::test]
    async fn a_bulk_action_changes_no_more_jobs_than_its_limit() {
        let slots = ReplaySlots::new(InstanceId::from(Uuid::from_u128(1)), 1);
        let (inner, queue) = (MemoryStore::new(), QueueName::new("q").unwrap());
        let store = Arc::new(Busy { inner, slots, gaps_left: AtomicU32::new(0), produced: AtomicU32::new(0) });
        for n in 0..250 {
            store.enqueue(&queue, format!("old-{n}")).await;
        }
        let operator = Operator::shared(store);
        let mut cancel = operator.cancel_matching(&queue, &JobFilter::in_state(JobState::Pending)).limit(130);
        while cancel.step().await.unwrap().is_some() {}
        assert_eq!((cancel.changed(), operator.stats(&queue).await.unwrap().cancelled), (130, 130));
    }

    /// A store whose delayed jobs fail again as soon as they are redriven, and are delayed until after all others.
    struct StillDown {
        inner: MemoryStore,
        slots: ReplaySlots,
        redriven: AtomicU32,
    }

    impl Decorator for StillDown {
        fn inner(&self) -> &dyn Store {
            &self.inner
        }

        fn redrive<'a>(
            &'a self,
            call: CallId,
            queue: &'a QueueName,
            by: &'a OperatorName,
            jobs: &'a [Target],
        ) -> StoreFuture<'a, Vec<Moved>> {
            Box::pin(async move {
                let moved = self.inner.redrive(call, queue, by, jobs).await?;
                let n = self.redriven.fetch_add(jobs.len() as u32, SeqCst);
                let delay = Duration::from_secs(7_200 + u64::from(n));
                let lease = Duration::from_secs(30);
                let request =
                    ClaimRequest { limit: BATCH_MAX, bytes_max: 1 << 20, lease, nonce: *b"8 random", numbered: false };
                let claimed = self.inner.claim(self.slots.take().await.next_call(), queue, &request).await?.jobs;
                let failed = |job: ClaimedJob| {
                    let (verdict, record) = (Verdict::Retry { delay }, bytes::Bytes::new());
                    Settlement { id: job.id, token: job.token, verdict, record }
                };
                let failed: Vec<_> = claimed.into_iter().map(failed).collect();
                self.inner.settle(self.slots.take().await.next_call(), queue, &failed).await?;
                Ok(moved)
            })
        }
    }

    #[tokio::test]
    async fn a_bulk_redrive_of_delayed_jobs_redrives_no_job_twice() {
        let slots = ReplaySlots::new(InstanceId::from(Uuid::from_u128(1)), 1);
        let (inner, queue) = (MemoryStore::new(), QueueName::new("q").unwrap());
        let job = |n: u64| NewJob {
            id: format!("j-{n}").parse().unwrap(),
            run_at: RunAt::After(Duration::from_secs(3_600 + n)),
            envelope: "sealed".into(),
        };
        for chunk in (0..450).collect::<Vec<_>>().chunks(BATCH_MAX) {
            let jobs: Vec<_> = chunk.iter().copied().map(job).collect();
            inner.enqueue(slots.take().await.next_call(), &queue, &jobs).await.unwrap();
        }
        let store = Arc::new(StillDown { inner, slots, redriven: AtomicU32::new(0) });
        let operator = Operator::shared(store.clone());
        let mut redrive = operator.redrive_matching(&queue, &JobFilter::in_state(JobState::Delayed));
        let mut steps = 0;
        while redrive.step().await.unwrap().is_some() {
            steps += 1;
            assert!(steps < 60, "{} redriven", redrive.changed());
        }
        assert_eq!((redrive.changed(), store.redriven.load(SeqCst)), (450, 450));
    }

    /// A store that promotes its delayed jobs just before the first cancellation.
    struct Promotes {
        inner: MemoryStore,
        slots: ReplaySlots,
        cancelled: AtomicU32,
    }

    impl Decorator for Promotes {
        fn inner(&self) -> &dyn Store {
            &self.inner
        }

        fn cancel<'a>(
            &'a self,
            call: CallId,
            queue: &'a QueueName,
            by: &'a OperatorName,
            jobs: &'a [Target],
        ) -> StoreFuture<'a, Vec<Moved>> {
            Box::pin(async move {
                if self.cancelled.fetch_add(1, SeqCst) == 0 {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    self.inner.promote(self.slots.take().await.next_call(), queue, 10).await?;
                }
                self.inner.cancel(call, queue, by, jobs).await
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_becomes_due_never_escapes_its_cancellation() {
        let slots = ReplaySlots::new(InstanceId::from(Uuid::from_u128(1)), 1);
        let (inner, queue) = (MemoryStore::new(), QueueName::new("q").unwrap());
        let run_at = RunAt::After(Duration::from_secs(1));
        let job = [NewJob { id: "a".parse().unwrap(), run_at, envelope: "sealed".into() }];
        inner.enqueue(slots.take().await.next_call(), &queue, &job).await.unwrap();
        let operator = Operator::new(Promotes { inner, slots, cancelled: AtomicU32::new(0) });
        let mut cancel = operator.cancel_matching(&queue, &JobFilter::waiting());
        while cancel.step().await.unwrap().is_some() {}
        let stats = operator.stats(&queue).await.unwrap();
        assert_eq!((cancel.changed(), cancel.unchanged(), stats.cancelled, stats.pending), (1, 0, 1, 0));
    }

    /// A store in which one running job is at another attempt whenever it is to be cancelled.
    struct MovesOn(MemoryStore);

    impl Decorator for MovesOn {
        fn inner(&self) -> &dyn Store {
            &self.0
        }

        fn cancel<'a>(
            &'a self,
            call: CallId,
            queue: &'a QueueName,
            by: &'a OperatorName,
            jobs: &'a [Target],
        ) -> StoreFuture<'a, Vec<Moved>> {
            Box::pin(async move {
                let mut moved = self.0.cancel(call, queue, by, jobs).await?;
                for (_, moved) in jobs.iter().zip(&mut moved).filter(|(job, _)| job.id.to_string() == "job-7") {
                    *moved = Moved::Refused { state: JobState::Processing };
                }
                Ok(moved)
            })
        }
    }

    #[tokio::test]
    async fn a_job_that_moves_on_is_no_reason_to_count_the_others_again() {
        let slots = ReplaySlots::new(InstanceId::from(Uuid::from_u128(1)), 1);
        let (store, queue) = (MovesOn(MemoryStore::new()), QueueName::new("q").unwrap());
        let named = |number| NewJob {
            id: format!("job-{number}").parse().unwrap(),
            run_at: RunAt::Now,
            envelope: "sealed".into(),
        };
        let jobs: Vec<_> = (0..60).map(named).collect();
        store.0.enqueue(slots.take().await.next_call(), &queue, &jobs).await.unwrap();
        let lease = Duration::from_secs(60);
        let request = ClaimRequest { limit: 60, bytes_max: 1 << 20, lease, nonce: [7; 8], numbered: false };
        store.0.claim(slots.take().await.next_call(), &queue, &request).await.unwrap();
        let operator = Operator::new(store);
        let mut cancel = operator.cancel_matching(&queue, &JobFilter::in_state(JobState::Processing));
        let mut reported = Vec::new();
        while let Some(step) = cancel.step().await.unwrap() {
            reported.extend(step.results.into_iter().map(|(id, _)| id));
        }
        assert_eq!((cancel.asked(), cancel.unchanged(), reported.len()), (59, 1, 60));
        reported.sort_unstable();
        reported.dedup();
        assert_eq!(reported.len(), 60, "each once");
    }

    /// A store whose clock was set back by an hour after the jobs were enqueued, and whose jobs named `bare` have lost the instant at which they were enqueued.
    struct SetBack(MemoryStore);

    impl Decorator for SetBack {
        fn inner(&self) -> &dyn Store {
            &self.0
        }

        fn probe(&self) -> StoreFuture<'_, StoreFacts> {
            Box::pin(async move {
                let mut facts = self.0.probe().await?;
                facts.now_ms = facts.now_ms.map(|now_ms| now_ms - 3_600_000);
                Ok(facts)
            })
        }

        fn jobs<'a>(
            &'a self,
            queue: &'a QueueName,
            state: JobState,
            from: Option<Cursor>,
            limit: usize,
        ) -> StoreFuture<'a, JobPage> {
            Box::pin(async move {
                let mut page = self.0.jobs(queue, state, from, limit).await?;
                page.jobs.iter_mut().filter(|job| job.id.to_string() == "bare").for_each(|job| job.enqueued_ms = None);
                Ok(page)
            })
        }
    }

    #[tokio::test]
    async fn a_bulk_cancellation_passes_over_no_job_whose_instant_is_unknown_or_ahead_of_the_clock() {
        let slots = ReplaySlots::new(InstanceId::from(Uuid::from_u128(1)), 1);
        let (store, queue) = (SetBack(MemoryStore::new()), QueueName::new("q").unwrap());
        let jobs = ["ahead", "bare"].map(|name| NewJob {
            id: name.parse().unwrap(),
            run_at: RunAt::Now,
            envelope: "sealed".into(),
        });
        store.0.enqueue(slots.take().await.next_call(), &queue, &jobs).await.unwrap();
        let operator = Operator::new(store);
        let mut cancel = operator.cancel_matching(&queue, &JobFilter::waiting());
        while cancel.step().await.unwrap().is_some() {}
        assert_eq!((cancel.changed(), operator.stats(&queue).await.unwrap().pending), (2, 0));
    }
}
