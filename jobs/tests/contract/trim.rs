//! Trimming ended jobs by the retention policy.

use std::time::Duration;

use retraced_jobs::events::TrimReason;
use retraced_jobs::job::{JobId, JobState, NewJob, RunAt};
use retraced_jobs::limits::KEPT_BYTES_MIN;
use retraced_jobs::store::{
    BATCH_MAX, HEADER_BYTES, Retention, RetentionRule, StoreError, TrimPolicy, TrimmedJobs, Verdict,
};

use super::{Harness, LONG, SHORT, Worker, id, ids};

const FINAL: [JobState; 4] = [JobState::Completed, JobState::Dead, JobState::Poisoned, JobState::Cancelled];

fn keep(age_max: Duration, count_max: u64) -> Retention {
    let rule = RetentionRule::new(age_max, count_max);
    Retention::default().completed(rule).dead(rule).poisoned(rule).cancelled(rule)
}

fn keep_bytes(bytes_max: u64) -> Retention {
    let rule = RetentionRule::by_age(LONG).bytes_max(bytes_max);
    Retention::default().completed(rule).dead(rule).poisoned(rule).cancelled(rule)
}

impl Worker {
    /// Trims, and returns how many jobs were removed, and whether there are more to remove.
    async fn removes(&self, policy: &TrimPolicy) -> (usize, bool) {
        let trimmed = self.trim(policy).await;
        assert_eq!(trimmed.jobs.iter().map(|jobs| jobs.count).sum::<u64>(), trimmed.removed as u64);
        (trimmed.removed, trimmed.more)
    }

    /// Brings a new job of so many bytes, header included, into this state. No other job may be pending.
    async fn bring_sized(&self, id: &JobId, state: JobState, bytes: usize) {
        let envelope = vec![b'x'; bytes - HEADER_BYTES].into();
        self.put(NewJob { id: id.clone(), run_at: RunAt::Now, envelope }).await;
        if state == JobState::Cancelled {
            self.cancel(id).await;
            return;
        }
        let job = self.claim_one().await;
        let verdict = match state {
            JobState::Completed => Verdict::Complete { keep: true },
            JobState::Dead => Verdict::DeadLetter,
            _ => Verdict::Poison,
        };
        self.settle(&job, verdict).await;
    }
}

pub(crate) async fn jobs_beyond_the_age_limit_are_trimmed(harness: &dyn Harness, worker: Worker) {
    for state in FINAL {
        worker.bring(harness, &id(&format!("old-{state}")), state).await;
    }
    harness.pass_short().await;
    let waiting = [JobState::Processing, JobState::Pending];
    for state in waiting {
        worker.bring(harness, &id(&format!("live-{state}")), state).await;
    }
    assert_eq!(worker.removes(&TrimPolicy { retention: keep(LONG, 99), limit: 9 }).await, (0, false));
    assert_eq!(worker.removes(&TrimPolicy { retention: keep(SHORT, 99), limit: 9 }).await, (4, false));
    for state in FINAL {
        assert_eq!(worker.listed(state).await, []);
        assert_eq!(worker.find(&id(&format!("old-{state}"))).await, None);
    }
    for state in waiting {
        assert_eq!(worker.listed(state).await.len(), 1);
    }
    assert_eq!(worker.stats().await.trimmed_total, 4);
}

pub(crate) async fn jobs_beyond_the_count_limit_are_trimmed_oldest_first_in_batches(
    harness: &dyn Harness,
    worker: Worker,
) {
    for state in FINAL {
        for name in ids(4) {
            worker.bring(harness, &id(&format!("{state}-{name}")), state).await;
            harness.advance(Duration::from_millis(2)).await;
        }
    }
    let policy = TrimPolicy { retention: keep(LONG, 1), limit: 5 };
    let left = async || {
        let stats = worker.stats().await;
        [stats.completed_kept, stats.dead, stats.poisoned, stats.cancelled]
    };
    let slices = [(5, true, [1, 2, 4, 4]), (5, true, [1, 1, 1, 3]), (2, false, [1, 1, 1, 1]), (0, false, [1, 1, 1, 1])];
    for (removed, more, kept) in slices {
        assert_eq!(worker.removes(&policy).await, (removed, more));
        assert_eq!(left().await, kept);
        assert_eq!(worker.check_counts().await.difference(), 0);
    }
    for state in FINAL {
        assert_eq!(worker.listed(state).await, [id(&format!("{state}-job-0003"))], "the latest job is kept");
    }
    assert_eq!(worker.stats().await.trimmed_total, 12);
}

pub(crate) async fn all_completed_jobs_are_trimmed_when_retention_keeps_none(_: &dyn Harness, worker: Worker) {
    worker.enqueue(&ids(3)).await;
    for job in worker.claim(3).await {
        worker.settle(&job, Verdict::Complete { keep: true }).await;
    }
    let job = worker.run(&id("dead")).await;
    worker.settle(&job, Verdict::DeadLetter).await;
    let policy = TrimPolicy { retention: Retention::default().without_completed(), limit: 2 };
    assert_eq!(worker.removes(&TrimPolicy { limit: 0, ..policy }).await, (0, true));
    assert_eq!(worker.removes(&TrimPolicy { limit: 1, ..policy }).await, (1, true));
    assert_eq!(worker.removes(&policy).await, (2, false));
    let stats = worker.stats().await;
    assert_eq!((stats.completed_kept, stats.completed_total, stats.dead), (0, 3, 1));
    let too_many = TrimPolicy { limit: BATCH_MAX + 1, ..policy };
    let refused = worker.store.trim(worker.call(), &worker.queue, &too_many).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused { operation: "trim", .. }), "{refused:?}");
}

pub(crate) async fn a_trimmed_id_can_be_used_by_a_new_job(_: &dyn Harness, worker: Worker) {
    let job = worker.run(&id("a")).await;
    worker.settle(&job, Verdict::Poison).await;
    worker.trim(&TrimPolicy { retention: keep(LONG, 0), limit: 9 }).await;
    let job = worker.run(&id("a")).await;
    assert_eq!((job.token.attempt, job.counters.failures), (1, 0));
    assert!(worker.view(&id("a")).await.history.is_empty());
}

pub(crate) async fn jobs_beyond_the_byte_limit_are_trimmed_oldest_first(harness: &dyn Harness, worker: Worker) {
    for state in FINAL {
        for (n, bytes) in [2_000, 5_000, 20, 3_000].into_iter().enumerate() {
            worker.bring_sized(&id(&format!("{state}-{n}")), state, bytes).await;
            harness.advance(Duration::from_millis(2)).await;
        }
    }
    // A small job counts KEPT_BYTES_MIN.
    let last_two = 3_000 + KEPT_BYTES_MIN;
    let policy = |bytes_max| TrimPolicy { retention: keep_bytes(bytes_max), limit: 9 };
    assert_eq!(worker.removes(&policy(2_000 + 5_000 + last_two)).await, (0, false));
    assert_eq!(worker.removes(&TrimPolicy { limit: 3, ..policy(5_000 + last_two) }).await, (3, true));
    assert_eq!(worker.removes(&policy(5_000 + last_two)).await, (1, false));
    assert_eq!(worker.removes(&policy(5_000 + last_two - 1)).await, (4, false));
    assert_eq!(worker.removes(&policy(last_two)).await, (0, false));
    for state in FINAL {
        assert_eq!(worker.listed(state).await, [id(&format!("{state}-3")), id(&format!("{state}-2"))]);
    }
    let stats = worker.stats().await;
    assert_eq!((stats.trimmed_total, stats.trimmed_dead_total, stats.trimmed_poisoned_total), (8, 2, 2));
    assert_eq!(worker.removes(&policy(0)).await, (8, false));
}

pub(crate) async fn bytes_of_jobs_that_left_their_state_are_never_counted_on(harness: &dyn Harness, worker: Worker) {
    for state in FINAL {
        for name in ["gone", "back", "kept"] {
            worker.bring_sized(&id(&format!("{state}-{name}")), state, 4_000).await;
            harness.advance(Duration::from_millis(2)).await;
        }
        worker.discard(&id(&format!("{state}-gone"))).await;
        match state {
            JobState::Completed => worker.discard(&id("completed-back")).await,
            _ => worker.redrive(&id(&format!("{state}-back"))).await,
        };
        if let Some(job) = worker.claim(1).await.pop() {
            worker.settle(&job, Verdict::Complete { keep: false }).await;
        }
    }
    let policy = |bytes_max| TrimPolicy { retention: keep_bytes(bytes_max), limit: 9 };
    assert_eq!(worker.removes(&policy(4_000)).await, (0, false), "too many bytes are counted");
    assert_eq!(worker.removes(&policy(3_999)).await, (4, false), "too few bytes are counted");
}

pub(crate) async fn jobs_that_a_dead_worker_leaves_poisoned_or_cancelled_count_their_bytes(
    harness: &dyn Harness,
    worker: Worker,
) {
    worker.stamp().await;
    let envelope = vec![b'x'; 4_000 - HEADER_BYTES];
    for name in ["poisoned", "cancelled"] {
        worker.put(NewJob { id: id(name), run_at: RunAt::Now, envelope: envelope.clone().into() }).await;
    }
    let jobs = worker.claim_for(2, SHORT).await;
    worker.begin(SHORT, &jobs).await;
    worker.cancel(&id("cancelled")).await;
    harness.pass_short().await;
    worker.reclaim(9).await;
    assert_eq!(worker.state(&id("cancelled")).await, Some(JobState::Cancelled));
    let jobs = worker.claim_for(1, SHORT).await;
    worker.begin(SHORT, &jobs).await;
    harness.pass_short().await;
    worker.reclaim(1).await;
    assert_eq!(worker.state(&id("poisoned")).await, Some(JobState::Poisoned));
    let policy = |bytes_max| TrimPolicy { retention: keep_bytes(bytes_max), limit: 9 };
    assert_eq!(worker.removes(&policy(4_000)).await, (0, false));
    assert_eq!(worker.removes(&policy(3_999)).await, (2, false));
}

pub(crate) async fn no_job_is_trimmed_without_its_state_reason_and_age(harness: &dyn Harness, worker: Worker) {
    for name in ["old", "large", "small", "latest"] {
        worker.bring_sized(&id(name), JobState::Dead, if name == "large" { 9_000 } else { 20 }).await;
        harness.advance(Duration::from_millis(2)).await;
    }
    worker.bring(harness, &id("poisoned"), JobState::Poisoned).await;
    let ended_ms = async |name: &str| worker.view(&id(name)).await.at_ms.unwrap();
    let group = |state, reason, oldest_ms| TrimmedJobs { state, reason, count: 1, oldest_ms };
    let (old_ms, large_ms, poisoned_ms) = (ended_ms("old").await, ended_ms("large").await, ended_ms("poisoned").await);
    let none = RetentionRule::new(LONG, 0);
    let policy = TrimPolicy { retention: Retention::default().poisoned(none), limit: 9 };
    assert_eq!(worker.trim(&policy).await.jobs, [group(JobState::Poisoned, TrimReason::Count, poisoned_ms)]);

    let aged = RetentionRule::by_age(Duration::ZERO);
    let policy = TrimPolicy { retention: Retention::default().dead(aged), limit: 1 };
    assert_eq!(worker.trim(&policy).await.jobs, [group(JobState::Dead, TrimReason::Age, old_ms)]);

    // By bytes until two small jobs are left.
    let few_bytes = RetentionRule::by_age(LONG).bytes_max(2 * KEPT_BYTES_MIN);
    let policy = TrimPolicy { retention: Retention::default().dead(few_bytes), limit: 9 };
    assert_eq!(worker.trim(&policy).await.jobs, [group(JobState::Dead, TrimReason::Bytes, large_ms)]);
    let stats = worker.stats().await;
    assert_eq!((stats.dead, stats.trimmed_dead_total, stats.trimmed_poisoned_total), (2, 2, 1));
}
