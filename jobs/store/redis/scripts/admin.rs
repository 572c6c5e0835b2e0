//! Calls the scripts of the trait `Admin`, except those of audits.

use std::time::Duration;

use super::{
    CANCEL, DELETE_QUEUE, DISCARD, JOB, JOBS, LuaScript, PAUSE, REDRIVE, STATS, SlotCall, TOMBSTONE, TRIM,
    WATCH_OUTCOME, bad_cursor, millis, on_queue, replay_arguments, state,
};
use crate::events::TrimReason;
use crate::job::{InstanceId, JobId, JobState, QueueName};
use crate::store::redis::acts::acts_of;
use crate::store::redis::connection::Link;
use crate::store::redis::keys::QueueKeys;
use crate::store::redis::progress;
use crate::store::redis::reply::{Reply, attempt_of, big_endian, corrupt, letter_of, open_body, state_of};
use crate::store::{
    CallId, Cursor, JobPage, JobSummary, JobView, LeaseHolder, Moved, QueueDeletion, QueueStats, Removal,
    RetentionRule, StoreError, Target, Tombstone, TrimPolicy, Trimmed, TrimmedJobs, UnfinishedJobs,
};
use crate::trace::OperatorName;

/// An action on jobs that an operator names.
#[derive(Debug, Clone, Copy)]
pub(in crate::store::redis) enum Action {
    /// `redrive.lua`
    Redrive,
    /// `cancel.lua`
    Cancel,
    /// `discard.lua`
    Discard,
}

impl Action {
    /// The name in errors, the letter of the verb in a replay slot, and the script.
    fn parts(self) -> (&'static str, u8, &'static LuaScript) {
        match self {
            Action::Redrive => ("redrive", b'v', &REDRIVE),
            Action::Cancel => ("cancel", b'x', &CANCEL),
            Action::Discard => ("discard", b'd', &DISCARD),
        }
    }
}

/// `redrive.lua`, `cancel.lua` or `discard.lua`. The last one may answer for the first jobs only.
pub(in crate::store::redis) async fn act(
    link: &Link,
    keys: &QueueKeys,
    call: CallId,
    action: Action,
    by: &OperatorName,
    jobs: &[Target],
) -> Result<Vec<Moved>, StoreError> {
    let (operation, verb, script) = action.parts();
    let call = SlotCall::new(call, verb, (by, jobs));
    let mut reply = on_queue(operation, link, keys, script, |command| {
        replay_arguments(command, call, keys);
        command.arg(by.as_str());
        for target in jobs {
            let seen =
                target.seen.map(|seen| [letter_of(seen.state).as_bytes(), &seen.attempts.to_be_bytes()].concat());
            command.arg(target.id.as_wire()).arg(seen.unwrap_or_default());
        }
    })
    .await?;
    reply.status()?;
    reply.number()?;
    let states = reply.bytes()?;
    let answered = states.len() / 2;
    let is_partial = matches!(action, Action::Discard) && (1..jobs.len()).contains(&answered);
    if states.len() % 2 == 1 || answered != jobs.len() && !is_partial {
        return Err(corrupt(operation, format!("the reply has {} letters for {} jobs", states.len(), jobs.len())));
    }
    states
        .chunks_exact(2)
        .map(|before_and_after| match (before_and_after[0], before_and_after[1]) {
            (b'-', _) => Ok(Moved::NotFound),
            (b'l', b'a') => Ok(Moved::Asked),
            (from, b'-') => Ok(Moved::Moved { from: state(operation, from)?, to: None }),
            (from, to) if from == to => Ok(Moved::Refused { state: state(operation, from)? }),
            (from, to) => Ok(Moved::Moved { from: state(operation, from)?, to: Some(state(operation, to)?) }),
        })
        .collect()
}

/// `pause.lua` with `pause`.
pub(in crate::store::redis) async fn pause(
    link: &Link,
    keys: &QueueKeys,
    call: CallId,
    by: &OperatorName,
) -> Result<bool, StoreError> {
    pause_or_resume("pause", link, keys, SlotCall::new(call, b'u', by), by.as_str()).await
}

/// `pause.lua` with `resume`.
pub(in crate::store::redis) async fn resume(link: &Link, keys: &QueueKeys, call: CallId) -> Result<bool, StoreError> {
    pause_or_resume("resume", link, keys, SlotCall::new(call, b'w', ()), "").await
}

async fn pause_or_resume(
    operation: &'static str,
    link: &Link,
    keys: &QueueKeys,
    call: SlotCall,
    by: &str,
) -> Result<bool, StoreError> {
    let mut reply = on_queue(operation, link, keys, &PAUSE, |command| {
        replay_arguments(command, call, keys);
        command.arg(operation).arg(by);
    })
    .await?;
    reply.status()?;
    reply.number()?;
    Ok(reply.number()? == 1)
}

/// `delete_queue.lua`
pub(in crate::store::redis) async fn delete_queue(
    link: &Link,
    keys: &QueueKeys,
    unfinished: UnfinishedJobs,
) -> Result<QueueDeletion, StoreError> {
    let mut reply = on_queue("delete_queue", link, keys, &DELETE_QUEUE, |command| {
        command.arg(match unfinished {
            UnfinishedJobs::Refuse => "refuse",
            UnfinishedJobs::Delete => "delete",
        });
    })
    .await?;
    match reply.status()?.as_str() {
        "unfinished" => Ok(QueueDeletion::Refused {
            pending: reply.number()?,
            processing: reply.number()?,
            delayed: reply.number()?,
            dead: reply.number()?,
            poisoned: reply.number()?,
        }),
        _ => Ok(QueueDeletion::Deleted { jobs: reply.number()? }),
    }
}

/// `trim.lua`
pub(in crate::store::redis) async fn trim(
    link: &Link,
    keys: &QueueKeys,
    call: CallId,
    policy: &TrimPolicy,
) -> Result<Trimmed, StoreError> {
    let retention = &policy.retention;
    let completed = retention.completed.unwrap_or(RetentionRule::new(Duration::ZERO, 0));
    let ended = [completed, retention.dead, retention.poisoned, retention.cancelled];
    let call = SlotCall::new(call, b'm', policy);
    let mut reply = on_queue("trim", link, keys, &TRIM, |command| {
        replay_arguments(command, call, keys);
        command.arg(policy.limit);
        for rule in &ended {
            command.arg(millis(rule.age_max)).arg(rule.count_max).arg(rule.bytes_max);
        }
    })
    .await?;
    reply.status()?;
    reply.number()?;
    let (removed, more) = (reply.size()?, reply.number()? == 1);
    let (mut groups, mut jobs) = (reply.list()?, Vec::new());
    while !groups.is_empty() {
        let state = state("trim", groups.bytes()?.first().copied().unwrap_or_default())?;
        let letter = groups.bytes()?.first().copied().unwrap_or_default();
        let reason = reason_of(letter)
            .ok_or_else(|| corrupt("trim", format!("the reply has {:?} instead of a reason", char::from(letter))))?;
        jobs.push(TrimmedJobs { state, reason, count: groups.number()?, oldest_ms: groups.instant()?.unwrap_or(0) });
    }
    Ok(Trimmed { removed, more, jobs })
}

/// `stats.lua`
pub(in crate::store::redis) async fn stats(link: &Link, keys: &QueueKeys) -> Result<QueueStats, StoreError> {
    let mut reply = on_queue("stats", link, keys, &STATS, |_| {}).await?;
    reply.status()?;
    let now_ms = reply.number()?;
    Ok(QueueStats {
        paused: reply.number()? == 1,
        paused_since_ms: reply.instant()?,
        paused_by: Some(reply.bytes()?)
            .filter(|by| !by.is_empty())
            .map(|by| String::from_utf8_lossy(&by).as_ref().into()),
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
        trimmed_dead_total: reply.number()?,
        trimmed_poisoned_total: reply.number()?,
        garbage_total: reply.number()?,
    })
}

/// `jobs.lua`
pub(in crate::store::redis) async fn jobs(
    link: &Link,
    keys: &QueueKeys,
    state: JobState,
    from: Option<Cursor>,
    limit: usize,
) -> Result<JobPage, StoreError> {
    // The two forms of a cursor are described in `jobs.lua`.
    let from = from.map_or_else(String::new, |cursor| cursor.as_str().to_owned());
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_valid = from.is_empty()
        || match from.split_once(' ') {
            Some((score, id)) => digits(score) && id.len() % 2 == 0 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            None => state == JobState::Pending && digits(&from),
        };
    if !is_valid || (state == JobState::Pending && from.contains(' ')) {
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
        let mut latest_attempts = job.list()?;
        let mut last_error = None;
        while last_error.is_none() && !latest_attempts.is_empty() {
            let attempt = latest_attempts.text()?.parse().unwrap_or(0);
            last_error = attempt_of(attempt, &latest_attempts.bytes()?).error();
        }
        let held_by = lease_holder(&job.bytes()?, at_ms);
        let progress = progress::parse_stored(&job.bytes()?).filter(|stored| stored.attempt == counters.attempts);
        let enqueued_ms = header.map(|(_, enqueued_ms)| enqueued_ms);
        jobs.push(JobSummary { id, state, counters, enqueued_ms, at_ms, envelope, last_error, held_by, progress });
    }
    Ok(JobPage { jobs, next: (!next.is_empty()).then(|| Cursor::from(next)) })
}

/// `job.lua`
pub(in crate::store::redis) async fn job(
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

/// `tombstone.lua`
pub(in crate::store::redis) async fn tombstone(
    link: &Link,
    keys: &QueueKeys,
    id: &JobId,
) -> Result<Option<Tombstone>, StoreError> {
    const OPERATION: &str = "tombstone";
    let mut reply = on_queue(OPERATION, link, keys, &TOMBSTONE, |command| {
        command.arg(id.as_wire());
    })
    .await?;
    if reply.status()? == "none" {
        return Ok(None);
    }
    let left = tombstone_of(id, &reply.bytes()?);
    left.map(Some).ok_or_else(|| corrupt(OPERATION, format!("what is left of {id} cannot be read")))
}

/// Reads a tombstone (`lua/lib/tombstones.lua`).
fn tombstone_of(id: &JobId, value: &[u8]) -> Option<Tombstone> {
    let (head, rest) = value.split_at_checked(15)?;
    let name = rest.get(usize::from(head[14])..)?;
    let removal = match head[1] {
        b'x' => Removal::Discarded { by: OperatorName::new(String::from_utf8_lossy(name)) },
        letter => Removal::Trimmed { reason: reason_of(letter)? },
    };
    let ended_ms = Some(big_endian(&head[2..8])).filter(|ended_ms| *ended_ms > 0);
    Some(Tombstone::new(id.clone(), state_of(head[0])?, ended_ms, big_endian(&head[8..14]), removal))
}

/// The reason that a letter stands for (`trim.lua`).
fn reason_of(letter: u8) -> Option<TrimReason> {
    match letter {
        b'a' => Some(TrimReason::Age),
        b'n' => Some(TrimReason::Count),
        b'b' => Some(TrimReason::Bytes),
        _ => None,
    }
}

/// `watch_outcome.lua`
pub(in crate::store::redis) async fn watch_outcome(
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
    let only_state = |state| Ok(Some(JobView::new(queue.clone(), id.clone(), state)));
    match reply.status()?.as_str() {
        "waits" => only_state(state(OPERATION, reply.bytes()?.first().copied().unwrap_or_default())?),
        "completed" => only_state(JobState::Completed),
        "none" => Ok(None),
        _ => view(OPERATION, reply, queue, id).map(Some),
    }
}

/// Reads what follows the status in a reply of `lua/lib/view.lua`.
fn view(operation: &'static str, mut reply: Reply, queue: &QueueName, id: &JobId) -> Result<JobView, StoreError> {
    let now_ms = reply.number()?;
    let state = state(operation, reply.bytes()?.first().copied().unwrap_or_default())?;
    let (header, envelope) = open_body(reply.bytes()?);
    let at_ms = reply.instant()?;
    let counters = reply.counters()?;
    let held_by = lease_holder(&reply.bytes()?, at_ms);
    let mut listed = reply.list()?;
    let mut history = Vec::with_capacity(listed.len() / 2);
    while !listed.is_empty() {
        let attempt = listed.text()?.parse().unwrap_or(0);
        history.push(attempt_of(attempt, &listed.bytes()?));
    }
    let (acts_dropped, acts) = acts_of(&reply.bytes()?);
    let progress = progress::parse_stored(&reply.bytes()?);
    let ended_attempts = counters.attempts.saturating_sub(u32::from(held_by.is_some()));
    Ok(JobView {
        queue: queue.clone(),
        id: id.clone(),
        state,
        counters,
        sequence: header.map(|(sequence, _)| sequence),
        enqueued_ms: header.map(|(_, enqueued_ms)| enqueued_ms),
        at_ms,
        now_ms,
        held_by,
        envelope,
        collapsed: ended_attempts.saturating_sub(u32::try_from(history.len()).unwrap_or(u32::MAX)),
        history,
        acts,
        acts_dropped,
        progress,
    })
}

/// Bytes of a grant: attempt(4) nonce(8) instance(16) claimed at(6) flags(1), as in `lua/lib/queue.lua`.
const GRANT_LEN: usize = 4 + 8 + 16 + 6 + 1;

/// Reads a grant.
fn lease_holder(grant: &[u8], expires_ms: Option<u64>) -> Option<LeaseHolder> {
    if grant.len() != GRANT_LEN {
        return None;
    }
    let (attempt, rest) = grant.split_at(4);
    let (_nonce, rest) = rest.split_at(8);
    let (instance, rest) = rest.split_at(16);
    let (claimed_at, flags) = rest.split_at(6);
    Some(LeaseHolder {
        instance: InstanceId::from_slice(instance)?,
        attempt: big_endian(attempt) as u32,
        claimed_ms: big_endian(claimed_at),
        expires_ms: expires_ms?,
        cancel_asked: flags[0] % 2 == 1,
    })
}
