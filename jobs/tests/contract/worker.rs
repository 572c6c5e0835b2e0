//! A worker process as a store sees it. Its methods call the store and panic on errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use retraced_jobs::codec::encode_attempt;
use retraced_jobs::failure::Code;
use retraced_jobs::job::{InstanceId, JobId, JobState, Lease, NewJob, Nonce, QueueName, RunAt};
use retraced_jobs::store::{
    BATCH_MAX, CallId, ClaimRequest, ClaimedJob, Claims, CountCheck, Cursor, Enqueued, JobView, Moved, Promoted,
    QueueStats, Reclaim, Reclaimed, Renewal, Report, Settled, Settlement, Store, Target, TrimPolicy, Trimmed, Verdict,
};
use retraced_jobs::trace::{AttemptLog, Ended, ExecutorId, Progress};
use uuid::Uuid;

use super::{Harness, LONG};

pub(crate) struct Worker {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) queue: QueueName,
    pub(crate) instance: InstanceId,
    replay_slot: u16,
    sequence: AtomicU64,
}

/// Everything that can be read about a queue, except values that change only because time passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) stats: QueueStats,
    pub(crate) jobs: Vec<JobView>,
}

/// The id of this name.
pub(crate) fn id(name: &str) -> JobId {
    JobId::parse(name).unwrap()
}

/// `count` ids, in order.
pub(crate) fn ids(count: usize) -> Vec<JobId> {
    (0..count).map(|n| id(&format!("job-{n:04}"))).collect()
}

/// Targets for these jobs, without the state and attempts they were seen with.
pub(crate) fn targets(ids: &[JobId]) -> Vec<Target> {
    ids.iter().map(Target::from).collect()
}

/// A new job whose envelope names its id.
pub(crate) fn new_job(id: &JobId, run_at: RunAt) -> NewJob {
    NewJob { id: id.clone(), run_at, envelope: Bytes::from(format!("sealed {id}")) }
}

/// A worker's record of an attempt that completed, or failed with this message.
pub(crate) fn log(instance: InstanceId, failed: Option<&str>) -> AttemptLog {
    let failure = |message: &str| Ended::Failed {
        code: Code::NetworkError,
        message: message.into(),
        chain: vec!["cause".into()],
        location: None,
        backtrace: None,
        decision: None,
    };
    let ended = failed.map_or(Ended::Completed { output: None }, failure);
    AttemptLog::new(instance, ExecutorId::new(3, 1), 1_000, 7, ended)
}

impl Worker {
    pub(crate) fn new(store: Arc<dyn Store>, number: u128) -> Self {
        let queue = QueueName::new("contract").unwrap();
        let instance = InstanceId::from(Uuid::from_u128(number));
        Self { store, queue, instance, replay_slot: 0, sequence: AtomicU64::new(0) }
    }

    /// The same process in another queue.
    pub(crate) fn in_queue(&self, queue: &str) -> Self {
        let queue = QueueName::new(queue).unwrap();
        Self { store: self.store.clone(), queue, instance: self.instance, replay_slot: 0, sequence: AtomicU64::new(0) }
    }

    /// The same process on another replay slot.
    pub(crate) fn on_replay_slot(&self, replay_slot: u16) -> Self {
        Self { replay_slot, ..self.in_queue(self.queue.as_str()) }
    }

    /// The id of the next call.
    pub(crate) fn call(&self) -> CallId {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        CallId {
            instance: self.instance,
            replay_slot: self.replay_slot,
            sequence,
            nonce: self.nonce(),
            first_sending: false,
        }
    }

    /// A nonce for a claim, different in every call.
    pub(crate) fn nonce(&self) -> Nonce {
        let drawn = Uuid::new_v4();
        *drawn.as_bytes().first_chunk().unwrap()
    }

    pub(crate) fn request(&self, limit: usize, lease: Duration) -> ClaimRequest {
        ClaimRequest { limit, bytes_max: usize::MAX, lease, nonce: self.nonce(), numbered: false }
    }

    pub(crate) async fn enqueue(&self, ids: &[JobId]) -> Vec<Enqueued> {
        let jobs: Vec<_> = ids.iter().map(|id| new_job(id, RunAt::Now)).collect();
        self.store.enqueue(self.call(), &self.queue, &jobs).await.unwrap()
    }

    pub(crate) async fn put(&self, job: NewJob) -> Enqueued {
        self.store.enqueue(self.call(), &self.queue, &[job]).await.unwrap()[0]
    }

    pub(crate) async fn put_at(&self, id: &JobId, run_at: RunAt) -> Enqueued {
        self.put(new_job(id, run_at)).await
    }

    /// Claims up to `limit` jobs under leases that do not expire.
    pub(crate) async fn claim(&self, limit: usize) -> Vec<ClaimedJob> {
        self.claim_for(limit, LONG).await
    }

    pub(crate) async fn claim_for(&self, limit: usize, lease: Duration) -> Vec<ClaimedJob> {
        self.claims(&self.request(limit, lease)).await.jobs
    }

    pub(crate) async fn claims(&self, request: &ClaimRequest) -> Claims {
        self.store.claim(self.call(), &self.queue, request).await.unwrap()
    }

    /// Claims the job at the front of the queue.
    pub(crate) async fn claim_one(&self) -> ClaimedJob {
        let mut jobs = self.claim(1).await;
        assert_eq!(jobs.len(), 1, "there was nothing to claim");
        jobs.remove(0)
    }

    /// Enqueues a job with this id and claims it.
    pub(crate) async fn run(&self, id: &JobId) -> ClaimedJob {
        self.put_at(id, RunAt::Now).await;
        let job = self.claim_one().await;
        assert_eq!(&job.id, id);
        job
    }

    /// A settlement with this verdict and a matching record.
    pub(crate) fn settlement(&self, job: &ClaimedJob, verdict: Verdict) -> Settlement {
        let failed = (!matches!(verdict, Verdict::Complete { .. })).then_some("it failed");
        let record = encode_attempt(&log(self.instance, failed));
        Settlement { id: job.id.clone(), token: job.token, verdict, record }
    }

    pub(crate) async fn settle(&self, job: &ClaimedJob, verdict: Verdict) -> Settled {
        self.settle_all(&[self.settlement(job, verdict)]).await[0]
    }

    pub(crate) async fn settle_all(&self, settlements: &[Settlement]) -> Vec<Settled> {
        self.store.settle(self.call(), &self.queue, settlements).await.unwrap()
    }

    pub(crate) async fn promote(&self, limit: usize) -> Promoted {
        self.store.promote(self.call(), &self.queue, limit).await.unwrap()
    }

    /// Reclaims with a lease so long that no grace is given after [`stamp`](Self::stamp).
    pub(crate) async fn reclaim(&self, crashes_max: u32) -> Reclaimed {
        self.reclaim_with(&Reclaim { limit: BATCH_MAX, lease: LONG, crashes_max, losses_max: 99 }).await
    }

    pub(crate) async fn reclaim_with(&self, request: &Reclaim) -> Reclaimed {
        self.store.reclaim(self.call(), &self.queue, request).await.unwrap()
    }

    /// Stores the time of a reclaim. Without it the next reclaim would give grace.
    pub(crate) async fn stamp(&self) {
        let first = self.reclaim(3).await;
        assert_eq!(first.grace, None, "stamp before anything is leased");
    }

    pub(crate) async fn renew(&self, lease: Duration, jobs: &[ClaimedJob]) -> Vec<Renewal> {
        let held: Vec<Lease> = jobs.iter().map(|job| job.lease(self.instance)).collect();
        self.store.renew(&self.queue, lease, &held).await.unwrap().results
    }

    /// Records that the handlers of these jobs are about to start.
    pub(crate) async fn begin(&self, lease: Duration, jobs: &[ClaimedJob]) -> Vec<Renewal> {
        let held: Vec<Lease> = jobs.iter().map(|job| job.lease(self.instance)).collect();
        self.store.begin(&self.queue, lease, &held).await.unwrap().results
    }

    /// Reports this progress of these jobs.
    pub(crate) async fn report(&self, lease: Duration, jobs: &[ClaimedJob], percent: u8, note: &str) -> Vec<Renewal> {
        let progress = Progress::new(percent, note);
        let report = |job: &ClaimedJob| Report { lease: job.lease(self.instance), progress: progress.clone() };
        let reports: Vec<Report> = jobs.iter().map(report).collect();
        self.store.report(&self.queue, lease, &reports).await.unwrap().results
    }

    pub(crate) async fn redrive(&self, id: &JobId) -> Moved {
        self.store.redrive(self.call(), &self.queue, &"ada".into(), &[id.into()]).await.unwrap()[0]
    }

    pub(crate) async fn cancel(&self, id: &JobId) -> Moved {
        self.store.cancel(self.call(), &self.queue, &"ada".into(), &[id.into()]).await.unwrap()[0]
    }

    pub(crate) async fn discard(&self, id: &JobId) -> Moved {
        self.store.discard(self.call(), &self.queue, &"ada".into(), &[id.into()]).await.unwrap()[0]
    }

    /// Pauses the queue as ada; whether it was paused before.
    pub(crate) async fn pause(&self) -> bool {
        self.store.pause(self.call(), &self.queue, &"ada".into()).await.unwrap()
    }

    pub(crate) async fn resume(&self) -> bool {
        self.store.resume(self.call(), &self.queue).await.unwrap()
    }

    pub(crate) async fn trim(&self, policy: &TrimPolicy) -> Trimmed {
        self.store.trim(self.call(), &self.queue, policy).await.unwrap()
    }

    pub(crate) async fn check_counts(&self) -> CountCheck {
        self.store.check_counts(&self.queue).await.unwrap()
    }

    pub(crate) async fn stats(&self) -> QueueStats {
        self.store.stats(&self.queue).await.unwrap()
    }

    pub(crate) async fn now_ms(&self) -> u64 {
        self.store.renew(&self.queue, LONG, &[]).await.unwrap().now_ms
    }

    pub(crate) async fn view(&self, id: &JobId) -> JobView {
        self.find(id).await.unwrap_or_else(|| panic!("{id} is not kept"))
    }

    pub(crate) async fn find(&self, id: &JobId) -> Option<JobView> {
        self.store.job(&self.queue, id).await.unwrap()
    }

    pub(crate) async fn state(&self, id: &JobId) -> Option<JobState> {
        self.find(id).await.map(|view| view.state)
    }

    /// The jobs of a state, in the order of its listing, read in pages of `limit`.
    pub(crate) async fn paged(&self, state: JobState, limit: usize) -> Vec<JobId> {
        let mut listed = Vec::new();
        let mut from: Option<Cursor> = None;
        for _ in 0..=10_000 / limit {
            let page = self.store.jobs(&self.queue, state, from, limit).await.unwrap();
            assert!(page.jobs.len() <= limit, "a page of {limit} has {} jobs", page.jobs.len());
            assert!(page.jobs.iter().all(|job| job.state == state));
            listed.extend(page.jobs.into_iter().map(|job| job.id));
            from = page.next;
            if from.is_none() {
                return listed;
            }
        }
        panic!("the pages of {state} jobs never end");
    }

    pub(crate) async fn listed(&self, state: JobState) -> Vec<JobId> {
        self.paged(state, BATCH_MAX).await
    }

    pub(crate) async fn snapshot(&self) -> Snapshot {
        let mut stats = self.stats().await;
        (stats.oldest_pending_ms, stats.delayed_overdue_ms) = (None, None);
        let mut jobs = Vec::new();
        for state in JobState::ALL {
            for id in self.listed(state).await {
                let mut view = self.view(&id).await;
                view.now_ms = 0;
                assert_eq!(view.state, state, "{id} is listed as {state}");
                jobs.push(view);
            }
        }
        Snapshot { stats, jobs }
    }

    /// Brings a new job into this state. No other job of this queue may be pending: a job that has to run is claimed from the front.
    pub(crate) async fn bring(&self, harness: &dyn Harness, id: &JobId, state: JobState) -> Option<ClaimedJob> {
        if state == JobState::Delayed {
            self.put_at(id, RunAt::After(super::SHORT)).await;
            harness.pass_short().await;
            return None;
        }
        if matches!(state, JobState::Pending | JobState::Cancelled) {
            self.put_at(id, RunAt::Now).await;
            if state == JobState::Cancelled {
                self.cancel(id).await;
            }
            return None;
        }
        let job = self.run(id).await;
        match state {
            JobState::Completed => self.settle(&job, Verdict::Complete { keep: true }).await,
            JobState::Dead => self.settle(&job, Verdict::DeadLetter).await,
            JobState::Poisoned => self.settle(&job, Verdict::Poison).await,
            _ => return Some(job),
        };
        Some(job)
    }
}
