//! What a process knows of the user and password with which it connects.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::store::{Block, StoreError};

/// Whether the server accepts user and password. Connections that are open are not asked again when these change, so only a new one tells.
#[derive(Default)]
pub(super) struct Login {
    /// Whether the server has ever accepted them.
    accepted: AtomicBool,
    /// Whether it has refused them since a connection was opened last.
    doubted: AtomicBool,
}

impl Login {
    /// A connection was opened.
    pub(super) fn succeeded(&self) {
        self.accepted.store(true, Ordering::Relaxed);
        self.doubted.store(false, Ordering::Relaxed);
    }

    /// A new connection met this error. A server that is loading, or busy with a script, refuses what comes after the login only.
    pub(super) fn answered(&self, error: &StoreError) {
        if matches!(error, StoreError::Blocked { by, .. } if *by != Block::Login) {
            self.succeeded();
        }
    }

    /// The server has refused them. Returns whether it had accepted them before: then it may do so again, when somebody sets the password back or enables the user.
    pub(super) fn refused(&self) -> bool {
        self.doubted.store(true, Ordering::Relaxed);
        self.accepted.load(Ordering::Relaxed)
    }

    pub(super) fn is_doubted(&self) -> bool {
        self.doubted.load(Ordering::Relaxed)
    }
}
