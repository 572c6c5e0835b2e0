//! How much one call may carry.

use crate::store::{BATCH_MAX, StoreError};

/// Refuses a call that carries, or asks for, more than [`BATCH_MAX`] items.
pub(in crate::store) fn check_batch(operation: &'static str, items: usize) -> Result<(), StoreError> {
    if items <= BATCH_MAX {
        return Ok(());
    }
    let reason = format!("{items} items are more than the {BATCH_MAX} one call may carry; split it");
    Err(StoreError::Refused { operation, reason })
}
