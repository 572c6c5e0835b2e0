//! What calls bring: from which cursor, for how long.

use std::time::Duration;

use crate::store::{Cursor, StoreError};

/// The position a cursor stands for, read with `parse`.
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
