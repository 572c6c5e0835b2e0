//! How the store treats its server.

use std::time::Duration;

use crate::limits::redis::{CALL_TIMEOUT, CONNECT_TIMEOUT};

/// How a [`RedisStore`](super::RedisStore) treats its server.
///
/// ```
/// use retraced_jobs::store::redis::{RedisOptions, RedisStore};
/// use std::time::Duration;
/// let patient = RedisOptions::default().call_timeout(Duration::from_secs(20));
/// assert!(RedisStore::open("redis://127.0.0.1:6379", patient).is_ok(), "connects when it is first used");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisOptions {
    /// Longest wait for a connection, the handshake included. Default 2 s. After it a call is [`StoreError::Unavailable`](crate::store::StoreError::Unavailable).
    pub connect_timeout: Duration,
    /// Longest wait for an answer. Default 5 s. After it the outcome of the call is unknown, the connection is replaced, and the call is
    /// [`StoreError::Unavailable`](crate::store::StoreError::Unavailable): send it again.
    pub call_timeout: Duration,
    /// Work with a server that may evict keys when its memory is full. Default `false`: such a server is refused, because it drops jobs
    /// silently.
    pub allow_eviction: bool,
}

impl RedisOptions {
    /// Waits this long for a connection.
    #[must_use]
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// Waits this long for a reply.
    #[must_use]
    pub fn call_timeout(self, call_timeout: Duration) -> Self {
        Self { call_timeout, ..self }
    }

    /// Accepts a server that may evict keys, and with them jobs.
    #[must_use]
    pub fn allow_eviction(self) -> Self {
        Self { allow_eviction: true, ..self }
    }
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self { connect_timeout: CONNECT_TIMEOUT, call_timeout: CALL_TIMEOUT, allow_eviction: false }
    }
}
