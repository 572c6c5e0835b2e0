//! [`Admin`] in memory: what operators read and change.

use std::ops::Bound;
use std::time::Duration;

use futures_util::FutureExt;

use super::cursor::parse_cursor;
use super::pause::Pause;
use super::queue::Queue;
use super::replay::SlotCall;
use super::store::MemoryStore;
use super::stored_job::{Container, StoredJob};
use super::timeline::{Point, Timeline};
use crate::events::{Finding, TrimReason};
use crate::job::{JobId, JobState, QueueName, Transition};
use crate::limits::OUTCOME_WAIT_MAX;
use crate::store::batch::check_batch;
use crate::store::{
    Admin, BATCH_MAX, CallId, CountCheck, Cursor, JobPage, JobSummary, JobView, LeaseHolder, Moved, QueueDeletion,
    QueueStats, Removal, RetentionRule, StoreError, StoreFuture, Target, Tombstone, TrimPolicy, Trimmed, TrimmedJobs,
    UnfinishedJobs,
};
use crate::trace::{ActKind, OperatorName, StoredAttempt, StoredProgress};
use crate::units::millis;

impl Admin for MemoryStore {
    fn queues(&self) -> StoreFuture<'_, Vec<QueueName>> {
        async { Ok(self.contents().global.queues()) }.boxed()
    }

    fn stats<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, QueueStats> {
        async { Ok(self.read(queue, Queue::stats)) }.boxed()
    }

    fn jobs<'a>(
        &'a self,
        queue: &'a QueueName,
        state: JobState,
        from: Option<Cursor>,
        limit: usize,
    ) -> StoreFuture<'a, JobPage> {
        async move { self.read(queue, |queue, _| queue.page(state, from, limit.clamp(1, BATCH_MAX))) }.boxed()
    }

    fn job<'a>(&'a self, queue: &'a QueueName, id: &'a JobId) -> StoreFuture<'a, Option<JobView>> {
        async { Ok(self.read(queue, |kept, now| kept.job(id).map(|job| view(queue, id, job, now)))) }.boxed()
    }

    fn tombstone<'a>(&'a self, queue: &'a QueueName, id: &'a JobId) -> StoreFuture<'a, Option<Tombstone>> {
        async { Ok(self.read(queue, |kept, _| kept.tombstones.latest(id).cloned())) }.boxed()
    }

    fn redrive<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        by: &'a OperatorName,
        jobs: &'a [Target],
    ) -> StoreFuture<'a, Vec<Moved>> {
        self.act_on_each("redrive", call, queue, by, jobs, |queue, id, from, now| {
            let to = match from {
                JobState::Delayed => queue.promote_one(id),
                _ => queue.redrive(id),
            };
            if to.is_some() {
                queue.note_act(id, ActKind::Redrive, from, by, now);
            }
            moved(from, to)
        })
    }

    fn cancel<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        by: &'a OperatorName,
        jobs: &'a [Target],
    ) -> StoreFuture<'a, Vec<Moved>> {
        self.act_on_each("cancel", call, queue, by, jobs, |queue, id, from, now| {
            let (changed, result) = match from {
                JobState::Processing => (queue.request_cancel(id), Moved::Asked),
                _ => {
                    let to = queue.cancel(id, now);
                    (to.is_some(), moved(from, to))
                }
            };
            if changed {
                queue.note_act(id, ActKind::Cancel, from, by, now);
            }
            result
        })
    }

    fn discard<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        by: &'a OperatorName,
        jobs: &'a [Target],
    ) -> StoreFuture<'a, Vec<Moved>> {
        self.act_on_each("discard", call, queue, by, jobs, |queue, id, from, now| match from {
            JobState::Processing => Moved::Refused { state: from },
            _ => {
                queue.discard(id, by, now);
                Moved::Moved { from, to: None }
            }
        })
    }

    fn watch_outcome<'a>(
        &'a self,
        queue: &'a QueueName,
        id: &'a JobId,
        wait: Duration,
    ) -> StoreFuture<'a, Option<JobView>> {
        async move {
            let shown = self.write_existing(queue, |kept, now| {
                kept.register_wait(id, millis(wait.min(OUTCOME_WAIT_MAX)), now);
                match kept.job(id).filter(|job| job.container.state().is_final()) {
                    Some(job) => Some(view(queue, id, job, now)),
                    None => kept.state_for_waiter(id, now).map(|state| JobView::new(queue.clone(), id.clone(), state)),
                }
            });
            Ok(shown.flatten())
        }
        .boxed()
    }

    fn pause<'a>(&'a self, call: CallId, queue: &'a QueueName, by: &'a OperatorName) -> StoreFuture<'a, bool> {
        let call = SlotCall::new(call, "pause", by);
        async move { self.write_once(call, queue, |queue, now| queue.pause(by, now)) }.boxed()
    }

    fn resume<'a>(&'a self, call: CallId, queue: &'a QueueName) -> StoreFuture<'a, bool> {
        let call = SlotCall::new(call, "resume", ());
        async move { self.write_once(call, queue, |queue, _| queue.resume()) }.boxed()
    }

    fn delete_queue<'a>(&'a self, queue: &'a QueueName, unfinished: UnfinishedJobs) -> StoreFuture<'a, QueueDeletion> {
        async move {
            let mut contents = self.contents();
            let now = self.now();
            let mut jobs = 0;
            if let Some(kept) = contents.queues.get(queue) {
                let QueueStats { pending, processing, delayed, dead, poisoned, .. } = kept.stats(now);
                if unfinished == UnfinishedJobs::Refuse && pending + processing + delayed + dead + poisoned > 0 {
                    return Ok(QueueDeletion::Refused { pending, processing, delayed, dead, poisoned });
                }
                jobs = kept.check_counts().jobs;
            }
            contents.queues.remove(queue);
            contents.global.announced_queues.remove(queue);
            Ok(QueueDeletion::Deleted { jobs })
        }
        .boxed()
    }

    fn trim<'a>(&'a self, call: CallId, queue: &'a QueueName, policy: &'a TrimPolicy) -> StoreFuture<'a, Trimmed> {
        async move {
            check_batch("trim", policy.limit)?;
            self.write_once(SlotCall::new(call, "trim", policy), queue, |queue, now| queue.trim(policy, now))
        }
        .boxed()
    }

    fn check_counts<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, CountCheck> {
        async { Ok(self.read(queue, |queue, _| queue.check_counts())) }.boxed()
    }

    fn scan<'a>(&'a self, _: &'a QueueName) -> StoreFuture<'a, Vec<Finding>> {
        // There is nothing to find: only `Queue::advance` moves jobs between containers, and no other program can change this memory.
        async { Ok(Vec::new()) }.boxed()
    }

    fn repair<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, Vec<Finding>> {
        self.scan(queue)
    }
}

impl MemoryStore {
    /// Calls `act` with the state of each job that is still as the operator saw it. Returns one result per job, in order.
    fn act_on_each<'a>(
        &'a self,
        operation: &'static str,
        call: CallId,
        queue: &'a QueueName,
        by: &'a OperatorName,
        jobs: &'a [Target],
        act: impl Fn(&mut Queue, &JobId, JobState, u64) -> Moved + Send + 'a,
    ) -> StoreFuture<'a, Vec<Moved>> {
        async move {
            check_batch(operation, jobs.len())?;
            self.write_once(SlotCall::new(call, operation, (by, jobs)), queue, |queue, now| {
                let one = |target: &Target| match queue.job(&target.id).map(|job| (job.container.state(), job.counters))
                {
                    Some((state, counters)) if !target.matches(state, counters.attempts) => Moved::Refused { state },
                    Some((from, _)) => act(queue, &target.id, from, now),
                    None => Moved::NotFound,
                };
                jobs.iter().map(one).collect()
            })
        }
        .boxed()
    }
}

fn moved(from: JobState, to: Option<JobState>) -> Moved {
    match to {
        Some(_) => Moved::Moved { from, to },
        None => Moved::Refused { state: from },
    }
}

fn view(queue: &QueueName, id: &JobId, job: &StoredJob, now_ms: u64) -> JobView {
    let history: Vec<StoredAttempt> = job.history.read().collect();
    let ended_attempts = job.counters.attempts - u32::from(job.grant().is_some());
    JobView {
        queue: queue.clone(),
        id: id.clone(),
        state: job.container.state(),
        counters: job.counters,
        sequence: Some(job.sequence),
        enqueued_ms: Some(job.enqueued_ms),
        at_ms: job.container.at_ms(),
        now_ms,
        held_by: lease_holder(job),
        envelope: job.envelope.clone(),
        collapsed: ended_attempts.saturating_sub(u32::try_from(history.len()).unwrap_or(u32::MAX)),
        history,
        acts: job.acts.read(),
        acts_dropped: job.acts.dropped,
        progress: job.progress.clone(),
    }
}

impl Queue {
    fn stats(&self, now: u64) -> QueueStats {
        let count = |timeline: &Timeline| timeline.len() as u64;
        let front = self.pending.first_key_value().and_then(|(_, id)| self.job(id));
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        QueueStats {
            paused: self.pause.is_some(),
            paused_since_ms: self.pause.as_ref().map(|pause| pause.since_ms),
            paused_by: self.pause.as_ref().map(|pause| pause.by.clone()),
            pending: self.pending.len() as u64,
            processing: count(&self.leases),
            delayed: count(&self.delayed),
            completed_kept: count(&self.completed),
            dead: count(&self.dead),
            poisoned: count(&self.poisoned),
            cancelled: count(&self.cancelled),
            oldest_pending_ms: front.map(|job| now.saturating_sub(job.enqueued_ms)),
            delayed_overdue_ms: self.delayed.first_ms().map(|due_ms| signed(now) - signed(due_ms)),
            enqueued_total: self.totals.enqueued,
            completed_total: self.totals.completed,
            failures_total: self.totals.failures,
            crashes_total: self.totals.crashes,
            releases_total: self.totals.releases,
            stale_settlements_total: self.totals.stale_settlements,
            trimmed_total: self.totals.trimmed,
            trimmed_dead_total: self.totals.trimmed_dead,
            trimmed_poisoned_total: self.totals.trimmed_poisoned,
            garbage_total: 0,
        }
    }

    fn page(&self, state: JobState, from: Option<Cursor>, limit: usize) -> Result<JobPage, StoreError> {
        let listed = |id: &JobId| self.job(id).map(|job| summary(id, job));
        let Some(timeline) = self.timeline(state) else {
            let from = parse_cursor("jobs", from, |text| text.parse::<i64>().ok())?;
            let after = from.map_or(Bound::Unbounded, Bound::Excluded);
            let entries = self.pending.range((after, Bound::Unbounded));
            let (page, next) = paged(entries, limit, |(position, _)| position.to_string());
            return Ok(JobPage { jobs: page.into_iter().filter_map(|(_, id)| listed(id)).collect(), next });
        };
        let from = parse_cursor("jobs", from, Point::parse)?;
        let (page, next) = match state.is_final() {
            true => paged(timeline.before(from), limit, |point| point.to_text()),
            false => paged(timeline.after(from), limit, |point| point.to_text()),
        };
        Ok(JobPage { jobs: page.into_iter().filter_map(|point| listed(&point.id)).collect(), next })
    }

    fn cancel(&mut self, id: &JobId, now: u64) -> Option<JobState> {
        self.advance(id, Transition::Cancel, Container::Cancelled { at_ms: now })
    }

    fn pause(&mut self, by: &OperatorName, now: u64) -> bool {
        let was_paused = self.pause.is_some();
        self.pause.get_or_insert_with(|| Pause { since_ms: now, by: by.clone() });
        was_paused
    }

    fn resume(&mut self) -> bool {
        if !self.pending.is_empty() {
            self.hint_pending();
        }
        self.pause.take().is_some()
    }

    fn trim(&mut self, policy: &TrimPolicy, now: u64) -> Trimmed {
        let retention = &policy.retention;
        let (mut trimmed, mut removed) = (Trimmed::default(), Vec::new());
        for (state, timeline, rule) in [
            (
                JobState::Completed,
                &self.completed,
                retention.completed.unwrap_or(RetentionRule::new(Duration::ZERO, 0)),
            ),
            (JobState::Dead, &self.dead, retention.dead),
            (JobState::Poisoned, &self.poisoned, retention.poisoned),
            (JobState::Cancelled, &self.cancelled, retention.cancelled),
        ] {
            let mut too_many = (timeline.len() as u64).saturating_sub(rule.count_max);
            let mut too_many_bytes = timeline.bytes().saturating_sub(rule.bytes_max);
            for point in timeline.iter() {
                let reason = match () {
                    () if now.saturating_sub(point.at_ms) > millis(rule.age_max) => TrimReason::Age,
                    () if too_many > 0 => TrimReason::Count,
                    () if too_many_bytes > 0 => TrimReason::Bytes,
                    () => break,
                };
                if removed.len() == policy.limit {
                    trimmed.more = true;
                    break;
                }
                too_many = too_many.saturating_sub(1);
                too_many_bytes = too_many_bytes.saturating_sub(self.job(&point.id).map_or(0, StoredJob::bytes));
                removed.push((point.id.clone(), state, reason));
                match trimmed.jobs.last_mut().filter(|jobs| (jobs.state, jobs.reason) == (state, reason)) {
                    Some(jobs) => jobs.count += 1,
                    None => trimmed.jobs.push(TrimmedJobs { state, reason, count: 1, oldest_ms: point.at_ms }),
                }
            }
        }
        for (id, state, reason) in &removed {
            if matches!(state, JobState::Dead | JobState::Poisoned) {
                self.add_tombstone(id, Removal::Trimmed { reason: *reason }, now);
            }
            self.remove(id);
        }
        trimmed.removed = removed.len();
        self.totals.trimmed += removed.len() as u64;
        for jobs in &trimmed.jobs {
            match jobs.state {
                JobState::Dead => self.totals.trimmed_dead += jobs.count,
                JobState::Poisoned => self.totals.trimmed_poisoned += jobs.count,
                _ => {}
            }
        }
        trimmed
    }

    fn check_counts(&self) -> CountCheck {
        let timelines = JobState::ALL.into_iter().filter_map(|state| self.timeline(state));
        CountCheck {
            jobs: self.jobs_kept() as u64,
            pending_entries: self.pending.len() as u64,
            stale: 0,
            contained: timelines.map(|timeline| timeline.len() as u64).sum(),
            // Here a lease and its grant are one value, so neither exists without the other.
            grant_difference: 0,
            uncounted: 0,
            enqueued_total: self.totals.enqueued,
            sequence_base: 0,
        }
    }
}

fn summary(id: &JobId, job: &StoredJob) -> JobSummary {
    JobSummary {
        id: id.clone(),
        state: job.container.state(),
        counters: job.counters,
        enqueued_ms: Some(job.enqueued_ms),
        at_ms: job.container.at_ms(),
        envelope: job.envelope.clone(),
        last_error: job.history.read().rev().find_map(|attempt| attempt.error()),
        held_by: lease_holder(job),
        progress: running_progress(job),
    }
}

fn lease_holder(job: &StoredJob) -> Option<LeaseHolder> {
    job.grant().map(|grant| LeaseHolder {
        instance: grant.instance,
        attempt: grant.token.attempt,
        claimed_ms: grant.claimed_ms,
        expires_ms: grant.expires_ms,
        cancel_asked: grant.cancel_asked,
    })
}

/// The progress of the running attempt.
fn running_progress(job: &StoredJob) -> Option<StoredProgress> {
    let grant = job.grant()?;
    job.progress.clone().filter(|stored| stored.attempt == grant.token.attempt)
}

/// The first `limit` items, and a cursor if there are more.
fn paged<T>(items: impl Iterator<Item = T>, limit: usize, cursor: impl Fn(&T) -> String) -> (Vec<T>, Option<Cursor>) {
    let mut page: Vec<T> = items.take(limit + 1).collect();
    let more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().filter(|_| more).map(|last| Cursor(cursor(last)));
    (page, next)
}
