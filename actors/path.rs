//! The paths of the actors, under which they are listed, killed and reported.
//!
//! A child of the root has only a name. An actor of a queue has the name of the queue and its own, without the supervisors between: `email/settler`.

use retraced_jobs::job::QueueName;

/// The root supervisor.
pub(crate) const ROOT: &str = "retraced";

pub(crate) const LEDGER: &str = "ledger";
pub(crate) const STORE_LINK: &str = "store-link";
pub(crate) const LEASE_KEEPER: &str = "lease-keeper";
pub(crate) const RETRY_SCHEDULER: &str = "retry-scheduler";
pub(crate) const RECLAIMER: &str = "reclaimer";
pub(crate) const JANITOR: &str = "janitor";
pub(crate) const WATCHDOG: &str = "watchdog";

/// The supervisor of a queue: it has the name of the queue.
pub(crate) fn supervisor(queue: &QueueName) -> String {
    queue.to_string()
}

/// The queue actor.
pub(crate) fn queue(queue: &QueueName) -> String {
    format!("{queue}/queue")
}

/// The supervisor of the queue's settler, pool and fetcher.
pub(crate) fn workers(queue: &QueueName) -> String {
    format!("{queue}/workers")
}

pub(crate) fn settler(queue: &QueueName) -> String {
    format!("{queue}/settler")
}

pub(crate) fn pool(queue: &QueueName) -> String {
    format!("{queue}/pool")
}

pub(crate) fn fetcher(queue: &QueueName) -> String {
    format!("{queue}/fetcher")
}

/// The executors that follow each other in one slot of the pool.
pub(crate) fn executor(queue: &QueueName, slot: u32) -> String {
    format!("{queue}/executor-{slot}")
}
