//! Starting work on a thread for blocking work.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::task::{JoinHandle, spawn_blocking};

/// Like `spawn_blocking`; `None` where that panics because no thread can be started. The closure stays queued all the same, and runs when tokio starts a thread later: the
/// caller must take out of it what must not happen then.
pub(super) fn try_spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<JoinHandle<T>> {
    catch_unwind(AssertUnwindSafe(|| spawn_blocking(work))).ok()
}
