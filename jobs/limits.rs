//! Every bound of this crate, in one place. Bounds that only Lua scripts use stand at the top of their files instead; a test compares those that a Lua file repeats
//! from here (`store/redis/scripts/tests.rs`).

use std::time::Duration;

// ---- Names ------------------------------------------------------------------------------------------------------------------------------------

/// Longest queue name, kind or job id, in bytes. A longer one is refused by the constructor.
pub const NAME_LENGTH_MAX: usize = 128;

/// How many characters an error quotes of a text that was refused: 40. The rest of a longer text is left out.
pub(crate) const QUOTED_CHARS_MAX: usize = 40;

// ---- Failures ---------------------------------------------------------------------------------------------------------------------------------

/// Longest error message kept, in bytes: 8 KiB. A longer one is cut between two characters and ends with `…`.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// Longest text kept of each cause of an error, in bytes: 1 KiB. A longer one is cut between two characters and ends with `…`.
pub const CAUSE_BYTES_MAX: usize = 1024;

/// Most causes kept of an error, nearest first; further ones are dropped.
pub const CHAIN_LENGTH_MAX: usize = 8;

/// Longest snooze: 30 days. A longer one is shortened to this.
pub const SNOOZE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

// ---- Retries ----------------------------------------------------------------------------------------------------------------------------------

/// Largest `max_attempts` of a retry policy. A policy with more is refused.
pub const RETRY_ATTEMPTS_MAX: u32 = 1000;

/// Longest delay between two attempts: 30 days. A policy with a longer one is refused.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Largest `factor` of a retry policy, whatever its strategy. A policy with a larger one is refused.
pub const RETRY_FACTOR_MAX: u32 = 100;

// ---- Handlers ---------------------------------------------------------------------------------------------------------------------------------

/// Default timeout of a handler: 5 min. Past it an async handler is dropped at its next await, a blocking one is asked to stop, and the attempt fails.
pub const HANDLER_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Shortest timeout that a queue or a kind may set: 1 ms. A shorter one is refused when the runtime is built.
pub const HANDLER_TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// Longest timeout that a queue or a kind may set: 7 days. A longer one is refused when the runtime is built, because a handler that hangs occupies its executor
/// until then. The timeout of a single job is not checked against this.
pub const HANDLER_TIMEOUT_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long a job is delayed that this worker cannot run, because it has no handler for the kind or a newer version sealed the envelope: 30 s. A rolling deploy may
/// bring a worker that can run it.
pub const UNKNOWN_KIND_DELAY: Duration = Duration::from_secs(30);

/// After how many releases a job that this worker cannot run is moved to the dead letter queue: 20, which takes about 10 min. Releases for other reasons count
/// too, such as snoozes: a job with 20 of them is moved at once. A redrive begins the count again.
pub const UNKNOWN_KIND_RELEASES_MAX: u32 = 20;

/// How long a job is delayed whose payload this worker cannot decode: 30 s. A rolling deploy may bring a worker that can.
pub const UNDECODABLE_DELAY: Duration = Duration::from_secs(30);

/// After how many releases a job whose payload this worker cannot decode is poisoned: 20, which takes about 10 min. Releases for other reasons count
/// too, such as snoozes: a job with 20 of them is poisoned at once. A redrive begins the count again.
pub const UNDECODABLE_RELEASES_MAX: u32 = 20;

/// How long a job is delayed whose attempt failed because this process had run out of open files, ports, memory or threads: 1 s. Other workers may take it then.
pub const OUT_OF_RESOURCES_DELAY: Duration = Duration::from_secs(1);

/// After how many releases an attempt for which this process lacked files, memory or threads fails like any other: 1,000, so that a job that itself uses up the process
/// does not come back for ever. Releases for other reasons count too. For ports see [`PORTS_RELEASES_MAX`].
pub const OUT_OF_RESOURCES_RELEASES_MAX: u32 = 1_000;

/// After how many releases an attempt for which there was no local port or address fails like any other: 5. A wrong address gives the same error, and such a job would
/// never work. If ports are really short for longer, attempts are used up. Releases for other reasons count too.
pub const PORTS_RELEASES_MAX: u32 = 5;

/// How long an attempt that panicked waits until its backtrace is turned into text: 1 s. Past it the attempt is settled without a backtrace. The first backtrace of
/// a process takes up to several hundred ms, because symbols are loaded.
pub const BACKTRACE_RENDER_TIMEOUT: Duration = Duration::from_secs(1);

/// Most backtraces that are turned into text at the same time, per process. Further ones wait, within [`BACKTRACE_RENDER_TIMEOUT`].
pub const BACKTRACE_RENDERERS_MAX: usize = 16;

// ---- Payloads and envelopes -------------------------------------------------------------------------------------------------------------------

/// Limit of a payload where neither kind, queue nor call sets one, in bytes: 1 MiB. A producer refuses to enqueue a larger one; a worker treats
/// it as a payload that cannot be decoded ([`OnUndecodable`](crate::retry::OnUndecodable)).
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

/// Largest payload that any setting allows, in bytes: 64 MiB. A larger one is never sealed, because whole batches of jobs travel in one call to the store.
pub const PAYLOAD_BYTES_CEILING: usize = 64 * 1024 * 1024;

/// Deepest nesting of arrays and maps in a payload. Producers refuse to enqueue a deeper one; a worker treats it as a payload that cannot be
/// decoded ([`OnUndecodable`](crate::retry::OnUndecodable)).
pub const DEPTH_MAX: usize = 64;

/// Bytes that an envelope may have in addition to its payload: 4 KiB. A worker whose limit of a payload is `n` bytes does not open an envelope of more than `n`
/// bytes + 4 KiB; it treats it as a payload that cannot be decoded ([`OnUndecodable`](crate::retry::OnUndecodable)). If its kinds have limits of their own, `n` is the
/// largest.
pub const ENVELOPE_OVERHEAD_MAX: usize = 4 * 1024;

// ---- What is kept of an attempt ---------------------------------------------------------------------------------------------------------------

/// How many of a job's first attempts its history keeps: they often show the cause.
pub const HISTORY_FIRST: u32 = 3;

/// How many of a job's latest attempts its history keeps. The attempts between the first and the latest ones are only counted.
pub const HISTORY_LAST: u32 = 7;

/// Longest backtrace kept with an attempt, in bytes: 4 KiB; the rest is cut.
pub const BACKTRACE_BYTES_MAX: usize = 4 * 1024;

/// Longest output of a handler, in bytes: 64 KiB. [`codec::to_output`](crate::codec::to_output) refuses a longer one.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Most log lines kept with an attempt; later ones are only counted.
pub const LOG_LINES_MAX: usize = 32;

/// Longest log line or progress note kept, in bytes; the rest is cut.
pub const LOG_LINE_BYTES_MAX: usize = 512;

/// How many of the latest acts of operators are kept with a job: 5. Older ones are only counted.
pub const ACTS_MAX: usize = 5;

/// Longest name of an operator, in bytes: 64. A longer one is cut between two characters and ends with `…`.
pub const OPERATOR_NAME_BYTES_MAX: usize = 64;

/// How many tombstones of removed jobs a queue keeps: 1,000. The oldest leave first; nothing is known any more of a job whose tombstone has left.
pub const TOMBSTONES_MAX: usize = 1_000;

/// Most jobs that a finding of a scan names as examples; the others are only counted.
pub const FINDING_EXAMPLES_MAX: usize = 5;

// ---- Calls to a store -------------------------------------------------------------------------------------------------------------------------

/// Most items per call. A call with more is refused with [`StoreError::Refused`](crate::store::StoreError::Refused): split it. The bound keeps each call short,
/// because Redis serves no other client meanwhile.
pub const BATCH_MAX: usize = 200;

/// Length of the header that Redis keeps before each envelope, in bytes. [`ClaimRequest::bytes_max`](crate::store::ClaimRequest::bytes_max) includes it, in the
/// memory store too.
pub const HEADER_BYTES: usize = 12;

/// How long dead and poisoned jobs are kept by default: 90 days. Past it they are trimmed.
pub const DEAD_AGE_MAX: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How long completed and cancelled jobs are kept by default: 24 h. Past it they are trimmed.
pub const COMPLETED_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How many completed jobs are kept by default, and as many cancelled ones: 10,000. If there are more, those that ended first are trimmed.
pub const COMPLETED_COUNT_MAX: u64 = 10_000;

/// How many bytes the jobs kept in one final state may have by default: 256 MiB ([`KEPT_BYTES_MIN`] says what is counted). If there are more, those that ended first are
/// trimmed.
pub const RETENTION_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The least number of bytes that a kept job counts as: 1 KiB. A larger job counts as what is stored of its envelope, header included. This minimum stands for what is
/// kept beside the envelope (place, counters, attempts), which is not measured. By [`RETENTION_BYTES_MAX`] about 262,000 small jobs are kept.
pub const KEPT_BYTES_MIN: u64 = 1024;

/// Longest wait that one call of [`watch_outcome`](crate::store::Admin::watch_outcome) registers: 1 min. A longer wait is shortened to this.
pub const OUTCOME_WAIT_MAX: Duration = Duration::from_secs(60);

/// How far the store's clock may be set back before leases are shortened for it: 1 s, or a tenth of the longest lease in use if that is less. Time servers correct
/// clocks by such steps. Leases then end that much later.
pub const CLOCK_STEP_TOLERATED: Duration = Duration::from_secs(1);

/// Most replay slots per process instance, and so the most calls with a [`CallId`](crate::store::CallId) that it may have open at once; further callers wait. This
/// is half of all slot numbers: the other half is for [`CallId::companion`](crate::store::CallId::companion).
pub const REPLAY_SLOTS_MAX: u16 = 1 << 15;

// ---- The ledger -------------------------------------------------------------------------------------------------------------------------------

/// Most supervision events the store keeps; older ones are dropped.
pub const LEDGER_EVENTS_MAX: usize = 10_000;

/// Most bytes of encoded supervision events the store keeps: 16 MiB; older ones are dropped. The latest event is kept whatever its size.
pub const LEDGER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most kinds of jobs that a worker row lists; the others are only counted.
pub const WORKER_ROW_KINDS_MAX: usize = 200;

/// How long ago the last heartbeat of a worker may be: 30 s, three heartbeats. Past it the worker is stale: it was killed, or cannot reach the store.
/// So is one whose last heartbeat is further in the future, because the store's clock was set back.
pub const WORKER_STALE_AFTER: Duration = Duration::from_secs(30);

/// How long a worker row is listed after its last heartbeat: 1 h.
pub const WORKER_ROW_AGE_MAX: Duration = Duration::from_secs(60 * 60);

// ---- The store in memory ----------------------------------------------------------------------------------------------------------------------

/// Most hints that wait for one listener in each of two channels: one for hints about ended jobs, one for all other hints. A listener that falls further behind loses
/// the oldest ones.
pub(crate) const HINTS_BUFFERED_MAX: usize = 1024;

/// The least number of registered waits for outcomes at which a queue removes those that are over.
pub(crate) const OUTCOME_WAITS_SWEPT_FROM: usize = 256;

/// How long the reply of an idle replay slot is kept at least, in ms: 24 h. A call that is sent again later may be applied again.
pub(crate) const REPLAY_SLOT_IDLE_MS: u64 = 24 * 60 * 60 * 1000;

/// The least number of replay slots at which a queue removes the idle ones.
pub(crate) const REPLAY_SLOTS_SWEPT_FROM: usize = 256;

/// Bounds of the store on Redis.
#[cfg(feature = "redis")]
pub(crate) mod redis {
    use std::time::Duration;

    /// The largest number that six bytes hold. A longer duration or a later instant, in ms, counts as this one, which is almost 9,000 years.
    pub(crate) const SIX_BYTES_MAX: u64 = (1 << 48) - 1;

    /// Oldest server version that has every command the scripts use. An older server is refused.
    pub(crate) const VERSION_MIN: (u32, u32) = (6, 2);

    /// Default of the longest wait for a connection, the handshake included: 2 s. Past it the call fails as `Unavailable`.
    pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

    /// Default of the longest wait for a reply: 5 s. Past it the outcome of the call is unknown and the connection is replaced.
    pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

    /// Shortest life of a connection that is replaced because of what the server answered, such as that it became a replica: 1 s.
    pub(crate) const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

    /// Longest wait for the words with which a server closes a new connection: 500 ms. Without them the error names possible causes.
    pub(crate) const REFUSAL_TIMEOUT: Duration = Duration::from_millis(500);

    /// How long nobody asks again for these words after there were none: 5 s. Callers who open a connection meanwhile do not wait for them.
    pub(crate) const REFUSAL_PAUSE: Duration = Duration::from_secs(5);

    /// Most bytes that are read of these words: 2 KiB. The longest known ones (protected mode) have less than 1 KiB.
    pub(crate) const REFUSAL_BYTES_MAX: u64 = 2_048;

    /// If a caller gives up after its connection was silent for at least this long, the connection counts as dead: 500 ms. The next caller opens a new one, which costs
    /// little if the old one was only slow: its calls are still answered.
    pub(crate) const SILENCE_MAX: Duration = Duration::from_millis(500);

    /// How long a connection is silent before the operating system probes the server (TCP keepalive), and the interval of the probes: 10 s.
    pub(crate) const KEEPALIVE: Duration = Duration::from_secs(10);

    /// Most commands that wait to be written to one connection. Further callers wait until one of them is written, under their own timeout.
    pub(crate) const PIPELINE_MAX: usize = 1024;

    /// Most queues of which a store keeps the names of the keys, about 1 KiB each: 4,096. For one more, it forgets them all and makes the names again when they
    /// are needed.
    pub(crate) const QUEUE_KEYS_MAX: usize = 4096;

    /// Longest name of an unknown parameter of a URL, in bytes, that an error shows: 40. A longer one may be part of a password, and is not shown.
    pub(crate) const URL_PARAMETER_SHOWN_MAX: usize = 40;

    /// Most names of a server's certificate that an error shows, if none of them is the expected one: 5.
    #[cfg(feature = "tls")]
    pub(crate) const CERTIFICATE_NAMES_SHOWN_MAX: usize = 5;

    /// How long a subscription for hints is silent before it is pinged: 5 s. A subscription that does not answer is closed.
    pub(crate) const SUBSCRIPTION_PING_EVERY: Duration = Duration::from_secs(5);

    /// Most entries that one step (one script) of a scan asks for, so that the server is blocked only briefly.
    pub(crate) const SCAN_SLICE_MAX: usize = 200;

    /// How many ended jobs one step of a scan asks for, to sum up their bytes: 200 at first. Jobs that are redriven or discarded between two steps may spoil the sum, and so do
    /// more jobs than a step may read that end meanwhile. So each further try takes larger steps; one of 12,800 jobs, with as many that ended meanwhile, blocks the server for
    /// about 20 ms. If the last try is spoilt too, nothing is compared, and a warning says so.
    pub(crate) const KEPT_SLICES: [usize; 4] = [SCAN_SLICE_MAX, 800, 3_200, 12_800];

    /// Most entries of `history` that one step of a scan asks for: fewer than of other keys, because each may hold a large record of an attempt.
    pub(crate) const SCAN_ATTEMPTS_MAX: usize = 20;

    /// Bytes that one step of a scan should read: 128 KiB. The number of entries per step is adapted to the size of those in the step before.
    pub(crate) const SCAN_SLICE_BYTES: usize = 128 * 1024;

    /// Roughly how many entry versions a scan keeps in memory at a time, 8 bytes each. A longer queue is read several times, each time for another part of its
    /// entry versions.
    pub(crate) const SCAN_ENTRY_VERSIONS_MAX: u64 = 1 << 20;

    /// Longest pause after a step of a scan: 20 ms. A shorter step is followed by a pause as long as the step, so that other clients get half of the server's time.
    pub(crate) const SCAN_PAUSE_MAX: Duration = Duration::from_millis(20);
}

// ---- Producing --------------------------------------------------------------------------------------------------------------------------------

/// How long an enqueue waits, unless the caller sets another timeout, for capacity, for the store and for its receipt: 800 ms, so that a caller learns of an outage
/// within a second.
pub const ENQUEUE_TIMEOUT: Duration = Duration::from_millis(800);
/// [`ENQUEUE_TIMEOUT`] of a handler's own enqueues ([`Context::enqueue`](crate::context::Context::enqueue)): 30 s. A handler that failed sooner would lose an attempt
/// to an outage, or to a server that takes no new jobs for now. The handler's timeout (5 min by default) and the grace of a shutdown (25 s) end the wait, too.
pub const HANDLER_ENQUEUE_TIMEOUT: Duration = Duration::from_secs(30);

// ---- Tests of handlers ------------------------------------------------------------------------------------------------------------------------

/// How long the lease of an attempt lasts in a test of a handler: 1 h, so that it does not expire during the test.
pub const TEST_LEASE: Duration = Duration::from_secs(60 * 60);

/// When an attempt starts in a test of a handler, in ms since the Unix epoch: the first instant of 2030, so that tests print the same in every run.
pub const TEST_START_MS: u64 = 1_893_456_000_000;
