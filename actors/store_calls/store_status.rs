//! How the store is, as one process sees it.

use retraced_jobs::store::Block;

/// How the store is, as the last calls of this process found it. A process that is idle notices a change by its heartbeats and polls, within some seconds.
///
/// ```
/// use retraced_actors::StoreStatus;
/// use retraced_jobs::store::Block;
/// let full = StoreStatus::Blocked(Block::Memory);
/// assert_ne!(full, StoreStatus::Up);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreStatus {
    /// It answers and takes writes.
    Up,
    /// It has not answered for a second.
    Unreachable,
    /// It answers, but refuses some or all writes.
    Blocked(Block),
}
