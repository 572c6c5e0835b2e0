//! Checks the number of items per call.

use crate::store::{BATCH_MAX, StoreError};

/// Refuses a call that brings or asks for more than [`BATCH_MAX`] items.
pub(in crate::store) fn check_batch(operation: &'static str, items: usize) -> Result<(), StoreError> {
    if items <= BATCH_MAX {
        return Ok(());
    }
    let reason = format!("a call may have {BATCH_MAX} items and this one has {items}; split it");
    Err(StoreError::Refused { operation, reason })
}
