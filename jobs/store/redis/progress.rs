//! The stored progress of a job: time (6 bytes, big-endian) and attempt (4), both added by `renew.lua`, then percent (1) and the note.

use super::reply::big_endian;
use crate::trace::{Progress, StoredProgress};

/// Percent and note, as sent to `renew.lua`.
pub(super) fn reported_bytes(progress: &Progress) -> Vec<u8> {
    [&[progress.percent], progress.note.as_bytes()].concat()
}

/// Reads a stored progress. `None` for an empty value (nothing was reported), and for one that was edited by hand and cannot be read.
pub(super) fn parse_stored(value: &[u8]) -> Option<StoredProgress> {
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
    fn damaged_values_are_read_as_far_as_possible_without_an_error() {
        let value = [&[0, 0, 0, 0, 0, 9, 0, 0, 0, 2][..], &reported_bytes(&Progress::new(40, "né"))].concat();
        let stored = |note: &str| Some(StoredProgress::new(2, 9, Progress::new(40, note)));
        assert_eq!(parse_stored(&value), stored("né"));
        assert_eq!(parse_stored(&value[..value.len() - 1]), stored("n\u{fffd}"), "cut within a character");
        for end in 0..11 {
            assert_eq!(parse_stored(&value[..end]), None, "cut after {end} bytes");
        }
        let too_much = [&value[..10], &[255]].concat();
        assert_eq!(parse_stored(&too_much).map(|stored| stored.progress.percent), Some(100));
    }
}
