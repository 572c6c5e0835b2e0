//! The options of the store on Redis.

use std::time::Duration;

use super::{KeyPrefix, TlsOptions};
use crate::limits::redis::{CALL_TIMEOUT, CONNECT_TIMEOUT};

/// Timeouts of a [`RedisStore`](super::RedisStore), what its keys are called, and which servers it accepts.
///
/// ```
/// use retraced_jobs::store::redis::{RedisOptions, RedisStore};
/// use std::time::Duration;
/// let patient = RedisOptions::default().call_timeout(Duration::from_secs(20));
/// assert!(RedisStore::open("redis://127.0.0.1:6379", patient).is_ok(), "connects when it is first used");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisOptions {
    /// Longest wait for a connection, the handshake included. Default 2 s. After this time a call fails with
    /// [`StoreError::Unavailable`](crate::store::StoreError::Unavailable).
    pub connect_timeout: Duration,
    /// Longest wait for a reply. Default 5 s. After this time the connection is replaced, and the call fails with
    /// [`StoreError::Unavailable`](crate::store::StoreError::Unavailable): its outcome is unknown, so send it again under the same id.
    pub call_timeout: Duration,
    /// Whether to accept a server that may evict keys without an expiry when its memory is full (`maxmemory-policy allkeys-…`). Default `false`: such a server is
    /// refused, because it loses jobs silently.
    pub allow_eviction: bool,
    /// What the names of all keys and channels begin with. Default `retraced`. Stores with two prefixes share nothing.
    pub prefix: KeyPrefix,
    /// What a `rediss://` URL trusts, and how it proves who it is. Default: the system's root certificates, and no client certificate.
    pub tls: TlsOptions,
}

impl RedisOptions {
    /// Sets the longest wait for a connection.
    #[must_use]
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// Sets the longest wait for a reply.
    #[must_use]
    pub fn call_timeout(self, call_timeout: Duration) -> Self {
        Self { call_timeout, ..self }
    }

    /// Accepts a server that may evict keys, and with them jobs.
    #[must_use]
    pub fn allow_eviction(self) -> Self {
        Self { allow_eviction: true, ..self }
    }

    /// Sets what the names of all keys and channels begin with, so that several applications can share a server.
    #[must_use]
    pub fn prefix(self, prefix: KeyPrefix) -> Self {
        Self { prefix, ..self }
    }

    /// Sets what a `rediss://` URL trusts, and how it proves who it is.
    #[must_use]
    pub fn tls(self, tls: TlsOptions) -> Self {
        Self { tls, ..self }
    }
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            connect_timeout: CONNECT_TIMEOUT,
            call_timeout: CALL_TIMEOUT,
            allow_eviction: false,
            prefix: KeyPrefix::default(),
            tls: TlsOptions::default(),
        }
    }
}
