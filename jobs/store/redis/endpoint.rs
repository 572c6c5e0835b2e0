//! Opens connections to one server, and says what an error of a connection or of the server means.

use std::error::Error as StdError;
use std::fmt;

use redis::aio::PubSub;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use tokio::time::timeout;

use super::RedisOptions;
use super::keys::Keyspace;
use super::login::Login;
use super::reply::corrupt;
use super::server_error::{
    CHECK_LOGIN, CLUSTER, advice_on_missing_right, advice_on_no_answer, block, refusal, refuses_login, said,
};
use super::transport::{OpenConnection, Transport};
use super::url;
use crate::store::{Block, BlockedStore, StoreError};

/// The address of the server and how to connect to it. Holds the password, which `Debug` does not show.
pub(super) struct Endpoint {
    transport: Transport,
    /// `host:port` or the socket's path: what logs and errors may show.
    address: String,
    /// Texts that no error may show.
    secrets: Vec<String>,
    keyspace: Keyspace,
    pub(super) options: RedisOptions,
    pub(super) login: Login,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Endpoint {
    pub(super) fn new(url: &str, options: RedisOptions) -> Result<Self, StoreError> {
        let refuse = |reason: &str| StoreError::Refused { operation: "connect", reason: reason.to_owned() };
        let info = url::read(url).map_err(|reason| refuse(&reason))?;
        let address = info.addr().to_string();
        if info.redis_settings().username().is_some() && info.redis_settings().password().is_none() {
            return Err(refuse(
                "the Redis URL has a user and no password, so the user would be ignored; write user:password@ in front of the host",
            ));
        }
        let secrets: Vec<String> =
            info.redis_settings().password().filter(|p| !p.is_empty()).map(str::to_owned).into_iter().collect();
        let keyspace = Keyspace::new(options.prefix.clone(), info.redis_settings().db());
        let transport = Transport::new(info, &options.tls).map_err(|reason| refuse(&reason))?;
        Ok(Self { transport, address, secrets, keyspace, options, login: Login::default() })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The names of all keys and channels.
    pub(super) fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// Opens a new connection.
    pub(super) async fn open(&self, operation: &'static str) -> Result<OpenConnection, StoreError> {
        match self.transport.open().await {
            Ok(opened) => Ok(opened),
            Err(error) => Err(self.translate_opening(operation, &error).await.0),
        }
    }

    /// Opens a new connection that is subscribed to these channels.
    pub(super) async fn subscribe(&self, operation: &'static str, channels: &[String]) -> Result<PubSub, StoreError> {
        let opening = async {
            let mut subscription = self.transport.open_subscription().await?;
            subscription.subscribe(channels).await?;
            Ok::<_, RedisError>(subscription)
        };
        match timeout(self.options.connect_timeout, opening).await {
            Ok(Ok(subscription)) => Ok(subscription),
            Ok(Err(error)) => Err(match self.translate_opening(operation, &error).await.0 {
                // Without hints all other calls work, so the store is not blocked.
                StoreError::Blocked { by: Block::Rights, said, .. } => StoreError::Refused { operation, reason: said },
                error => error,
            }),
            Err(_) => Err(self.no_connection(operation)),
        }
    }

    /// Why the server refuses writes, by the error that a script got when it tried one; `None` if the error has another cause.
    pub(super) fn blocked(&self, said: &str) -> Option<BlockedStore> {
        let by = block(said)?;
        let said = self.without_secrets(said.trim_end_matches('.').to_owned());
        Some(BlockedStore::new(by, format!("{} says: {said}", self.address)))
    }

    pub(super) fn missing_right(&self, operation: &'static str, what: String) -> StoreError {
        StoreError::Blocked { operation, by: Block::Rights, said: format!("{}: {what}", self.address) }
    }

    /// The server does not accept the user and password.
    fn login_refused(&self, operation: &'static str, text: &str) -> StoreError {
        let said = format!("{} says: {text}", self.address);
        if self.login.refused() {
            return StoreError::Blocked { operation, by: Block::Login, said };
        }
        StoreError::Refused { operation, reason: format!("{said}; {CHECK_LOGIN}") }
    }

    /// If the server has refused user and password, whether it still does: opens a connection to find out, because those that are open are not asked again.
    pub(super) async fn login_block(&self, operation: &'static str) -> Result<Option<BlockedStore>, StoreError> {
        if !self.login.is_doubted() {
            return Ok(None);
        }
        let opening = async {
            let mut opened = self.transport.open().await?;
            // A server that has been given a password refuses the first command, and not the connection.
            redis::cmd("PING").query_async::<()>(&mut opened.connection).await
        };
        match timeout(self.options.connect_timeout, opening).await.map_err(|_| self.no_connection(operation))? {
            Ok(_) => {
                self.login.succeeded();
                Ok(None)
            }
            Err(error) => match self.translate_opening(operation, &error).await.0 {
                StoreError::Blocked { by: Block::Login, said, .. } => Ok(Some(BlockedStore::new(Block::Login, said))),
                error => Err(error),
            },
        }
    }

    pub(super) fn no_connection(&self, operation: &'static str) -> StoreError {
        let (limit, advice) = (self.options.connect_timeout, self.transport.advice_on_no_connection());
        self.unavailable(operation, format!("no connection to {} within {limit:?}{advice}", self.address))
    }

    pub(super) fn no_answer(&self, operation: &'static str) -> StoreError {
        let limit = self.options.call_timeout;
        self.unavailable(
            operation,
            format!(
                "no answer from {} within {limit:?}; it may be frozen, overloaded, or busy with a slow command",
                self.address
            ),
        )
    }

    fn unavailable(&self, operation: &'static str, text: String) -> StoreError {
        let cause: Box<dyn StdError + Send + Sync> = self.without_secrets(text).into();
        StoreError::Unavailable { operation, cause }
    }

    fn without_secrets(&self, text: String) -> String {
        self.secrets.iter().fold(text, |text, secret| text.replace(secret.as_str(), "…"))
    }

    /// As [`translate`](Self::translate), for a new connection. If the server closed it before it answered, connects once more to read why, which takes up to
    /// [`REFUSAL_TIMEOUT`](crate::limits::redis::REFUSAL_TIMEOUT) longer.
    pub(super) async fn translate_opening(
        &self,
        operation: &'static str,
        error: &RedisError,
    ) -> (StoreError, AfterError) {
        // Only here: on an open connection a call may have been applied before TLS failed.
        if let Some(reason) = Transport::lasting_tls_reason(error) {
            let reason = format!("{} cannot be used over TLS: {reason}", self.address);
            return (StoreError::Refused { operation, reason }, AfterError::Replace);
        }
        let closed = error.is_connection_dropped() && !error.is_connection_refusal();
        if closed && Transport::tls_reason(error).is_none() {
            let why = match self.transport.words_of_refusal().await {
                Some(refusal) => format!("{} says: {refusal}", self.address),
                None => format!("{}: {}{}", self.address, said(error), self.transport.advice_on_closed()),
            };
            return (self.unavailable(operation, why), AfterError::Replace);
        }
        self.translate(operation, error)
    }

    /// Turns an error of the `redis` crate into a [`StoreError`], and says what becomes of the connection.
    pub(super) fn translate(&self, operation: &'static str, error: &RedisError) -> (StoreError, AfterError) {
        // `raw` decides and `text` is shown: without the secrets a phrase may be incomplete, because a short password can be a part of any word.
        let raw = said(error);
        let text = self.without_secrets(raw.clone());
        let address = &self.address;
        let refused =
            |advice: &str| StoreError::Refused { operation, reason: format!("{address} says: {text}; {advice}") };
        match error.kind() {
            _ if let Some(reason) = Transport::tls_reason(error) => (
                self.unavailable(operation, format!("{address} cannot be used over TLS: {reason}")),
                AfterError::Replace,
            ),
            // The text would be that of a parser, about bytes that nobody sees.
            ErrorKind::Parse => (
                self.unavailable(
                    operation,
                    format!("{address}: this is no answer of a Redis server: check the address"),
                ),
                AfterError::Replace,
            ),
            ErrorKind::Io => {
                let advice = advice_on_no_answer(error);
                (self.unavailable(operation, format!("{address}: {text}{advice}")), AfterError::Replace)
            }
            ErrorKind::AuthenticationFailed => (self.login_refused(operation, &text), AfterError::Replace),
            ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported => {
                (refused("check the Redis URL"), AfterError::Replace)
            }
            ErrorKind::Server(ServerErrorKind::TryAgain | ServerErrorKind::ClusterDown) => {
                (self.unavailable(operation, format!("{address}: {text}; {CLUSTER}")), AfterError::Keep)
            }
            _ if raw.contains("max number of clients") => {
                (self.unavailable(operation, format!("{address}: {text}")), AfterError::Replace)
            }
            _ if refuses_login(&raw) => (self.login_refused(operation, &text), AfterError::Replace),
            _ if let Some(advice) = refusal(&raw) => (refused(advice), AfterError::Replace),
            _ if let Some(advice) = advice_on_missing_right(&raw) => {
                let advice = advice.replace("PREFIX", self.keyspace.prefix().as_str());
                (self.missing_right(operation, format!("{text}; {advice}")), AfterError::Keep)
            }
            _ if let Some(by) = block(&raw) => {
                let said = format!("{address} says: {text}");
                // After a failover the address may lead to the new primary, but only a new connection.
                let after = if by == Block::Replica { AfterError::Replace } else { AfterError::Keep };
                (StoreError::Blocked { operation, by, said }, after)
            }
            // Errors of the store's own scripts and of keys with a wrong type, and whatever else the server says: to call again does not help.
            _ => (corrupt(operation, text), AfterError::Keep),
        }
    }
}

/// What becomes of a connection after an error.
#[derive(PartialEq, Eq)]
pub(super) enum AfterError {
    Keep,
    Replace,
}
