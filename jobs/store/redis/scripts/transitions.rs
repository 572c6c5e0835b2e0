//! Calls the scripts of the trait `Transitions`.

use std::time::Duration;

use redis::Cmd;

use super::{
    CLAIM, ENQUEUE, PROMOTE, RECLAIM, RECONCILE, SETTLE, SETTLE_AND_CLAIM, SlotCall, bad_cursor, letters, millis,
    on_keys, on_queue, replay_arguments, six_bytes, state,
};
use crate::job::{Counters, InstanceId, JobId, JobState, NewJob, Nonce, RunAt, Token};
use crate::store::redis::connection::Link;
use crate::store::redis::keys::QueueKeys;
use crate::store::redis::reply::{Reply, big_endian, corrupt, open_body};
use crate::store::{
    BATCH_MAX, CallId, ClaimRequest, ClaimedJob, Claims, Cursor, Enqueued, Promoted, QueueEmpty, Reclaim, Reclaimed,
    ReclaimedJob, Reconciled, Settled, Settlement, StoreError, Verdict,
};

/// `enqueue.lua`
pub(in crate::store::redis) async fn enqueue(
    link: &Link,
    keys: &QueueKeys,
    call: CallId,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, StoreError> {
    const OPERATION: &str = "enqueue";
    let call = SlotCall::new(call, b'e', jobs);
    let mut reply = on_keys(OPERATION, link, keys, keys.for_enqueue(), &ENQUEUE, |command| {
        replay_arguments(command, call, keys);
        for job in jobs {
            let when = match job.run_at {
                RunAt::Now => Vec::new(),
                RunAt::After(delay) => [b"d", &six_bytes(millis(delay))[..]].concat(),
                RunAt::At(at_ms) => [b"a", &six_bytes(at_ms)[..]].concat(),
            };
            command.arg(job.id.as_wire()).arg(when).arg(&job.envelope[..]);
        }
    })
    .await?;
    reply.status()?;
    reply.number()?;
    let letters = letters(OPERATION, &mut reply, jobs.len())?;
    let created = letters.into_iter().map(|letter| match letter {
        b'n' => Ok(Enqueued::Created { state: JobState::Pending }),
        b'N' => Ok(Enqueued::Created { state: JobState::Delayed }),
        letter => Ok(Enqueued::Exists { state: state(OPERATION, letter)? }),
    });
    created.collect()
}

fn claim_arguments(command: &mut Cmd, request: &ClaimRequest) {
    command.arg(request.limit).arg(millis(request.lease)).arg(request.bytes_max).arg(&request.nonce[..]);
    command.arg(u8::from(request.numbered));
}

fn claims(operation: &'static str, reply: &mut Reply, request: &ClaimRequest) -> Result<Claims, StoreError> {
    let paused = reply.status()? == "paused";
    let now_ms = reply.number()?;
    let (mut ids, mut bodies, mut retry_states) = (reply.list()?, reply.list()?, reply.list()?);
    let mut jobs = Vec::with_capacity(ids.len());
    while !ids.is_empty() {
        let id = ids.bytes()?;
        let (header, envelope) = open_body(bodies.bytes()?);
        let retry_state = if retry_states.is_empty() { Vec::new() } else { retry_states.bytes()? };
        // Somebody wrote this invalid id by hand. No worker gets the job, so its leases expire, and `losses_max` losses in a row poison it.
        let Some(id) = JobId::from_wire(&id) else { continue };
        let mut counters = counters(&retry_state);
        counters.attempts = counters.attempts.saturating_add(1);
        let token = Token { attempt: counters.attempts, nonce: request.nonce };
        let enqueued_ms = header.map_or(0, |(_, enqueued_ms)| enqueued_ms);
        jobs.push(ClaimedJob { id, token, counters, enqueued_ms, envelope });
    }
    if !bodies.is_empty() {
        return Err(corrupt(operation, "the reply has more bodies than ids".into()));
    }
    let expires_ms = now_ms.saturating_add(millis(request.lease));
    Ok(Claims { now_ms, expires_ms, paused, jobs, queue_empty: None, more: false, full: false, number: None })
}

/// Adds what ends the reply of every claim.
fn with_end(claims: Claims, reply: &mut Reply) -> Result<Claims, StoreError> {
    let (cut_short, number) = (reply.number()?, reply.number()?);
    Ok(Claims { more: cut_short == 1, full: cut_short == 2, number: (number > 0).then_some(number), ..claims })
}

/// `claim.lua`
pub(in crate::store::redis) async fn claim(
    link: &Link,
    keys: &QueueKeys,
    call: CallId,
    request: &ClaimRequest,
) -> Result<Claims, StoreError> {
    const OPERATION: &str = "claim";
    let call = SlotCall::new(call, b'c', request);
    let mut reply = on_queue(OPERATION, link, keys, &CLAIM, |command| {
        replay_arguments(command, call, keys);
        claim_arguments(command, request);
        command.arg(u8::from(call.id.first_sending));
    })
    .await?;
    let claims = claims(OPERATION, &mut reply, request)?;
    let mut queue_empty = reply.list()?;
    let claims = with_end(claims, &mut reply)?;
    if queue_empty.is_empty() {
        return Ok(claims);
    }
    let next_due = queue_empty.instant()?.map(|due_ms| until(claims.now_ms, due_ms));
    Ok(Claims { queue_empty: Some(QueueEmpty { next_due }), ..claims })
}

/// Consecutive settlements that share a head (`lua/lib/settle.lua`): the head, and how many settlements there are.
type Group = (Vec<u8>, usize);

/// Splits settlements into groups. Their order is kept: it is the order in which released jobs return to the queue, and of two settlements of one job the first
/// counts.
fn groups(settlements: &[Settlement]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for settlement in settlements {
        let group_head = group_head(settlement);
        match groups.last_mut() {
            Some((last_head, count)) if *last_head == group_head => *count += 1,
            _ => groups.push((group_head, 1)),
        }
    }
    groups
}

/// The head of the group a settlement belongs to: verdict, whether a record is sent, token and delay.
fn group_head(settlement: &Settlement) -> Vec<u8> {
    let (verdict, delay) = match settlement.verdict {
        Verdict::Complete { keep: true } => (b'C', 0),
        Verdict::Complete { keep: false } => (b'G', 0),
        Verdict::Retry { delay } => (b'R', millis(delay)),
        Verdict::DeadLetter => (b'D', 0),
        Verdict::Poison => (b'P', 0),
        Verdict::ReleaseNow => (b'F', 0),
        Verdict::ReleaseAfter { delay } => (b'L', millis(delay)),
        Verdict::Postpone { delay } => (b'Q', millis(delay)),
        Verdict::Reject => (b'A', 0),
        Verdict::Cancel => (b'X', 0),
    };
    let recorded = !matches!(verdict, b'G' | b'Q') && !settlement.record.is_empty();
    let mut group_head = vec![verdict, if recorded { b'r' } else { b'-' }];
    group_head.extend_from_slice(&settlement.token.to_wire());
    group_head.extend_from_slice(&six_bytes(delay));
    group_head
}

fn settle_arguments(command: &mut Cmd, settlements: &[Settlement], groups: &[Group]) {
    let mut rest = settlements;
    for (group_head, count) in groups {
        let (group, after) = rest.split_at(*count);
        rest = after;
        command.arg(group_head).arg(group.len());
        for settlement in group {
            command.arg(settlement.id.as_wire());
        }
        if group_head[1] == b'r' {
            for settlement in group {
                command.arg(&settlement.record[..]);
            }
        }
    }
}

fn settled(operation: &'static str, reply: &mut Reply, expected: usize) -> Result<Vec<Settled>, StoreError> {
    let letters = letters(operation, reply, expected)?.into_iter();
    letters
        .map(|letter| match letter {
            b's' => Ok(Settled::Stale),
            letter => Ok(Settled::Done { state: state(operation, letter)? }),
        })
        .collect()
}

/// `settle.lua`
pub(in crate::store::redis) async fn settle(
    link: &Link,
    keys: &QueueKeys,
    call: CallId,
    settlements: &[Settlement],
) -> Result<Vec<Settled>, StoreError> {
    const OPERATION: &str = "settle";
    let call = SlotCall::new(call, b's', settlements);
    let groups = groups(settlements);
    let mut reply = on_queue(OPERATION, link, keys, &SETTLE, |command| {
        replay_arguments(command, call, keys);
        settle_arguments(command, settlements, &groups);
    })
    .await?;
    reply.status()?;
    reply.number()?;
    settled(OPERATION, &mut reply, settlements.len())
}

/// `settle_and_claim.lua`
pub(in crate::store::redis) async fn settle_and_claim(
    link: &Link,
    keys: &QueueKeys,
    call: CallId,
    settlements: &[Settlement],
    request: &ClaimRequest,
) -> Result<(Vec<Settled>, Claims), StoreError> {
    const OPERATION: &str = "settle_and_claim";
    let call = SlotCall::new(call, b't', (settlements, request));
    let groups = groups(settlements);
    let mut reply = on_queue(OPERATION, link, keys, &SETTLE_AND_CLAIM, |command| {
        replay_arguments(command, call, keys);
        claim_arguments(command, request);
        settle_arguments(command, settlements, &groups);
    })
    .await?;
    let claims = claims(OPERATION, &mut reply, request)?;
    let settled = settled(OPERATION, &mut reply, settlements.len())?;
    Ok((settled, with_end(claims, &mut reply)?))
}

/// `promote.lua`
pub(in crate::store::redis) async fn promote(
    link: &Link,
    keys: &QueueKeys,
    call: CallId,
    limit: usize,
) -> Result<Promoted, StoreError> {
    let call = SlotCall::new(call, b'p', limit);
    let mut reply = on_queue("promote", link, keys, &PROMOTE, |command| {
        replay_arguments(command, call, keys);
        command.arg(limit).arg(u8::from(call.id.first_sending));
    })
    .await?;
    reply.status()?;
    let now_ms = reply.number()?;
    let moved = usize::try_from(reply.number()?).unwrap_or(usize::MAX);
    Ok(Promoted { moved, next_due: reply.instant()?.map(|due_ms| until(now_ms, due_ms)) })
}

/// `reclaim.lua`
pub(in crate::store::redis) async fn reclaim(
    link: &Link,
    keys: &QueueKeys,
    call: CallId,
    request: &Reclaim,
) -> Result<Reclaimed, StoreError> {
    const OPERATION: &str = "reclaim";
    let call = SlotCall::new(call, b'r', request);
    let mut reply = on_queue(OPERATION, link, keys, &RECLAIM, |command| {
        replay_arguments(command, call, keys);
        command
            .arg(request.limit)
            .arg(millis(request.lease))
            .arg(request.crashes_max.max(1))
            .arg(request.losses_max.max(1));
    })
    .await?;
    reply.status()?;
    let now_ms = reply.number()?;
    let next_expiry = reply.instant()?.map(|expiry_ms| until(now_ms, expiry_ms));
    let grace = reply.instant()?.map(|until_ms| until(now_ms, until_ms));
    let mut list = reply.list()?;
    let mut jobs = Vec::with_capacity(list.len() / 4);
    while !list.is_empty() {
        let (id, instance, crashes, state_and_kind) = (list.bytes()?, list.bytes()?, list.counter()?, list.bytes()?);
        let poisoned = state(OPERATION, state_and_kind.first().copied().unwrap_or_default())? == JobState::Poisoned;
        let counted = state_and_kind.get(1) == Some(&b'K');
        if let Some(id) = JobId::from_wire(&id) {
            jobs.push(ReclaimedJob { id, held_by: InstanceId::from_slice(&instance), crashes, counted, poisoned });
        }
    }
    let shortened = usize::try_from(reply.number()?).unwrap_or(usize::MAX);
    Ok(Reclaimed { jobs, next_expiry, grace, shortened })
}

/// `reconcile.lua`
pub(in crate::store::redis) async fn reconcile(
    link: &Link,
    keys: &QueueKeys,
    call: CallId,
    instance: InstanceId,
    nonces: &[Nonce],
    cursor: Option<Cursor>,
) -> Result<Reconciled, StoreError> {
    let call = SlotCall::new(call, b'o', (instance, nonces, &cursor));
    let cursor = scan_cursor("reconcile", cursor)?;
    let mut reply = on_queue("reconcile", link, keys, &RECONCILE, |command| {
        replay_arguments(command, call, keys);
        command.arg(&instance.as_bytes()[..]).arg(cursor).arg(BATCH_MAX);
        for nonce in nonces {
            command.arg(&nonce[..]);
        }
    })
    .await?;
    reply.status()?;
    reply.number()?;
    let next = reply.text()?;
    let mut ids = reply.list()?;
    let mut released = Vec::with_capacity(ids.len());
    while !ids.is_empty() {
        released.extend(JobId::from_wire(&ids.bytes()?));
    }
    Ok(Reconciled { released, next: (next != "0").then(|| Cursor::from(next)) })
}

/// How long it is until an instant; zero when it has passed.
fn until(now_ms: u64, at_ms: u64) -> Duration {
    Duration::from_millis(at_ms.saturating_sub(now_ms))
}

fn scan_cursor(operation: &'static str, cursor: Option<Cursor>) -> Result<u64, StoreError> {
    let Some(cursor) = cursor else { return Ok(0) };
    cursor.as_str().parse().map_err(|_| bad_cursor(operation))
}

fn counters(retry_state: &[u8]) -> Counters {
    let at = |n: usize| retry_state.get(4 * n..4 * n + 4).map_or(0, |bytes| big_endian(bytes) as u32);
    Counters { attempts: at(0), failures: at(1), crashes: at(2), releases: at(3) }
}
