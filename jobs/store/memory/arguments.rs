//! Reads the arguments of calls: cursors and durations.

use std::time::Duration;

use crate::store::{Cursor, StoreError};

/// Reads a cursor with `parse`, and refuses one that `parse` cannot read.
pub(super) fn parse_cursor<T>(
    operation: &'static str,
    from: Option<Cursor>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, StoreError> {
    from.map(|cursor| {
        let refused = || StoreError::Refused {
            operation,
            reason: "this cursor was not made by this store; start again without one".into(),
        };
        parse(cursor.as_str()).ok_or_else(refused)
    })
    .transpose()
}

/// Whole milliseconds; a fraction is dropped.
pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
