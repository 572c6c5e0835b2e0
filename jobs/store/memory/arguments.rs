//! What calls bring: how many items, from which cursor, for how long.

use std::time::Duration;

use crate::store::{BATCH_MAX, Cursor, StoreError};

/// Refuses a call that carries, or asks for, more than [`BATCH_MAX`] items.
pub(super) fn bounded(operation: &'static str, items: usize) -> Result<(), StoreError> {
    if items <= BATCH_MAX {
        return Ok(());
    }
    let reason = format!("{items} items are more than the {BATCH_MAX} one call may carry; split it");
    Err(StoreError::Refused { operation, reason })
}

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
