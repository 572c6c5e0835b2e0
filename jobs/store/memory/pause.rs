//! Since when a queue is paused, and by whom.

use crate::trace::OperatorName;

/// A queue that has one is paused.
pub(super) struct Pause {
    pub(super) since_ms: u64,
    pub(super) by: OperatorName,
}
