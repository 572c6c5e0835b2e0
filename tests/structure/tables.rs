//! The rules in numbers and names. Whoever changes the structure edits these tables, and ARCHITECTURE.md with them.

/// One crate, or a folder that is to become one.
pub struct Layer {
    /// Its folder, from the root of the workspace. A file belongs to the layer with the longest folder.
    pub folder: &'static str,
    /// Its name in `use`.
    pub name: &'static str,
    /// Where its modules begin, those that exist.
    pub roots: &'static [&'static str],
    /// The folders of the layers it may name.
    pub may_name: &'static [&'static str],
    /// Its rooms from the ground up. A row names files and folders without `.rs`; the longest name that fits counts. A file may name its own row and those
    /// above it in this list, never those below it. The crate's `lib.rs` and `main.rs` stand on top of all rows.
    pub rooms: &'static [&'static [&'static str]],
    /// Lines of the largest file, without its test modules. Lower it whenever you can; raise it never.
    pub file_lines_max: usize,
    /// Lines of the largest function, from its signature to its last brace. Lower it whenever you can; raise it never.
    pub function_lines_max: usize,
}

/// All that the checks go by; the checks' own tests bring tables of their own.
pub struct Tables {
    pub layers: &'static [Layer],
    pub apart: &'static [(&'static str, &'static str)],
    pub kept: &'static [Kept],
    pub spawn_allowed: &'static [(&'static str, &'static str)],
}

/// A crate that only some files may name.
pub struct Kept {
    pub name: &'static str,
    /// Files and folders, without `.rs`.
    pub only_in: &'static [&'static str],
    pub remedy: &'static str,
}

pub const TABLES: Tables = Tables { layers: LAYERS, apart: APART, kept: KEPT, spawn_allowed: SPAWN_ALLOWED };

const LAYERS: &[Layer] = &[
    Layer {
        folder: "jobs",
        name: "retraced_jobs",
        roots: &["jobs/lib.rs"],
        may_name: &[],
        rooms: &[
            &["limits"],
            &["job", "clock"],
            &["failure", "retry"],
            &["trace"],
            &["codec"],
            &["store"],
            &["handler", "context", "enqueue"],
            &["store/memory", "store/redis"],
            &["execution", "testing"],
        ],
        file_lines_max: 981,
        function_lines_max: 54,
    },
    Layer {
        folder: "actors",
        name: "retraced_actors",
        roots: &["actors/lib.rs"],
        may_name: &["jobs"],
        rooms: &[
            &["limits"],
            &["clock", "random", "address", "background", "poll_schedule", "messages", "observer"],
            &["supervision"],
            &["options"],
            &["store_calls"],
            &["inflight"],
            &["front_door"],
            &["context"],
            &["workers", "services"],
            &["tree"],
        ],
        file_lines_max: 472,
        function_lines_max: 52,
    },
    Layer {
        folder: "src",
        name: "retraced",
        roots: &["src/lib.rs", "src/main.rs"],
        may_name: &["jobs", "actors"],
        rooms: &[
            &["limits"],
            &["chunks"],
            &["outcome"],
            &["batcher", "queue"],
            &["client", "operator"],
            &["find", "view"],
            &["trace"],
            &["build_error"],
            &["runtime"],
            &["check", "builder"],
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
        rooms: &[
            &["limits", "error"],
            &["output"],
            &["args", "filter"],
            &["settings"],
            &["admin"],
            &[
                "completions",
                "config",
                "dead",
                "enqueue",
                "jobs",
                "queues",
                "trace",
                "webhook",
                "work",
                "demo",
                "bench",
            ],
            &["commands"],
            &["start"],
        ],
        file_lines_max: 460,
        function_lines_max: 58,
    },
];

/// Folders that never name each other.
const APART: &[(&str, &str)] = &[("jobs/store/memory", "jobs/store/redis")];

const KEPT: &[Kept] = &[
    Kept {
        name: "redis",
        only_in: &["jobs/store/redis", "cli/bench/floor", "cli/bench/server", "cli/bench/relay"],
        remedy: "go through the port `retraced_jobs::store`; what Redis alone can do belongs into jobs/store/redis",
    },
    Kept { name: "ractor", only_in: &["actors", "src/lib"], remedy: "let actors/ give a type of its own for it" },
];

/// Files that may start work in the background, and why. Anywhere else a task is started through one of these, so that it has an owner and an end.
const SPAWN_ALLOWED: &[(&str, &str)] = &[
    ("jobs/execution/panic.rs", "symbols are read on a blocking thread, at most BACKTRACE_RENDERERS_MAX at a time"),
    ("jobs/execution/thread.rs", "a blocking handler runs on a blocking thread"),
    ("actors/background.rs", "how every actor sends work out without closing its mailbox"),
    ("actors/front_door/buffer.rs", "a flush outlives the queue actor that began it"),
    ("actors/workers/fetcher.rs", "a claim outlives the fetcher that asked for it"),
    ("actors/workers/settler.rs", "a settlement outlives the settler that sent it"),
    ("actors/workers/pool.rs", "executors start on the caller's runtime"),
    ("actors/supervision/supervisor.rs", "a child starts and stops beside its supervisor's mailbox"),
    ("actors/tree/mod.rs", "the tree starts and ends on a runtime of its own"),
    ("actors/tree/table.rs", "a queue's part of the tree starts beside its supervisor"),
    ("src/batcher.rs", "a shared call outlives the caller that sent it"),
    ("src/builder.rs", "the store is probed on the runtime that will use it"),
    ("actors/store_calls/deadline.rs", "a call outlives the caller that sent it"),
    ("src/outcome/hints.rs", "one task per queue forwards the ends of jobs to all who wait there"),
    ("cli/bench/workers.rs", "one task reads each worker process"),
    ("cli/bench/floor.rs", "the bare loop is made of tasks"),
    ("cli/bench/measurement.rs", "producers are tasks"),
    ("cli/bench/relay.rs", "the relay has a thread each way"),
    ("cli/demo/run.rs", "the demo's producer runs beside its screen"),
    ("cli/webhook/sign.rs", "a key file is read on a blocking thread"),
];

/// A bound is a constant of one of these types …
pub const BOUND_TYPES: &[&str] =
    &["Duration", "usize", "u8", "u16", "u32", "u64", "u128", "isize", "i8", "i16", "i32", "i64", "i128", "f32", "f64"];

/// … whose name is one of these words, or ends in one after an underscore.
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
    "PATIENCE",
    "PAUSE",
    "SPREAD",
    "TIMEOUT",
    "WAIT",
    "WITHIN",
];
