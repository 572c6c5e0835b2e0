//! The constants that the Lua files repeat from Rust code have the same values there.
#![allow(clippy::unwrap_used)]

use crate::limits::{HEADER_BYTES, HISTORY_FIRST, HISTORY_LAST, OUTCOME_WAIT_MAX, REPLAY_SLOT_IDLE_MS};
use crate::units::millis;

const QUEUE: &str = include_str!("../lua/lib/queue.lua");
const REPLAY: &str = include_str!("../lua/lib/replay.lua");
const HISTORY: &str = include_str!("../lua/lib/history.lua");

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
        (QUEUE, "OUTCOME_WAIT_MS", millis(OUTCOME_WAIT_MAX)),
        (HISTORY, "HISTORY_FIRST", u64::from(HISTORY_FIRST)),
        (HISTORY, "HISTORY_LAST", u64::from(HISTORY_LAST)),
        // A call may be sent again for as long to either store.
        (REPLAY, "SLOT_IDLE_MS", REPLAY_SLOT_IDLE_MS),
    ] {
        assert_eq!(constant(lua, name), Some(value), "{name}");
    }
}
