//! Calls the Lua scripts by typed functions. What a script does is documented in its Lua file; what a verb promises, at its trait (`store/mod.rs`).

mod admin;
mod audit;
mod leases;
mod ledger;
#[cfg(test)]
mod tests;
mod transitions;

use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::OnceLock;
use std::time::Duration;

use redis::{Cmd, Value};

use super::connection::Link;
use super::keys::QueueKeys;
use super::reply::{Reply, corrupt, state_of};
use super::script::LuaScript;
use crate::job::JobState;
use crate::limits::redis::SIX_BYTES_MAX;
use crate::store::content_hash::ContentHash;
use crate::store::{CallId, StoreError};
use crate::units;

pub(super) use admin::{Action, act, delete_queue, job, jobs, pause, resume, stats, tombstone, trim, watch_outcome};
pub(super) use audit::{
    KeptPage, KeptRepair, KeptSum, LastDrawn, check_counts, repair_orphaned, scan_containers, scan_jobs, scan_kept,
    scan_pending, scan_stale,
};
pub(super) use leases::{begin, renew, report};
pub(super) use ledger::{forget, heartbeat, probe, record};
pub(super) use transitions::{claim, enqueue, promote, reclaim, reconcile, settle, settle_and_claim};

macro_rules! lua {
    ($name:ident, $($file:literal),+) => {
        static $name: LuaScript =
            LuaScript::new(concat!($(include_str!(concat!("lua/", $file)), "\n"),+));
    };
}

lua!(ENQUEUE, "lib/queue.lua", "lib/write.lua", "lib/replay.lua", "lib/delay.lua", "lib/state.lua", "enqueue.lua");
lua!(
    CLAIM,
    "lib/queue.lua",
    "lib/stats.lua",
    "lib/bodies.lua",
    "lib/write.lua",
    "lib/replay.lua",
    "lib/live.lua",
    "lib/lease.lua",
    "lib/claim.lua",
    "claim.lua"
);
lua!(
    SETTLE,
    "lib/queue.lua",
    "lib/stats.lua",
    "lib/write.lua",
    "lib/kept.lua",
    "lib/replay.lua",
    "lib/delay.lua",
    "lib/push.lua",
    "lib/history.lua",
    "lib/delete_jobs.lua",
    "lib/settle.lua",
    "settle.lua"
);
lua!(
    SETTLE_AND_CLAIM,
    "lib/queue.lua",
    "lib/stats.lua",
    "lib/bodies.lua",
    "lib/write.lua",
    "lib/kept.lua",
    "lib/replay.lua",
    "lib/delay.lua",
    "lib/push.lua",
    "lib/history.lua",
    "lib/delete_jobs.lua",
    "lib/settle.lua",
    "lib/live.lua",
    "lib/lease.lua",
    "lib/claim.lua",
    "settle_and_claim.lua"
);
lua!(
    PROMOTE,
    "lib/queue.lua",
    "lib/stats.lua",
    "lib/check_types.lua",
    "lib/write.lua",
    "lib/replay.lua",
    "lib/push.lua",
    "promote.lua"
);
lua!(
    RECLAIM,
    "lib/queue.lua",
    "lib/stats.lua",
    "lib/check_types.lua",
    "lib/write.lua",
    "lib/kept.lua",
    "lib/replay.lua",
    "lib/push.lua",
    "lib/history.lua",
    "reclaim.lua"
);
lua!(
    RECONCILE,
    "lib/queue.lua",
    "lib/stats.lua",
    "lib/check_types.lua",
    "lib/write.lua",
    "lib/kept.lua",
    "lib/replay.lua",
    "lib/push.lua",
    "lib/history.lua",
    "lib/byte_order.lua",
    "reconcile.lua"
);
lua!(RENEW, "lib/queue.lua", "lib/write.lua", "lib/lease.lua", "renew.lua");
lua!(
    REDRIVE,
    "lib/queue.lua",
    "lib/stats.lua",
    "lib/check_types.lua",
    "lib/write.lua",
    "lib/kept.lua",
    "lib/replay.lua",
    "lib/push.lua",
    "lib/containers.lua",
    "lib/target.lua",
    "lib/acts.lua",
    "redrive.lua"
);
lua!(
    CANCEL,
    "lib/queue.lua",
    "lib/stats.lua",
    "lib/check_types.lua",
    "lib/write.lua",
    "lib/kept.lua",
    "lib/replay.lua",
    "lib/containers.lua",
    "lib/target.lua",
    "lib/acts.lua",
    "cancel.lua"
);
lua!(
    DISCARD,
    "lib/queue.lua",
    "lib/stats.lua",
    "lib/check_types.lua",
    "lib/write.lua",
    "lib/kept.lua",
    "lib/replay.lua",
    "lib/containers.lua",
    "lib/target.lua",
    "lib/history.lua",
    "lib/delete_jobs.lua",
    "lib/tombstones.lua",
    "discard.lua"
);
lua!(PAUSE, "lib/queue.lua", "lib/stats.lua", "lib/write.lua", "lib/replay.lua", "pause.lua");
lua!(
    TRIM,
    "lib/queue.lua",
    "lib/stats.lua",
    "lib/check_types.lua",
    "lib/write.lua",
    "lib/kept.lua",
    "lib/replay.lua",
    "lib/history.lua",
    "lib/delete_jobs.lua",
    "lib/tombstones.lua",
    "trim.lua"
);
lua!(CHECK_COUNTS, "lib/queue.lua", "lib/stats.lua", "check_counts.lua");
lua!(
    SCAN_CONTAINERS,
    "lib/queue.lua",
    "lib/check_types.lua",
    "lib/write.lua",
    "lib/containers.lua",
    "lib/lease.lua",
    "scan_containers.lua"
);
lua!(
    SCAN_PENDING,
    "lib/queue.lua",
    "lib/stats.lua",
    "lib/check_types.lua",
    "lib/bodies.lua",
    "lib/write.lua",
    "lib/live.lua",
    "lib/containers.lua",
    "scan_pending.lua"
);
lua!(SCAN_JOBS, "lib/queue.lua", "lib/stats.lua", "lib/check_types.lua", "lib/containers.lua", "scan_jobs.lua");
lua!(
    REPAIR_ORPHANED,
    "lib/queue.lua",
    "lib/stats.lua",
    "lib/check_types.lua",
    "lib/write.lua",
    "lib/kept.lua",
    "lib/replay.lua",
    "lib/push.lua",
    "lib/containers.lua",
    "lib/acts.lua",
    "repair_orphaned.lua"
);
lua!(SCAN_STALE, "lib/queue.lua", "lib/stats.lua", "lib/check_types.lua", "lib/write.lua", "scan_stale.lua");
lua!(
    SCAN_KEPT,
    "lib/queue.lua",
    "lib/stats.lua",
    "lib/check_types.lua",
    "lib/write.lua",
    "lib/kept.lua",
    "scan_kept.lua"
);
lua!(
    STATS,
    "lib/queue.lua",
    "lib/stats.lua",
    "lib/check_types.lua",
    "lib/bodies.lua",
    "lib/live.lua",
    "lib/history.lua",
    "lib/read.lua",
    "stats.lua"
);
lua!(
    JOBS,
    "lib/queue.lua",
    "lib/stats.lua",
    "lib/bodies.lua",
    "lib/live.lua",
    "lib/history.lua",
    "lib/read.lua",
    "lib/byte_order.lua",
    "jobs.lua"
);
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
lua!(TOMBSTONE, "lib/queue.lua", "tombstone.lua");
lua!(
    WATCH_OUTCOME,
    "lib/queue.lua",
    "lib/stats.lua",
    "lib/live.lua",
    "lib/state.lua",
    "lib/history.lua",
    "lib/read.lua",
    "lib/view.lua",
    "watch_outcome.lua"
);
lua!(DELETE_QUEUE, "lib/queue.lua", "delete_queue.lua");
lua!(FORGET, "lib/queue.lua", "lib/write.lua", "forget.lua");
lua!(HEARTBEAT, "heartbeat.lua");
lua!(RECORD, "record.lua");
lua!(PROBE, "probe.lua");

/// The scripts that a worker runs: all but those for operators and for waiters.
static OF_WORKERS: [&LuaScript; 21] = [
    &ENQUEUE,
    &CLAIM,
    &SETTLE,
    &SETTLE_AND_CLAIM,
    &PROMOTE,
    &RECLAIM,
    &RECONCILE,
    &RENEW,
    &TRIM,
    &STATS,
    &CHECK_COUNTS,
    &SCAN_CONTAINERS,
    &SCAN_PENDING,
    &SCAN_JOBS,
    &REPAIR_ORPHANED,
    &SCAN_STALE,
    &SCAN_KEPT,
    &FORGET,
    &HEARTBEAT,
    &RECORD,
    &PROBE,
];

/// The commands that a worker's scripts call, and the one with which it announces its queues.
pub(super) fn needed_by_workers() -> &'static [&'static str] {
    static NEEDED: OnceLock<Vec<&'static str>> = OnceLock::new();
    NEEDED.get_or_init(|| {
        let of_scripts = OF_WORKERS.iter().flat_map(|script| script.needs()).copied();
        let commands: BTreeSet<_> = of_scripts.chain(["SADD"]).collect();
        commands.into_iter().collect()
    })
}

/// Runs a script with all keys of one queue.
async fn on_queue(
    operation: &'static str,
    link: &Link,
    keys: &QueueKeys,
    script: &LuaScript,
    arguments: impl Fn(&mut Cmd),
) -> Result<Reply, StoreError> {
    on_keys(operation, link, keys, keys.all(), script, arguments).await
}

/// Runs a script with these keys of one queue, which are the first ones of all.
async fn on_keys(
    operation: &'static str,
    link: &Link,
    keys: &QueueKeys,
    passed: &[String],
    script: &LuaScript,
    arguments: impl Fn(&mut Cmd),
) -> Result<Reply, StoreError> {
    let sent = link.run(operation, script, |command| {
        command.arg(passed.len()).arg(passed);
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

/// The error for a key of the wrong type. The server does not say which key it is, so this function asks for the type of each.
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

fn six_bytes(number: u64) -> [u8; 6] {
    let [_, _, low @ ..] = number.min(SIX_BYTES_MAX).to_be_bytes();
    low
}

fn millis(duration: Duration) -> u64 {
    units::millis(duration).min(SIX_BYTES_MAX)
}

/// A call of a replay slot: its id, a letter for the verb, and its content.
#[derive(Clone, Copy)]
struct SlotCall {
    id: CallId,
    verb: u8,
    content: ContentHash,
}

impl SlotCall {
    fn new(id: CallId, verb: u8, arguments: impl Hash) -> Self {
        Self { id, verb, content: ContentHash::of(id, arguments) }
    }
}

/// The arguments that `lua/lib/replay.lua` takes: the replay slot; the call's sequence, verb and content; the hint channel.
fn replay_arguments(command: &mut Cmd, SlotCall { id, verb, content }: SlotCall, keys: &QueueKeys) {
    let replay_slot = [&id.instance.as_bytes()[..], &id.replay_slot.to_be_bytes()].concat();
    let call = [&six_bytes(id.sequence)[..], &[verb], &content.to_bytes()].concat();
    command.arg(replay_slot).arg(call).arg(keys.hint_channel());
}

async fn on_key(
    operation: &'static str,
    link: &Link,
    key: &str,
    script: &LuaScript,
    arguments: impl Fn(&mut Cmd),
) -> Result<Reply, StoreError> {
    let sent = link.run(operation, script, |command| {
        command.arg(1).arg(key);
        arguments(command);
    });
    Reply::new(operation, sent.await.map_err(|error| about_key(key, error))?)
}

/// The error of a command that uses this key alone. If the key has the wrong type, it is named, because the server does not say which key it is.
pub(super) fn about_key(key: &str, error: StoreError) -> StoreError {
    match error {
        StoreError::Corrupt { operation, what } if what.contains("WRONGTYPE") => {
            corrupt(operation, format!("the key {key} has the wrong type; rename or delete it"))
        }
        error => error,
    }
}

/// Reads a string of `expected` letters: one or two for each item of the call.
fn letters(operation: &'static str, reply: &mut Reply, expected: usize) -> Result<Vec<u8>, StoreError> {
    let letters = reply.bytes()?;
    if letters.len() == expected {
        return Ok(letters);
    }
    Err(corrupt(operation, format!("the reply has {} letters instead of {expected}", letters.len())))
}

fn state(operation: &'static str, letter: u8) -> Result<JobState, StoreError> {
    state_of(letter)
        .ok_or_else(|| corrupt(operation, format!("the reply has {:?} instead of a state", char::from(letter))))
}

fn bad_cursor(operation: &'static str) -> StoreError {
    StoreError::Refused { operation, reason: "this cursor was not made by this store; start again without one".into() }
}
