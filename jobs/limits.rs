//! Every bound of this crate, in one place, re-exported by the module it belongs to. Bounds of a single Lua script stand at the top of that script.

use std::time::Duration;

// ---- Names ------------------------------------------------------------------------------------------------------------------------------------

/// Longest queue name, kind or job id, in bytes. A longer one is refused by the constructor.
pub const NAME_LENGTH_MAX: usize = 128;

// ---- Failures ---------------------------------------------------------------------------------------------------------------------------------

/// Longest error message kept, in bytes: 8 KiB. The rest is cut at a character and marked with `…`.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// Longest text kept of each cause, in bytes: 1 KiB. The rest is cut at a character and marked with `…`.
pub const CAUSE_BYTES_MAX: usize = 1024;

/// Most causes kept of an error's chain; deeper ones are dropped.
pub const CHAIN_LENGTH_MAX: usize = 8;

/// Longest snooze: 30 days. A longer one is shortened to this.
pub const SNOOZE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

// ---- Retries ----------------------------------------------------------------------------------------------------------------------------------

/// Most attempts a retry policy may allow. A policy with more is refused.
pub const RETRY_ATTEMPTS_MAX: u32 = 1000;

/// Longest delay between two attempts: 30 days. A policy with a longer one is refused.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Largest factor of an exponential retry policy. A policy with a larger one is refused.
pub const RETRY_FACTOR_MAX: u32 = 100;

// ---- Handlers ---------------------------------------------------------------------------------------------------------------------------------

/// Shortest timeout of a handler: 1 ms, because the store counts in milliseconds. A shorter one is refused before anything starts.
pub const HANDLER_TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// Longest timeout of a handler: 7 days. A longer one is refused before anything starts: a handler that hangs occupies its executor for as long.
pub const HANDLER_TIMEOUT_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long an attempt waits for its panic's backtrace to become text: 1 s. Then the attempt is settled without a backtrace. The first backtrace of a
/// process takes tens to hundreds of milliseconds, because its symbols are read; later ones take well under 1 ms.
pub const BACKTRACE_RENDER_TIMEOUT: Duration = Duration::from_secs(1);

/// Most backtraces that become text at the same time, per process. In a storm of panics the others wait, and may time out.
pub const BACKTRACE_RENDERERS_MAX: usize = 16;

// ---- Payloads and envelopes -------------------------------------------------------------------------------------------------------------------

/// Default limit of a payload, in bytes: 1 MiB. The producer refuses a larger one.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

/// The limit that no setting raises, in bytes: 64 MiB. A larger payload is never sealed, because whole batches of jobs travel in one call to the store.
pub const PAYLOAD_BYTES_CEILING: usize = 64 * 1024 * 1024;

/// Deepest nesting of arrays and maps in a payload. Producers refuse a deeper one, and so do workers, before they build a value of the user's types from it.
pub const DEPTH_MAX: usize = 64;

/// Longest envelope without its payload, in bytes: 4 KiB. A worker refuses a longer one without reading it.
pub const ENVELOPE_OVERHEAD_MAX: usize = 4 * 1024;

// ---- What is kept of an attempt ---------------------------------------------------------------------------------------------------------------

/// How many of a job's first attempts are kept in full. They hold the first clue.
pub const HISTORY_FIRST: u32 = 3;

/// How many of a job's latest attempts are kept in full. Those in between are collapsed into a count.
pub const HISTORY_LAST: u32 = 7;

/// Longest backtrace kept with an attempt, in bytes; the rest is cut.
pub const BACKTRACE_BYTES_MAX: usize = 4 * 1024;

/// Longest output kept with a completed attempt, in bytes: 64 KiB. A larger one is refused by [`codec::to_output`](crate::codec::to_output) and never kept.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Most log lines kept with an attempt; later ones are counted, not kept.
pub const LOG_LINES_MAX: usize = 32;

/// Longest log line or progress note kept, in bytes; the rest is cut.
pub const LOG_LINE_BYTES_MAX: usize = 512;

/// Most jobs that a finding of an audit names as examples; the others are only counted.
pub const FINDING_EXAMPLES_MAX: usize = 5;

// ---- Calls to a store -------------------------------------------------------------------------------------------------------------------------

/// Most items per call. A call with more is refused with [`StoreError::Refused`](crate::store::StoreError::Refused): split it. A claim with limit 0
/// does everything except take jobs. The bound keeps a call below 5 ms in Redis, which serves no other client meanwhile; larger batches would cost only a few per
/// cent less per job (`make scale`).
pub const BATCH_MAX: usize = 200;

/// Length of the header that the store keeps before an envelope, in bytes; counted by [`ClaimRequest::bytes_max`](crate::store::ClaimRequest::bytes_max).
pub const HEADER_BYTES: usize = 12;

/// Longest wait for an outcome that one call announces: 1 min, as in `lua/lib/queue.lua`. A longer wait is shortened to this; a waiter announces itself again
/// with each of its polls.
pub const OUTCOME_WAIT_MAX: Duration = Duration::from_secs(60);

/// Most replay slots per process, and so the most calls it may have open at once. The other half of the slot numbers is for
/// [`CallId::companion`](crate::store::CallId::companion).
pub const REPLAY_SLOTS_MAX: u16 = 1 << 15;

// ---- The ledger -------------------------------------------------------------------------------------------------------------------------------

/// Most supervision events the store keeps; older ones are dropped.
pub const LEDGER_EVENTS_MAX: usize = 10_000;

/// Most bytes of encoded supervision events the store keeps: 16 MiB; older ones are dropped. The latest event is kept whatever its size.
pub const LEDGER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most kinds a worker row lists; the others are only counted.
pub const WORKER_ROW_KINDS_MAX: usize = 200;

/// How long a worker row is kept after its last heartbeat: 1 h. An older one is no longer listed.
pub const WORKER_ROW_AGE_MAX: Duration = Duration::from_secs(60 * 60);

// ---- The store in memory ----------------------------------------------------------------------------------------------------------------------

/// Most hints that wait for one listener. A listener that falls further behind loses the oldest and is asked to check everything instead.
pub(crate) const HINTS_BUFFERED_MAX: usize = 1024;

/// How many waits for outcomes a queue may hold before those that are over are searched for and dropped.
pub(crate) const OUTCOME_WAITS_SWEPT_FROM: usize = 256;

/// How long the reply of an idle replay slot is kept, in ms: 24 h. A call sent again later than that is applied again.
pub(crate) const REPLAY_SLOT_IDLE_MS: u64 = 24 * 60 * 60 * 1000;

/// How many replay slots a queue may hold before idle ones are searched for and dropped.
pub(crate) const REPLAY_SLOTS_SWEPT_FROM: usize = 256;

/// Bounds of the store on Redis.
#[cfg(feature = "redis")]
pub(crate) mod redis {
    use std::time::Duration;

    /// What six bytes hold, in ms. A longer duration or later instant counts as this one, thousands of years away.
    pub(crate) const SIX_BYTES_MAX: u64 = (1 << 48) - 1;

    /// Oldest server version that has every command the scripts use. An older server is refused.
    pub(crate) const VERSION_MIN: (u32, u32) = (6, 2);

    /// Default of the longest wait for a connection, the handshake included. After it the call fails as unavailable.
    pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

    /// Default of the longest wait for a reply. After it the outcome of the call is unknown and the connection is replaced.
    pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(5);

    /// How long a connection is silent before the kernel probes its peer.
    pub(crate) const KEEPALIVE: Duration = Duration::from_secs(10);

    /// Most commands of one connection that wait to be written; further callers wait for one of them to be written, under their own timeout.
    pub(crate) const PIPELINE_MAX: usize = 1024;

    /// How long a hint subscription is silent before it is pinged. A subscription that does not answer is closed.
    pub(crate) const SUBSCRIPTION_PING_EVERY: Duration = Duration::from_secs(5);

    /// Most entries one step of an audit reads; it keeps a step well below a millisecond.
    pub(crate) const AUDIT_SLICE_MAX: usize = 200;

    /// Most history entries one step of an audit reads. Each may be as large as the log of an attempt.
    pub(crate) const AUDIT_ATTEMPTS_MAX: usize = 20;

    /// Bytes of jobs that one step of an audit should read: 128 KiB. The audit learns on the way how many jobs that is.
    pub(crate) const AUDIT_SLICE_BYTES: usize = 128 * 1024;

    /// Roughly how many entry versions an audit keeps in memory at a time, 8 bytes each. A longer queue is read several times, each time for another part of them.
    pub(crate) const AUDIT_ENTRY_VERSIONS_MAX: u64 = 1 << 20;

    /// Longest pause after a step of an audit. A step is followed by a pause as long as the step, so that others get at least half of the server.
    pub(crate) const AUDIT_PAUSE_MAX: Duration = Duration::from_millis(20);
}

// ---- Producing --------------------------------------------------------------------------------------------------------------------------------

/// How long an enqueue waits, unless the caller says otherwise, for capacity, for the store and for its receipt: 800 ms, so that a caller learns of an outage
/// within a second.
pub const ENQUEUE_TIMEOUT: Duration = Duration::from_millis(800);

// ---- Tests of handlers ------------------------------------------------------------------------------------------------------------------------

/// How long the lease of a test's attempt lasts: 1 h, so that it does not expire during a test.
pub const TEST_LEASE: Duration = Duration::from_secs(60 * 60);

/// When a test's attempt started, in ms since the Unix epoch: the first instant of 2030, so that what tests print is the same in every run.
pub const TEST_START_MS: u64 = 1_893_456_000_000;
