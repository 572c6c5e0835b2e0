//! The progress of a job as `lua/lib/history.lua` describes it: at(6) attempt(4), which the script writes, then percent(1) and the note.

use super::reply::big_endian;
use crate::trace::{Progress, StoredProgress};

pub(super) fn to_bytes(progress: &Progress) -> Vec<u8> {
    [&[progress.percent], progress.note.as_bytes()].concat()
}

/// `None` for an empty value, and for one that was edited by hand and cannot be read.
pub(super) fn progress_of(value: &[u8]) -> Option<StoredProgress> {
    let (at, rest) = value.split_at_checked(6)?;
    let (attempt, rest) = rest.split_at_checked(4)?;
    let (percent, note) = rest.split_first()?;
    let progress = Progress::new((*percent).min(100), String::from_utf8_lossy(note));
    Some(StoredProgress::new(big_endian(attempt) as u32, big_endian(at), progress))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_was_edited_by_hand_is_no_progress_and_stops_nobody() {
        let value = [&[0, 0, 0, 0, 0, 9, 0, 0, 0, 2][..], &to_bytes(&Progress::new(40, "né"))].concat();
        let stored = |note: &str| Some(StoredProgress::new(2, 9, Progress::new(40, note)));
        assert_eq!(progress_of(&value), stored("né"));
        assert_eq!(progress_of(&value[..value.len() - 1]), stored("n\u{fffd}"), "cut within a character");
        for end in 0..11 {
            assert_eq!(progress_of(&value[..end]), None, "cut after {end} bytes");
        }
        let too_much = [&value[..10], &[255]].concat();
        assert_eq!(progress_of(&too_much).map(|stored| stored.progress.percent), Some(100));
    }
}
