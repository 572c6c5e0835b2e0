//! The constants that the Lua files repeat from Rust code have the same values there.
#![allow(clippy::unwrap_used)]

use crate::limits::{
    ACTS_MAX, CLOCK_STEP_TOLERATED, HEADER_BYTES, HISTORY_FIRST, HISTORY_LAST, KEPT_BYTES_MIN, OUTCOME_WAIT_MAX,
    REPLAY_SLOT_IDLE_MS, TOMBSTONES_MAX,
};
use crate::units::millis;

const QUEUE: &str = include_str!("../lua/lib/queue.lua");
const STATS: &str = include_str!("../lua/lib/stats.lua");
const KEPT: &str = include_str!("../lua/lib/kept.lua");
const REPLAY: &str = include_str!("../lua/lib/replay.lua");
const RECLAIM: &str = include_str!("../lua/reclaim.lua");
const HISTORY: &str = include_str!("../lua/lib/history.lua");
const TOMBSTONES: &str = include_str!("../lua/lib/tombstones.lua");
const ACTS: &str = include_str!("../lua/lib/acts.lua");

/// The value of `local name = a * b`; `None` when there is none.
fn constant(lua: &str, name: &str) -> Option<u64> {
    lua.lines().find_map(|line| {
        let (names, values) = line.split("--").next()?.strip_prefix("local ")?.split_once(" = ")?;
        let (_, value) = names.split(", ").zip(values.split(", ")).find(|(declared, _)| *declared == name)?;
        value.split('*').map(|factor| factor.trim().parse::<u64>().ok()).product()
    })
}

#[test]
fn constants_that_lua_files_repeat_have_the_values_of_limits() {
    for (lua, name, value) in [
        (QUEUE, "HEADER", u64::try_from(HEADER_BYTES).unwrap()),
        (KEPT, "KEPT_BYTES_MIN", KEPT_BYTES_MIN),
        (STATS, "OUTCOME_WAIT_MS", millis(OUTCOME_WAIT_MAX)),
        (RECLAIM, "CLOCK_STEP_TOLERATED_MS", millis(CLOCK_STEP_TOLERATED)),
        (TOMBSTONES, "TOMBSTONES_MAX", u64::try_from(TOMBSTONES_MAX).unwrap()),
        (ACTS, "ACTS_MAX", u64::try_from(ACTS_MAX).unwrap()),
        (HISTORY, "HISTORY_FIRST", u64::from(HISTORY_FIRST)),
        (HISTORY, "HISTORY_LAST", u64::from(HISTORY_LAST)),
        // A call may be sent again for as long to either store.
        (REPLAY, "SLOT_IDLE_MS", REPLAY_SLOT_IDLE_MS),
    ] {
        assert_eq!(constant(lua, name), Some(value), "{name}");
    }
}

/// The Lua files of each script, as `scripts.rs` lists them.
fn scripts() -> Vec<Vec<&'static str>> {
    let declarations =
        include_str!("../scripts.rs").split("\nlua!(").skip(1).filter_map(|rest| rest.split(");").next());
    declarations.map(|files| files.split('"').skip(1).step_by(2).collect()).collect()
}

/// How often the file mentions this name, outside comments.
fn mentions(file: &str, name: &str) -> usize {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("store/redis/lua").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let code = text.lines().filter_map(|line| line.split("--").next());
    code.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .filter(|word| *word == name)
        .count()
}

/// `lib/queue.lua` only declares these variables. A script without them would stop in the midst of its writes.
#[test]
fn a_script_that_uses_a_value_of_stats_reads_it() {
    let scripts = scripts();
    assert!(scripts.len() > 20, "{scripts:?}");
    for files in scripts {
        let own = files.last().unwrap();
        for name in ["PAUSED", "STALE", "IDLE_UNTIL", "LARGEST", "AWAITED_UNTIL", "AWAITED"] {
            let users: Vec<_> =
                files.iter().filter(|file| **file != "lib/queue.lua" && mentions(file, name) > 0).collect();
            // enqueue.lua ends no job, so it never asks whether one is awaited.
            let reads = files.contains(&"lib/stats.lua")
                || (*own == "enqueue.lua" && (mentions(own, name) > 0 || name == "AWAITED"));
            assert!(users.is_empty() || reads, "{own}: {users:?} use {name}, which the script does not read");
        }
    }
}

/// The keys that `lib/queue.lua` names after the first ones are not passed to `enqueue.lua`.
#[test]
fn enqueue_uses_only_the_keys_it_gets() {
    let enqueue = scripts().into_iter().find(|files| files.ends_with(&["enqueue.lua"])).unwrap();
    for file in enqueue.iter().filter(|file| **file != "lib/queue.lua") {
        for key in ["GRANT", "RETRY", "HISTORY", "AWAITED_JOBS", "TOMBSTONES"] {
            assert_eq!(mentions(file, key), 0, "{file} uses {key}");
        }
    }
}
