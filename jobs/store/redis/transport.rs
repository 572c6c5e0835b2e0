//! How bytes get to the server: over TCP, a Unix socket or TLS.

use std::io;
use std::panic::AssertUnwindSafe;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::io::tcp::{TcpSettings, socket2};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisError};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};
#[cfg(feature = "tls")]
use tokio_util::task::AbortOnDropHandle;

use super::TlsOptions;
#[cfg(feature = "tls")]
use super::tls::Connector;
#[cfg(feature = "tls")]
use super::tls_failure::TlsFailure;
use crate::limits::redis::{KEEPALIVE, PIPELINE_MAX, REFUSAL_BYTES_MAX, REFUSAL_PAUSE, REFUSAL_TIMEOUT};

/// Opens connections to one server.
pub(super) struct Transport {
    client: Client,
    #[cfg(feature = "tls")]
    tls: Option<Connector>,
    /// When the words of a refusal were last asked for, unless there were some.
    asked_in_vain_at: Mutex<Option<Instant>>,
}

/// An open connection. Clones share it; it is closed when the last one is dropped.
#[derive(Clone)]
pub(super) struct OpenConnection {
    pub(super) connection: MultiplexedConnection,
    /// The task that moves the bytes of a TLS connection. For other connections the `redis` crate spawns such a task itself.
    #[cfg(feature = "tls")]
    _driver: Option<Arc<AbortOnDropHandle<()>>>,
}

/// Turns a panic into an error: tokio looks up the name of a host on a thread of its own, and panics if no thread is left to be started.
async fn without_panic<T>(opening: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
    AssertUnwindSafe(opening).catch_unwind().await.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        let said = said.unwrap_or("no message");
        Err(io::Error::other(format!("the connection could not be opened, because of a panic: {said}")).into())
    })
}

/// The first line that comes on a connection, if it is an error of a Redis server and nothing was sent.
async fn first_error<S: AsyncRead + Unpin>(connecting: impl Future<Output = io::Result<S>>) -> Option<String> {
    let reading = without_panic(async {
        let mut line = String::new();
        BufReader::new(connecting.await?.take(REFUSAL_BYTES_MAX)).read_line(&mut line).await?;
        Ok(line)
    });
    let line = timeout(REFUSAL_TIMEOUT, reading).await.ok()?.ok()?;
    let said = line.strip_prefix('-')?.trim_end().trim_end_matches('.');
    // The rest of it is advice, several lines long, of which this is the essence.
    let advice = if said.starts_with("DENIED") {
        "; give the server a password and write it in the URL, or turn its protected mode off"
    } else {
        ""
    };
    Some(format!("{}{advice}", said.split(". ").next().unwrap_or(said)))
}

impl Transport {
    /// The error says what cannot be used, and has no secrets.
    pub(super) fn new(info: ConnectionInfo, options: &TlsOptions) -> Result<Self, String> {
        let is_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        if !is_tls && *options != TlsOptions::default() {
            return Err("TLS options need a rediss:// URL; with this URL nothing would be encrypted".into());
        }
        #[cfg(feature = "tls")]
        let tls = match info.addr() {
            ConnectionAddr::TcpTls { host, port, .. } => Some(Connector::new(host, *port, options)?),
            _ => None,
        };
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
        let client = Client::open(info.set_tcp_settings(tcp))
            .map_err(|_| "this Redis URL is not supported on this system".to_owned())?;
        Ok(Self {
            client,
            #[cfg(feature = "tls")]
            tls,
            asked_in_vain_at: Mutex::default(),
        })
    }

    pub(super) async fn open(&self) -> Result<OpenConnection, RedisError> {
        without_panic(self.connect()).await
    }

    pub(super) async fn open_subscription(&self) -> Result<PubSub, RedisError> {
        without_panic(self.subscribe()).await
    }

    async fn connect(&self) -> Result<OpenConnection, RedisError> {
        // The timeouts of the `redis` crate are off, because each call has its own.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE_MAX);
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let login = self.client.get_connection_info().redis_settings();
            let (connection, driver) =
                MultiplexedConnection::new_with_config(login, tls.connect().await?, config).await?;
            let driver = Arc::new(AbortOnDropHandle::new(tokio::spawn(driver)));
            return Ok(OpenConnection { connection, _driver: Some(driver) });
        }
        Ok(OpenConnection {
            connection: self.client.get_multiplexed_async_connection_with_config(&config).await?,
            #[cfg(feature = "tls")]
            _driver: None,
        })
    }

    async fn subscribe(&self) -> Result<PubSub, RedisError> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return PubSub::new(self.client.get_connection_info().redis_settings(), tls.connect().await?).await;
        }
        self.client.get_async_pubsub().await
    }

    /// What is wrong and what to do, if TLS is the reason for this error.
    #[cfg(feature = "tls")]
    pub(super) fn tls_reason(error: &RedisError) -> Option<String> {
        TlsFailure::of(error).map(|failure| failure.reason)
    }

    /// As [`tls_reason`](Self::tls_reason), but only if trying again cannot help: a certificate or a configuration must be changed first.
    #[cfg(feature = "tls")]
    pub(super) fn lasting_tls_reason(error: &RedisError) -> Option<String> {
        TlsFailure::of(error).filter(|failure| failure.is_lasting).map(|failure| failure.reason)
    }

    /// None: this build has no TLS.
    #[cfg(not(feature = "tls"))]
    pub(super) fn tls_reason(_: &RedisError) -> Option<String> {
        None
    }

    /// None: this build has no TLS.
    #[cfg(not(feature = "tls"))]
    pub(super) fn lasting_tls_reason(_: &RedisError) -> Option<String> {
        None
    }

    /// The words with which the server closes a new connection, as in protected mode or when it has too many clients. Where something was sent, a reset may come before them, so they
    /// are read on a connection that sends nothing.
    pub(super) async fn words_of_refusal(&self) -> Option<String> {
        if self.asked_in_vain_at().is_some_and(|at| at.elapsed() < REFUSAL_PAUSE) {
            return None;
        }
        // Before they are asked for: the caller may give up meanwhile.
        *self.asked_in_vain_at() = Some(Instant::now());
        let words = match self.client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) => first_error(TcpStream::connect((host.as_str(), *port))).await,
            #[cfg(unix)]
            ConnectionAddr::Unix(path) => first_error(UnixStream::connect(path)).await,
            _ => None,
        };
        if words.is_some() {
            *self.asked_in_vain_at() = None;
        }
        words
    }

    fn asked_in_vain_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.asked_in_vain_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What may be the matter if the server closes a new connection before it answers, to be appended to the error.
    pub(super) fn advice_on_closed(&self) -> &'static str {
        match self.client.get_connection_info().addr() {
            ConnectionAddr::Tcp(..) => {
                "; it closed the connection before it answered: if its port speaks TLS, write rediss:// in the URL; otherwise it may be in protected mode or have too many \
                 clients, which its log says"
            }
            ConnectionAddr::TcpTls { .. } => {
                "; it closed the connection before it answered: if it asks for a client certificate, give one (TlsOptions::client_certificate)"
            }
            _ => "; it closed the connection before it answered",
        }
    }

    /// What may be the matter if no connection was made in time, to be appended to the error.
    pub(super) fn advice_on_no_connection(&self) -> &'static str {
        match self.client.get_connection_info().addr() {
            ConnectionAddr::TcpTls { .. } => {
                "; if its port has no TLS, write redis:// in the URL; otherwise it may be frozen, its host may be down, or a firewall may be in between"
            }
            ConnectionAddr::Tcp(..) => "; it may be frozen, its host may be down, or a firewall may be in between",
            _ => "; it may be frozen",
        }
    }
}
