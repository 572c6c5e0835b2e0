//! Every bound of this crate, by name.

use std::time::Duration;

/// Calls a client may have under way at a time, over all queues; further ones wait for a free replay slot.
pub(crate) const CLIENT_CALLS_MAX: u16 = 64;
/// Queues a client keeps its buffers of. Past it, buffers that no handle refers to are dropped; the next handle costs one more round trip.
pub(crate) const CLIENT_QUEUES_MAX: usize = 1024;
/// Calls to one queue a client has under way at a time, but for those of a bulk: while the server works on one, the other is assembled or read.
pub(crate) const BATCHER_CALLS_MAX: usize = 2;

/// Calls an operator may have under way at a time; further ones wait.
pub(crate) const OPERATOR_CALLS_MAX: u16 = 16;
/// How long an operator's call waits, in all, for a store that does not answer.
pub(crate) const OPERATOR_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an audit may take, in all. Longer than any other call: it reads the whole queue.
pub const AUDIT_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// How long a call that was not answered waits before it is sent again.
pub(crate) const RESEND_WAIT: Duration = Duration::from_millis(100);

/// How soon a job whose outcome is awaited is looked at again; each further look waits twice as long, up to [`OUTCOME_POLL_MAX`].
pub(crate) const OUTCOME_POLL_MIN: Duration = Duration::from_millis(20);
/// The longest wait between two looks at a job whose outcome is awaited: a caller learns of the end at most this late, and costs the store one read per second.
pub(crate) const OUTCOME_POLL_MAX: Duration = Duration::from_secs(1);
/// Queues whose ends of jobs one client, operator or runtime subscribes to at a time, each with a connection of its own. Who waits in a further queue polls.
pub(crate) const OUTCOME_SUBSCRIPTIONS_MAX: usize = 16;
/// Ends of jobs kept for a waiter that is slow to hear of them; one that misses some looks at its job instead.
pub(crate) const OUTCOME_HINTS_MAX: usize = 1024;
/// How long one such look may take before it is given up and tried again.
pub(crate) const OUTCOME_READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Threads of a tree's own tokio runtime: one would do, two let the store's connections read while an actor works.
pub(crate) const TREE_THREADS: usize = 2;
