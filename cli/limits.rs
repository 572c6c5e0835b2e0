//! Every bound of the command line, with its unit and what happens past it.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Columns of a terminal below which help is laid out in one column.
pub(crate) const HELP_COLUMNS_MIN: usize = 60;

/// Least columns for values beside their names; with fewer, values are printed below their names.
pub(crate) const VALUE_COLUMNS_MIN: usize = 20;

/// Jobs that one listing searches for those that match; at this number the list ends with the cursor to continue from.
pub(crate) const LIST_EXAMINED_MAX: u64 = 100_000;
/// Rows of `dead list --count-by`; jobs of further ones are counted together in a message.
pub(crate) const COUNTED_GROUPS_MAX: usize = 10_000;
/// Least columns of the remarks about a queue, such as `paused`: this word, and the sign that the text is cut.
pub(crate) const REMARKS_COLUMNS_MIN: usize = 8;
/// Characters of a message by which `dead list --count-by message` counts.
pub(crate) const COUNTED_MESSAGE_CHARS: usize = 200;
/// Least columns of a message in a list of jobs. Before it gets fewer, columns that tell less are left out.
pub(crate) const LISTED_MESSAGE_COLUMNS_MIN: usize = 24;
/// Characters that an error shows of a value that it refuses.
pub(crate) const REFUSED_VALUE_CHARS_MAX: usize = 100;
/// Characters of a message or a payload that text shows; `--json` shows all.
pub(crate) const SHOWN_CHARS_MAX: usize = 4_000;

/// Time between two readings of `queues --watch`, unless another is given.
pub(crate) const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// How long `queues --watch` waits for one reading, besides the time of `--rates-over`. Past it the numbers on the screen are marked as old.
pub(crate) const WATCH_ANSWER_MAX: Duration = Duration::from_secs(5);
/// Time between two drawings of a progress bar while nothing advances.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

// --- Options

/// Longest duration any option accepts; a longer one is a usage error.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
/// Least and most of a webhook request's timeout; another value is a usage error.
pub(crate) const REQUEST_TIMEOUT_BOUNDS: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_secs(60 * 60));
/// Default timeout of a webhook request, the response included.
pub(crate) const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);
/// Least and most time between the two readings that a rate is computed from, or of `queues --watch`; another value is a usage error.
pub(crate) const RATES_OVER_BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60 * 60));

// --- `enqueue`

/// Longest line of a file, in bytes: enough for the largest payload (1 MiB) even if each of its characters is escaped. A longer one is refused.
pub(crate) const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of jobs that are read before they are given to the client, which sends them in calls of at most 1 MiB each. A batch ends at this size, or at
/// [`BATCH_MAX`](retraced::store::BATCH_MAX) jobs.
pub(crate) const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a file read at a time.
pub(crate) const READ_BYTES_MAX: usize = 256 * 1024;
/// Timeout of storing a batch, resends included; past it the command fails and says what is stored.
pub(crate) const BATCH_TIMEOUT: Duration = Duration::from_secs(10);

// --- Settings

/// Largest settings file, in bytes; a larger one is refused.
pub(crate) const SETTINGS_BYTES_MAX: u64 = 64 * 1024;

// --- TLS

/// Largest file of certificates or of a key, in bytes; a larger one is refused. The roots of a whole system take about 250 KiB.
pub(crate) const PEM_BYTES_MAX: u64 = 1024 * 1024;

// --- `work`

/// Age up to which dead jobs are kept below which `work` warns at its start: nobody reads a dead job that fast.
pub(crate) const DEAD_AGE_WARNED_BELOW: Duration = Duration::from_secs(60);
/// Number of smallest dead jobs that fit into the bytes kept below which `work` warns at its start.
pub(crate) const DEAD_JOBS_WARNED_BELOW: u64 = 64;
/// How long after the first signal to stop a further one has no effect, because senders often repeat the first. After that a further one ends the process at once.
pub(crate) const SECOND_STOP_AFTER: Duration = Duration::from_secs(1);
/// Signals that wait until the worker heeds them; past it, those that ask what runs are dropped.
pub(crate) const SIGNALS_WAITING_MAX: usize = 16;
/// How long a worker that is stopped at once waits until it has said so; past it the process ends anyway.
pub(crate) const LAST_NOTE_TIMEOUT: Duration = Duration::from_millis(100);
/// Most connections for health checks that are served at a time. One more is accepted and waits; the oldest is closed for it after [`HEALTH_CONNECTION_KEPT_MIN`]. Others
/// wait in the queue of the system.
pub(crate) const HEALTH_CONNECTIONS_MAX: usize = 8;
/// How long a connection for health checks is kept although others wait: 100 ms, enough for a client that sends its request at once.
pub(crate) const HEALTH_CONNECTION_KEPT_MIN: Duration = Duration::from_millis(100);
/// Longest time from the connection of a health check to the end of its response; past it the connection is closed.
pub(crate) const HEALTH_REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest head of a health check, in bytes; a larger one is answered with status 431. It is the least that the library allows.
pub(crate) const HEALTH_HEAD_BYTES_MAX: usize = 8 * 1024;
/// Delay before the next connection for a health check is accepted after the system refused one.
pub(crate) const HEALTH_ACCEPT_DELAY: Duration = Duration::from_millis(100);
/// Files that a worker may have open beside the connections of its requests: standard streams, event loops, connections to Redis and of health checks, a file of secrets,
/// name lookups.
pub(crate) const OTHER_FILES_MAX: u64 = 32;
/// How long a worker that has ended waits until its last supervision events are read; those that nobody reads by then are not shown.
pub(crate) const LAST_EVENTS_TIMEOUT: Duration = Duration::from_secs(1);
/// How much longer the timeout of the handler is than that of its request, so that the request times out first and says why. Past it the handler is dropped.
pub(crate) const JOB_MARGIN: Duration = Duration::from_secs(5);
/// Maximum bytes of a response body that are read. If there are more, the connection is closed.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;
/// Maximum headers of a response; one with more is malformed.
pub(crate) const HEADERS_MAX: usize = 100;
/// How long an idle connection is kept for the next job; after that it is closed.
pub(crate) const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(20);
/// A request that breaks off without a response within this time is sent once more: if its receiver had closed the kept connection, this shows within a round trip. One
/// that breaks off later fails the attempt, because the receiver may have worked on it.
pub(crate) const RESEND_WITHIN: Duration = Duration::from_secs(1);
/// Maximum characters that a failure quotes of an unexpected body (usually an HTML page) or of an unknown error code; the rest is cut.
pub(crate) const QUOTED_CHARS_MAX: usize = 300;
/// Timeout of resolving the webhook's name and connecting, TLS included; past it the attempt fails with `TIMEOUT`.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a response may pause between two pieces of its body. Past it the attempt fails with `TIMEOUT`, or as a failure status decides if the response had one.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Maximum custom headers that a request carries; more are a usage error.
pub(crate) const OWN_HEADERS_MAX: usize = 32;
/// Longest custom header, name and value together, in bytes; a longer one is a usage error. Most servers accept 8 KiB.
pub(crate) const OWN_HEADER_BYTES_MAX: usize = 8 * 1024;
/// Maximum secrets in a file; each one adds a signature to every request. A file with more is refused.
pub(crate) const SECRETS_MAX: usize = 8;
/// Shortest secret, in bytes, as the standard demands; a shorter one could be guessed, and is refused.
pub(crate) const SECRET_BYTES_MIN: usize = 24;
/// Longest secret, in bytes; a longer line is not a secret, and is refused.
pub(crate) const SECRET_BYTES_MAX: usize = 512;
/// Largest file of secrets, in bytes; a larger one is refused.
pub(crate) const SECRETS_FILE_BYTES_MAX: usize = 64 * 1024;
/// Time after which a request that is to be signed reads the file of secrets again.
pub(crate) const SECRETS_AGE_MAX: Duration = Duration::from_secs(1);

// --- `demo`

/// Longest the demo may take in all; the three parts below are checked to stay within it.
pub(crate) const DEMO_MAX: Duration = Duration::from_secs(20);
/// Longest the demo waits for the tree to shut down; past it the process ends anyway. All jobs have ended by then.
pub(crate) const DEMO_SHUTDOWN_MAX: Duration = Duration::from_millis(1_500);
/// Longest the jobs of the demo may take; past it the demo ends and reports how many have ended.
pub(crate) const DEMO_RUN_MAX: Duration = Duration::from_secs(15);
/// How long the live view stays after all jobs have ended, unless `q` is pressed.
pub(crate) const DEMO_LAST_FRAME_MIN: Duration = Duration::from_secs(2);
const _: () = assert!(
    DEMO_RUN_MAX.as_millis() + DEMO_LAST_FRAME_MIN.as_millis() + DEMO_SHUTDOWN_MAX.as_millis() < DEMO_MAX.as_millis(),
    "the parts of the demo take longer than the whole"
);
/// Timeout of the demo's handlers; the one that hangs is stopped after it.
pub(crate) const DEMO_HANDLER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the tree and its queues are read and the view is drawn.
pub(crate) const DEMO_UPDATE_INTERVAL: Duration = Duration::from_millis(100);
/// How often plain lines report how many jobs have ended.
pub(crate) const DEMO_PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two emails, after the first ones, which come at once.
pub(crate) const DEMO_EMAIL_INTERVAL: Duration = Duration::from_millis(40);
/// Time between two thumbnails, after the first ones, which come at once.
pub(crate) const DEMO_THUMBNAIL_INTERVAL: Duration = Duration::from_millis(110);
/// Least columns for which a table or a trace is laid out; a narrower terminal wraps its lines.
pub(crate) const PAGE_COLUMNS_MIN: usize = 20;
/// Most columns for which a table or a trace is laid out; the rest of a wider terminal stays empty.
pub(crate) const PAGE_COLUMNS_MAX: usize = 110;
/// Most columns of a table's left column; longer text is wrapped.
pub(crate) const PAGE_LEFT_COLUMNS_MAX: usize = 36;
/// Least columns of the progress bar in the first row of the view; with fewer there is no bar.
pub(crate) const BAR_COLUMNS_MIN: usize = 6;
/// Least columns of a message in the view's log. If a message would get fewer, the end of the line is cut instead of the message.
pub(crate) const MESSAGE_COLUMNS_MIN: usize = 12;

// --- `bench`

/// How long after the start of its worker the first job of `delayed_lateness` is due.
pub(crate) const BENCH_DUE_AFTER: Duration = Duration::from_secs(2);
/// Time over which the due times of `delayed_lateness` are spread.
pub(crate) const BENCH_DUE_WITHIN: Duration = Duration::from_secs(3);
/// How long an idle worker is left alone before it is measured, so that its polls have slowed down.
pub(crate) const BENCH_IDLE_AFTER: Duration = Duration::from_secs(15);
/// How long an idle worker is measured.
pub(crate) const BENCH_IDLE_FOR: Duration = Duration::from_secs(10);
/// How often a worker process reports how much it has handled: the precision of the measured time.
pub(crate) const WORKER_REPORT_INTERVAL: Duration = Duration::from_millis(5);
/// The warm-up of a drain, which its rate leaves out: one job in this many, the first ones.
pub(crate) const WARM_UP_ONE_IN: u64 = 20;
/// Shortest time over which several workers are measured: reports come every 5 ms, so a rate is exact to 5 %. If less time remains after the warm-up, the whole run is
/// measured.
pub(crate) const TIMED_MIN: Duration = Duration::from_millis(100);
/// Delay before the relay accepts the next connection after the system refused one.
pub(crate) const RELAY_ACCEPT_DELAY: Duration = Duration::from_millis(100);
/// Time between two checks whether the server has freed the memory of removed keys.
pub(crate) const SERVER_FREE_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Maximum lines of all worker processes that wait to be handled; at this number the benchmark stops reading, and the workers wait.
pub(crate) const WORKER_MESSAGES_MAX: usize = 1_024;
/// Maximum jobs per batch of the bare loop; its next call takes the others.
pub(crate) const FLOOR_BATCH_MAX: usize = 64;
/// Tasks of the bare loop that settle and claim at a time.
pub(crate) const FLOOR_CYCLES: usize = 4;
/// How long a lease of the bare loop lasts. Nothing takes back a job whose lease has expired.
pub(crate) const FLOOR_LEASE: Duration = Duration::from_secs(30);
/// Longest sleep of the bare loop's tasks before they check for jobs again.
pub(crate) const FLOOR_SLEEP_MAX: Duration = Duration::from_secs(1);
/// Maximum jobs that the bare loop promotes per call; the next call promotes the others.
pub(crate) const FLOOR_PROMOTE_MAX: usize = 500;
/// Bytes the relay reads at a time.
pub(crate) const RELAY_CHUNK_BYTES_MAX: usize = 16 * 1024;
/// Chunks delayed in one direction of a connection. At this number the relay stops reading, and the sender waits.
pub(crate) const RELAY_CHUNKS_MAX: usize = 4_096;
/// Timeout of a measurement: this base, plus [`MEASUREMENT_TIMEOUT_PER_JOB`] and [`ROUND_TRIPS_PER_JOB_MAX`] added round trips for each job (for `latency` also
/// [`ENQUEUE_INTERVAL`]). Past it the benchmark fails.
pub(crate) const MEASUREMENT_TIMEOUT: Duration = Duration::from_secs(60);
/// The part of a measurement's timeout that each job adds.
pub(crate) const MEASUREMENT_TIMEOUT_PER_JOB: Duration = Duration::from_millis(5);
/// How many times each job extends a measurement's timeout by the added round trip (`--round-trip-ms`).
pub(crate) const ROUND_TRIPS_PER_JOB_MAX: u32 = 4;
/// Timeout of a connection to the measured server; past it the benchmark fails.
pub(crate) const SERVER_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a command to the measured server; past it the benchmark fails.
pub(crate) const SERVER_COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for removing a queue's keys and waiting until the server has freed their memory; past it the benchmark continues.
pub(crate) const SERVER_FREE_MAX: Duration = Duration::from_secs(30);
/// Time between two enqueues of `latency`: 50 per second, so that the worker is idle between them.
pub(crate) const ENQUEUE_INTERVAL: Duration = Duration::from_millis(20);
/// Maximum additional queues of a measurement; `idle` uses all of them.
pub(crate) const BENCH_QUEUES_MAX: usize = 100;
/// Keys that the server examines per step of a scan, roughly.
pub(crate) const SCAN_KEYS_MAX: usize = 1_000;
/// Timeout of a bulk enqueue; past it the benchmark fails.
pub(crate) const BULK_TIMEOUT: Duration = Duration::from_secs(30);
/// Least and most jobs of a measurement; another number is a usage error.
pub(crate) const BENCH_JOBS_BOUNDS: RangeInclusive<u64> = 100..=10_000_000;
/// Least and most rounds; another number is a usage error.
pub(crate) const BENCH_ROUNDS_BOUNDS: RangeInclusive<u64> = 1..=100;
/// Least and most worker processes of a drain; another number is a usage error.
pub(crate) const BENCH_WORKERS_BOUNDS: RangeInclusive<u64> = 1..=16;
/// Least and most added round trip, in ms; another number is a usage error.
pub(crate) const ROUND_TRIP_MS_BOUNDS: RangeInclusive<u64> = 0..=1_000;

/// How similar an unknown option, setting or variable must be to a known one to count as misspelt, from 0 (different) to 1 (equal). More than for names of queues, because a
/// variable may well belong to another program.
pub(crate) const SIMILARITY_MIN: f64 = 0.75;

/// Length of a name, in bytes, up to which similar known names are looked for.
pub(crate) const NAME_BYTES_COMPARED_MAX: usize = 100;
