//! The bounds that an application can set or reach, with their units and what happens past them. Those that only stores and their callers meet are in
//! [`store`](crate::store).

use std::time::Duration;

// Options of a runtime. One with an option outside of these bounds does not start.
pub use retraced_actors::limits::{
    BUILD_LABEL_BYTES_MAX, CONCURRENCY_DEFAULT, CONCURRENCY_MAX, CRASHES_DEFAULT, CRASHES_MAX, LEASE_DEFAULT,
    LEASE_MAX, LEASE_MIN, REOPEN_DELAY_MIN, SHUTDOWN_GRACE_DEFAULT, SHUTDOWN_GRACE_MAX,
};
// What a worker does when a job, a handler or a producer reaches a bound.
pub use retraced_actors::limits::{
    DEADLINE_MAX, EVENTS_BROADCAST_MAX, EXHAUSTED_PAUSE_MAX, EXHAUSTED_PAUSE_MIN, EXHAUSTED_REPORT_INTERVAL,
    FRONT_DOOR_BYTES_MAX, FRONT_DOOR_JOBS_MAX, LOSSES_MAX, POLL_MAX, PROGRESS_INTERVAL, STUCK_AFTER,
    UNSETTLED_BYTES_MAX, UNSETTLED_JOBS_MAX, UNSTARTED_MAX, ZOMBIE_AFTER,
};
// Options of a kind, a queue or a job.
pub use retraced_jobs::limits::{
    ENQUEUE_TIMEOUT, HANDLER_ENQUEUE_TIMEOUT, HANDLER_TIMEOUT, HANDLER_TIMEOUT_MAX, HANDLER_TIMEOUT_MIN,
    NAME_LENGTH_MAX, OUT_OF_RESOURCES_DELAY, OUT_OF_RESOURCES_RELEASES_MAX, PAYLOAD_BYTES_CEILING, PAYLOAD_BYTES_MAX,
    PORTS_RELEASES_MAX, RETRY_ATTEMPTS_MAX, RETRY_DELAY_MAX, RETRY_FACTOR_MAX, SNOOZE_MAX, UNDECODABLE_DELAY,
    UNDECODABLE_RELEASES_MAX, UNKNOWN_KIND_DELAY, UNKNOWN_KIND_RELEASES_MAX,
};
// What is kept of a job, of its attempts and of an audit.
pub use retraced_jobs::limits::{
    ACTS_MAX, BACKTRACE_BYTES_MAX, CAUSE_BYTES_MAX, CHAIN_LENGTH_MAX, DEPTH_MAX, ENVELOPE_OVERHEAD_MAX,
    FINDING_EXAMPLES_MAX, HISTORY_FIRST, HISTORY_LAST, LOG_LINE_BYTES_MAX, LOG_LINES_MAX, MESSAGE_BYTES_MAX,
    OPERATOR_NAME_BYTES_MAX, OUTPUT_BYTES_MAX,
};
// Defaults of retention, and what is left of the jobs it removes.
pub use retraced_jobs::limits::{
    COMPLETED_AGE_MAX, COMPLETED_COUNT_MAX, DEAD_AGE_MAX, KEPT_BYTES_MIN, RETENTION_BYTES_MAX, TOMBSTONES_MAX,
};

// When a worker counts as gone.
pub use retraced_jobs::limits::WORKER_STALE_AFTER;

/// How many enqueue calls a client may have under way at a time, over all queues; further ones wait for a free replay slot.
pub const CLIENT_CALLS_MAX: u16 = 64;
/// Queues for which a client keeps a batcher. Past it, batchers that no handle uses are dropped, and their queues are announced to the store again when they are next
/// used. If handles use all of them, the client keeps more.
pub(crate) const CLIENT_QUEUES_MAX: usize = 1024;
/// How many calls a client has under way at a time for one queue, not counting bulk enqueues; jobs that arrive meanwhile wait for the next call. Two, because the client
/// can prepare one call or read its reply while the server works on the other.
pub(crate) const BATCHER_CALLS_MAX: usize = 2;
/// How long after a client has added a queue to the store's list of queues it does so again with its next enqueue.
pub(crate) const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(60);
/// How long an enqueue waits for that at most: 1 s, and not beyond its own deadline. After a failure the next enqueue adds the queue.
pub(crate) const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(1);

/// How many calls that move jobs an operator may have under way at a time; further ones wait for a free replay slot. Calls that may be sent twice, such as reads, need no
/// slot. The operator of a runtime uses the 256 slots of that runtime instead.
pub const OPERATOR_CALLS_MAX: u16 = 16;
/// How long an operator's call waits in total for a store that does not answer: 5 s. Past it the call fails, with `Store` if the store could not be reached and with
/// `TimedOut` if it was silent.
pub const OPERATOR_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an audit may take in total: 15 min, longer than any other call, because an audit reads the whole queue. Past it the audit fails
/// like any other call.
pub const AUDIT_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The first wait between two polls of a job whose outcome is awaited, while the store sends no hints: 20 ms. Each further wait is twice as long, up to
/// [`OUTCOME_POLL_MAX`]. Also how long the first poll waits for the subscription to hints.
pub(crate) const OUTCOME_POLL_MIN: Duration = Duration::from_millis(20);
/// The longest wait between two polls of a job whose outcome is awaited: while the store answers, a caller learns of the end at most 1 s late.
/// Also the pause before a lost subscription to hints is opened again.
pub(crate) const OUTCOME_POLL_MAX: Duration = Duration::from_secs(1);
/// Subscriptions to the ends of jobs that one client, operator or runtime holds at a time: one per queue, each with its own connection. Callers that wait for a job
/// of a further queue poll.
pub const OUTCOME_SUBSCRIPTIONS_MAX: usize = 16;
/// How long a subscription to the ends of a queue's jobs is kept after its last listener is gone: 10 s. Without this, waiting for one job after the other would open a
/// connection per job. An idle subscription ends earlier when another queue needs one and [`OUTCOME_SUBSCRIPTIONS_MAX`] is reached.
pub(crate) const OUTCOME_SUBSCRIPTION_IDLE: Duration = Duration::from_secs(10);
/// For how long one poll registers its wait in the store: 12 s. A store need not renew a registration before half of this time has passed, so half of it covers
/// the longest wait ([`OUTCOME_POLL_MAX`]) and the longest read ([`OUTCOME_READ_TIMEOUT`]). If a job completes after the registration has expired and is not kept, its
/// outcome is unknown.
pub(crate) const OUTCOME_REGISTERED_WAIT: Duration = Duration::from_secs(12);
/// Hints buffered for a listener that is slow to receive them; a listener that has missed some reads its job from the store.
pub(crate) const OUTCOME_HINTS_MAX: usize = 1024;
/// How long one poll of a job may take: 5 s. Past it the poll is repeated.
pub(crate) const OUTCOME_READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How far the store's clock may run ahead during a bulk cancellation: 1 s. Jobs stamped up to that much later than now count as enqueued since it began.
pub(crate) const BULK_CLOCK_SLACK: Duration = Duration::from_secs(1);
/// A bulk cancellation searches again after each pass that cancelled a job, and after one that only missed jobs, because they went from one state of its filter to another
/// meanwhile. This is how many of the latter are followed by a further pass; after that the cancellation ends, although it may have missed some.
pub(crate) const BULK_MISSED_PASSES_MAX: u32 = 10;

/// How similar a known name must be to be suggested for an unknown one, from 0 (different) to 1 (equal).
pub(crate) const SIMILARITY_MIN: f64 = 0.6;

/// Threads of the tokio runtime of a supervision tree. One would be enough; with two the store's connections can read while an actor works.
pub(crate) const TREE_THREADS: usize = 2;

/// Most jobs that a search reads from the store at a time: few enough not to delay workers, because the server runs no other call during a read.
pub(crate) const FIND_READ_MAX: usize = 200;
/// Jobs in the first read of a search, when the size of the jobs is not known yet. Each further read is for as many jobs of
/// the last read's mean size as fit into [`FIND_BYTES_MAX`], up to [`FIND_READ_MAX`].
pub(crate) const FIND_FIRST_READ_MAX: usize = 25;
/// Bytes of envelopes at which a call of a search returns what it has found, so that only the last job can exceed it: 4 MiB. Also the intended size of one read.
pub const FIND_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most jobs that one call of [`Operator::find`](crate::Operator::find) examines; past it the call returns what it has found, with a cursor to continue.
pub const FIND_EXAMINED_MAX: u64 = 100_000;
/// How many of the delayed jobs that a bulk redrive has redriven last it remembers at least, so as not to redrive them again when they fail again: 100,000, some 10 MB. One that was redriven
/// before them may be redriven twice.
pub const RECENT_IDS_MIN: usize = 100_000;
/// Most jobs that one step of a bulk action acts on: few enough not to delay workers, because the server runs no other call during a step.
pub const BULK_STEP_JOBS: usize = 100;
/// Most jobs that one step of a bulk action examines; past it the step ends with the jobs found so far, so that progress can be shown.
pub const BULK_STEP_EXAMINED_MAX: u64 = 2_000;

/// How long a store may take to answer for the first time: 10 s. Past it the start is refused.
pub const FIRST_PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often [`run_until_idle`](crate::testing::TestRuntime::run_until_idle) polls the queues: 5,000 times. Past it `run_until_idle` panics and names the queues with
/// jobs that have not ended.
#[cfg(feature = "testing")]
pub const IDLE_POLLS_MAX: u32 = 5_000;
/// First step of paused time between two polls of `run_until_idle`: 1 ms. Each further step is twice as long, up to [`IDLE_STEP_MAX`].
#[cfg(feature = "testing")]
pub(crate) const IDLE_STEP_MIN: Duration = Duration::from_millis(1);
/// Longest step of paused time between two polls of `run_until_idle` while jobs run: 1 s. When `run_until_idle` returns, the last job may have ended up to this long ago.
#[cfg(feature = "testing")]
pub(crate) const IDLE_STEP_MAX: Duration = Duration::from_secs(1);
/// Jobs that a [`TestRuntime`](crate::testing::TestRuntime) reads at a time when it lists the jobs of a queue: 200, as many as one call may carry. It reads pages until
/// there are none left.
#[cfg(feature = "testing")]
pub(crate) const TEST_PAGE_JOBS_MAX: usize = 200;
