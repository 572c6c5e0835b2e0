//! [`Transitions`] in memory: each call is one step under the lock.

use std::time::Duration;

use futures_util::FutureExt;

use super::cursor::parse_cursor;
use super::history::Record;
use super::queue::{Counted, Destination, FrontPositions, Queue};
use super::replay::SlotCall;
use super::store::MemoryStore;
use super::stored_job::Grant;
use super::timeline::Point;
use crate::job::{InstanceId, JobId, JobState, NewJob, Nonce, QueueName, Token};
use crate::store::batch::check_batch;
use crate::store::{
    BATCH_MAX, CallId, ClaimRequest, ClaimedJob, Claims, Cursor, Enqueued, HEADER_BYTES, Promoted, QueueEmpty, Reclaim,
    Reclaimed, ReclaimedJob, Reconciled, Settled, Settlement, StoreFuture, Transitions, Verdict,
};
use crate::units::millis;

impl Transitions for MemoryStore {
    fn enqueue<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [NewJob]) -> StoreFuture<'a, Vec<Enqueued>> {
        async move {
            check_batch("enqueue", jobs.len())?;
            let call = SlotCall::new(call, "enqueue", jobs);
            self.write_once(call, queue, |queue, now| jobs.iter().map(|job| queue.enqueue(job, now)).collect())
        }
        .boxed()
    }

    fn claim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a ClaimRequest) -> StoreFuture<'a, Claims> {
        async move {
            check_batch("claim", request.limit)?;
            let slot_call = SlotCall::new(call, "claim", request);
            self.write(queue, |queue, now| {
                let mut queue_empty = None;
                let granted_nothing = |claims: &Claims| claims.jobs.is_empty();
                let claims = queue.apply_once_unless(granted_nothing, slot_call, now, |queue| {
                    let claims = queue.claim(request, call.instance, now);
                    queue_empty = queue.queue_empty(&claims, request.limit, now);
                    claims
                })?;
                Ok(Claims { queue_empty, ..queue.still_held(claims) })
            })
        }
        .boxed()
    }

    fn settle<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        settlements: &'a [Settlement],
    ) -> StoreFuture<'a, Vec<Settled>> {
        async move {
            check_batch("settle", settlements.len())?;
            let call = SlotCall::new(call, "settle", settlements);
            self.write_once(call, queue, |queue, now| queue.settle(settlements, now))
        }
        .boxed()
    }

    fn settle_and_claim<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        settlements: &'a [Settlement],
        request: &'a ClaimRequest,
    ) -> StoreFuture<'a, (Vec<Settled>, Claims)> {
        async move {
            check_batch("settle_and_claim", settlements.len())?;
            check_batch("settle_and_claim", request.limit)?;
            let slot_call = SlotCall::new(call, "settle_and_claim", (settlements, request));
            self.write(queue, |queue, now| {
                let (settled, claims) = queue.apply_once(slot_call, now, |queue| {
                    let settled = queue.settle(settlements, now);
                    (settled, queue.claim(request, call.instance, now))
                })?;
                Ok((settled, queue.still_held(claims)))
            })
        }
        .boxed()
    }

    fn promote<'a>(&'a self, call: CallId, queue: &'a QueueName, limit: usize) -> StoreFuture<'a, Promoted> {
        async move {
            check_batch("promote", limit)?;
            let call = SlotCall::new(call, "promote", limit);
            self.write(queue, |queue, now| {
                let moved_nothing = |promoted: &Promoted| promoted.moved == 0;
                queue.apply_once_unless(moved_nothing, call, now, |queue| queue.promote(limit, now))
            })
        }
        .boxed()
    }

    fn reclaim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a Reclaim) -> StoreFuture<'a, Reclaimed> {
        async move {
            check_batch("reclaim", request.limit)?;
            let call = SlotCall::new(call, "reclaim", request);
            self.write_once(call, queue, |queue, now| queue.reclaim(request, now))
        }
        .boxed()
    }

    fn reconcile<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        instance: InstanceId,
        nonces: &'a [Nonce],
        cursor: Option<Cursor>,
    ) -> StoreFuture<'a, Reconciled> {
        async move {
            check_batch("reconcile", nonces.len())?;
            let call = SlotCall::new(call, "reconcile", (instance, nonces, &cursor));
            let from = parse_cursor("reconcile", cursor, Point::parse)?;
            self.write_once(call, queue, |queue, now| queue.reconcile(instance, nonces, from, now))
        }
        .boxed()
    }
}

/// What the calls do while they hold the lock.
impl Queue {
    fn enqueue(&mut self, job: &NewJob, now: u64) -> Enqueued {
        match self.create(job, now) {
            Ok(state) => Enqueued::Created { state },
            Err(state) => Enqueued::Exists { state },
        }
    }

    fn claim(&mut self, request: &ClaimRequest, instance: InstanceId, now: u64) -> Claims {
        let expires_ms = now.saturating_add(millis(request.lease));
        let mut claims = Claims { now_ms: now, expires_ms, paused: self.pause.is_some(), ..Claims::default() };
        let mut bytes = 0;
        while self.pause.is_none() && claims.jobs.len() < request.limit {
            let Some(id) = self.pending.first_key_value().map(|(_, id)| id.clone()) else { break };
            bytes += HEADER_BYTES + self.job(&id).map_or(0, |job| job.envelope.len());
            if bytes > request.bytes_max && !claims.jobs.is_empty() {
                claims.full = true;
                break;
            }
            // `Queue::lease` sets the attempt.
            let token = Token { attempt: 0, nonce: request.nonce };
            let grant = Grant { token, instance, claimed_ms: now, expires_ms, cancel_asked: false, begun: false };
            let Some(job) = self.lease(&id, grant) else { break };
            claims.jobs.push(ClaimedJob {
                token: Token { attempt: job.counters.attempts, ..token },
                counters: job.counters,
                enqueued_ms: job.enqueued_ms,
                envelope: job.envelope.clone(),
                id,
            });
        }
        if !claims.jobs.is_empty() {
            self.lease_lengths.note_in_use(millis(request.lease), now);
            if request.numbered {
                self.numbered_claims += 1;
                claims.number = Some(self.numbered_claims);
            }
        }
        claims
    }

    fn queue_empty(&self, claims: &Claims, limit: usize, now: u64) -> Option<QueueEmpty> {
        let is_empty = limit > 0 && claims.jobs.is_empty() && !claims.paused && self.pending.is_empty();
        is_empty.then(|| QueueEmpty { next_due: self.delayed.first_ms().map(|at_ms| until(at_ms, now)) })
    }

    /// Removes jobs whose leases have ended: a claim sent again must not return jobs that were settled or reclaimed meanwhile.
    fn still_held(&self, mut claims: Claims) -> Claims {
        claims.jobs.retain(|job| self.holds(&job.id, job.token));
        claims
    }

    fn settle(&mut self, settlements: &[Settlement], now: u64) -> Vec<Settled> {
        let mut front = self.front_positions();
        settlements.iter().map(|settlement| self.settle_one(settlement, &mut front, now)).collect()
    }

    fn settle_one(&mut self, settlement: &Settlement, front: &mut FrontPositions, now: u64) -> Settled {
        let Settlement { id, token, verdict, record } = settlement;
        let (counted, destination) = match *verdict {
            Verdict::Complete { .. } => (Counted::Nothing, Destination::Complete),
            Verdict::Retry { delay } => {
                (Counted::Failure, Destination::Delay { due_ms: now.saturating_add(millis(delay)) })
            }
            Verdict::DeadLetter => (Counted::Failure, Destination::DeadLetter),
            Verdict::Poison => (Counted::Failure, Destination::Poison),
            Verdict::ReleaseNow => (Counted::Release, Destination::Front(front.next())),
            Verdict::ReleaseAfter { delay } => {
                (Counted::Release, Destination::Delay { due_ms: now.saturating_add(millis(delay)) })
            }
            Verdict::Postpone { delay } => {
                (Counted::Nothing, Destination::Delay { due_ms: now.saturating_add(millis(delay)) })
            }
            Verdict::Reject => (Counted::Release, Destination::DeadLetter),
            Verdict::Cancel => (Counted::Nothing, Destination::Cancel),
        };
        let held = self.holds(id, *token);
        let record = match *verdict {
            Verdict::Postpone { delay } => self.postponed(id, now.saturating_add(millis(delay))),
            _ => (!record.is_empty()).then(|| Record::Reported(record.clone())),
        };
        let Some(state) = held.then(|| self.end_attempt(id, counted, destination, record, now)).flatten() else {
            self.totals.stale_settlements += 1;
            return Settled::Stale;
        };
        if *verdict == (Verdict::Complete { keep: false }) {
            self.remove_completed(id);
        }
        Settled::Done { state }
    }

    /// The record of an attempt that was postponed; none if the job is cancelled instead.
    fn postponed(&self, id: &JobId, due_ms: u64) -> Option<Record> {
        let grant = self.grant(id).filter(|grant| !grant.cancel_asked)?;
        Some(Record::Postponed { instance: grant.instance, due_ms })
    }

    fn promote(&mut self, limit: usize, now: u64) -> Promoted {
        let due: Vec<JobId> = self.delayed.due(now).take(limit).cloned().collect();
        let moved = due.iter().filter_map(|id| self.promote_one(id)).count();
        Promoted { moved, next_due: self.delayed.first_ms().map(|at_ms| until(at_ms, now)) }
    }

    fn reclaim(&mut self, request: &Reclaim, now: u64) -> Reclaimed {
        self.lease_lengths.look(millis(request.lease), self.leases.last_ms(), now);
        let mut reclaimed = Reclaimed { shortened: self.shorten_leases(request.limit, now), ..Reclaimed::default() };
        let grace_until = self.lease_lengths.grace(now).filter(|_| self.leases.len() > 0);
        if let Some(grace_until) = grace_until {
            reclaimed.grace = Some(until(grace_until, now));
        } else {
            let mut front = self.front_positions();
            let expired: Vec<JobId> = self.leases.due(now).take(request.limit).cloned().collect();
            reclaimed.jobs = expired.iter().filter_map(|id| self.reclaim_one(id, request, &mut front, now)).collect();
        }
        reclaimed.next_expiry = self.leases.first_ms().map(|at_ms| until(at_ms, now));
        reclaimed
    }

    /// Leases that end later than any lease may, because the clock was set back by more than a small step, now end as late as a lease may. Returns how many there were, at most `limit`.
    fn shorten_leases(&mut self, limit: usize, now: u64) -> usize {
        let expiry_max = self.lease_lengths.expiry_max(now);
        let tolerated = expiry_max.saturating_add(self.lease_lengths.step_tolerated());
        let too_late: Vec<JobId> = self.leases.later_than(tolerated).take(limit).cloned().collect();
        for id in &too_late {
            self.change_grant(id, |grant| grant.expires_ms = expiry_max);
        }
        too_late.len()
    }

    fn reclaim_one(
        &mut self,
        id: &JobId,
        request: &Reclaim,
        front: &mut FrontPositions,
        now: u64,
    ) -> Option<ReclaimedJob> {
        let job = self.job(id)?;
        let &Grant { instance, expires_ms: lease_expired_ms, begun, .. } = job.grant()?;
        let counters = job.counters;
        let crashes = counters.crashes.saturating_add(u32::from(begun));
        let (counted, record, too_many) = if begun {
            let record = Record::Crashed { instance, lease_expired_ms };
            (Counted::Crash, record, crashes >= request.crashes_max.max(1))
        } else {
            let in_a_row = job.history.losses_until(counters.attempts.saturating_sub(1)).saturating_add(1);
            let record = Record::Lost { instance, lease_expired_ms, watched: counters.was_returned(), in_a_row };
            (Counted::Release, record, in_a_row >= request.losses_max.max(1))
        };
        let destination = if too_many { Destination::Poison } else { Destination::Front(front.next()) };
        let state = self.end_attempt(id, counted, destination, Some(record), now)?;
        let poisoned = state == JobState::Poisoned;
        Some(ReclaimedJob { id: id.clone(), held_by: Some(instance), crashes, counted: begun, poisoned })
    }

    fn reconcile(&mut self, instance: InstanceId, nonces: &[Nonce], from: Option<Point>, now: u64) -> Reconciled {
        let slice: Vec<Point> = self.leases.after(from).take(BATCH_MAX).cloned().collect();
        let is_unclaimed = |grant: &Grant| grant.instance == instance && nonces.contains(&grant.token.nonce);
        let ids = slice.iter().map(|point| &point.id).filter(|id| self.grant(id).is_some_and(is_unclaimed));
        let mut released: Vec<JobId> = ids.cloned().collect();
        released.sort_by(|a, b| a.as_wire().cmp(b.as_wire()));
        let mut front = self.front_positions();
        for id in &released {
            let record = Record::Unclaimed { instance };
            self.end_attempt(id, Counted::Release, Destination::Front(front.next()), Some(record), now);
        }
        let next = slice.last().filter(|_| slice.len() == BATCH_MAX).map(|point| Cursor(point.to_text()));
        Reconciled { released, next }
    }
}

/// How long it is until an instant; zero when it has passed.
fn until(at_ms: u64, now: u64) -> Duration {
    Duration::from_millis(at_ms.saturating_sub(now))
}
