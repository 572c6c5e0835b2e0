//! Every bound of the tree, by name. `retraced::limits` publishes them.

use std::time::Duration;

use retraced_jobs::store::BATCH_MAX;

// Options

/// Shortest lease. A shorter one would expire during an ordinary pause of the process.
pub const LEASE_MIN: Duration = Duration::from_millis(300);
/// Longest lease: the jobs of a crashed worker wait this long before they run again.
pub const LEASE_MAX: Duration = Duration::from_secs(60 * 60);
/// Most executors per queue.
pub const CONCURRENCY_MAX: usize = 10_000;
/// Highest crash limit of a job.
pub const CRASHES_MAX: u32 = 1_000;
/// Longest build label, in bytes: it is written with every heartbeat.
pub const BUILD_LABEL_BYTES_MAX: usize = 200;

// Supervision

/// How long an actor may take to start. No actor does I/O while it starts.
pub const START_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an actor may take to stop before it is killed. The kill loses nothing: outcomes and releases are in the
/// in-flight table, or the leases expire.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the supervisor of a queue's workers may take to start or stop all of them.
pub const WORKERS_TIMEOUT: Duration = Duration::from_secs(17);
/// How long the supervisor of a queue may take to start or stop its front door and its workers.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(24);
/// How long a killed actor may take to end. A kill takes effect at the next await; an actor that blocks its thread is left behind.
pub const KILL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the application's runtime may take to start an executor.
pub const EXECUTOR_START_TIMEOUT: Duration = Duration::from_secs(10);
/// Supervision events that may wait to be stored while the store is unreachable. Beyond that the oldest are dropped and counted.
pub const EVENTS_UNSTORED_MAX: usize = 10_000;
/// How many supervision events a subscriber may fall behind before it misses some. It then receives the number it missed.
pub const EVENTS_BROADCAST_MAX: usize = 1_024;
/// Supervision events per write.
pub const EVENTS_PER_WRITE_MAX: usize = 200;
/// How often supervision events are written to the store.
pub const EVENTS_WRITE_INTERVAL: Duration = Duration::from_millis(500);
/// How often a worker writes its row in the store and announces its queues.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

// Store calls

/// Calls that change something in the store: how many one process may have open at a time. Further callers wait for a replay slot.
pub const REPLAY_SLOTS_MAX: u16 = 256;
/// How long a store call may go unanswered before it is sent again. A store may have shorter timeouts of its own.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a caller waits during an outage for the store link to report that the store is back. Then it sends its call anyway.
pub const OUTAGE_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a caller waits before it sends a refused call again.
pub const REFUSED_DELAY: Duration = Duration::from_secs(5);
/// Shortest time between two reports of the same refusal.
pub const REFUSED_REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// Delay before the first health check of an outage.
pub const PROBE_DELAY_MIN: Duration = Duration::from_millis(50);
/// Longest delay between two health checks, and so the longest time for which the end of an outage goes unnoticed.
pub const PROBE_DELAY_MAX: Duration = Duration::from_secs(1);
/// How far ahead a caller's deadline may lie: a year. A longer timeout, such as `Duration::MAX`, counts as this one; an instant so far ahead may not exist.
pub const DEADLINE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long a client or an operator waits before it sends an unanswered call again.
pub const RESEND_DELAY: Duration = Duration::from_millis(100);

// Front door

/// Jobs that may wait for a flush.
pub const FRONT_DOOR_JOBS_MAX: usize = 10_000;
/// Bytes of envelopes that may wait for a flush.
pub const FRONT_DOOR_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of envelopes per flush. A single job is sent whatever its size.
pub const FLUSH_BYTES_MAX: usize = 1024 * 1024;
/// Delay before a refused enqueue is offered to the buffer again, when the reason of the refusal is gone already.
pub const CAPACITY_RETRY_DELAY: Duration = Duration::from_millis(1);
/// Flushes of one queue under way at a time.
pub const FLUSHES_MAX: usize = 2;
/// Shortest time between two reports of `Enqueue` messages dropped by a full buffer. Each report counts those dropped since the last one.
pub const DROPPED_REPORT_INTERVAL: Duration = Duration::from_secs(1);

// Claims and settlements

/// Claims of one queue under way at a time, without those that are part of a settlement call.
pub const CLAIM_CALLS_MAX: usize = 1;
/// Shortest poll interval of an idle fetcher, and its only one while it has no subscription for hints.
pub const POLL_MIN: Duration = Duration::from_secs(1);
/// Longest poll interval of an idle fetcher: how long a job may wait if its hint is lost.
pub const POLL_MAX: Duration = Duration::from_secs(6);
/// Nothing is prefetched for handlers slower than this. Their jobs wait in the store, where other workers can claim them.
pub const PREFETCH_HANDLER_MAX: Duration = Duration::from_millis(50);
/// How much is prefetched: as many jobs as the executors finish in this time at their measured rate.
pub const PREFETCH_HORIZON: Duration = Duration::from_millis(25);
/// At most this many jobs and two per executor are prefetched. It is two batches, so that even one executor with fast jobs need not wait for a round trip.
pub const PREFETCH_JOBS_MAX: usize = 2 * BATCH_MAX;
/// Bytes of a queue's granted jobs that may wait for an executor. A single job is granted whatever its size.
pub const CLAIM_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a granted job may wait for an executor. Then it is released to the front of the queue without counting a failure.
pub const UNSTARTED_MAX: Duration = Duration::from_secs(1);
/// Claims of unknown outcome that are remembered so that their jobs can be released. The jobs of further ones return when their leases expire.
pub const UNRESOLVED_CLAIMS_MAX: usize = 100;
/// Settlement calls of one queue under way at a time.
pub const SETTLE_CALLS_MAX: usize = 4;
/// Bytes of attempt records per settlement call: 1 MiB, so that outputs and logs do not hold up the server for long. A single outcome is sent whatever its size.
pub const SETTLE_BYTES_MAX: usize = 1024 * 1024;
/// Outcomes that must be waiting before a further settlement call is opened while one is under way.
pub const SETTLE_BATCH_MIN: usize = 32;
/// How long an executor takes one job after the other before it reads its mailbox, so that fast jobs do not cost a message each.
pub const EXECUTOR_BURST_MAX: Duration = Duration::from_millis(1);

// Retries and delays

/// Longest sleep of the retry scheduler without a subscription for hints: how late it may notice a delayed job then.
pub const PROMOTE_POLL_MAX: Duration = Duration::from_secs(1);
/// Longest sleep of the retry scheduler with a subscription for hints: how late it may notice a delayed job if the hint is lost. Claims
/// report when the next job is due and so postpone this poll. An idle fetcher claims every [`POLL_MAX`], so this must not be shorter.
pub const PROMOTE_POLL_IDLE_MAX: Duration = POLL_MAX;
/// Shortest sleep of the retry scheduler: due times have this resolution.
pub const PROMOTE_POLL_MIN: Duration = Duration::from_millis(1);
/// Jobs promoted per call.
pub const PROMOTE_BATCH_MAX: usize = BATCH_MAX;

// Leases

/// Renewals per lease: two may fail before it expires.
pub const RENEWALS_PER_LEASE: u32 = 3;
/// Longest delay before renewals that were not answered are sent again.
pub const RENEW_RETRY_DELAY_MAX: Duration = Duration::from_millis(50);
/// Shortest sleep of the reclaimer.
pub const RECLAIM_POLL_MIN: Duration = Duration::from_millis(100);
/// Longest time between two reclaims of a queue that has leases; a third of a lease if that is shorter. A queue without leases is visited
/// every third of a lease. That is soon enough: a lease granted after the visit lasts longer. A queue must be visited at least every half lease: a longer gap
/// counts as an outage, after which there is a lease grace.
pub const RECLAIM_POLL_MAX: Duration = Duration::from_secs(1);
/// Leases reclaimed per call.
pub const RECLAIM_BATCH_MAX: usize = 200;
/// Calls per queue in one round of reclaims, and in one round of trims. What is left waits for the next round.
pub const BATCHES_PER_ROUND_MAX: usize = 20;
/// Losses in a row that poison a job: its worker died, and its handler is not known to have started. The job may be what kills the workers
/// that claim it.
pub const LOSSES_MAX: u32 = 20;
/// The starts of the crash suspects of one claim are spread over this time.
pub const SUSPECT_START_SPREAD: Duration = Duration::from_secs(1);
/// How long a job is postponed that cannot start because of a quarantined job, or because it is quarantined itself.
pub const QUARANTINE_DELAY: Duration = Duration::from_secs(10);

// Housekeeping

/// Shortest sleep of the janitor.
pub const TRIM_POLL_MIN: Duration = Duration::from_millis(100);
/// Longest delay between a settlement and the trim that follows it.
pub const TRIM_DELAY_MAX: Duration = Duration::from_secs(1);
/// How often a queue is trimmed in which this worker settles nothing.
pub const TRIM_IDLE_INTERVAL: Duration = Duration::from_secs(60);
/// Jobs trimmed per call.
pub const TRIM_BATCH_MAX: usize = 200;
/// How often each queue is audited.
pub const AUDIT_INTERVAL: Duration = Duration::from_secs(60);
/// Longest time one repair of a queue may take. What it has repaired by then stays repaired, and the next repair continues.
pub const REPAIR_TIMEOUT: Duration = Duration::from_secs(15 * 60);

// Handlers

/// How often the watchdog inspects running handlers.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// How long past its timeout a handler may run before its attempt is settled without it.
pub const ZOMBIE_AFTER: Duration = Duration::from_secs(10);
/// How long a handler may run without yielding before it is reported as stuck.
pub const STUCK_AFTER: Duration = Duration::from_secs(1);

// Shutdown

/// How long the store may take to confirm the last outcomes. Jobs whose outcome it does not confirm run again when their leases expire, unless the
/// store applied it and only the answer was lost.
pub const SHUTDOWN_SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// After a tree has ended: how long the last flushes may take, and again how long the last events and the removal of its worker's row may take.
pub const DEREGISTER_TIMEOUT: Duration = Duration::from_secs(2);
