//! What a store returns about a job to operators and clients.

use bytes::Bytes;

use crate::job::{Counters, InstanceId, JobId, JobState, QueueName};
use crate::trace::{Act, AttemptLog, AttemptRecord, Ended, LastError, Progress, StoredAttempt, StoredProgress};

/// A job in a listing ([`Admin::jobs`](crate::store::Admin::jobs)).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobSummary {
    /// The job.
    pub id: JobId,
    /// Its state.
    pub state: JobState,
    /// Its attempts, failures, crashes and releases so far.
    pub counters: Counters,
    /// When the store accepted it, in ms since the Unix epoch; `None` when what the store keeps beside its envelope is damaged.
    pub enqueued_ms: Option<u64>,
    /// When it is due (`delayed`), its lease expires (`processing`) or it ended (final states), in ms since the Unix epoch; `None` when it is `pending`.
    pub at_ms: Option<u64>,
    /// The sealed envelope.
    pub envelope: Bytes,
    /// The latest error in its history, as in [`JobView::last_error`].
    pub last_error: Option<LastError>,
    /// The worker that holds its lease; `None` when the job is not `processing`, or its grant is missing or damaged.
    pub held_by: Option<LeaseHolder>,
    /// The latest progress that the running attempt reported to the store; `None` if it reported none, the job is not `processing`, or its grant is missing or damaged.
    pub progress: Option<StoredProgress>,
}

impl JobSummary {
    /// A job of which only the state is known, for those who write a store.
    #[must_use]
    pub fn new(id: JobId, state: JobState) -> Self {
        Self {
            id,
            state,
            counters: Counters::default(),
            enqueued_ms: None,
            at_ms: None,
            envelope: Bytes::new(),
            last_error: None,
            held_by: None,
            progress: None,
        }
    }
}

/// The worker that holds a job's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseHolder {
    /// The process instance of the worker.
    pub instance: InstanceId,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// When the worker claimed the job, in ms since the Unix epoch. Its handler may have started later, or not yet: a worker claims jobs ahead of its executors.
    pub claimed_ms: u64,
    /// When the lease expires unless renewed, in ms since the Unix epoch.
    pub expires_ms: u64,
    /// Whether the job's cancellation was requested.
    pub cancel_asked: bool,
}

impl LeaseHolder {
    /// The holder of a lease from `claimed_ms` to `expires_ms`; no cancellation was requested.
    #[must_use]
    pub fn new(instance: InstanceId, attempt: u32, claimed_ms: u64, expires_ms: u64) -> Self {
        Self { instance, attempt, claimed_ms, expires_ms, cancel_asked: false }
    }
}

/// Everything the store knows about one job.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use std::time::Duration;
/// # use retraced_jobs::job::{InstanceId, JobId, JobState, NewJob, QueueName, RunAt};
/// # use retraced_jobs::store::memory::MemoryStore;
/// # use retraced_jobs::store::{ClaimRequest, Admin, ReplaySlots, Transitions};
/// use retraced_jobs::store::{JobSummary, JobView, LeaseHolder};
/// # let (store, queue) = (MemoryStore::new(), QueueName::new("email").unwrap());
/// # let replay_slots = ReplaySlots::new(InstanceId::from(uuid::Uuid::from_u128(1)), 1);
/// # let mut replay_slot = replay_slots.take().await;
/// # let job = NewJob { id: JobId::parse("welcome-42").unwrap(), run_at: RunAt::Now, envelope: "sealed".into() };
/// # store.enqueue(replay_slot.next_call(), &queue, &[job]).await.unwrap();
/// # let lease = Duration::from_secs(30);
/// # let request = ClaimRequest { limit: 10, bytes_max: 1 << 20, lease, nonce: *b"8 random", numbered: false };
/// # store.claim(replay_slot.next_call(), &queue, &request).await.unwrap();
/// let listed: Vec<JobSummary> = store.jobs(&queue, JobState::Processing, None, 10).await.unwrap().jobs;
/// let view: JobView = store.job(&queue, &listed[0].id).await.unwrap().unwrap();
/// let LeaseHolder { attempt, cancel_asked, .. } = view.held_by.clone().unwrap();
/// assert_eq!((attempt, cancel_asked), (1, false));
/// assert_eq!(view.last_error(), None);
/// # });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobView {
    /// Its queue.
    pub queue: QueueName,
    /// The job.
    pub id: JobId,
    /// Its state.
    pub state: JobState,
    /// Its attempts, failures, crashes and releases so far.
    pub counters: Counters,
    /// A number that grows with each job enqueued in this queue; `None` when what the store keeps beside its envelope is damaged.
    pub sequence: Option<u64>,
    /// When the store accepted it, in ms since the Unix epoch; `None` when what the store keeps beside its envelope is damaged.
    pub enqueued_ms: Option<u64>,
    /// When it is due (`delayed`), its lease expires (`processing`) or it ended (final states), in ms since the Unix epoch; `None` when it is `pending`.
    pub at_ms: Option<u64>,
    /// The store's clock when the job was read, in ms since the Unix epoch.
    pub now_ms: u64,
    /// The worker that holds its lease; `None` when the job is not `processing`, or its grant is missing or damaged.
    pub held_by: Option<LeaseHolder>,
    /// The sealed envelope.
    pub envelope: Bytes,
    /// The attempts that are kept, oldest first: the first [`HISTORY_FIRST`](crate::limits::HISTORY_FIRST) and the last [`HISTORY_LAST`](crate::limits::HISTORY_LAST).
    pub history: Vec<StoredAttempt>,
    /// How many ended attempts are missing in [`history`](Self::history): those in between, and those that left no record because the worker gave the job back before it started.
    pub collapsed: u32,
    /// What operators did to the job, oldest first: the latest acts.
    pub acts: Vec<Act>,
    /// How many acts are missing in [`acts`](Self::acts): older ones, and those that cannot be read.
    pub acts_dropped: u32,
    /// The latest progress that the store was told, by the running attempt or an earlier one. If a worker settled the attempt, its record may show later progress:
    /// [`AttemptLog::progress`].
    pub progress: Option<StoredProgress>,
}

impl JobView {
    /// A job of which only the state is known, for those who write a store.
    #[must_use]
    pub fn new(queue: QueueName, id: JobId, state: JobState) -> Self {
        Self {
            queue,
            id,
            state,
            counters: Counters::default(),
            sequence: None,
            enqueued_ms: None,
            at_ms: None,
            now_ms: 0,
            held_by: None,
            envelope: Bytes::new(),
            history: Vec::new(),
            collapsed: 0,
            acts: Vec::new(),
            acts_dropped: 0,
            progress: None,
        }
    }

    /// The output of the handler that completed the job, to be read with [`codec::from_payload`](crate::codec::from_payload). For a handler that returned nothing it
    /// is MessagePack's nil, which reads as `()` or as an `Option` that is `None`. The method returns `None` when the job has not completed, or the record of its last
    /// attempt is not kept or cannot be read.
    #[must_use]
    pub fn output(&self) -> Option<Bytes> {
        const NIL: Bytes = Bytes::from_static(&[0xc0]);
        match &self.history.last()?.record {
            Ok(AttemptRecord::Reported(AttemptLog { ended: Ended::Completed { output }, .. })) => {
                Some(output.clone().unwrap_or(NIL))
            }
            _ => None,
        }
    }

    /// The last progress that is known of this attempt: what its worker reported at its end, or else what the store was told while it ran.
    #[must_use]
    pub fn progress_of(&self, attempt: u32) -> Option<&Progress> {
        let record = self.history.iter().find(|stored| stored.attempt == attempt).map(|stored| &stored.record);
        let reported = match record {
            Some(Ok(AttemptRecord::Reported(log))) => log.progress.as_ref(),
            _ => None,
        };
        let stored = self.progress.as_ref().filter(|stored| stored.attempt == attempt);
        reported.or(stored.map(|stored| &stored.progress))
    }

    /// The latest progress that the running attempt reported to the store; `None` if it reported none, the job is not `processing`, or its grant is missing or damaged.
    #[must_use]
    pub fn running_progress(&self) -> Option<&StoredProgress> {
        let attempt = self.held_by.as_ref()?.attempt;
        self.progress.as_ref().filter(|stored| stored.attempt == attempt)
    }

    /// The latest error in the history: a failure, an expired lease, or an entry that cannot be read.
    #[must_use]
    pub fn last_error(&self) -> Option<LastError> {
        self.history.iter().rev().find_map(StoredAttempt::error)
    }
}
