//! The arguments and results of [`Admin`](crate::store::Admin).

use super::Cursor;
use crate::events::TrimReason;
use crate::job::{JobId, JobState};
use crate::store::{JobSummary, JobView, Retention};
use crate::trace::OperatorName;

/// A job that an operator acts on, and how the operator saw it. Another operator may have redriven the job since, and a discard that was meant for a dead job must
/// not delete a live one. So the store compares the job with `seen`, in the same step in which it acts.
/// Exhaustive: these fields identify a job as it was read, and none will be added.
///
/// ```
/// use retraced_jobs::job::{JobId, JobState};
/// use retraced_jobs::store::{Seen, Target};
/// let id = JobId::parse("welcome-42").unwrap();
/// assert_eq!(Target::from(&id).seen, None, "acts on the job whatever its state");
/// let target = Target { id, seen: Some(Seen { state: JobState::Dead, attempts: 5 }) };
/// assert!(!target.matches(JobState::Pending, 5), "another operator redrove it");
/// assert!(!target.matches(JobState::Dead, 6), "and it ran once more, and died again");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The job.
    pub id: JobId,
    /// How the operator saw the job. If its state or attempts differ now, the result is [`Moved::Refused`]. With `None` they are not compared.
    pub seen: Option<Seen>,
}

/// The state and the attempts that an operator saw of a job.
/// Exhaustive: these fields identify a job as it was read, and none will be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Its state.
    pub state: JobState,
    /// Its attempts so far. The number grows with every claim, so it shows that a job ran again and returned to the same state.
    pub attempts: u32,
}

impl Target {
    /// Whether a job with this state and this number of attempts is still as the operator saw it.
    #[must_use]
    pub fn matches(&self, state: JobState, attempts: u32) -> bool {
        self.seen.is_none_or(|seen| seen == Seen { state, attempts })
    }
}

impl From<JobId> for Target {
    fn from(id: JobId) -> Self {
        Self { id, seen: None }
    }
}

impl From<&JobId> for Target {
    fn from(id: &JobId) -> Self {
        id.clone().into()
    }
}

impl From<&Target> for Target {
    fn from(target: &Target) -> Self {
        target.clone()
    }
}

impl From<&JobSummary> for Target {
    fn from(job: &JobSummary) -> Self {
        Self { id: job.id.clone(), seen: Some(Seen { state: job.state, attempts: job.counters.attempts }) }
    }
}

impl From<&JobView> for Target {
    fn from(job: &JobView) -> Self {
        Self { id: job.id.clone(), seen: Some(Seen { state: job.state, attempts: job.counters.attempts }) }
    }
}

/// The result of an operator's action on one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Moved {
    /// The job moved, or was deleted.
    Moved {
        /// Its state before.
        from: JobState,
        /// Its state now; `None` when it was deleted.
        to: Option<JobState>,
    },
    /// The job is processing; its cancellation was requested.
    Asked,
    /// The state of the job does not allow the action, the job is no longer as it was [seen](Target::seen), or its stored record is cut off, so that it cannot run again. Nothing was changed.
    Refused {
        /// Its state.
        state: JobState,
    },
    /// No such job is kept.
    NotFound,
}

/// What the deletion of a queue does with jobs whose work is not done: live ones (pending, processing, delayed), and dead and poisoned ones, which may be redriven.
/// Exhaustive, so that a store has to decide about each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnfinishedJobs {
    /// The queue is left alone.
    Refuse,
    /// They are deleted as well. A worker that holds one runs it to its end, which is not recorded.
    Delete,
}

/// The result of [`Admin::delete_queue`](crate::store::Admin::delete_queue).
///
/// ```
/// use retraced_jobs::store::QueueDeletion;
/// let text = |deletion: QueueDeletion| match deletion {
///     QueueDeletion::Deleted { jobs } => format!("deleted with {jobs} jobs"),
///     QueueDeletion::Refused { pending, dead, .. } => format!("{pending} jobs are pending, {dead} are dead"),
///     _ => "unknown".to_owned(),
/// };
/// assert_eq!(text(QueueDeletion::Deleted { jobs: 3 }), "deleted with 3 jobs");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueDeletion {
    /// Nothing is left of the queue.
    Deleted {
        /// How many jobs were kept in it. If the call was sent before and applied then, only those that came in since.
        jobs: u64,
    },
    /// The queue has [unfinished jobs](UnfinishedJobs). Nothing was changed.
    Refused {
        /// Pending jobs.
        pending: u64,
        /// Jobs that workers hold.
        processing: u64,
        /// Delayed jobs.
        delayed: u64,
        /// Dead jobs.
        dead: u64,
        /// Poisoned jobs.
        poisoned: u64,
    },
}

/// A page of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct JobPage {
    /// The jobs, in the order of [`Admin::jobs`](crate::store::Admin::jobs).
    pub jobs: Vec<JobSummary>,
    /// Where the next page begins; `None` on the last page.
    pub next: Option<Cursor>,
}

/// The numbers of jobs and the counters of a queue, and whether it is paused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct QueueStats {
    /// Whether the queue is paused; then claims grant nothing.
    pub paused: bool,
    /// Since when, on the store's clock, in ms since the Unix epoch. `None` while the queue is not paused, and if the store does not know.
    pub paused_since_ms: Option<u64>,
    /// The operator who paused it. `None` as above. It comes from outside and may hold control characters.
    pub paused_by: Option<OperatorName>,
    /// Jobs ready to be claimed.
    pub pending: u64,
    /// Leased jobs.
    pub processing: u64,
    /// Jobs waiting for their due time.
    pub delayed: u64,
    /// Completed jobs still kept.
    pub completed_kept: u64,
    /// Dead jobs kept.
    pub dead: u64,
    /// Poisoned jobs kept.
    pub poisoned: u64,
    /// Cancelled jobs kept.
    pub cancelled: u64,
    /// How long ago the first pending job was enqueued, in ms. `None` when there is none. The store on Redis also gives `None` when it finds none among the first 100
    /// entries of `pending`, stale ones included, or within 4 MiB of them.
    pub oldest_pending_ms: Option<u64>,
    /// For how long the earliest delayed job has been due, in ms; negative while it is not due yet; `None` when none is delayed.
    pub delayed_overdue_ms: Option<i64>,
    /// Jobs accepted, ever.
    pub enqueued_total: u64,
    /// Jobs completed, ever.
    pub completed_total: u64,
    /// Failures counted, ever.
    pub failures_total: u64,
    /// Crashes counted, ever.
    pub crashes_total: u64,
    /// Releases counted, ever.
    pub releases_total: u64,
    /// Stale settlements ([`Settled::Stale`](crate::store::Settled::Stale)), ever.
    pub stale_settlements_total: u64,
    /// Jobs deleted by retention, ever.
    pub trimmed_total: u64,
    /// Dead jobs among them.
    pub trimmed_dead_total: u64,
    /// Poisoned jobs among them.
    pub trimmed_poisoned_total: u64,
    /// Damaged data found, ever: entries without a job, which were deleted, and jobs that cannot be read, which were poisoned.
    pub garbage_total: u64,
}

/// What one call may trim.
/// Exhaustive, so that a caller has to decide about every part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TrimPolicy {
    /// The rules. With `completed: None`, all completed jobs are deleted, also those that another worker kept.
    pub retention: Retention,
    /// How many jobs this call may delete; at most [`BATCH_MAX`](crate::store::BATCH_MAX).
    pub limit: usize,
}

/// The result of a trim.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # use std::time::Duration;
/// # use retraced_jobs::job::{InstanceId, JobId, JobState, Lease, NewJob, QueueName, RunAt};
/// # use retraced_jobs::store::memory::MemoryStore;
/// # use retraced_jobs::events::TrimReason;
/// # use retraced_jobs::store::{Admin, ReplaySlots, Retention, RetentionRule, Transitions, TrimPolicy, Trimmed};
/// # let (store, queue) = (MemoryStore::new(), QueueName::new("email").unwrap());
/// # let instance = InstanceId::from(uuid::Uuid::from_u128(1));
/// # let replay_slots = ReplaySlots::new(instance, 1);
/// # let mut replay_slot = replay_slots.take().await;
/// # let job = NewJob { id: JobId::parse("welcome-42").unwrap(), run_at: RunAt::Now, envelope: "sealed".into() };
/// # store.enqueue(replay_slot.next_call(), &queue, &[job]).await.unwrap();
/// # store.cancel(replay_slot.next_call(), &queue, &"ada".into(), &[JobId::parse("welcome-42").unwrap().into()]).await.unwrap();
/// let none = RetentionRule::new(Duration::MAX, 0);
/// let policy = TrimPolicy { retention: Retention::default().cancelled(none), limit: 100 };
/// let trimmed = store.trim(replay_slot.next_call(), &queue, &policy).await.unwrap();
/// let Trimmed { removed, more, jobs, .. } = trimmed;
/// assert_eq!((removed, more), (1, false));
/// assert_eq!((jobs[0].state, jobs[0].reason), (JobState::Cancelled, TrimReason::Count));
/// # });
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Trimmed {
    /// Jobs deleted.
    pub removed: usize,
    /// Whether there are more jobs to delete: call again.
    pub more: bool,
    /// The deleted jobs by state and reason.
    pub jobs: Vec<TrimmedJobs>,
}

/// Jobs of one state that a trim deleted for one reason.
///
/// ```
/// use retraced_jobs::job::JobState;
/// use retraced_jobs::store::{Trimmed, TrimmedJobs};
/// let dead = |trimmed: &Trimmed| -> u64 {
///     let dead = |jobs: &&TrimmedJobs| jobs.state == JobState::Dead;
///     trimmed.jobs.iter().filter(dead).map(|jobs| jobs.count).sum()
/// };
/// assert_eq!(dead(&Trimmed::default()), 0);
/// ```
/// Exhaustive: it only counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrimmedJobs {
    /// The state they were in.
    pub state: JobState,
    /// The bound that they exceeded.
    pub reason: TrimReason,
    /// How many.
    pub count: u64,
    /// When the oldest of them had ended, in ms since the Unix epoch by the store's clock.
    pub oldest_ms: u64,
}

/// Counts of a queue. They agree when every stored job is in exactly one container and every lease has a grant.
///
/// ```
/// use retraced_jobs::store::CountCheck;
/// let mut report = CountCheck::default();
/// (report.jobs, report.pending_entries, report.stale, report.contained) = (5, 3, 1, 2);
/// assert_eq!(report.difference(), 1, "one job is in no container");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CountCheck {
    /// Jobs stored.
    pub jobs: u64,
    /// Entries of `pending`, stale ones included.
    pub pending_entries: u64,
    /// How many of these entries are stale, according to a counter that the store maintains.
    pub stale: u64,
    /// Jobs in all containers but `pending`.
    pub contained: u64,
    /// Number of leases minus number of grants; a job in `processing` has one of each.
    pub grant_difference: i64,
    /// Ended jobs in the states whose bytes the store does not count, because it has lost its counters: retention then keeps more bytes than it should, until a repair.
    pub uncounted: u64,
    /// Jobs ever enqueued to the queue. It falls only if the store loses data or the queue is deleted.
    pub enqueued_total: u64,
    /// The number before the sequence of its first job. It changes only if the store loses data or the queue is deleted.
    pub sequence_base: u64,
}

impl CountCheck {
    /// Whether the counts agree, and no bytes are uncounted.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.difference() == 0 && self.grant_difference == 0 && self.uncounted == 0
    }

    /// Jobs stored minus jobs in containers: positive when jobs are in no container, negative when entries have no job or a job is in two containers.
    #[must_use]
    pub fn difference(&self) -> i64 {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        signed(self.jobs) - (signed(self.pending_entries) - signed(self.stale) + signed(self.contained))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_do_not_add_up_if_a_single_one_is_wrong() {
        let right = CountCheck { jobs: 3, pending_entries: 2, stale: 1, contained: 2, ..CountCheck::default() };
        assert!(right.adds_up());
        for wrong in [
            CountCheck { jobs: 4, ..right },
            CountCheck { grant_difference: -1, ..right },
            CountCheck { uncounted: 1, ..right },
        ] {
            assert!(!wrong.adds_up(), "{wrong:?}");
        }
    }
}
