//! The tables that the rules check against. Whoever changes the structure edits these tables and ARCHITECTURE.md.

/// A crate of the workspace, and its rules.
pub struct Layer {
    /// Its folder, from the root of the workspace. A file belongs to the layer with the longest folder.
    pub folder: &'static str,
    /// Its name in `use`.
    pub name: &'static str,
    /// The root files of its library and its binary. Those that do not exist are ignored.
    pub roots: &'static [&'static str],
    /// The folders of the layers it may name.
    pub may_name: &'static [&'static str],
    /// Its rows, the lowest first. A row names files without `.rs` and folders; a file is in the row with the longest name that fits. A file may import from its own
    /// row and from rows earlier in this list, never from later ones. The crate's `lib.rs` and `main.rs` are above all rows.
    pub rows: &'static [&'static [&'static str]],
    /// Lines of the largest file, without its test modules. Lower it whenever possible; never raise it.
    pub file_lines_max: usize,
    /// Lines of the largest function, from its signature to its last brace. Lower it whenever possible; never raise it.
    pub function_lines_max: usize,
}

/// The tables of all rules. The tests of the rules use tables of their own.
pub struct Tables {
    pub layers: &'static [Layer],
    pub apart: &'static [(&'static str, &'static str)],
    pub restricted: &'static [Restricted],
    pub spawn_allowed: &'static [(&'static str, &'static str)],
    /// Durations outside `limits.rs`: file, name, and why they are no bounds.
    pub durations: &'static [(&'static str, &'static str, &'static str)],
    /// Files and folders that read no clock and draw nothing at random, without `.rs`.
    pub pure: &'static [&'static str],
    /// Files in the folders of `pure` that may.
    pub impure: &'static [&'static str],
}

/// A crate that only some files may name.
pub struct Restricted {
    pub name: &'static str,
    /// Files and folders, without `.rs`.
    pub only_in: &'static [&'static str],
    pub remedy: &'static str,
}

pub const TABLES: Tables = Tables {
    layers: LAYERS,
    apart: APART,
    restricted: RESTRICTED,
    spawn_allowed: SPAWN_ALLOWED,
    durations: DURATIONS,
    pure: PURE,
    impure: &["actors/inflight/shared"],
};

const LAYERS: &[Layer] = &[
    Layer {
        folder: "jobs",
        name: "retraced_jobs",
        roots: &["jobs/lib.rs"],
        may_name: &[],
        rows: &[
            &["limits", "random", "units"],
            &["job", "clock"],
            &["failure", "retry"],
            &["trace", "events"],
            &["codec"],
            &["store"],
            &["typed_job"],
            &["enqueue"],
            &["context"],
            &["handler"],
            &["store/memory", "store/redis"],
            &["execution", "testing"],
        ],
        file_lines_max: 470,
        function_lines_max: 54,
    },
    Layer {
        folder: "actors",
        name: "retraced_actors",
        roots: &["actors/lib.rs"],
        may_name: &["jobs"],
        rows: &[
            &["limits"],
            &["clock", "random", "path", "address", "background", "poll_schedule", "messages", "observer"],
            &["supervision"],
            &["options"],
            &["store_calls"],
            &["inflight"],
            &["front_door"],
            &["context"],
            &["workers", "services"],
            &["tree"],
        ],
        file_lines_max: 470,
        function_lines_max: 52,
    },
    Layer {
        folder: "src",
        name: "retraced",
        roots: &["src/lib.rs", "src/main.rs"],
        may_name: &["jobs", "actors"],
        rows: &[
            &["limits"],
            &["chunks", "tree_runtime"],
            &["outcome_waiter"],
            &["batcher", "front_door_producer"],
            &["client", "operator"],
            &["find", "view"],
            &["trace"],
            &["build_error", "runtime_error"],
            &["runtime"],
            &["builder"],
            &["testing"],
        ],
        file_lines_max: 370,
        function_lines_max: 36,
    },
    Layer {
        folder: "cli",
        name: "retraced_cli",
        roots: &["cli/lib.rs", "cli/main.rs"],
        may_name: &["jobs", "actors", "src"],
        rows: &[
            &["limits", "error"],
            &["output", "similar"],
            &["args", "by", "filter", "live_workers", "paused", "tls"],
            &["advice", "masking", "usage", "variables"],
            &["settings"],
            &["context"],
            &[
                "bulk",
                "completions",
                "config",
                "dead",
                "enqueue",
                "jobs",
                "listing",
                "queues",
                "trace",
                "webhook",
                "work",
                "workers",
                "demo",
                "bench",
            ],
            &["commands"],
            &["start"],
        ],
        file_lines_max: 420,
        function_lines_max: 58,
    },
];

/// Folders that never name each other.
const APART: &[(&str, &str)] = &[("jobs/store/memory", "jobs/store/redis")];

const RESTRICTED: &[Restricted] = &[
    Restricted {
        name: "redis",
        only_in: &["jobs/store/redis", "cli/bench/floor", "cli/bench/server", "cli/bench/relay"],
        remedy: "go through the port `retraced_jobs::store`; what only Redis can do belongs in jobs/store/redis",
    },
    Restricted {
        name: "ractor",
        only_in: &["actors", "src/lib"],
        remedy: "let actors/ offer a type of its own for it",
    },
];

/// Files that may start background work, and why. All other files start tasks through one of these, so that each task has an owner and an end.
const SPAWN_ALLOWED: &[(&str, &str)] = &[
    ("jobs/execution/spawn.rs", "blocking handlers and backtraces have a thread for blocking work"),
    (
        "jobs/store/redis/transport.rs",
        "a TLS connection is read and written by a task, as the others are by one of the `redis` crate",
    ),
    ("actors/background.rs", "actors start tasks here, so that they keep reading their mailboxes"),
    ("actors/front_door/buffer.rs", "a flush outlives the queue actor that began it"),
    ("actors/workers/fetcher.rs", "a claim outlives the fetcher that asked for it"),
    ("actors/services/janitor.rs", "a trim outlives the janitor that asked for it"),
    ("actors/workers/settler.rs", "a settlement outlives the settler that sent it"),
    ("actors/workers/pool.rs", "executors start on the application's tokio runtime"),
    ("actors/supervision/supervisor.rs", "a child starts and stops while its supervisor keeps reading its mailbox"),
    ("actors/tree/mod.rs", "the tree starts and ends on a runtime of its own"),
    ("actors/tree/table.rs", "the supervisor of a queue starts while its own supervisor keeps reading its mailbox"),
    ("src/batcher.rs", "a shared call outlives the caller that sent it"),
    ("src/builder.rs", "the store is probed on the runtime that will use it"),
    (
        "actors/store_calls/actor_calls.rs",
        "calls of an actor on the tokio runtime of the handlers run on that of the tree",
    ),
    ("actors/store_calls/deadline.rs", "a call outlives the caller that sent it"),
    ("src/outcome_waiter/hints.rs", "one task per queue forwards hints about ended jobs to all waiters"),
    ("cli/bench/workers.rs", "one task reads each worker process"),
    ("cli/bench/floor.rs", "the bare loop is made of tasks"),
    ("cli/bench/measurement.rs", "producers are tasks"),
    ("cli/bench/relay.rs", "the relay has a thread each way"),
    ("cli/demo/run.rs", "the producer of the demo runs while the screen is drawn"),
    ("cli/work/events.rs", "a reader that stops reading blocks this thread and nothing else"),
    ("cli/work/health.rs", "health checks are answered while the worker works; the tasks end with the server"),
    ("cli/work/signals.rs", "signals are received on a thread that nothing blocks"),
    ("cli/webhook/sign.rs", "a key file is read on a blocking thread"),
];

/// Durations outside `limits.rs`, and why they are no bounds.
const DURATIONS: &[(&str, &str, &str)] = &[
    ("cli/demo/view.rs", "FRESH", "how long a drawing marks something"),
    ("cli/demo/view.rs", "AXIS", "the scale of a drawing"),
    ("cli/demo/handlers.rs", "LATER", "the delay of the demo's own jobs"),
];

/// What takes time and random numbers as arguments.
const PURE: &[&str] = &[
    "jobs/job",
    "jobs/failure",
    "jobs/retry",
    "jobs/trace",
    "jobs/events",
    "actors/supervision/restart",
    "actors/inflight",
];

/// The types of bounds.
pub const BOUND_TYPES: &[&str] =
    &["Duration", "usize", "u8", "u16", "u32", "u64", "u128", "isize", "i8", "i16", "i32", "i64", "i128", "f32", "f64"];

/// The last words of the names of bounds.
pub const BOUND_WORDS: &[&str] = &[
    "AFTER",
    "BOUNDS",
    "BUDGET",
    "CAPACITY",
    "CEILING",
    "DELAY",
    "EVERY",
    "GRACE",
    "HORIZON",
    "INTERVAL",
    "KEEPALIVE",
    "LIMIT",
    "MAX",
    "MIN",
    "PAUSE",
    "SPREAD",
    "TIMEOUT",
    "WAIT",
    "WITHIN",
];
