//! The measured server, accessed without the store: reads what it has spent and how many keys it holds, and removes what the benchmark created.

use std::time::Instant;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, Script};
use retraced::QueueName;
use retraced::store::KeyPrefix;

use crate::error::CliError;
use crate::limits::{
    BENCH_QUEUES_MAX, SCAN_KEYS_MAX, SERVER_COMMAND_TIMEOUT, SERVER_CONNECT_TIMEOUT, SERVER_FREE_CHECK_INTERVAL,
    SERVER_FREE_MAX,
};
use crate::output::one_line;

/// Removes these keys if the database holds no others.
/// KEYS the keys; reply: how many were removed.
const UNLINK_ALL: &str = "if redis.call('DBSIZE') ~= #KEYS then return 0 end return redis.call('UNLINK', unpack(KEYS))";

/// A connection to the server, apart from those of the store.
pub(super) struct Server(MultiplexedConnection);

/// What the server has spent since it started, and the memory it uses.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counters {
    /// Seconds of processor time, user and system.
    pub(super) cpu_s: f64,
    /// Commands, including those inside scripts.
    pub(super) calls: u64,
    /// Reads from sockets: about one per round trip.
    pub(super) reads: u64,
    /// Bytes of memory in use.
    pub(super) memory_bytes: u64,
}

impl Server {
    pub(super) async fn open(url: &str) -> Result<Self, CliError> {
        connect(url).await.map(Self)
    }

    /// The server's name and version.
    pub(super) async fn name(&mut self) -> Result<String, CliError> {
        let info = Info(self.ask(&redis::cmd("INFO")).await?);
        Ok(match info.text("valkey_version") {
            Some(own) => format!("Valkey {own}"),
            None => format!("Redis {}", info.text("redis_version").unwrap_or("of an unknown version")),
        })
    }

    pub(super) async fn counters(&mut self) -> Result<Counters, CliError> {
        let info = Info(self.ask(&redis::cmd("INFO")).await?);
        let number = |name| info.text(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        let seconds = |name| info.text(name).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        Ok(Counters {
            cpu_s: seconds("used_cpu_user") + seconds("used_cpu_sys"),
            calls: number("total_commands_processed"),
            reads: number("total_reads_processed"),
            memory_bytes: number("used_memory"),
        })
    }

    /// How many keys the database holds.
    pub(super) async fn keys(&mut self) -> Result<u64, CliError> {
        self.ask(&redis::cmd("DBSIZE")).await
    }

    /// Removes the keys of a queue, of its idle queues and of the floor, which all have the name of a queue as their hash tag. Then waits until their memory is free.
    /// Gives up after [`SERVER_FREE_MAX`].
    pub(super) async fn remove_queue(&mut self, queue: &QueueName) -> Result<(), CliError> {
        let deadline = Instant::now() + SERVER_FREE_MAX;
        // Calls of a process that was stopped may still arrive, so the scan is repeated until it finds no key.
        while self.remove_matching(&format!("*{{{queue}[.}}]*")).await? > 0 && Instant::now() < deadline {}
        loop {
            let info = Info(self.ask(redis::cmd("INFO").arg("memory")).await?);
            if matches!(info.text("lazyfree_pending_objects"), None | Some("0")) || Instant::now() > deadline {
                return Ok(());
            }
            tokio::time::sleep(SERVER_FREE_CHECK_INTERVAL).await;
        }
    }

    /// Removes a queue and its idle queues from the set of all queues. If the database was empty before, it also removes the keys that all queues share, unless
    /// the database holds other keys by now.
    pub(super) async fn remove_shared(
        &mut self,
        queue: &QueueName,
        prefix: &KeyPrefix,
        was_empty: bool,
    ) -> Result<(), CliError> {
        let idle_queues: Vec<String> = idle_queues(queue).collect();
        self.ask::<()>(redis::cmd("SREM").arg(prefix.queues_key()).arg(queue.as_str()).arg(idle_queues)).await?;
        let (_, left): (String, Vec<Vec<u8>>) =
            self.ask(redis::cmd("SCAN").arg(0).arg("COUNT").arg(SCAN_KEYS_MAX)).await?;
        let begin = format!("{prefix}:");
        let is_shared = |key: &Vec<u8>| key.starts_with(begin.as_bytes()) && !key.contains(&b'{');
        if was_empty && !left.is_empty() && left.iter().all(is_shared) {
            let script = Script::new(UNLINK_ALL);
            let mut call = script.prepare_invoke();
            left.iter().for_each(|key| {
                call.key(key);
            });
            call.invoke_async::<()>(&mut self.0).await.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    async fn remove_matching(&mut self, pattern: &str) -> Result<usize, CliError> {
        let (mut cursor, mut removed) = (0_u64, 0);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_KEYS_MAX);
            let (next, found): (u64, Vec<Vec<u8>>) = self.ask(&scan).await?;
            if !found.is_empty() {
                removed += self.ask::<usize>(redis::cmd("UNLINK").arg(&found)).await?;
            }
            if next == 0 {
                return Ok(removed);
            }
            cursor = next;
        }
    }

    async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, CliError> {
        command.query_async(&mut self.0).await.map_err(|error| failed(&error))
    }
}

/// The names of the queues that the measurement `idle` uses instead of this one. [`Server::remove_queue`] removes them as well.
pub(super) fn idle_queues(queue: &QueueName) -> impl Iterator<Item = String> {
    (0..BENCH_QUEUES_MAX).map(move |number| format!("{queue}.{number}"))
}

/// Opens a connection without the store.
pub(super) async fn connect(url: &str) -> Result<MultiplexedConnection, CliError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(SERVER_CONNECT_TIMEOUT))
        .set_response_timeout(Some(SERVER_COMMAND_TIMEOUT));
    // An error about the URL could quote its password; the store has accepted the URL already.
    let client = Client::open(url).map_err(|_| CliError::Failed("the Redis URL cannot be read".into()))?;
    client.get_multiplexed_async_connection_with_config(&config).await.map_err(|error| failed(&error))
}

pub(super) fn failed(error: &RedisError) -> CliError {
    CliError::Failed(format!("a Redis command of this measurement failed: {}", one_line(error)))
}

/// The reply of INFO.
struct Info(String);

impl Info {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }
}
