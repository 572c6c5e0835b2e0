//! One typed function per Lua file. A verb is documented at its file and at its trait.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Cmd, Script, Value};

use super::connection::Link;
use super::keys::{self, QueueKeys};
use super::reply::{Reply, attempt_of, big_endian, corrupt, letter_of, open_body, state_of};
use crate::job::{Counters, InstanceId, JobId, JobState, Lease, NewJob, Nonce, QueueName, RunAt, Token};
use crate::limits::redis::SIX_BYTES_MAX;
use crate::store::{
    AuditReport, BATCH_MAX, CallId, ClaimRequest, ClaimedJob, Claims, Cursor, Enqueued, JobPage, Moved, Promoted,
    QueueStats, Quiet, Reclaim, Reclaimed, ReclaimedJob, Reconciled, Renewal, Renewed, Settled, Settlement, StoreError,
    Target, TrimPolicy, Trimmed, Verdict,
};
use crate::trace::{Claimant, JobSummary, JobView};

/// A Lua file with the parts it shares with others.
struct LuaFile {
    script: LazyLock<Script>,
    source: &'static str,
}

macro_rules! lua {
    ($name:ident, $($file:literal),+) => {
        static $name: LuaFile = {
            const SOURCE: &str = concat!($(include_str!(concat!("lua/", $file)), "\n"),+);
            LuaFile { script: LazyLock::new(|| Script::new(SOURCE)), source: SOURCE }
        };
    };
}

lua!(ENQUEUE, "lib/queue.lua", "lib/replay.lua", "lib/delay.lua", "lib/state.lua", "enqueue.lua");
lua!(CLAIM, "lib/queue.lua", "lib/replay.lua", "lib/live.lua", "lib/claim.lua", "claim.lua");
lua!(
    SETTLE,
    "lib/queue.lua",
    "lib/replay.lua",
    "lib/delay.lua",
    "lib/push.lua",
    "lib/history.lua",
    "lib/forget.lua",
    "lib/settle.lua",
    "settle.lua"
);
lua!(
    SETTLE_AND_CLAIM,
    "lib/queue.lua",
    "lib/replay.lua",
    "lib/delay.lua",
    "lib/push.lua",
    "lib/history.lua",
    "lib/forget.lua",
    "lib/settle.lua",
    "lib/live.lua",
    "lib/claim.lua",
    "settle_and_claim.lua"
);
lua!(PROMOTE, "lib/queue.lua", "lib/replay.lua", "lib/push.lua", "promote.lua");
lua!(RECLAIM, "lib/queue.lua", "lib/replay.lua", "lib/push.lua", "lib/history.lua", "reclaim.lua");
lua!(
    RECONCILE,
    "lib/queue.lua",
    "lib/replay.lua",
    "lib/push.lua",
    "lib/history.lua",
    "lib/byte_order.lua",
    "reconcile.lua"
);
lua!(RENEW, "lib/queue.lua", "renew.lua");
lua!(REDRIVE, "lib/queue.lua", "lib/replay.lua", "lib/push.lua", "lib/containers.lua", "lib/target.lua", "redrive.lua");
lua!(CANCEL, "lib/queue.lua", "lib/replay.lua", "lib/containers.lua", "lib/target.lua", "cancel.lua");
lua!(
    DISCARD,
    "lib/queue.lua",
    "lib/replay.lua",
    "lib/containers.lua",
    "lib/target.lua",
    "lib/history.lua",
    "lib/forget.lua",
    "discard.lua"
);
lua!(PAUSE, "lib/queue.lua", "pause.lua");
lua!(TRIM, "lib/queue.lua", "lib/replay.lua", "lib/history.lua", "lib/forget.lua", "trim.lua");
lua!(AUDIT, "lib/queue.lua", "audit.lua");
lua!(AUDIT_CONTAINERS, "lib/queue.lua", "lib/containers.lua", "audit_containers.lua");
lua!(AUDIT_PENDING, "lib/queue.lua", "lib/live.lua", "lib/containers.lua", "audit_pending.lua");
lua!(AUDIT_JOBS, "lib/queue.lua", "lib/containers.lua", "audit_jobs.lua");
lua!(AUDIT_ORPHANED, "lib/queue.lua", "lib/replay.lua", "lib/push.lua", "lib/containers.lua", "audit_orphaned.lua");
lua!(AUDIT_STALE, "lib/queue.lua", "audit_stale.lua");
lua!(STATS, "lib/queue.lua", "lib/live.lua", "lib/history.lua", "lib/read.lua", "stats.lua");
lua!(JOBS, "lib/queue.lua", "lib/live.lua", "lib/history.lua", "lib/read.lua", "lib/byte_order.lua", "jobs.lua");
lua!(
    JOB,
    "lib/queue.lua",
    "lib/live.lua",
    "lib/state.lua",
    "lib/history.lua",
    "lib/read.lua",
    "lib/view.lua",
    "job.lua"
);
lua!(
    WATCH_OUTCOME,
    "lib/queue.lua",
    "lib/live.lua",
    "lib/state.lua",
    "lib/history.lua",
    "lib/read.lua",
    "lib/view.lua",
    "watch_outcome.lua"
);
lua!(FORGET, "lib/queue.lua", "forget.lua");
lua!(HEARTBEAT, "heartbeat.lua");
lua!(RECORD, "record.lua");
lua!(PROBE, "probe.lua");

/// Runs a script on one queue.
async fn on_queue(
    operation: &'static str,
    link: &Link,
    keys: &QueueKeys,
    file: &LuaFile,
    arguments: impl Fn(&mut Cmd),
) -> Result<Reply, StoreError> {
    let sent = link.run(operation, &file.script, file.source, |command| {
        command.arg(keys.all().len()).arg(keys.all());
        arguments(command);
    });
    match sent.await {
        Ok(value) => Reply::new(operation, value),
        Err(StoreError::Corrupt { what, .. }) if what.contains("WRONGTYPE") => {
            Err(wrong_type(operation, link, keys, what).await)
        }
        Err(error) => Err(error),
    }
}

/// Finds out which key has the wrong type, since the server does not say.
async fn wrong_type(operation: &'static str, link: &Link, keys: &QueueKeys, what: String) -> StoreError {
    for (key, expected) in keys.typed() {
        let Ok(Value::SimpleString(found)) = link.send(operation, redis::cmd("TYPE").arg(key)).await else { continue };
        if found != expected && found != "none" {
            let what = format!("the key {key} is a {found} and should be a {expected}; rename or delete it");
            return corrupt(operation, what);
        }
    }
    corrupt(operation, what)
}

fn six(number: u64) -> [u8; 6] {
    let [_, _, six @ ..] = number.min(SIX_BYTES_MAX).to_be_bytes();
    six
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(SIX_BYTES_MAX).min(SIX_BYTES_MAX)
}

/// The first three arguments of every mutating script: the replay slot, the call's number with a letter for the verb, the wake-up channel.
fn replay_slot(command: &mut Cmd, call: CallId, verb: u8, keys: &QueueKeys) {
    let replay_slot = [&call.instance.as_bytes()[..], &call.replay_slot.to_be_bytes()].concat();
    let number = [&six(call.sequence)[..], &[verb]].concat();
    command.arg(replay_slot).arg(number).arg(keys.wake());
}

/// `enqueue.lua`
pub(super) async fn enqueue(
    link: &Link,
    keys: &QueueKeys,
    call: CallId,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, StoreError> {
    const OPERATION: &str = "enqueue";
    let mut reply = on_queue(OPERATION, link, keys, &ENQUEUE, |command| {
        replay_slot(command, call, b'e', keys);
        for job in jobs {
            let when = match job.run_at {
                RunAt::Now => Vec::new(),
                RunAt::After(delay) => [b"d", &six(millis(delay))[..]].concat(),
                RunAt::At(at_ms) => [b"a", &six(at_ms)[..]].concat(),
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

/// One letter per item of the call.
fn letters(operation: &'static str, reply: &mut Reply, expected: usize) -> Result<Vec<u8>, StoreError> {
    let letters = reply.bytes()?;
    if letters.len() == expected {
        return Ok(letters);
    }
    Err(corrupt(operation, format!("a reply about {} items to a call with {expected}", letters.len())))
}

fn state(operation: &'static str, letter: u8) -> Result<JobState, StoreError> {
    state_of(letter)
        .ok_or_else(|| corrupt(operation, format!("a state {:?} that no script writes", char::from(letter))))
}

fn claim_arguments(command: &mut Cmd, request: &ClaimRequest) {
    command.arg(request.limit).arg(millis(request.lease)).arg(request.bytes_max).arg(&request.nonce[..]);
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
        // An invalid id was written by hand. Its lease expires again and again until the entry is poisoned; the other jobs are not affected.
        let Some(id) = JobId::from_wire(&id) else { continue };
        let mut counters = counters(&retry_state);
        counters.attempts = counters.attempts.saturating_add(1);
        let token = Token { attempt: counters.attempts, nonce: request.nonce };
        let enqueued_ms = header.map_or(0, |(_, enqueued_ms)| enqueued_ms);
        jobs.push(ClaimedJob { id, token, counters, enqueued_ms, envelope });
    }
    if !bodies.is_empty() {
        return Err(corrupt(operation, "a reply with more bodies than ids".into()));
    }
    let expires_ms = now_ms.saturating_add(millis(request.lease));
    Ok(Claims { now_ms, expires_ms, paused, jobs, quiet: None })
}

fn counters(retry_state: &[u8]) -> Counters {
    let at = |n: usize| retry_state.get(4 * n..4 * n + 4).map_or(0, |bytes| big_endian(bytes) as u32);
    Counters { attempts: at(0), failures: at(1), crashes: at(2), releases: at(3) }
}

/// `claim.lua`
pub(super) async fn claim(
    link: &Link,
    keys: &QueueKeys,
    call: CallId,
    request: &ClaimRequest,
) -> Result<Claims, StoreError> {
    const OPERATION: &str = "claim";
    let mut reply = on_queue(OPERATION, link, keys, &CLAIM, |command| {
        replay_slot(command, call, b'c', keys);
        claim_arguments(command, request);
    })
    .await?;
    let claims = claims(OPERATION, &mut reply, request)?;
    let mut seen = reply.list()?;
    if seen.is_empty() {
        return Ok(claims);
    }
    let next_due = seen.instant()?.map(|due_ms| until(claims.now_ms, due_ms));
    Ok(Claims { quiet: Some(Quiet { next_due }), ..claims })
}

/// Settlements in a row that differ only in id and record: what they share, and how many they are.
type Run = (Vec<u8>, usize);

/// The settlements as runs, in their order: jobs go to the front in it, and of an id named twice the first mention wins.
fn runs(settlements: &[Settlement]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for settlement in settlements {
        let shared = shared(settlement);
        match runs.last_mut() {
            Some((last, count)) if *last == shared => *count += 1,
            _ => runs.push((shared, 1)),
        }
    }
    runs
}

/// Verdict, whether there is a record, token and delay (`lua/lib/settle.lua`).
fn shared(settlement: &Settlement) -> Vec<u8> {
    let (verdict, delay) = match settlement.verdict {
        Verdict::Complete { keep: true } => (b'C', 0),
        Verdict::Complete { keep: false } => (b'G', 0),
        Verdict::Retry { delay } => (b'R', millis(delay)),
        Verdict::Bury => (b'D', 0),
        Verdict::Poison => (b'P', 0),
        Verdict::ReleaseNow => (b'F', 0),
        Verdict::ReleaseAfter { delay } => (b'L', millis(delay)),
        Verdict::Abandon => (b'A', 0),
        Verdict::Cancel => (b'X', 0),
    };
    let recorded = verdict != b'G' && !settlement.record.is_empty();
    let mut shared = vec![verdict, if recorded { b'r' } else { b'-' }];
    shared.extend_from_slice(&settlement.token.to_wire());
    shared.extend_from_slice(&six(delay));
    shared
}

fn settle_arguments(command: &mut Cmd, settlements: &[Settlement], runs: &[Run]) {
    let mut rest = settlements;
    for (shared, count) in runs {
        let (run, after) = rest.split_at(*count);
        rest = after;
        command.arg(shared).arg(run.len());
        for settlement in run {
            command.arg(settlement.id.as_wire());
        }
        if shared[1] == b'r' {
            for settlement in run {
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
pub(super) async fn settle(
    link: &Link,
    keys: &QueueKeys,
    call: CallId,
    settlements: &[Settlement],
) -> Result<Vec<Settled>, StoreError> {
    const OPERATION: &str = "settle";
    let runs = runs(settlements);
    let mut reply = on_queue(OPERATION, link, keys, &SETTLE, |command| {
        replay_slot(command, call, b's', keys);
        settle_arguments(command, settlements, &runs);
    })
    .await?;
    reply.status()?;
    reply.number()?;
    settled(OPERATION, &mut reply, settlements.len())
}

/// `settle_and_claim.lua`
pub(super) async fn settle_and_claim(
    link: &Link,
    keys: &QueueKeys,
    call: CallId,
    settlements: &[Settlement],
    request: &ClaimRequest,
) -> Result<(Vec<Settled>, Claims), StoreError> {
    const OPERATION: &str = "settle_and_claim";
    let runs = runs(settlements);
    let mut reply = on_queue(OPERATION, link, keys, &SETTLE_AND_CLAIM, |command| {
        replay_slot(command, call, b't', keys);
        claim_arguments(command, request);
        settle_arguments(command, settlements, &runs);
    })
    .await?;
    let claims = claims(OPERATION, &mut reply, request)?;
    Ok((settled(OPERATION, &mut reply, settlements.len())?, claims))
}

/// How long until an instant: zero when it has passed.
fn until(now_ms: u64, at_ms: u64) -> Duration {
    Duration::from_millis(at_ms.saturating_sub(now_ms))
}

/// `promote.lua`
pub(super) async fn promote(link: &Link, keys: &QueueKeys, call: CallId, limit: usize) -> Result<Promoted, StoreError> {
    let mut reply = on_queue("promote", link, keys, &PROMOTE, |command| {
        replay_slot(command, call, b'p', keys);
        command.arg(limit);
    })
    .await?;
    reply.status()?;
    let now_ms = reply.number()?;
    let moved = usize::try_from(reply.number()?).unwrap_or(usize::MAX);
    Ok(Promoted { moved, next_due: reply.instant()?.map(|due_ms| until(now_ms, due_ms)) })
}

/// `reclaim.lua`
pub(super) async fn reclaim(
    link: &Link,
    keys: &QueueKeys,
    call: CallId,
    request: &Reclaim,
) -> Result<Reclaimed, StoreError> {
    const OPERATION: &str = "reclaim";
    let mut reply = on_queue(OPERATION, link, keys, &RECLAIM, |command| {
        replay_slot(command, call, b'r', keys);
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
    let mut taken = reply.list()?;
    let mut jobs = Vec::with_capacity(taken.len() / 4);
    while !taken.is_empty() {
        let (id, owner, crashes, end) = (taken.bytes()?, taken.bytes()?, taken.counter()?, taken.bytes()?);
        let poisoned = state(OPERATION, end.first().copied().unwrap_or_default())? == JobState::Poisoned;
        let charged = end.get(1) == Some(&b'K');
        if let Some(id) = JobId::from_wire(&id) {
            jobs.push(ReclaimedJob { id, owner: InstanceId::from_slice(&owner), crashes, charged, poisoned });
        }
    }
    Ok(Reclaimed { jobs, next_expiry, grace })
}

/// `reconcile.lua`
pub(super) async fn reconcile(
    link: &Link,
    keys: &QueueKeys,
    call: CallId,
    owner: InstanceId,
    lost: &[Nonce],
    cursor: Option<Cursor>,
) -> Result<Reconciled, StoreError> {
    let cursor = scan_cursor("reconcile", cursor)?;
    let mut reply = on_queue("reconcile", link, keys, &RECONCILE, |command| {
        replay_slot(command, call, b'o', keys);
        command.arg(&owner.as_bytes()[..]).arg(cursor).arg(BATCH_MAX);
        for nonce in lost {
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

fn scan_cursor(operation: &'static str, cursor: Option<Cursor>) -> Result<u64, StoreError> {
    let Some(cursor) = cursor else { return Ok(0) };
    cursor.as_str().parse().map_err(|_| bad_cursor(operation))
}

fn bad_cursor(operation: &'static str) -> StoreError {
    StoreError::Refused { operation, reason: "this cursor was not made by this store; start again without one".into() }
}

/// `renew.lua`, of jobs that run or wait.
pub(super) async fn renew(
    link: &Link,
    keys: &QueueKeys,
    lease: Duration,
    held: &[Lease],
) -> Result<Renewed, StoreError> {
    extend("renew", link, keys, lease, held, false).await
}

/// `renew.lua`, of jobs whose handlers are about to begin.
pub(super) async fn begin(
    link: &Link,
    keys: &QueueKeys,
    lease: Duration,
    held: &[Lease],
) -> Result<Renewed, StoreError> {
    extend("begin", link, keys, lease, held, true).await
}

async fn extend(
    operation: &'static str,
    link: &Link,
    keys: &QueueKeys,
    lease: Duration,
    held: &[Lease],
    begins: bool,
) -> Result<Renewed, StoreError> {
    let mut reply = on_queue(operation, link, keys, &RENEW, |command| {
        command.arg(millis(lease)).arg(u8::from(begins));
        for lease in held {
            command.arg(lease.id.as_wire()).arg(&lease.token.to_wire()[..]);
        }
    })
    .await?;
    reply.status()?;
    let now_ms = reply.number()?;
    let results = letters(operation, &mut reply, held.len())?
        .into_iter()
        .map(|letter| match letter {
            b'k' => Renewal::Kept { cancel_asked: false },
            b'c' => Renewal::Kept { cancel_asked: true },
            _ => Renewal::Stale,
        })
        .collect();
    Ok(Renewed { now_ms, results })
}

/// What an operator can do to jobs by id.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    /// `redrive.lua`
    Redrive,
    /// `cancel.lua`
    Cancel,
    /// `discard.lua`
    Discard,
}

impl Act {
    fn parts(self) -> (&'static str, u8, &'static LuaFile) {
        match self {
            Act::Redrive => ("redrive", b'v', &REDRIVE),
            Act::Cancel => ("cancel", b'x', &CANCEL),
            Act::Discard => ("discard", b'd', &DISCARD),
        }
    }
}

/// `redrive.lua`, `cancel.lua` or `discard.lua`
pub(super) async fn act(
    link: &Link,
    keys: &QueueKeys,
    call: CallId,
    act: Act,
    jobs: &[Target],
) -> Result<Vec<Moved>, StoreError> {
    let (operation, verb, file) = act.parts();
    let mut reply = on_queue(operation, link, keys, file, |command| {
        replay_slot(command, call, verb, keys);
        for target in jobs {
            let seen =
                target.seen.map(|seen| [letter_of(seen.state).as_bytes(), &seen.attempts.to_be_bytes()].concat());
            command.arg(target.id.as_wire()).arg(seen.unwrap_or_default());
        }
    })
    .await?;
    reply.status()?;
    reply.number()?;
    let moves = letters(operation, &mut reply, 2 * jobs.len())?;
    moves
        .chunks_exact(2)
        .map(|pair| match (pair[0], pair[1]) {
            (b'-', _) => Ok(Moved::NotFound),
            (b'l', b'a') => Ok(Moved::Asked),
            (from, b'-') => Ok(Moved::Moved { from: state(operation, from)?, to: None }),
            (from, to) if from == to => Ok(Moved::Refused { state: state(operation, from)? }),
            (from, to) => Ok(Moved::Moved { from: state(operation, from)?, to: Some(state(operation, to)?) }),
        })
        .collect()
}

/// `pause.lua`
pub(super) async fn pause(link: &Link, keys: &QueueKeys) -> Result<bool, StoreError> {
    switch("pause", link, keys).await
}

/// `pause.lua`, the other way.
pub(super) async fn resume(link: &Link, keys: &QueueKeys) -> Result<bool, StoreError> {
    switch("resume", link, keys).await
}

async fn switch(operation: &'static str, link: &Link, keys: &QueueKeys) -> Result<bool, StoreError> {
    let mut reply = on_queue(operation, link, keys, &PAUSE, |command| {
        command.arg(operation).arg(keys.wake());
    })
    .await?;
    reply.status()?;
    Ok(reply.number()? == 1)
}

/// `trim.lua`
pub(super) async fn trim(
    link: &Link,
    keys: &QueueKeys,
    call: CallId,
    policy: &TrimPolicy,
) -> Result<Trimmed, StoreError> {
    let retention = &policy.retention;
    let completed = retention.completed.map_or((0, 0), |rule| (millis(rule.age_max), rule.count_max));
    let ended = [retention.dead, retention.poisoned, retention.cancelled];
    let mut reply = on_queue("trim", link, keys, &TRIM, |command| {
        replay_slot(command, call, b'm', keys);
        command.arg(policy.limit).arg(completed.0).arg(completed.1);
        for rule in &ended {
            command.arg(millis(rule.age_max)).arg(rule.count_max);
        }
    })
    .await?;
    reply.status()?;
    reply.number()?;
    let removed = usize::try_from(reply.number()?).unwrap_or(usize::MAX);
    Ok(Trimmed { removed, more: reply.number()? == 1 })
}

/// `audit.lua`
pub(super) async fn audit(link: &Link, keys: &QueueKeys) -> Result<AuditReport, StoreError> {
    let mut reply = on_queue("audit", link, keys, &AUDIT, |_| {}).await?;
    reply.status()?;
    Ok(AuditReport {
        jobs: reply.number()?,
        pending_entries: reply.number()?,
        stale: reply.number()?,
        contained: reply.number()?,
        grant_difference: reply.signed()?,
    })
}

/// What one slice of a container has wrong: ids, which need not be those of jobs.
pub(super) struct ContainerSlice {
    pub(super) next: u64,
    pub(super) orphans: Vec<Vec<u8>>,
    pub(super) restored: Vec<Vec<u8>>,
    pub(super) expired: Vec<Vec<u8>>,
    pub(super) twice: Vec<Vec<u8>>,
}

/// `audit_containers.lua`; `key` counts as in `lib/queue.lua`.
pub(super) async fn audit_containers(
    link: &Link,
    keys: &QueueKeys,
    key: usize,
    cursor: u64,
    count: usize,
    repair: bool,
) -> Result<ContainerSlice, StoreError> {
    let mut reply = on_queue("audit", link, keys, &AUDIT_CONTAINERS, |command| {
        command.arg(key).arg(cursor).arg(count).arg(u8::from(repair));
    })
    .await?;
    reply.status()?;
    Ok(ContainerSlice {
        next: next_cursor(&mut reply)?,
        orphans: reply.list()?.all()?,
        restored: reply.list()?.all()?,
        expired: reply.list()?.all()?,
        twice: reply.list()?.all()?,
    })
}

fn next_cursor(reply: &mut Reply) -> Result<u64, StoreError> {
    Ok(reply.text()?.parse().unwrap_or(0))
}

/// The counters that entry versions are drawn from.
#[derive(Clone, Copy)]
pub(super) struct Drawn {
    sequence: u64,
    entry_version: u64,
}

/// A page of pending, from its back.
pub(super) struct PendingPage {
    pub(super) drawn: Drawn,
    pub(super) scanned: usize,
    pub(super) bytes: usize,
    pub(super) entry_versions: Vec<u64>,
    pub(super) twice: Vec<Vec<u8>>,
}

/// `audit_pending.lua`
pub(super) async fn audit_pending(
    link: &Link,
    keys: &QueueKeys,
    behind: usize,
    count: usize,
    repair: bool,
) -> Result<PendingPage, StoreError> {
    let mut reply = on_queue("audit", link, keys, &AUDIT_PENDING, |command| {
        command.arg(behind).arg(count).arg(u8::from(repair));
    })
    .await?;
    reply.status()?;
    Ok(PendingPage {
        drawn: Drawn { sequence: reply.number()?, entry_version: reply.number()? },
        scanned: reply.size()?,
        bytes: reply.size()?,
        entry_versions: reply.bytes()?.chunks_exact(6).map(big_endian).collect(),
        twice: reply.list()?.all()?,
    })
}

/// A slice of the jobs: those that should be pending, with their entry versions; none where the record cannot be read.
pub(super) struct JobsSlice {
    pub(super) next: u64,
    pub(super) scanned: usize,
    pub(super) bytes: usize,
    pub(super) waiting: Vec<(Vec<u8>, Option<u64>)>,
}

/// `audit_jobs.lua`
pub(super) async fn audit_jobs(
    link: &Link,
    keys: &QueueKeys,
    cursor: u64,
    count: usize,
    drawn: Drawn,
) -> Result<JobsSlice, StoreError> {
    let mut reply = on_queue("audit", link, keys, &AUDIT_JOBS, |command| {
        command.arg(cursor).arg(count).arg(drawn.sequence).arg(drawn.entry_version);
    })
    .await?;
    reply.status()?;
    let (next, scanned, bytes) = (next_cursor(&mut reply)?, reply.size()?, reply.size()?);
    let mut found = reply.list()?;
    let mut waiting = Vec::with_capacity(found.len() / 2);
    while !found.is_empty() {
        let (id, entry_version) = (found.bytes()?, found.bytes()?);
        waiting.push((id, (!entry_version.is_empty()).then(|| big_endian(&entry_version))));
    }
    Ok(JobsSlice { next, scanned, bytes, waiting })
}

/// `audit_orphaned.lua`; returns the ids put back, and those poisoned as damaged.
pub(super) async fn audit_orphaned(
    link: &Link,
    keys: &QueueKeys,
    lost: &[(Vec<u8>, Option<u64>)],
) -> Result<(Vec<Vec<u8>>, Vec<Vec<u8>>), StoreError> {
    let mut reply = on_queue("audit", link, keys, &AUDIT_ORPHANED, |command| {
        command.arg("").arg("").arg(keys.wake());
        for (id, entry_version) in lost {
            command.arg(&id[..]).arg(entry_version.map_or_else(Vec::new, |entry_version| six(entry_version).to_vec()));
        }
    })
    .await?;
    reply.status()?;
    Ok((reply.list()?.all()?, reply.list()?.all()?))
}

/// `audit_stale.lua`; returns the stale entries as counted, and as recounted.
pub(super) async fn audit_stale(link: &Link, keys: &QueueKeys, repair: bool) -> Result<(u64, u64), StoreError> {
    let mut reply = on_queue("audit", link, keys, &AUDIT_STALE, |command| {
        command.arg(u8::from(repair));
    })
    .await?;
    reply.status()?;
    Ok((reply.number()?, reply.number()?))
}

/// `stats.lua`
pub(super) async fn stats(link: &Link, keys: &QueueKeys) -> Result<QueueStats, StoreError> {
    let mut reply = on_queue("stats", link, keys, &STATS, |_| {}).await?;
    reply.status()?;
    let now_ms = reply.number()?;
    Ok(QueueStats {
        paused: reply.number()? == 1,
        pending: reply.number()?,
        processing: reply.number()?,
        delayed: reply.number()?,
        completed_kept: reply.number()?,
        dead: reply.number()?,
        poisoned: reply.number()?,
        cancelled: reply.number()?,
        oldest_pending_ms: reply.instant()?.map(|enqueued_ms| now_ms.saturating_sub(enqueued_ms)),
        delayed_overdue_ms: reply
            .instant()?
            .map(|due_ms| i64::try_from(now_ms).unwrap_or(i64::MAX).saturating_sub_unsigned(due_ms)),
        enqueued_total: reply.number()?,
        completed_total: reply.number()?,
        failures_total: reply.number()?,
        crashes_total: reply.number()?,
        releases_total: reply.number()?,
        stale_settlements_total: reply.number()?,
        trimmed_total: reply.number()?,
        garbage_total: reply.number()?,
    })
}

/// `jobs.lua`
pub(super) async fn jobs(
    link: &Link,
    keys: &QueueKeys,
    state: JobState,
    from: Option<Cursor>,
    limit: usize,
) -> Result<JobPage, StoreError> {
    let from = from.map_or_else(String::new, |cursor| cursor.as_str().to_owned());
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = from.is_empty()
        || match from.split_once(' ') {
            Some((score, id)) => digits(score) && id.len() % 2 == 0 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            None => state == JobState::Pending && digits(&from),
        };
    if !fits || (state == JobState::Pending && from.contains(' ')) {
        return Err(bad_cursor("jobs"));
    }
    let mut reply = on_queue("jobs", link, keys, &JOBS, |command| {
        command.arg(letter_of(state)).arg(&from).arg(limit);
    })
    .await?;
    reply.status()?;
    let next = reply.text()?;
    let mut listed = reply.list()?;
    let mut jobs = Vec::with_capacity(listed.len());
    while !listed.is_empty() {
        let mut job = listed.list()?;
        let Some(id) = JobId::from_wire(&job.bytes()?) else { continue };
        let (header, envelope) = open_body(job.bytes()?);
        let at_ms = job.instant()?;
        let counters = job.counters()?;
        let mut errors = job.list()?;
        let mut last_error = None;
        while last_error.is_none() && !errors.is_empty() {
            let attempt = errors.text()?.parse().unwrap_or(0);
            last_error = attempt_of(attempt, &errors.bytes()?).error();
        }
        let enqueued_ms = header.map(|(_, enqueued_ms)| enqueued_ms);
        jobs.push(JobSummary { id, state, counters, enqueued_ms, at_ms, envelope, last_error });
    }
    Ok(JobPage { jobs, next: (!next.is_empty()).then(|| Cursor::from(next)) })
}

/// `job.lua`
pub(super) async fn job(
    link: &Link,
    keys: &QueueKeys,
    queue: &QueueName,
    id: &JobId,
) -> Result<Option<JobView>, StoreError> {
    let mut reply = on_queue("job", link, keys, &JOB, |command| {
        command.arg(id.as_wire());
    })
    .await?;
    if reply.status()? == "none" {
        return Ok(None);
    }
    view("job", reply, queue, id).map(Some)
}

/// `watch_outcome.lua`
pub(super) async fn watch_outcome(
    link: &Link,
    keys: &QueueKeys,
    queue: &QueueName,
    id: &JobId,
    wait: Duration,
) -> Result<Option<JobView>, StoreError> {
    const OPERATION: &str = "watch_outcome";
    let mut reply = on_queue(OPERATION, link, keys, &WATCH_OUTCOME, |command| {
        command.arg(id.as_wire()).arg(millis(wait));
    })
    .await?;
    let seen_in = |state| Ok(Some(JobView::new(queue.clone(), id.clone(), state)));
    match reply.status()?.as_str() {
        "waits" => seen_in(state(OPERATION, reply.bytes()?.first().copied().unwrap_or_default())?),
        "completed" => seen_in(JobState::Completed),
        "none" => Ok(None),
        _ => view(OPERATION, reply, queue, id).map(Some),
    }
}

/// The job a reply of `lib/view.lua` shows, after its status.
fn view(operation: &'static str, mut reply: Reply, queue: &QueueName, id: &JobId) -> Result<JobView, StoreError> {
    let now_ms = reply.number()?;
    let state = state(operation, reply.bytes()?.first().copied().unwrap_or_default())?;
    let (header, envelope) = open_body(reply.bytes()?);
    let at_ms = reply.instant()?;
    let counters = reply.counters()?;
    let claimant = claimant(&reply.bytes()?, at_ms);
    let mut listed = reply.list()?;
    let mut history = Vec::with_capacity(listed.len() / 2);
    while !listed.is_empty() {
        let attempt = listed.text()?.parse().unwrap_or(0);
        history.push(attempt_of(attempt, &listed.bytes()?));
    }
    let ended = counters.attempts.saturating_sub(u32::from(claimant.is_some()));
    Ok(JobView {
        queue: queue.clone(),
        id: id.clone(),
        state,
        counters,
        sequence: header.map(|(sequence, _)| sequence),
        enqueued_ms: header.map(|(_, enqueued_ms)| enqueued_ms),
        at_ms,
        now_ms,
        claimant,
        envelope,
        collapsed: ended.saturating_sub(u32::try_from(history.len()).unwrap_or(u32::MAX)),
        history,
    })
}

fn claimant(grant: &[u8], expires_ms: Option<u64>) -> Option<Claimant> {
    const LENGTH: usize = 29;
    if grant.len() != LENGTH {
        return None;
    }
    Some(Claimant {
        instance: InstanceId::from_slice(&grant[12..28])?,
        attempt: big_endian(&grant[..4]) as u32,
        expires_ms: expires_ms?,
        cancel_asked: grant[28] % 2 == 1,
    })
}

/// `forget.lua`, until all replay slots were checked.
pub(super) async fn forget(link: &Link, keys: &QueueKeys, instance: InstanceId) -> Result<(), StoreError> {
    let mut cursor = 0;
    loop {
        let mut reply = on_queue("forget", link, keys, &FORGET, |command| {
            command.arg(&instance.as_bytes()[..]).arg(cursor).arg(BATCH_MAX);
        })
        .await?;
        reply.status()?;
        cursor = reply.text()?.parse::<u64>().unwrap_or(0);
        if cursor == 0 {
            return Ok(());
        }
    }
}

async fn on_key(
    operation: &'static str,
    link: &Link,
    key: &str,
    file: &LuaFile,
    arguments: impl Fn(&mut Cmd),
) -> Result<Reply, StoreError> {
    let sent = link.run(operation, &file.script, file.source, |command| {
        command.arg(1).arg(key);
        arguments(command);
    });
    match sent.await {
        Ok(value) => Reply::new(operation, value),
        Err(StoreError::Corrupt { what, .. }) if what.contains("WRONGTYPE") => {
            Err(corrupt(operation, format!("the key {key} has a type that no script gives it; rename or delete it")))
        }
        Err(error) => Err(error),
    }
}

/// `heartbeat.lua`
pub(super) async fn heartbeat(
    link: &Link,
    instance: InstanceId,
    row: &[u8],
    age_max: Duration,
) -> Result<(), StoreError> {
    let mut reply = on_key("heartbeat", link, keys::WORKERS, &HEARTBEAT, |command| {
        command.arg(&instance.as_bytes()[..]).arg(row).arg(millis(age_max));
    })
    .await?;
    reply.status().map(drop)
}

/// `record.lua`
pub(super) async fn record(
    link: &Link,
    events_max: usize,
    bytes_max: usize,
    events: &[Vec<u8>],
) -> Result<(), StoreError> {
    let mut reply = on_key("record", link, keys::LEDGER, &RECORD, |command| {
        command.arg(events_max).arg(bytes_max).arg(events);
    })
    .await?;
    reply.status().map(drop)
}

/// `probe.lua`; returns the server's clock in ms since the Unix epoch.
pub(super) async fn probe(link: &Link) -> Result<u64, StoreError> {
    let value = link
        .run("probe", &PROBE.script, PROBE.source, |command| {
            command.arg(0);
        })
        .await?;
    let mut reply = Reply::new("probe", value)?;
    reply.status()?;
    reply.number()
}
