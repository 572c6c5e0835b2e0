//! A hash of what a call says. By it a store recognizes that a call id was used for another call.

use std::hash::{BuildHasher, Hash};

use foldhash::quality::FixedState;

use super::CallId;

/// A hash of the nonce of a call and of its arguments, all except the queue.
///
/// A call that is sent again has the same arguments, byte for byte: nonces, lease lengths, settlements, cursors and the rest are made once for the call, not once per
/// sending, and none is a reading of a clock. So no other argument is left out. A store compares only hashes of this process and of copies of its memory, so it does
/// not matter that another build may hash differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContentHash(u64);

impl ContentHash {
    pub(crate) fn of(call: CallId, arguments: impl Hash) -> Self {
        Self(FixedState::default().hash_one((call.nonce, arguments)))
    }

    /// The bytes that are stored.
    #[cfg(feature = "redis")]
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}
