//! Every bound of the tree, by name. `retraced::limits` publishes those that an application can set or reach.

use std::time::Duration;

use retraced_jobs::limits::{ENVELOPE_OVERHEAD_MAX, PAYLOAD_BYTES_MAX};
use retraced_jobs::store::{BATCH_MAX, WORKER_STALE_AFTER};

// Options. A runtime with an option outside of these bounds does not start.

/// Shortest lease. A shorter one would expire during an ordinary pause of the process.
pub const LEASE_MIN: Duration = Duration::from_millis(300);
/// Longest lease: the jobs of a worker that died wait this long before they run again.
pub const LEASE_MAX: Duration = Duration::from_secs(60 * 60);
/// Default lease: 30 s.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(30);
/// Longest shutdown grace.
pub const SHUTDOWN_GRACE_MAX: Duration = Duration::from_secs(60 * 60);
/// Default shutdown grace: 25 s.
pub const SHUTDOWN_GRACE_DEFAULT: Duration = Duration::from_secs(25);
/// Highest concurrency of a queue: its number of executors.
pub const CONCURRENCY_MAX: usize = 10_000;
/// Default concurrency of a queue.
pub const CONCURRENCY_DEFAULT: usize = 10;
/// Highest value of `crashes_max`, the number of counted crashes at which a job is poisoned.
pub const CRASHES_MAX: u32 = 1_000;
/// Default of `crashes_max`.
pub const CRASHES_DEFAULT: u32 = 3;
/// Longest build label, in bytes. It is written with every heartbeat.
pub const BUILD_LABEL_BYTES_MAX: usize = 200;
/// Longest name of a host that is taken from `HOSTNAME`, in bytes; a longer one is ignored. It is written with every heartbeat.
pub const HOST_LABEL_BYTES_MAX: usize = 255;

// Supervision

/// How long an actor may take to start. Past it the start has failed. Executors and supervisors have timeouts of their own. No actor does I/O while it starts.
pub const START_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an actor may take to stop, the pool included; the other supervisors have timeouts of their own. Past it the actor is killed. No job is lost: the in-flight
/// table holds its outcome or release, or its lease expires.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the supervisor `workers` of a queue may take to start or stop its children (settler, pool and fetcher): [`START_TIMEOUT`] for each, and 2 s more. Past it
/// that supervisor is killed.
pub const WORKERS_TIMEOUT: Duration = Duration::from_secs(17);
/// How long the supervisor of a queue may take to start or stop its children: [`START_TIMEOUT`] for the queue actor, [`WORKERS_TIMEOUT`] for the
/// workers, and 2 s more. Then it is killed.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(24);
/// How long a supervisor waits for the end of a child it has killed. A kill takes effect at the child's next await; a child that blocks its thread is
/// left behind.
pub const KILL_TIMEOUT: Duration = Duration::from_secs(1);
/// Restarts of its children that the root supervisor tolerates in [`RESTART_WINDOW`], unless the builder sets another budget. Past it the runtime ends with an error.
pub const ROOT_RESTARTS_MAX: u32 = 10;
/// Restarts of its children that a supervisor of a queue tolerates in [`RESTART_WINDOW`], unless the queue sets another budget. Past it the queue's workers, or the
/// whole queue, close and reopen later.
pub const QUEUE_RESTARTS_MAX: u32 = 20;
/// The sliding window in which restarts are counted, unless a policy sets another.
pub const RESTART_WINDOW: Duration = Duration::from_secs(60);
/// Shortest delay before closed workers, or a closed queue, are reopened. Workers that crash again at once would otherwise close and reopen without a pause.
pub const REOPEN_DELAY_MIN: Duration = Duration::from_secs(1);
/// How long the application's tokio runtime may take to start an executor. Past it the start is given up, and repeated after the longest restart delay.
pub const EXECUTOR_START_TIMEOUT: Duration = Duration::from_secs(10);
/// Supervision events that may wait to be stored, for example while the store is unreachable. Beyond that the oldest are dropped and counted.
pub const EVENTS_UNSTORED_MAX: usize = 10_000;
/// How many supervision events a subscriber may fall behind before it misses some. It then learns how many it missed.
pub const EVENTS_BROADCAST_MAX: usize = 1_024;
/// Supervision events in one call to the store.
pub const EVENTS_PER_CALL_MAX: usize = 200;
/// How long after the end of one write the ledger begins the next. A write makes calls until no supervision event waits.
pub const EVENTS_WRITE_INTERVAL: Duration = Duration::from_millis(500);
/// How often a worker writes its row, and the names of its queues, to the store: every 10 s. During an outage it does not.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(WORKER_STALE_AFTER.as_secs() / 3);

// Store calls

/// Calls that change something in the store: how many one worker process may have open at a time. Further callers wait for a replay slot.
pub const TREE_CALLS_MAX: u16 = 256;
/// How long an actor waits for the answer to a call. Then the store counts as unreachable. Renewals and repairs have timeouts of their own, and a
/// store may have shorter ones.
pub const ACTOR_CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a caller in a worker process waits for the end of an outage. Then it sends its call anyway. Also the longest delay before a call is sent again that a
/// blocked store refused.
pub const OUTAGE_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a fetcher, a settler or an executor waits after the store has refused its call, and the store link after the store has refused its
/// subscription. Then it tries again.
pub const REFUSED_DELAY: Duration = Duration::from_secs(5);
/// Shortest time between two reports of the same refusal: a minute.
pub const REFUSED_REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// Refusals that are remembered so that they are not reported again within [`REFUSED_REPORT_INTERVAL`]. If more differ within that time, the oldest may be reported again.
pub const REFUSALS_REMEMBERED_MAX: usize = 64;
/// How long calls must go unanswered before that is reported as an outage: 1 s. A server that closes idle connections, and a connection that breaks and is replaced at
/// once, are none.
pub const OUTAGE_REPORTED_AFTER: Duration = Duration::from_secs(1);
/// How long a call must fail, although the store answers others, before that is reported: 10 s. The same applies to a subscription that ends again and again.
pub const FAILING_CALL_REPORTED_AFTER: Duration = Duration::from_secs(10);
/// How many sendings in a row must fail before that is reported: a call that is sent every few seconds may meet two broken connections in a row.
pub const FAILING_SENDINGS_MIN: u32 = 5;
/// Delay before the first health check of an outage, and before the store link replaces a subscription that has ended.
pub const PROBE_DELAY_MIN: Duration = Duration::from_millis(50);
/// Longest delay between two health checks: the end of an outage may go unnoticed for so long.
pub const PROBE_DELAY_MAX: Duration = Duration::from_secs(1);
/// A probe that begins so long after the one before it is the first of another outage, and its delay the shortest again.
pub const PROBE_RESET_AFTER: Duration = Duration::from_secs(10);
/// Longest timeout of a call: a year. A longer one, such as `Duration::MAX`, counts as a year, because adding it to the present instant could overflow.
pub const DEADLINE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long an actor, a client or an operator waits, at least, before it sends an unanswered call again. If a flush ends without an answer, the handles whose jobs it
/// carried wait as long before they offer the jobs to the buffer again.
pub const RESEND_DELAY: Duration = Duration::from_millis(100);
/// How many ids a call is sent under if each of them was used by another process. Every id after the first is of a process instance drawn a moment before, so a second
/// conflict means that the store is faulty. The outcome of the call is then unknown.
pub const CALL_IDS_MAX: usize = 2;

// Front door

/// Jobs of one queue that may wait to be sent to the store. Beyond that a job is refused with `QueueFull`, or dropped and counted if nobody waits for
/// a reply.
pub const FRONT_DOOR_JOBS_MAX: usize = 10_000;
/// Bytes of envelopes of one queue that may wait to be sent to the store. At the limit jobs are refused as at [`FRONT_DOOR_JOBS_MAX`].
pub const FRONT_DOOR_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of envelopes in one enqueue call. A call of buffered jobs takes no further job once it has so many; a bulk enqueue stays below them. A single job is sent
/// whatever its size.
pub const FLUSH_BYTES_MAX: usize = 1024 * 1024;
/// A handle whose job was refused waits for capacity. If there is capacity again already, it waits this long before it offers the job again, so that it does not spin.
pub const CAPACITY_RETRY_DELAY: Duration = Duration::from_millis(1);
/// Flushes of one queue under way at a time, each with one call to the store. Jobs that arrive meanwhile wait in the buffer.
pub const FLUSHES_MAX: usize = 2;
/// How often dropped `Enqueue` messages are reported while a full buffer drops them. The end of each flush reports them too. A report counts the messages dropped since
/// the last one.
pub const DROPPED_REPORT_INTERVAL: Duration = Duration::from_secs(1);

// Claims and settlements

/// Claims of one queue under way at a time, without those that are part of a settlement call.
pub const CLAIM_CALLS_MAX: usize = 1;
/// Shortest poll interval of a fetcher, before jitter, which shortens each interval by up to a fifth. Without a subscription for hints it is the only interval.
pub const POLL_MIN: Duration = Duration::from_secs(1);
/// With a concurrency of 1, no claim is opened beside others if none of them has ended for this long. The reply of one of them may be lost, and those of later claims would have
/// to wait for it, with their leases.
pub const CLAIM_OVERLAP_MAX: Duration = Duration::from_millis(50);
/// Longest poll interval of an idle fetcher: how long a job may wait if its hint is lost.
pub const POLL_MAX: Duration = Duration::from_secs(6);
/// Nothing is prefetched if handlers take longer than this on average. The jobs wait in the store instead, where other workers can claim them.
pub const PREFETCH_HANDLER_MAX: Duration = Duration::from_millis(50);
/// How much is prefetched: as many jobs as the executors finish in this time at their measured rate, but at least one.
pub const PREFETCH_HORIZON: Duration = Duration::from_millis(25);
/// Jobs that are prefetched for a queue at most, besides two per executor. With two batches, even a single executor with fast jobs has one to run while the other is
/// claimed.
pub const PREFETCH_JOBS_MAX: usize = 2 * BATCH_MAX;
/// Bytes of a queue's jobs that may wait for an executor: two jobs with the largest payload that is allowed by default. A claim asks for no more than what is left of
/// them, and at the limit nothing is claimed. Claims at the same time may exceed it together, and a single job is granted whatever its size. A claim holds up the server for
/// some 3 ms for each MiB.
pub const CLAIM_BYTES_MAX: usize = 2 * (PAYLOAD_BYTES_MAX + ENVELOPE_OVERHEAD_MAX);
/// How long a granted job may wait for an executor. For a crash suspect this counts from the instant at which it may start ([`SUSPECT_START_SPREAD`]). Past it the job
/// is released to the front of the queue without counting a failure. If a quarantine keeps it from starting, it is released with a delay of [`QUARANTINE_DELAY`] instead.
pub const UNSTARTED_MAX: Duration = Duration::from_secs(1);
/// Claims of unknown outcome that a queue remembers, so that their jobs can be released. Jobs of further such claims run again when their leases expire.
pub const UNRESOLVED_CLAIMS_MAX: usize = 100;
/// Settlement calls of one queue under way at a time. Further outcomes wait in the in-flight table.
pub const SETTLE_CALLS_MAX: usize = 4;
/// Bytes of attempt records per settlement call: 1 MiB, so that outputs and logs do not hold up the server for long. A single outcome is sent whatever its size.
pub const SETTLE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the payloads of the jobs of a settlement call: 64 MiB. Completed jobs may be deleted, and a Redis server frees 1 MiB in about 0.12 ms. A single outcome is sent
/// whatever its size.
pub const SETTLED_PAYLOADS_MAX: usize = 64 * 1024 * 1024;
/// Outcomes that must be waiting before a further settlement call is opened while one is under way: half a batch. Fewer would mean more calls per job, more would keep the
/// store waiting.
pub const SETTLE_BATCH_MIN: usize = BATCH_MAX / 2;
/// Outcomes of a queue that the store has not confirmed, beyond one per executor. At the limit the queue claims no more jobs until the store has confirmed some. Jobs that it
/// holds already still run.
pub const UNSETTLED_JOBS_MAX: usize = 10 * BATCH_MAX;
/// Bytes of the records of such outcomes: 32 MiB. At the limit the queue claims no more jobs either.
pub const UNSETTLED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long an executor takes one job after the other before it reads its mailbox, so that fast jobs do not cost a message each. Handlers that take no longer than this on
/// average also count as fast when a claim wakes executors ([`EXECUTORS_WOKEN_MAX`]).
pub const EXECUTOR_BURST_MAX: Duration = Duration::from_millis(1);
/// Most executors that a claim wakes at once if handlers are fast ([`EXECUTOR_BURST_MAX`]) and the tokio runtime of the handlers has that many threads. The others are woken
/// by those. If handlers are not fast, one executor is woken per job.
pub const EXECUTORS_WOKEN_MAX: usize = 16;

// Retries and delays

/// Longest time between two polls of the retry scheduler without a subscription for hints: how late it may notice a delayed job then.
pub const PROMOTE_POLL_MAX: Duration = Duration::from_secs(1);
/// Longest time between two polls of the retry scheduler with a subscription for hints: how late it may notice a delayed job if the hint is lost. A
/// claim that finds nothing also reports when the next delayed job is due. So in an idle queue, whose fetcher claims every [`POLL_MAX`], no such poll is needed.
pub const PROMOTE_POLL_IDLE_MAX: Duration = POLL_MAX;
/// Shortest time between two polls of the retry scheduler, and so the resolution of due times.
pub const PROMOTE_POLL_MIN: Duration = Duration::from_millis(1);
/// Jobs promoted per call.
pub const PROMOTE_BATCH_MAX: usize = BATCH_MAX;

// Leases

/// Most hints about cancelled jobs that wait to be confirmed. For a job whose hint does not fit, the next renewal of its lease says the same.
pub const CANCEL_HINTS_MAX: usize = 1024;
/// A lease is renewed this often per lease time. So a renewal that is not answered leaves time for another one before the lease expires.
pub const RENEWALS_PER_LEASE: u32 = 3;
/// Time between two calls that tell the store how far the handlers of a queue have come: 2 s. None is made if no handler has reported anything new.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);
/// Longest delay between the end of an outage and the next renewals. It keeps renewals that fail immediately from flooding the store.
pub const RENEW_RETRY_DELAY_MAX: Duration = Duration::from_millis(50);
/// Shortest time between two rounds of the reclaimer.
pub const RECLAIM_POLL_MIN: Duration = Duration::from_millis(100);
/// A queue is looked at for expired leases at least this often per lease time. A look less often than every half lease would be a reclaim gap, after
/// which there is a lease grace.
pub const RECLAIMS_PER_LEASE: u32 = 3;
/// Longest time between two reclaims of a queue that has leases, unless [`RECLAIMS_PER_LEASE`] asks for a shorter one. A queue without leases is looked at
/// only as often as [`RECLAIMS_PER_LEASE`] says.
pub const RECLAIM_POLL_MAX: Duration = Duration::from_secs(1);
/// Leases reclaimed per call.
pub const RECLAIM_BATCH_MAX: usize = 200;
/// Calls per queue in one round of reclaims, and in one round of trims. What is left waits for the next round.
pub const BATCHES_PER_ROUND_MAX: usize = 20;
/// Losses in a row that poison a job. A loss is an expired lease whose handler is not known to have started: the job may be what kills the workers
/// that claim it.
pub const LOSSES_MAX: u32 = 20;
/// The starts of the crash suspects of one claim are spread over this time.
pub const SUSPECT_START_SPREAD: Duration = Duration::from_secs(1);
/// The delay of a job that a quarantine keeps from starting for longer than [`UNSTARTED_MAX`].
pub const QUARANTINE_DELAY: Duration = Duration::from_secs(10);

// Housekeeping

/// Shortest time between two rounds of trims.
pub const TRIM_POLL_MIN: Duration = Duration::from_millis(100);
/// Longest delay between a settlement and the trim that follows it.
pub const TRIM_DELAY_MAX: Duration = Duration::from_secs(1);
/// How often a queue is trimmed in which this worker settles nothing.
pub const TRIM_IDLE_INTERVAL: Duration = Duration::from_secs(60);
/// Jobs trimmed per call.
pub const TRIM_BATCH_MAX: usize = 200;
/// The shortest time between two reports of a queue that jobs were delayed by a quarantine. The first is reported at once; later ones are summed up meanwhile.
pub const POSTPONED_REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// The shortest time between two reports of a queue that dead or poisoned jobs were trimmed. The first trim is reported at once; later ones are summed up meanwhile.
pub const TRIM_REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// Time from the start of one round of audits to the start of the next. A round audits each queue.
pub const AUDIT_INTERVAL: Duration = Duration::from_secs(60);
/// How long the janitor waits after a count of all queues before it counts early: 5 s. It does so after a queue's first job, a lost lease or a late settlement, because the
/// store may have lost its data.
pub const AUDIT_INTERVAL_MIN: Duration = Duration::from_secs(5);
/// How long a repair of a queue may take. What it has repaired by then stays repaired; the next failed check of the counts starts another repair.
pub const REPAIR_TIMEOUT: Duration = Duration::from_secs(15 * 60);

// Handlers

/// How often the watchdog inspects running handlers, and jobs that wait for an executor.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// How long past its timeout a handler may run before its attempt is settled without it.
pub const ZOMBIE_AFTER: Duration = Duration::from_secs(10);
/// First pause of an executor after an attempt for which the process lacked a resource.
pub const EXHAUSTED_PAUSE_MIN: Duration = Duration::from_millis(100);
/// The pause doubles with each such attempt in a row, up to this long.
pub const EXHAUSTED_PAUSE_MAX: Duration = Duration::from_secs(5);
/// That a resource is exhausted is reported again only after this long without an attempt that lacked it.
pub const EXHAUSTED_REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// How long a handler may run without yielding before it is reported as stuck.
pub const STUCK_AFTER: Duration = Duration::from_secs(1);

// Shutdown

/// After this part of the shutdown grace, in percent, running handlers are asked to stop. The rest of it is theirs to do so before they are killed.
pub const GRACE_UNTIL_STOP_PERCENT: u32 = 80;
/// How long the store may take to confirm the last outcomes and to accept the last enqueued jobs. Jobs whose outcome it does not confirm run again when
/// their leases expire, unless the store applied the settlement and only the answer was lost.
pub const SHUTDOWN_SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Used twice after a tree has ended: the longest time for the last flushes and trims, and then that for the last events and for the removal of the worker's row.
pub const DEREGISTER_TIMEOUT: Duration = Duration::from_secs(2);
