//! Connections to one server. Timeouts and reconnects are handled here, not by the `redis` crate.
//!
//! After the timeout of a call its outcome is *unknown*: the connection is dropped and the error is `Unavailable`. The caller may send the same call again,
//! which opens a new connection. If a caller gives up earlier, having heard nothing for [`SILENCE_MAX`], the next call opens a new connection. This file sends nothing again, except a
//! script that the server does not know.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::PubSub;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::RedisOptions;
use super::keys::Keyspace;
use super::login::Login;
use super::reply::corrupt;
use super::rights::Rights;
use super::script::LuaScript;
use super::server_error::{
    CHECK_LOGIN, CLUSTER, advice_on_missing_right, advice_on_no_answer, block, refusal, refuses_login, said,
};
use super::transport::{OpenConnection, Transport};
use super::url;
use crate::limits::redis::{RECONNECT_PAUSE, SILENCE_MAX};
use crate::store::{Block, BlockedStore, StoreError};

/// The address of the server and how to connect to it. Holds the password, which `Debug` does not show.
pub(super) struct Endpoint {
    transport: Transport,
    /// `host:port` or the socket's path: what logs and errors may show.
    address: String,
    /// Texts that no error may show.
    secrets: Vec<String>,
    keyspace: Keyspace,
    options: RedisOptions,
    login: Login,
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

    /// Opens a new connection that is subscribed to these channels.
    pub(super) async fn subscribe(&self, operation: &'static str, channels: &[String]) -> Result<PubSub, StoreError> {
        let opening = async {
            let mut subscription = self.transport.open_subscription().await?;
            subscription.subscribe(channels).await?;
            Ok::<_, RedisError>(subscription)
        };
        match timeout(self.options.connect_timeout, opening).await {
            Ok(Ok(subscription)) => Ok(subscription),
            Ok(Err(error)) => Err(match self.translate_opening(operation, &error).0 {
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

    fn missing_right(&self, operation: &'static str, what: String) -> StoreError {
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
            Err(error) => match self.translate_opening(operation, &error).0 {
                StoreError::Blocked { by: Block::Login, said, .. } => Ok(Some(BlockedStore::new(Block::Login, said))),
                error => Err(error),
            },
        }
    }

    fn no_connection(&self, operation: &'static str) -> StoreError {
        let (limit, advice) = (self.options.connect_timeout, self.transport.advice_on_no_connection());
        self.unavailable(operation, format!("no connection to {} within {limit:?}{advice}", self.address))
    }

    fn no_answer(&self, operation: &'static str) -> StoreError {
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

    /// As [`translate`](Self::translate), for a new connection: why a server may close it before it answers.
    fn translate_opening(&self, operation: &'static str, error: &RedisError) -> (StoreError, Connection) {
        // Only here: on an open connection a call may have been applied before TLS failed.
        if let Some(reason) = Transport::lasting_tls_reason(error) {
            let reason = format!("{} cannot be used over TLS: {reason}", self.address);
            return (StoreError::Refused { operation, reason }, Connection::Replace);
        }
        let closed = error.is_connection_dropped() && !error.is_connection_refusal();
        if closed && Transport::tls_reason(error).is_none() {
            let (text, advice) = (said(error), self.transport.advice_on_closed());
            return (self.unavailable(operation, format!("{}: {text}{advice}", self.address)), Connection::Replace);
        }
        self.translate(operation, error)
    }

    /// Turns an error of the `redis` crate into a [`StoreError`], and says what becomes of the connection.
    fn translate(&self, operation: &'static str, error: &RedisError) -> (StoreError, Connection) {
        // `raw` decides and `text` is shown: without the secrets a phrase may be incomplete, because a short password can be a part of any word.
        let raw = said(error);
        let text = self.without_secrets(raw.clone());
        let address = &self.address;
        let refused =
            |advice: &str| StoreError::Refused { operation, reason: format!("{address} says: {text}; {advice}") };
        match error.kind() {
            _ if let Some(reason) = Transport::tls_reason(error) => (
                self.unavailable(operation, format!("{address} cannot be used over TLS: {reason}")),
                Connection::Replace,
            ),
            ErrorKind::Io | ErrorKind::Parse => {
                let advice = advice_on_no_answer(error);
                (self.unavailable(operation, format!("{address}: {text}{advice}")), Connection::Replace)
            }
            ErrorKind::AuthenticationFailed => (self.login_refused(operation, &text), Connection::Replace),
            ErrorKind::InvalidClientConfig | ErrorKind::RESP3NotSupported => {
                (refused("check the Redis URL"), Connection::Replace)
            }
            ErrorKind::Server(ServerErrorKind::TryAgain | ServerErrorKind::ClusterDown) => {
                (self.unavailable(operation, format!("{address}: {text}; {CLUSTER}")), Connection::Keep)
            }
            _ if raw.contains("max number of clients") => {
                (self.unavailable(operation, format!("{address}: {text}")), Connection::Replace)
            }
            _ if refuses_login(&raw) => (self.login_refused(operation, &text), Connection::Replace),
            _ if let Some(advice) = refusal(&raw) => (refused(advice), Connection::Replace),
            _ if let Some(advice) = advice_on_missing_right(&raw) => {
                let advice = advice.replace("PREFIX", self.keyspace.prefix().as_str());
                (self.missing_right(operation, format!("{text}; {advice}")), Connection::Keep)
            }
            _ if let Some(by) = block(&raw) => {
                let said = format!("{address} says: {text}");
                // After a failover the address may lead to the new primary, but only a new connection.
                let connection = if by == Block::Replica { Connection::Replace } else { Connection::Keep };
                (StoreError::Blocked { operation, by, said }, connection)
            }
            // Errors of the store's own scripts and of keys with a wrong type, and whatever else the server says: to call again does not help.
            _ => (corrupt(operation, text), Connection::Keep),
        }
    }
}

/// What becomes of a connection after an error.
#[derive(PartialEq, Eq)]
enum Connection {
    Keep,
    Replace,
}

/// One connection that many callers share. It is opened when it is first needed, and again after it was lost.
#[derive(Debug)]
pub(super) struct Link {
    endpoint: Arc<Endpoint>,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    /// How many connections were opened so far; also the number of the present one.
    opened: u64,
    connection: Option<Session>,
    /// When the present connection was opened.
    opened_at: Option<Instant>,
    /// The rights must be read again before the next call: the server refused a call for a missing one, not all could be tried, or a probe asks for what holds now.
    rights_outdated: bool,
}

/// An open connection, with what is known of it.
#[derive(Clone)]
struct Session {
    wire: OpenConnection,
    answers: Arc<Answers>,
    /// What scripts may do on it.
    rights: Arc<Rights>,
    /// When they were asked for.
    rights_asked: Instant,
}

/// Whether a connection still answers. A caller may give up long before the call's own timeout; if it heard nothing for [`SILENCE_MAX`], the next caller opens a new
/// connection. Otherwise a connection that died silently, as behind a firewall that has forgotten it, would be kept while every caller gives up before the call's timeout.
#[derive(Default)]
struct Answers {
    /// How many answers have come.
    count: AtomicU64,
    /// Somebody gave up who had heard nothing for [`SILENCE_MAX`].
    missing: AtomicBool,
}

/// A call that waits for its answer.
struct PendingCall {
    answers: Arc<Answers>,
    /// How many answers had come when it was sent.
    before: u64,
    sent: Instant,
}

impl PendingCall {
    fn new(answers: Arc<Answers>) -> Self {
        Self { before: answers.count.load(Ordering::Relaxed), answers, sent: Instant::now() }
    }

    fn heard(&self) {
        self.answers.count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        let silent = self.answers.count.load(Ordering::Relaxed) == self.before;
        if silent && self.sent.elapsed() >= SILENCE_MAX {
            self.answers.missing.store(true, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current").field("opened", &self.opened).field("open", &self.connection.is_some()).finish()
    }
}

impl Link {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, current: Mutex::default() }
    }

    pub(super) fn keyspace(&self) -> &Keyspace {
        &self.endpoint.keyspace
    }

    /// Sends one command.
    pub(super) async fn send(&self, operation: &'static str, command: &Cmd) -> Result<Value, StoreError> {
        self.translated(operation, self.exchange(operation, command, &[]).await?).await
    }

    /// Runs a script by its hash, or by its text if the server does not know it. `fill` adds keys and arguments. Nothing is sent if the user may not call a command
    /// that the script needs.
    pub(super) async fn run(
        &self,
        operation: &'static str,
        script: &LuaScript,
        fill: impl Fn(&mut Cmd),
    ) -> Result<Value, StoreError> {
        let mut by_hash = redis::cmd("EVALSHA");
        by_hash.arg(script.hash());
        fill(&mut by_hash);
        match self.exchange(operation, &by_hash, script.needs()).await? {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let mut by_text = redis::cmd("EVAL");
                by_text.arg(script.source());
                fill(&mut by_text);
                self.translated(operation, self.exchange(operation, &by_text, script.needs()).await?).await
            }
            answer => self.translated(operation, answer).await,
        }
    }

    async fn translated(
        &self,
        operation: &'static str,
        answer: Result<Value, RedisError>,
    ) -> Result<Value, StoreError> {
        let error = match answer {
            Ok(value) => return Ok(value),
            Err(error) => self.endpoint.translate(operation, &error).0,
        };
        if matches!(error, StoreError::Blocked { by: Block::Rights, .. }) {
            self.current.lock().await.rights_outdated = true;
        }
        Err(error)
    }

    /// Sends one command. The outer error: the user lacks a right that is needed, so nothing was sent; no connection could be opened; or the reply did not come in time. The inner error: the connection was lost, or the
    /// server answered with an error.
    async fn exchange(
        &self,
        operation: &'static str,
        command: &Cmd,
        needs: &[&str],
    ) -> Result<Result<Value, RedisError>, StoreError> {
        let options = &self.endpoint.options;
        let opened = timeout(options.connect_timeout, self.connection(operation, needs)).await;
        let (number, Session { mut wire, answers, rights, .. }) = match opened {
            Ok(connection) => connection?,
            Err(_) => return Err(self.endpoint.no_connection(operation)),
        };
        if let Some(reason) = rights.refusal(needs) {
            return Err(self.endpoint.missing_right(operation, reason));
        }
        let pending = PendingCall::new(answers);
        let answer = async { wire.connection.send_packed_command(command).await?.extract_error() };
        match timeout(options.call_timeout, answer).await {
            Ok(Ok(value)) => {
                pending.heard();
                Ok(Ok(value))
            }
            Ok(Err(error)) => {
                pending.heard();
                if self.endpoint.translate(operation, &error).1 == Connection::Replace {
                    let server_answered = error.kind() != ErrorKind::Io;
                    self.drop_connection(number, if server_answered { RECONNECT_PAUSE } else { Duration::ZERO }).await;
                }
                Ok(Err(error))
            }
            Err(_) => {
                self.drop_connection(number, Duration::ZERO).await;
                Err(self.endpoint.no_answer(operation))
            }
        }
    }

    /// The number of the present connection, and the connection. Opens one if there is none, or if the present one does not answer, and reads its rights. Reads them again if
    /// they lacked what this call needs: it may have been given since.
    async fn connection(&self, operation: &'static str, needs: &[&str]) -> Result<(u64, Session), StoreError> {
        let called = Instant::now();
        let mut current = self.current.lock().await;
        // Taken out, so that no later call uses the connection if the future of this call is dropped while it reads the rights.
        let kept = current.connection.take().filter(|open| !open.answers.missing.load(Ordering::Relaxed));
        let suffices = |open: &&Session| open.rights_asked >= called || open.rights.refusal(needs).is_none();
        if let Some(open) = kept.as_ref().filter(|_| !current.rights_outdated).filter(suffices) {
            current.connection = Some(open.clone());
            return Ok((current.opened, open.clone()));
        }
        let translate = |error: RedisError| self.endpoint.translate_opening(operation, &error).0;
        let is_new = kept.is_none();
        let (mut wire, answers) = match kept {
            Some(open) => (open.wire, open.answers),
            None => {
                let opened = self.endpoint.transport.open().await.map_err(translate);
                let wire = opened.inspect_err(|error| self.endpoint.login.answered(error))?;
                current.opened += 1;
                current.opened_at = Some(Instant::now());
                (wire, Arc::default())
            }
        };
        let rights_asked = Instant::now();
        let rights = match Rights::read(&mut wire.connection, &self.endpoint.keyspace).await {
            Ok(rights) => Arc::new(rights?),
            Err(error) => {
                let (error, connection) = self.endpoint.translate_opening(operation, &error);
                if is_new {
                    self.endpoint.login.answered(&error);
                }
                if connection == Connection::Keep {
                    current.rights_outdated = true;
                    current.connection = Some(Session { wire, answers, rights: Arc::default(), rights_asked });
                }
                return Err(error);
            }
        };
        if is_new {
            self.endpoint.login.succeeded();
        }
        let open = Session { wire, answers, rights, rights_asked };
        current.rights_outdated = !open.rights.conclusive;
        current.connection = Some(open.clone());
        Ok((current.opened, open))
    }

    /// What the user may do now.
    pub(super) async fn rights_now(&self, operation: &'static str) -> Result<Arc<Rights>, StoreError> {
        self.current.lock().await.rights_outdated = true;
        self.rights(operation, &[]).await
    }

    /// Refuses a call that consists of several commands, if the user may not call one of them.
    pub(super) async fn require(&self, operation: &'static str, commands: &[&str]) -> Result<(), StoreError> {
        match self.rights(operation, commands).await?.refusal(commands) {
            None => Ok(()),
            Some(missing) => Err(self.endpoint.missing_right(operation, missing)),
        }
    }

    async fn rights(&self, operation: &'static str, needs: &[&str]) -> Result<Arc<Rights>, StoreError> {
        let limit = self.endpoint.options.connect_timeout;
        match timeout(limit, self.connection(operation, needs)).await {
            Ok(connection) => Ok(connection?.1.rights),
            Err(_) => Err(self.endpoint.no_connection(operation)),
        }
    }

    /// Drops the connection with this number, unless another caller has replaced it meanwhile, or it is younger than `age_min`. Without this bound a server that refuses
    /// every call, such as one that became a replica, would cost a connection per call.
    async fn drop_connection(&self, number: u64, age_min: Duration) {
        let mut current = self.current.lock().await;
        if current.opened == number && current.opened_at.is_none_or(|at| at.elapsed() >= age_min) {
            current.connection = None;
        }
    }
}
