//! Connections to one server. Timeouts and reconnects are handled here, not by the `redis` crate.
//!
//! After the timeout of a call its outcome is *unknown*: the connection is dropped and the error is `Unavailable`. The caller may send the same call again,
//! which opens a new connection. If a caller gives up earlier, having heard nothing for [`SILENCE_MAX`], the next call opens a new connection. This file sends nothing again, except a
//! script that the server does not know.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::endpoint::{AfterError, Endpoint};
use super::keys::Keyspace;
use super::rights::Rights;
use super::script::LuaScript;
use super::transport::OpenConnection;
use crate::limits::redis::{RECONNECT_PAUSE, SILENCE_MAX};
use crate::store::{Block, StoreError};

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
        self.endpoint.keyspace()
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
                if self.endpoint.translate(operation, &error).1 == AfterError::Replace {
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
        let is_new = kept.is_none();
        let (mut wire, answers) = match kept {
            Some(open) => (open.wire, open.answers),
            None => {
                let opened = self.endpoint.open(operation).await;
                let wire = opened.inspect_err(|error| self.endpoint.login.answered(error))?;
                current.opened += 1;
                current.opened_at = Some(Instant::now());
                (wire, Arc::default())
            }
        };
        let rights_asked = Instant::now();
        let rights = match Rights::read(&mut wire.connection, self.endpoint.keyspace()).await {
            Ok(rights) => Arc::new(rights?),
            Err(error) => {
                let (error, after) = match is_new {
                    true => self.endpoint.translate_opening(operation, &error).await,
                    false => self.endpoint.translate(operation, &error),
                };
                if is_new {
                    self.endpoint.login.answered(&error);
                }
                if after == AfterError::Keep {
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
