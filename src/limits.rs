//! Every bound, by name, with its unit and what happens past it.

use std::time::Duration;

/// The bounds of the supervision tree and of the calls to the store.
pub use retraced_actors::limits as tree;
/// The bounds of jobs, traces and stores.
pub use retraced_jobs::limits as jobs;

/// Calls a client may have under way at a time, over all queues; further ones wait for a free replay slot.
pub const CLIENT_CALLS_MAX: u16 = 64;
/// Queues a client keeps its buffers of. Past it, buffers that no handle refers to are dropped; the next handle costs one more round trip.
pub const CLIENT_QUEUES_MAX: usize = 1024;
/// Calls to one queue a client has under way at a time, but for those of a bulk: while the server works on one, the other is assembled or read.
pub const BATCHER_CALLS_MAX: usize = 2;

/// Calls an operator may have under way at a time; further ones wait.
pub const OPERATOR_CALLS_MAX: u16 = 16;
/// How long an operator's call waits, in all, for a store that does not answer.
pub const OPERATOR_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an audit may take, in all. Longer than any other call: it reads the whole queue.
pub const AUDIT_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// How soon a job whose outcome is awaited is looked at again while the store sends no hints; each further look waits twice as long, up to
/// [`OUTCOME_POLL_MAX`]. Also how long the first look waits for the subscription to hints.
pub const OUTCOME_POLL_MIN: Duration = Duration::from_millis(20);
/// The longest wait between two looks at a job whose outcome is awaited: a caller learns of the end at most this late, and costs the store one read per second.
pub const OUTCOME_POLL_MAX: Duration = Duration::from_secs(1);
/// Queues whose ends of jobs one client, operator or runtime subscribes to at a time, each with a connection of its own. Who waits in a further queue polls.
pub const OUTCOME_SUBSCRIPTIONS_MAX: usize = 16;
/// How long a subscription to the ends of a queue's jobs is kept after the last who waited there: 10 s. Waiting for one job after the other would cost a connection each
/// otherwise. An idle one is ended earlier when another queue needs its place.
pub const OUTCOME_SUBSCRIPTION_IDLE: Duration = Duration::from_secs(10);
/// How long one look announces to the store that somebody waits: 12 s, twice the time until the next look is over, because the store may let an announcement stand
/// until half of it is over. A job that completes later than that without being looked at, and is not kept, leaves its outcome unknown.
pub const OUTCOME_ANNOUNCED: Duration = Duration::from_secs(12);
/// Ends of jobs kept for a waiter that is slow to hear of them; one that misses some looks at its job instead.
pub const OUTCOME_HINTS_MAX: usize = 1024;
/// How long one such look may take before it is given up and tried again.
pub const OUTCOME_READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Threads of a tree's own tokio runtime: one would do, two let the store's connections read while an actor works.
pub const TREE_THREADS: usize = 2;

/// Jobs read from the store at a time while jobs are found: few enough that workers, who wait for the end of the call, do not notice.
pub const FIND_READ_MAX: usize = 200;
/// Jobs of the first read, while their size is not known; further reads are as large as [`FIND_BYTES_MAX`] allows for jobs of that size.
pub const FIND_FIRST_READ_MAX: usize = 25;
/// Bytes of envelopes one call finds, and one read is to have; past it the call returns what it has found. A single job is returned whatever its size.
pub const FIND_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Jobs one call of [`Operator::find`](crate::Operator::find) examines; past it the call returns what it has found, with the cursor to go on.
pub const FIND_EXAMINED_MAX: u64 = 100_000;
/// Jobs one step of a bulk action changes: few enough that workers, who wait for the end of the call, do not notice.
pub const BULK_STEP_JOBS: usize = 100;
/// Jobs one step of a bulk action examines; past it the step ends with the jobs found so far, so that progress can be shown.
pub const BULK_STEP_EXAMINED_MAX: u64 = 2_000;

/// How long a store may take to answer for the first time: 10 s. Past it the start is refused.
pub const FIRST_PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often [`drain`](crate::testing::TestRuntime::drain) looks at the queues: 5,000 times. Past it the jobs that are left are reported as never ending.
#[cfg(feature = "testing")]
pub const DRAIN_LOOKS_MAX: u32 = 5_000;
/// First step of paused time between two looks of `drain`: 1 ms. Each further step is twice as long, up to [`DRAIN_STEP_MAX`].
#[cfg(feature = "testing")]
pub const DRAIN_STEP_MIN: Duration = Duration::from_millis(1);
/// Longest step of paused time between two looks of `drain` while jobs run: a second. The clock may be ahead of the last job's end by as much.
#[cfg(feature = "testing")]
pub const DRAIN_STEP_MAX: Duration = Duration::from_secs(1);
