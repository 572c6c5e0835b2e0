//! Starting work on a thread for blocking work.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::task::{JoinHandle, spawn_blocking};

/// Starts this work on such a thread; `None` if the system has no thread left, for which tokio panics if it has none of its own yet. Tokio queued the work before, and runs it
/// on the next thread that it starts, so what the work must not do then has to be taken from it.
pub(super) fn try_spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<JoinHandle<T>> {
    catch_unwind(AssertUnwindSafe(|| spawn_blocking(work))).ok()
}
