//! A Redis server for one test, on a unix socket in a temporary directory. Dropping [`RedisServer`] kills the process.

use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::Commands;
use tempfile::TempDir;

/// The longest wait until a server listens.
const START_MAX: Duration = Duration::from_secs(20);
/// The file that says by how many seconds the server's clock differs from the real one.
const CLOCK_FILE: &str = "clock";
/// The library made of `clock.c`, which the server loads.
const CLOCK_LIBRARY: &str = "clock.so";

pub struct RedisServer {
    child: Child,
    folder: TempDir,
    binary: String,
    options: Vec<String>,
    own_clock: bool,
}

impl RedisServer {
    /// Starts a server that persists nothing.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with further options, as in `["--maxmemory", "20mb"]`.
    pub fn start_with(options: &[&str]) -> Self {
        Self::start_binary("redis-server", options)
    }

    /// Starts a server of this program.
    pub fn start_binary(binary: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let child = spawn(binary, &folder, &options, false);
        Self { child, folder, binary: binary.to_owned(), options, own_clock: false }
    }

    /// Starts a server whose wall clock [`set_clock`](Self::set_clock) moves. Needs a C compiler, as Rust does to link.
    pub fn start_with_own_clock() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CLOCK_FILE), 0_i64.to_ne_bytes()).unwrap();
        let source = folder.path().join("clock.c");
        std::fs::write(&source, include_str!("clock.c")).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(folder.path().join(CLOCK_LIBRARY)).arg(source);
        assert!(compiler.status().unwrap().success());
        let child = spawn("redis-server", &folder, &[], true);
        Self { child, folder, binary: "redis-server".into(), options: Vec::new(), own_clock: true }
    }

    /// Sets the server's clock this many seconds ahead of the real one, or back behind it.
    pub fn set_clock(&self, ahead_s: i64) {
        // Written in place, because the server has mapped the file.
        let file = std::fs::OpenOptions::new().write(true).open(self.folder.path().join(CLOCK_FILE)).unwrap();
        file.write_all_at(&ahead_s.to_ne_bytes(), 0).unwrap();
    }

    /// The server programs that are installed. The contract suite runs on each.
    pub fn binaries() -> Vec<&'static str> {
        let found = |binary: &&str| {
            Command::new(binary).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
        };
        ["redis-server", "valkey-server"].into_iter().filter(found).collect()
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    pub fn url_with_password(&self, password: &str) -> String {
        format!("{}?pass={password}", self.url())
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// A connection beside the store, for tests that edit keys.
    pub fn connection(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// Whether the server applies `min-replicas-to-write` to scripts, as it does from version 7 on.
    pub fn scripts_need_replicas(&self) -> bool {
        let info: String = redis::cmd("INFO").arg("server").query(&mut self.connection()).unwrap();
        let major =
            info.lines().find_map(|line| line.strip_prefix("redis_version:")?.split('.').next()?.parse::<u32>().ok());
        major.unwrap() >= 7
    }

    /// Sets an option of the running server.
    pub fn set(&self, option: &str, value: &str) {
        let _: () = redis::cmd("CONFIG").arg("SET").arg(option).arg(value).query(&mut self.connection()).unwrap();
    }

    /// Does to this queue what a clock set back by `by` would do to it: all leases, and all instants by which a reclaim judges them, are later by so much. The clock of
    /// a running server cannot be moved.
    pub fn set_clock_back(&self, prefix: &str, queue: &str, by: Duration) {
        let key = |name: &str| format!("{prefix}:{{{queue}}}:{name}");
        let later = |instant: f64| instant + by.as_secs_f64() * 1000.0;
        let mut raw = self.connection();
        let leases: Vec<(Vec<u8>, f64)> = raw.zrange_withscores(key("lease"), 0, -1).unwrap();
        for (id, expiry) in leases {
            let _: () = raw.zadd(key("lease"), id, later(expiry)).unwrap();
        }
        for field in ["reclaimed_at", "grace_until", "lease_longest_at", "lease_shortest_at"] {
            let instant: Option<f64> = raw.hget(key("stats"), field).unwrap();
            if let Some(instant) = instant.filter(|instant| *instant > 0.0) {
                let _: () = raw.hset(key("stats"), field, later(instant)).unwrap();
            }
        }
    }

    /// Makes it a replica, or a primary again. Nothing listens at the address of its primary, so that it keeps its data.
    pub fn demote(&self, replica: bool) {
        let (host, port) = if replica { ("127.0.0.1", "1") } else { ("no", "one") };
        let _: () = redis::cmd("REPLICAOF").arg(host).arg(port).query(&mut self.connection()).unwrap();
    }

    /// Makes its snapshots fail, after which it takes no writes, or succeed again.
    pub fn break_disk(&self, broken: bool) {
        // A folder is in the place of the file.
        let file = self.folder.path().join("dump.rdb");
        if broken {
            self.set("save", "3600 1");
            let _ = std::fs::remove_file(&file);
            std::fs::create_dir_all(file.join("x")).unwrap();
        } else {
            std::fs::remove_dir_all(&file).unwrap();
        }
        let mut raw = self.connection();
        let _: redis::Value = redis::cmd("BGSAVE").query(&mut raw).unwrap();
        let status = format!("rdb_last_bgsave_status:{}", if broken { "err" } else { "ok" });
        let deadline = Instant::now() + START_MAX;
        loop {
            let info: String = redis::cmd("INFO").arg("persistence").query(&mut raw).unwrap();
            if info.contains(&status) && info.contains("rdb_bgsave_in_progress:0") {
                break;
            }
            assert!(Instant::now() < deadline, "no snapshot: {info}");
            std::thread::sleep(Duration::from_millis(2));
        }
        if !broken {
            self.set("save", "");
        }
    }

    /// Freezes the server: it accepts connections but answers nothing until [`thaw`](Self::thaw).
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Kills the server and starts it again on the same socket. It is empty unless its options let it persist data.
    pub fn restart(&mut self) {
        self.stop();
        self.child = spawn(&self.binary, &self.folder, &self.options, self.own_clock);
    }

    /// Kills the server.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(self.socket());
    }

    fn signal(&self, signal: &str) {
        let done = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(binary: &str, folder: &TempDir, options: &[String], own_clock: bool) -> Child {
    let socket = folder.path().join("s");
    let mut command = Command::new(binary);
    if own_clock {
        command.env("LD_PRELOAD", folder.path().join(CLOCK_LIBRARY)).env("TEST_CLOCK", folder.path().join(CLOCK_FILE));
    }
    let mut child = command
        .args(["--port", "0", "--save", "", "--appendonly", "no"])
        .arg("--unixsocket")
        .arg(&socket)
        .arg("--dir")
        .arg(folder.path())
        .args(options)
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{binary} is needed on the path to test against: {error}"));
    let deadline = Instant::now() + START_MAX;
    while UnixStream::connect(&socket).is_err() {
        if let Some(status) = child.try_wait().unwrap() {
            panic!("{binary} ended before it listened: {status}");
        }
        assert!(Instant::now() < deadline, "{binary} did not listen within {START_MAX:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}
