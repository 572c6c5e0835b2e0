//! The store itself: its connections, the check of the server, and the subscription for hints.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::time::timeout;

use super::connection::Link;
use super::endpoint::Endpoint;
use super::keys::{Keyspace, QueueKeys};
use super::options::RedisOptions;
use super::{hints, scripts, server_check};
use crate::job::QueueName;
use crate::limits::redis::SUBSCRIPTION_PING_EVERY;
use crate::store::{Block, BlockedStore, Hint, Store, StoreError, StoreFacts, StoreFuture};

/// A store in a Redis or Valkey server. Cheap to clone; clones share their connections.
///
/// There are three connections, so that no renewal and no settlement waits behind a large enqueue or listing: one for the renewal of leases and the recorded starts
/// of handlers, one for the other calls of workers about jobs (claim, settle, promote, reclaim, reconcile, probe), and one for everything else. Each subscription for hints opens one more. A
/// connection is opened when it is first used, on the tokio runtime of that call, and again after it was lost.
///
/// ```no_run
/// # async fn example() -> Result<(), retraced_jobs::store::StoreError> {
/// use retraced_jobs::store::redis::RedisStore;
/// let store = RedisStore::connect("redis://127.0.0.1:6379").await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisStore(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) options: RedisOptions,
    /// Claims, settlements, promotions, reclaims, reconciliations and probes of workers.
    pub(super) work: Link,
    /// Enqueues, listings, actions of operators, trims, audits and the ledger.
    pub(super) general: Link,
    /// Renewals, and the recorded starts of handlers.
    pub(super) renewals: Link,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("address", &self.0.endpoint.address()).finish_non_exhaustive()
    }
}

impl RedisStore {
    /// Connects to the server at this URL, with default options, and checks that it can be used for jobs. The URL is `redis://[user:password@]host[:port][/database]`, the same with
    /// `rediss://` for TLS, or `redis+unix:///path[?db=5&user=U&pass=P]`; `?protocol=3` asks for RESP3. Any other parameter is refused. TLS needs the feature `tls`; [`TlsOptions`](super::TlsOptions) say
    /// whom it trusts, by default the system's root certificates or those in the file that the environment variable `SSL_CERT_FILE` names.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the server does not answer, [`StoreError::Blocked`] when it refuses even the check, because it is loading its data or the
    /// user lacks a right, [`StoreError::Refused`] when the URL cannot be read or needs a feature that this build lacks, the password is wrong, the certificate is not trusted, or the
    /// server is too old, a node of a Redis Cluster, a replica, or may evict keys that hold jobs;
    /// [`StoreError::Corrupt`] for any other error of the server.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let store = Self::open(url, RedisOptions::default())?;
        store.check().await?.usable()?;
        Ok(store)
    }

    /// Makes a store without connecting, for a process that must start while Redis is unavailable. The first call connects; [`check`](Self::check) checks the
    /// server as [`connect`](Self::connect) does.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the URL cannot be read or needs a feature that this build lacks, or the [`TlsOptions`](super::TlsOptions) cannot be used.
    ///
    /// ```
    /// use retraced_jobs::store::redis::{RedisOptions, RedisStore};
    /// let store = RedisStore::open("redis://:secret@10.0.0.1", RedisOptions::default()).unwrap();
    /// assert_eq!(format!("{store:?}"), "RedisStore { address: \"10.0.0.1:6379\", .. }");
    /// let refused = RedisStore::open("http://:secret@10.0.0.1", RedisOptions::default()).unwrap_err();
    /// assert!(!refused.to_string().contains("secret"));
    /// ```
    pub fn open(url: &str, options: RedisOptions) -> Result<Self, StoreError> {
        let endpoint = Arc::new(Endpoint::new(url, options.clone())?);
        Ok(Self(Arc::new(Inner {
            work: Link::new(endpoint.clone()),
            general: Link::new(endpoint.clone()),
            renewals: Link::new(endpoint.clone()),
            endpoint,
            options,
        })))
    }

    /// Checks the server as [`probe`](Store::probe) does, but on the connection for producers and operators. A connection lives on the tokio runtime that opens it. So a program that checks the
    /// server before it starts a worker should call this: after a `probe` the worker would claim and settle on the runtime of that call, and would stop when that runtime is blocked.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Blocked`] or [`StoreError::Corrupt`] as for every call, and [`StoreError::Refused`] when the server refuses this client. A server that answers and must not be used, such as a replica, is
    /// reported by [`StoreFacts::usable`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), retraced_jobs::store::StoreError> {
    /// use retraced_jobs::store::redis::{RedisOptions, RedisStore};
    /// let store = RedisStore::open("redis://127.0.0.1:6379", RedisOptions::default())?;
    /// store.check().await?.usable()?;
    /// # Ok(()) }
    /// ```
    pub async fn check(&self) -> Result<StoreFacts, StoreError> {
        self.check_by(&self.0.general).await
    }

    async fn check_by(&self, link: &Link) -> Result<StoreFacts, StoreError> {
        let probed = scripts::probe(link).await?;
        let rights = link.rights_now("probe").await?;
        let mut facts = match server_check::inspect(link, self.0.options.allow_eviction, rights.publishes).await {
            Err(StoreError::Refused { reason, .. }) => StoreFacts { unusable: Some(reason), ..StoreFacts::default() },
            facts => facts?,
        };
        facts.now_ms = Some(probed.now_ms);
        facts.blocked = match probed.writes_refused.and_then(|said| self.0.endpoint.blocked(&said)) {
            Some(blocked) => Some(blocked),
            // Before version 7 Redis does not apply min-replicas-to-write to scripts, but to commands outside of them.
            None => match link.send("probe", redis::cmd("HDEL").arg(&self.keyspace().probe).arg("")).await {
                Err(StoreError::Blocked { by, said, .. }) if by != Block::Rights => Some(BlockedStore::new(by, said)),
                _ => rights.refusal(scripts::needed_by_workers()).map(|missing| {
                    BlockedStore::new(Block::Rights, format!("{}: {missing}", self.0.endpoint.address()))
                }),
            },
        };
        if facts.blocked.is_none() {
            facts.blocked = self.0.endpoint.login_block("probe").await?;
        }
        Ok(facts)
    }

    pub(super) fn keyspace(&self) -> &Keyspace {
        self.0.endpoint.keyspace()
    }

    pub(super) fn keys(&self, queue: &QueueName) -> Arc<QueueKeys> {
        self.keyspace().of(queue)
    }
}

impl Store for RedisStore {
    fn probe(&self) -> StoreFuture<'_, StoreFacts> {
        Box::pin(self.check_by(&self.0.work))
    }

    fn hints(&self, queues: &[QueueName]) -> StoreFuture<'_, BoxStream<'static, Hint>> {
        let channels: Vec<String> = queues.iter().map(|queue| self.keyspace().hint_channel(queue)).collect();
        let queue_of: HashMap<String, QueueName> = channels.iter().cloned().zip(queues.iter().cloned()).collect();
        Box::pin(async move {
            if channels.is_empty() {
                return Ok(stream::pending().boxed());
            }
            let (sink, messages) = self.0.endpoint.subscribe("hints", &channels).await?.split();
            let call_timeout = self.0.options.call_timeout;
            let hints = stream::unfold((sink, messages), move |(mut sink, mut messages)| async move {
                loop {
                    match timeout(SUBSCRIPTION_PING_EVERY, messages.next()).await {
                        Ok(Some(message)) => return Some((message, (sink, messages))),
                        Ok(None) => return None,
                        // A dead connection is as silent as an idle one. The ping tells them apart.
                        Err(_) => match timeout(call_timeout, sink.ping::<redis::Value>()).await {
                            Ok(Ok(_)) => {}
                            Ok(Err(_)) | Err(_) => return None,
                        },
                    }
                }
            });
            let hints = hints.flat_map(move |message| {
                let queue = queue_of.get(message.get_channel_name());
                stream::iter(
                    queue.map(|queue| hints::from_message(queue, message.get_payload_bytes())).unwrap_or_default(),
                )
            });
            Ok(hints.boxed())
        })
    }
}
