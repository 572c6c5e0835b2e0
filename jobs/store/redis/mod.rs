//! The store on Redis: one Lua file per verb, one typed function per file.
//!
//! Works on Redis 6.2 or newer and on Valkey. The server must not evict keys: an evicted job is a lost job.

mod admin;
mod audit;
mod connection;
mod facts;
mod keys;
mod ledger;
mod reply;
mod scripts;
mod tls;
mod transitions;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::time::timeout;

use self::connection::{Endpoint, Link};
pub use self::keys::QUEUES_KEY;
use self::keys::QueueKeys;
use super::{BATCH_MAX, Hint, Store, StoreError, StoreFacts, StoreFuture};
use crate::job::{JobId, QueueName};
use crate::limits::redis::{CALL_TIMEOUT, CONNECT_TIMEOUT, SUBSCRIPTION_PING_EVERY};

/// How a [`RedisStore`] treats its server.
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
    /// Longest wait for a connection, the handshake included. Default 2 s. After it a call is [`StoreError::Unavailable`].
    pub connect_timeout: Duration,
    /// Longest wait for an answer. Default 5 s. After it the outcome of the call is unknown, the connection is replaced, and the call is
    /// [`StoreError::Unavailable`]: send it again.
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

/// Jobs in a Redis or Valkey server. Cheap to clone; clones share their connections.
///
/// Connections are opened when they are first used, on the tokio runtime of that call, and again whenever they are lost. There are three,
/// so that no renewal and no transition waits behind a large reply: transitions, producers and readers, renewals; and one for each subscription.
///
/// ```no_run
/// # async fn example() -> Result<(), retraced_jobs::store::StoreError> {
/// use retraced_jobs::store::redis::RedisStore;
/// let store = RedisStore::connect("redis://127.0.0.1:6379").await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisStore(Arc<Inner>);

struct Inner {
    endpoint: Arc<Endpoint>,
    options: RedisOptions,
    transitions: Link,
    admin: Link,
    renewals: Link,
    /// Key names, one entry per queue this process has used.
    queues: Mutex<HashMap<QueueName, Arc<QueueKeys>>>,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("address", &self.0.endpoint.address()).finish_non_exhaustive()
    }
}

impl RedisStore {
    /// The store behind this URL, `redis://[user:password@]host[:port][/database]`, the same with `rediss://` for TLS, or `redis+unix:///path`, after
    /// it was checked that the server is there and fit for jobs. TLS needs the feature `tls`; it trusts the system's root certificates, or those in the file
    /// that the environment variable `SSL_CERT_FILE` names.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no server answers, [`StoreError::Refused`] when the URL cannot be read or needs a feature that this build
    /// lacks, the password is wrong, the certificate is not trusted, or the server is too old, a replica, or may evict keys.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let store = Self::open(url, RedisOptions::default())?;
        // Over the admin connection: that of the transitions belongs to the workers, and lives on their runtime.
        store.check(&store.0.admin).await?;
        Ok(store)
    }

    /// The same without checking the server: for a process that must start while Redis is away. Call [`probe`](Store::probe) later.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the URL cannot be read.
    ///
    /// ```
    /// use retraced_jobs::store::redis::{RedisOptions, RedisStore};
    /// let store = RedisStore::open("redis://:secret@10.0.0.1", RedisOptions::default()).unwrap();
    /// assert_eq!(format!("{store:?}"), "RedisStore { address: \"10.0.0.1:6379\", .. }");
    /// let refused = RedisStore::open("http://:secret@10.0.0.1", RedisOptions::default()).unwrap_err();
    /// assert!(!refused.to_string().contains("secret"));
    /// ```
    pub fn open(url: &str, options: RedisOptions) -> Result<Self, StoreError> {
        let endpoint = Arc::new(Endpoint::new(url, options)?);
        Ok(Self(Arc::new(Inner {
            transitions: Link::new(endpoint.clone()),
            admin: Link::new(endpoint.clone()),
            renewals: Link::new(endpoint.clone()),
            queues: Mutex::default(),
            endpoint,
            options,
        })))
    }

    async fn check(&self, link: &Link) -> Result<StoreFacts, StoreError> {
        scripts::probe(link).await?;
        facts::read(link, self.0.options.allow_eviction).await
    }

    fn keys(&self, queue: &QueueName) -> Arc<QueueKeys> {
        let mut queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = queues.get(queue) {
            return keys.clone();
        }
        let keys = Arc::new(QueueKeys::new(queue));
        queues.insert(queue.clone(), keys.clone());
        keys
    }
}

/// Refuses a call that carries, or asks for, more items than one atomic step may have.
fn check_batch(operation: &'static str, items: usize) -> Result<(), StoreError> {
    if items <= BATCH_MAX {
        return Ok(());
    }
    let reason = format!("{items} items are more than the {BATCH_MAX} one call may carry; split it");
    Err(StoreError::Refused { operation, reason })
}

impl Store for RedisStore {
    fn probe(&self) -> StoreFuture<'_, StoreFacts> {
        Box::pin(self.check(&self.0.transitions))
    }

    fn hints(&self, queues: &[QueueName]) -> StoreFuture<'_, BoxStream<'static, Hint>> {
        let channels: Vec<String> = queues.iter().map(keys::wake_channel).collect();
        let queue_of: HashMap<String, QueueName> = channels.iter().cloned().zip(queues.iter().cloned()).collect();
        Box::pin(async move {
            if channels.is_empty() {
                return Ok(stream::pending().boxed());
            }
            let (sink, messages) = self.0.endpoint.subscribe("hints", &channels).await?.split();
            let limit = self.0.options.call_timeout;
            let hints = stream::unfold((sink, messages), move |(mut sink, mut messages)| async move {
                loop {
                    match timeout(SUBSCRIPTION_PING_EVERY, messages.next()).await {
                        Ok(Some(message)) => return Some((message, (sink, messages))),
                        Ok(None) => return None,
                        // A connection that the peer has forgotten stays silent forever: ping it.
                        Err(_) => match timeout(limit, sink.ping::<redis::Value>()).await {
                            Ok(Ok(_)) => {}
                            Ok(Err(_)) | Err(_) => return None,
                        },
                    }
                }
            });
            let hints = hints.flat_map(move |message| {
                let queue = queue_of.get(message.get_channel_name());
                stream::iter(queue.map(|queue| hints_of(queue, message.get_payload_bytes())).unwrap_or_default())
            });
            Ok(hints.boxed())
        })
    }
}

/// The hints of a message on a queue's channel; none for a message of a newer version.
fn hints_of(queue: &QueueName, message: &[u8]) -> Vec<Hint> {
    match message {
        b"pending" => vec![Hint::Pending(queue.clone())],
        b"delayed" => vec![Hint::Due(queue.clone())],
        _ => match (message.strip_prefix(b"cancel:"), message.strip_prefix(b"ended:")) {
            (Some(id), _) => JobId::from_wire(id).map(|id| Hint::Cancel(queue.clone(), id)).into_iter().collect(),
            (None, Some(list)) => ended(queue, list),
            (None, None) => Vec::new(),
        },
    }
}

/// The jobs in a list of state(1) length(1) id (`lua/lib/replay.lua`). Reading stops at what does not fit.
fn ended(queue: &QueueName, mut list: &[u8]) -> Vec<Hint> {
    let mut hints = Vec::new();
    while let Some((&[state, length], rest)) = list.split_first_chunk() {
        let Some((id, rest)) = rest.split_at_checked(usize::from(length)) else { break };
        list = rest;
        let ended = |id| Hint::Ended { queue: queue.clone(), id, state: reply::state_of(state) };
        hints.extend(JobId::from_wire(id).map(ended));
    }
    hints
}
