//! Reads the cursors of calls.

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
