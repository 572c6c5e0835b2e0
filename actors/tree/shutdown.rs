//! Shutdown, in order: stop claiming → let handlers finish → ask them to stop → kill them and release their jobs → close the front doors → settle → stop the actors in
//! reverse start order. The lease keeper is among the last, so that leases are renewed to the end.
//!
//! The order is kept by this one procedure and not by `post_stop`, which ractor skips when a parent ends.

use std::io::{self, Write as _};
use std::process::{ExitCode, Termination};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::context::RuntimeContext;
use crate::inflight::Inflight;
use crate::limits::{DEREGISTER_TIMEOUT, GRACE_UNTIL_STOP_PERCENT, SHUTDOWN_SETTLE_TIMEOUT};
use crate::services::{janitor, ledger};

/// What a shutdown did.
///
/// ```
/// use retraced_actors::ShutdownReport;
/// let mut report = ShutdownReport::default();
/// (report.running, report.killed) = (3, 1);
/// assert_eq!(report.running - report.killed, 2, "handlers that ended by themselves");
/// ```
///
/// `main` may return it, as in `Ok(runtime.shutdown().await?)`. The process then exits with 0, or with 1 and a line on standard error if outcomes are
/// [`unsettled`](Self::unsettled).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Jobs that ran when the shutdown began.
    pub running: usize,
    /// How many of their handlers were killed. Those jobs were released to the front of the queue without counting a failure.
    pub killed: usize,
    /// Outcomes the store did not confirm in time. Those jobs run again when their leases expire, unless the store applied the settlement and only
    /// the answer was lost.
    pub unsettled: usize,
}

impl Termination for ShutdownReport {
    fn report(self) -> ExitCode {
        if self.unsettled == 0 {
            return ExitCode::SUCCESS;
        }
        let (outcomes, jobs) = if self.unsettled == 1 { ("outcome", "job") } else { ("outcomes", "jobs") };
        // Nothing is left to be done about a standard error that cannot be written.
        let _ = writeln!(
            io::stderr(),
            "the store did not confirm the {outcomes} of {} {jobs} in time; a job whose outcome it did not store runs again when its lease expires",
            self.unsettled
        );
        ExitCode::FAILURE
    }
}

/// Ends all work, in at most `grace` + [`SHUTDOWN_SETTLE_TIMEOUT`].
pub(super) async fn drain(runtime: &Arc<RuntimeContext>, grace: Duration) -> ShutdownReport {
    let mut report = ShutdownReport::default();
    for queue in &runtime.queues {
        report.running += queue.inflight.busy();
        queue.inflight.shut_down();
        queue.request_settling();
    }
    let begun = Instant::now();
    let finish_by = begun + grace * GRACE_UNTIL_STOP_PERCENT / 100;
    let stop_by = begun + grace;
    if !all_idle(runtime, finish_by).await {
        for queue in &runtime.queues {
            queue.inflight.stop_running();
        }
        if !all_idle(runtime, stop_by).await {
            for queue in &runtime.queues {
                report.killed += queue.inflight.kill_running();
            }
        }
    }
    // The front doors close only now, because a handler may enqueue as long as it runs, through a handle of this runtime too.
    runtime.queues.iter().for_each(|queue| queue.front_door.close());
    let settle_by = Instant::now() + SHUTDOWN_SETTLE_TIMEOUT;
    for queue in &runtime.queues {
        queue.request_settling();
        queue.inflight.wait_until(settle_by, Inflight::is_empty).await;
        report.unsettled += queue.inflight.unsettled();
        queue.front_door.wait_until_empty(settle_by).await;
        // Not all of them were killed here: an executor may have ended just before the shutdown, and the watchdog stops before it looks again.
        runtime.observe_ended(queue);
    }
    report
}

/// Reports the last trims, stores the last events, and removes this worker's row and replay slots from the store. Takes at most [`DEREGISTER_TIMEOUT`].
/// A call that fails is not repeated, and during an outage nothing is sent.
pub(super) async fn deregister(runtime: &RuntimeContext) {
    janitor::report_trims(runtime);
    if !runtime.calls.health().is_reachable() {
        return;
    }
    let deregister = async {
        ledger::write_events(runtime).await;
        ledger::forget(runtime).await;
    };
    let _ = tokio::time::timeout(DEREGISTER_TIMEOUT, deregister).await;
}

async fn all_idle(runtime: &RuntimeContext, deadline: Instant) -> bool {
    let mut idle = true;
    for queue in &runtime.queues {
        idle &= queue.inflight.wait_until(deadline, |inflight| inflight.busy() == 0).await;
    }
    idle
}
