//! How a command says that a queue is paused.

use retraced::view::QueueRow;

use crate::output::printable;

/// As in `paused by ada@laptop since 2030-01-01T00:00:00.000Z`, as far as it is known; `None` if the queue is not paused.
pub(crate) fn paused(row: &QueueRow) -> Option<String> {
    let by = row.paused_by.as_deref().map(|by| format!(" by {}", printable(by))).unwrap_or_default();
    let since = row.paused_since.map(|since| format!(" since {since}")).unwrap_or_default();
    row.paused.then(|| format!("paused{by}{since}"))
}
