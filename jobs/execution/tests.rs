//! One attempt from its grant to its outcome, for everything that a handler may do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::*;
use crate::codec::{self, Envelope};
use crate::context::{AttemptControl, Context, States, Stop};
use crate::failure::{Class, Code, Failure, Resource};
use crate::handler::{Handlers, IntoBlockingHandler, IntoHandler, RawJob, State};
use crate::job::{Counters, InstanceId, JobId, Kind, QueueName, Token};
use crate::retry::{OnUndecodable, OnUnknown, Retry, RetryOverrides, Why, decide};
use crate::store::{ClaimedJob, Retention, Verdict};
use crate::trace::{AttemptLog, Ended, ExecutorId, LOG_LINE_BYTES_MAX, LOG_LINES_MAX, Released};
use crate::typed_job::Job;

/// What handlers without output return.
type Returned = Result<(), Failure>;

const DONE: Returned = Ok(());

/// No event of these tests takes this long, however slow the machine.
const TEST_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(serde::Serialize, serde::Deserialize)]
struct Work {
    n: u32,
}

impl Job for Work {
    const KIND: &'static str = "work";
}

/// A runner and the control of its one attempt.
struct Harness {
    handlers: Handlers,
    states: States,
    rules: Rules,
    control: Arc<AttemptControl>,
}

impl Harness {
    fn new() -> Self {
        let control = Arc::new(AttemptControl::new(Instant::now() + Duration::from_secs(30)));
        Self { handlers: Handlers::default(), states: States::default(), rules: Rules::default(), control }
    }

    fn handler<M>(handler: impl IntoHandler<M>) -> Self {
        let mut harness = Self::new();
        harness.handlers.add(handler).unwrap();
        harness
    }

    fn blocking<M>(handler: impl IntoBlockingHandler<M>) -> Self {
        let mut harness = Self::new();
        harness.handlers.add_blocking(handler).unwrap();
        harness
    }

    fn retry(mut self, retry: Retry) -> Self {
        self.rules.retry = Some(retry);
        self
    }

    fn asked_to_stop(self, why: Stop) -> Self {
        self.control.stop(why);
        self
    }

    async fn run(&self, job: ClaimedJob) -> AttemptOutcome {
        let (handlers, states) = (Arc::new(self.handlers.clone()), Arc::new(self.states.clone()));
        let instance = InstanceId::from(Uuid::from_u128(1));
        let runner = Runner::new(QueueName::new("q").unwrap(), handlers, states, self.rules.clone(), instance);
        let executor = ExecutorId { slot: 3, generation: 1 };
        runner
            .attempt(AttemptInput {
                job,
                executor,
                started: Instant::now(),
                started_ms: 1_000,
                control: self.control.clone(),
                jitter: 500,
            })
            .await
    }
}

/// Runs one attempt of the job `Work { n: 7 }` by this handler.
async fn attempt<M>(handler: impl IntoHandler<M>) -> AttemptOutcome {
    Harness::handler(handler).run(job()).await
}

fn envelope() -> Envelope {
    let payload = codec::to_payload(&Work { n: 7 }).unwrap().into();
    Envelope { kind: Kind::new("work").unwrap(), payload, retry: RetryOverrides::default(), timeout_ms: None }
}

fn job() -> ClaimedJob {
    sealed(codec::seal(&envelope()).unwrap())
}

fn sealed(envelope: Bytes) -> ClaimedJob {
    ClaimedJob {
        id: JobId::parse("j").unwrap(),
        token: Token { attempt: 1, nonce: [1; 8] },
        counters: Counters { attempts: 1, ..Counters::default() },
        enqueued_ms: 500,
        envelope,
    }
}

fn log(outcome: &AttemptOutcome) -> AttemptLog {
    codec::decode_attempt(&outcome.settlement.record).unwrap()
}

/// Code and message of a failed attempt.
fn failure(outcome: &AttemptOutcome) -> (Code, String) {
    match log(outcome).ended {
        Ended::Failed { code, message, .. } => (code, message),
        other => panic!("did not fail: {other:?}"),
    }
}

fn location_and_backtrace(outcome: &AttemptOutcome) -> (Option<String>, Option<String>) {
    match log(outcome).ended {
        Ended::Failed { location, backtrace, .. } => (location, backtrace),
        other => panic!("did not fail: {other:?}"),
    }
}

fn io(text: &str) -> std::io::Error {
    std::io::Error::other(text.to_owned())
}

async fn boom(_: Work, _: Context) -> Returned {
    panic!("boom")
}

/// Gives a handler that never returns a return type.
fn returned(end: impl FnOnce() -> Returned) -> Returned {
    end()
}

/// Calls a closure when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

mod returning {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ok_completes_and_keeps_a_small_record() {
        let outcome = attempt(|job: Work, ctx: Context| async move {
            assert_eq!(job.n, 7);
            ctx.log("a job that completes keeps no log");
            tokio::time::sleep(Duration::from_millis(250)).await;
            DONE
        })
        .await;
        assert_eq!(outcome.settlement.verdict, Verdict::Complete { keep: true });
        assert_eq!((outcome.failure, outcome.panic.is_none(), outcome.ran), (None, true, Duration::from_millis(250)));
        assert!(outcome.settlement.record.len() <= 48);
        let log = log(&outcome);
        assert_eq!((log.ended, log.started_ms, log.ran_ms), (Ended::Completed { output: None }, 1_000, 250));
        assert_eq!((log.executor, log.instance), (ExecutorId { slot: 3, generation: 1 }, Uuid::from_u128(1).into()));
    }

    #[tokio::test]
    async fn nothing_is_recorded_of_a_completion_that_is_not_kept() {
        let mut harness = Harness::handler(|_: Work, _: Context| async { DONE });
        harness.rules.retention = Some(Retention::default().without_completed());
        let outcome = harness.run(job()).await;
        assert_eq!(outcome.settlement.verdict, Verdict::Complete { keep: false });
        assert!(outcome.settlement.record.is_empty());
    }

    #[tokio::test]
    async fn a_question_mark_is_job_execution_failed_of_unknown_class_and_is_retried() {
        let outcome = attempt(full_disk).await;
        assert!(matches!(outcome.settlement.verdict, Verdict::Retry { .. }));
        assert_eq!(failure(&outcome), (Code::JobExecutionFailed, "disk full".into()));
        assert_eq!(outcome.failure, Some((Code::JobExecutionFailed, Class::Unknown)), "the class stays unknown");
        let Ended::Failed { decision, .. } = log(&outcome).ended else { panic!() };
        let decision = decision.unwrap();
        assert_eq!((decision.why, decision.class_unknown), (Why::Strategy, true), "the decision records it");
    }

    #[tokio::test]
    async fn a_failure_of_unknown_class_is_dead_at_once_where_the_queue_says_so() {
        let mut harness = Harness::handler(full_disk);
        harness.rules.on_unknown = OnUnknown::DeadLetter;
        let outcome = harness.run(job()).await;
        assert_eq!(outcome.settlement.verdict, Verdict::DeadLetter);
        let Ended::Failed { decision, .. } = log(&outcome).ended else { panic!() };
        assert_eq!(decision.unwrap().why, Why::UnknownFailure);
    }

    async fn full_disk(_: Work) -> Result<(), Failure> {
        Err(io("disk full"))?;
        Ok(())
    }

    #[tokio::test]
    async fn a_temporary_failure_is_retried_by_a_decision_that_is_recorded() {
        let retry = Retry::exponential().base(Duration::from_secs(2)).jitter(10);
        let harness = Harness::handler(|_: Work, ctx: Context| async move {
            ctx.log("asked");
            Err::<(), Failure>(Failure::temporary(Code::NetworkError, io("reset")))
        });
        let mut job = job();
        job.counters.failures = 1;
        let outcome = harness.retry(retry).run(job).await;
        assert_eq!(outcome.settlement.verdict, Verdict::Retry { delay: Duration::from_millis(4_200) });
        let log = log(&outcome);
        assert_eq!(log.lines[0].text, "asked");
        let Ended::Failed { decision, .. } = log.ended else { panic!("{log:?}") };
        assert_eq!(*decision.unwrap(), decide(&retry, 2, Class::Temporary, None, 500));
    }

    #[tokio::test]
    async fn a_job_whose_last_attempt_fails_goes_to_the_dead_letter_queue() {
        let failing =
            |_: Work, _: Context| async { Err::<(), Failure>(Failure::temporary(Code::NetworkError, io("reset"))) };
        let mut job = job();
        job.counters = Counters { attempts: 9, failures: 4, crashes: 2, releases: 2 };
        assert_eq!(Harness::handler(failing).run(job).await.settlement.verdict, Verdict::DeadLetter);
    }

    #[tokio::test]
    async fn a_job_is_poisoned_by_a_permanent_failure_whose_causes_are_recorded() {
        #[derive(Debug)]
        struct Outer(std::io::Error);
        impl std::fmt::Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("no such column")
            }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let outcome = attempt(|_: Work, _: Context| async {
            Err::<(), Failure>(Failure::permanent(Code::InvalidJobData, Outer(io("row 7"))))
        })
        .await;
        assert_eq!(outcome.settlement.verdict, Verdict::Poison);
        let Ended::Failed { chain, message, .. } = log(&outcome).ended else { panic!() };
        assert_eq!((message.as_str(), chain), ("no such column", vec!["row 7".to_owned()]));
    }

    #[tokio::test]
    async fn retry_after_overrides_the_policy_and_is_capped() {
        for (asked, given) in [(7, 7), (100_000, 300)] {
            let handler = move |_: Work, _: Context| async move {
                Err::<(), Failure>(
                    Failure::temporary(Code::RateLimitExceeded, "slow down").retry_after(Duration::from_secs(asked)),
                )
            };
            let outcome = attempt(handler).await;
            assert_eq!(outcome.settlement.verdict, Verdict::Retry { delay: Duration::from_secs(given) });
        }
    }

    #[tokio::test]
    async fn a_snooze_counts_no_failure_and_never_jumps_the_queue() {
        for delay in [Duration::ZERO, Duration::from_secs(60)] {
            let outcome =
                attempt(move |_: Work, _: Context| async move { Err::<(), Failure>(Failure::snooze(delay)) }).await;
            assert_eq!(outcome.settlement.verdict, Verdict::ReleaseAfter { delay });
            assert_eq!(outcome.failure, None);
            let delay_ms = u64::try_from(delay.as_millis()).unwrap();
            assert_eq!(log(&outcome).ended, Ended::Released { reason: Released::Snoozed, delay_ms });
        }
    }

    #[tokio::test]
    async fn a_jobs_own_retry_numbers_and_timeout_override_its_queues() {
        let seen = Arc::new(Mutex::new(0));
        let shared = seen.clone();
        let harness = Harness::handler(move |_: Work, ctx: Context| {
            *shared.lock().unwrap() = ctx.max_attempts();
            async { Err::<(), Failure>(Failure::temporary(Code::NetworkError, "x")) }
        });
        let retry = RetryOverrides { max_attempts: Some(1), ..RetryOverrides::default() };
        let own = Envelope { retry, timeout_ms: Some(70), ..envelope() };
        let outcome = harness.run(sealed(codec::seal(&own).unwrap())).await;
        assert_eq!((outcome.settlement.verdict, *seen.lock().unwrap()), (Verdict::DeadLetter, 1));
        assert_eq!(harness.control.timeout(), Some(Duration::from_millis(70)));
        // If the job's numbers are out of bounds, the queue's are used.
        let retry = RetryOverrides { max_attempts: Some(0), ..RetryOverrides::default() };
        let out_of_bounds = Envelope { retry, timeout_ms: Some(0), ..envelope() };
        harness.run(sealed(codec::seal(&out_of_bounds).unwrap())).await;
        assert_eq!(*seen.lock().unwrap(), 5);
    }
}

mod stopping {
    use super::*;

    /// Waits to be asked to stop, and then fails.
    async fn fails_when_asked_to_stop(_: Work, ctx: Context) -> Result<(), Failure> {
        ctx.cancellation().cancelled().await;
        Err(Failure::permanent(Code::InvalidJobData, "stopped halfway"))
    }

    #[tokio::test]
    async fn a_job_that_fails_after_it_was_cancelled_is_cancelled() {
        let outcome = Harness::handler(fails_when_asked_to_stop).asked_to_stop(Stop::Cancelled).run(job()).await;
        assert_eq!(outcome.settlement.verdict, Verdict::Cancel);
        assert_eq!(failure(&outcome), (Code::Cancelled, "stopped halfway".into()));
    }

    #[tokio::test]
    async fn a_job_that_completes_after_it_was_cancelled_is_completed() {
        let finishing = |_: Work, ctx: Context| async move {
            assert_eq!(ctx.why_stopped(), Some(Stop::Cancelled));
            DONE
        };
        let outcome = Harness::handler(finishing).asked_to_stop(Stop::Cancelled).run(job()).await;
        assert_eq!(outcome.settlement.verdict, Verdict::Complete { keep: true });
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_job_is_not_retried_after_a_timeout_panic_or_snooze() {
        let cancelled = |harness: Harness| harness.asked_to_stop(Stop::Cancelled);
        let hangs = Harness::handler(|_: Work, _: Context| pending::<Returned>());
        assert_eq!(cancelled(hangs).run(job()).await.settlement.verdict, Verdict::Cancel);
        let snoozes =
            Harness::handler(|_: Work, _: Context| async { Err::<(), Failure>(Failure::snooze(TEST_TIMEOUT)) });
        assert_eq!(cancelled(snoozes).run(job()).await.settlement.verdict, Verdict::Cancel);
        let panics = Harness::handler(boom);
        let outcome = cancelled(panics).run(job()).await;
        assert_eq!(outcome.settlement.verdict, Verdict::Cancel);
        assert_eq!(outcome.panic.unwrap().message, "boom", "the executor ends all the same");
    }

    #[tokio::test]
    async fn an_error_during_a_shutdown_counts_no_failure_and_goes_to_the_front() {
        let outcome = Harness::handler(fails_when_asked_to_stop).asked_to_stop(Stop::Shutdown).run(job()).await;
        assert_eq!((outcome.settlement.verdict, outcome.failure), (Verdict::ReleaseNow, None));
        assert_eq!(log(&outcome).ended, Ended::Released { reason: Released::Interrupted, delay_ms: 0 });
    }

    #[tokio::test]
    async fn a_snooze_during_a_shutdown_keeps_its_delay() {
        let snoozes =
            Harness::handler(|_: Work, _: Context| async { Err::<(), Failure>(Failure::snooze(TEST_TIMEOUT)) });
        let outcome = snoozes.asked_to_stop(Stop::Shutdown).run(job()).await;
        assert_eq!(outcome.settlement.verdict, Verdict::ReleaseAfter { delay: TEST_TIMEOUT });
    }

    #[tokio::test]
    async fn a_panic_during_a_shutdown_counts_as_a_failure() {
        let panics = Harness::handler(boom);
        let outcome = panics.asked_to_stop(Stop::Shutdown).run(job()).await;
        assert!(matches!(outcome.settlement.verdict, Verdict::Retry { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_cancels_the_token_and_then_drops_the_handler() {
        let seen = Arc::new(Mutex::new(None));
        let shared = seen.clone();
        let outcome = attempt(move |_: Work, ctx: Context| {
            let shared = shared.clone();
            async move {
                ctx.log("hanging");
                let _held = OnDrop(|| *shared.lock().unwrap() = Some((ctx.is_stop_requested(), ctx.why_stopped())));
                pending::<Returned>().await
            }
        })
        .await;
        assert_eq!(*seen.lock().unwrap(), Some((true, Some(Stop::TimedOut))));
        assert!(matches!(outcome.settlement.verdict, Verdict::Retry { .. }));
        assert_eq!(failure(&outcome), (Code::Timeout, "the handler ran longer than its timeout of 300s".into()));
        assert_eq!(outcome.ran, Duration::from_secs(300));
        assert_eq!(log(&outcome).lines[0].text, "hanging", "what it logged is kept");
    }

    #[tokio::test(start_paused = true)]
    async fn a_destructor_that_panics_at_a_timeout_is_reported_and_the_timeout_stays_the_cause() {
        let outcome = attempt(|_: Work, _: Context| async {
            let _held = OnDrop(|| panic!("connection not closed"));
            pending::<Returned>().await
        })
        .await;
        let text =
            "the handler ran longer than its timeout of 300s, and panicked while it was dropped: connection not closed";
        assert_eq!(failure(&outcome), (Code::Timeout, text.into()));
        assert_eq!(outcome.panic.unwrap().message, "connection not closed");
    }

    #[tokio::test]
    async fn an_attempt_that_is_dropped_drops_its_handler_and_asks_what_it_left_running_to_stop() {
        let (started, starts) = tokio::sync::oneshot::channel();
        let started = Mutex::new(Some(started));
        let dropped = Arc::new(AtomicBool::new(false));
        let shared = dropped.clone();
        let harness = Harness::handler(move |_: Work, _: Context| {
            let started = started.lock().unwrap().take().unwrap();
            let shared = shared.clone();
            async move {
                let _held = OnDrop(|| shared.store(true, Ordering::SeqCst));
                started.send(()).unwrap();
                pending::<Returned>().await
            }
        });
        tokio::select! {
            _ = harness.run(job()) => panic!("it hangs"),
            _ = starts => {}
        }
        assert!(dropped.load(Ordering::SeqCst));
        assert_eq!(harness.control.stop_reason(), Some(Stop::Shutdown));
        assert_eq!(harness.control.not_yielded_for(Instant::now()), None);
    }

    #[tokio::test]
    async fn a_destructor_that_panics_when_an_attempt_is_dropped_is_contained() {
        let harness = Harness::handler(|_: Work, _: Context| async {
            let _held = OnDrop(|| panic!("connection not closed"));
            pending::<Returned>().await
        });
        assert!(tokio::time::timeout(Duration::from_millis(1), harness.run(job())).await.is_err());
    }

    #[tokio::test]
    async fn an_attempt_that_ended_asks_nothing_to_stop() {
        let harness = Harness::handler(|_: Work, _: Context| async { DONE });
        harness.run(job()).await;
        assert_eq!(harness.control.stop_reason(), None);
    }

    #[test]
    fn a_handler_that_does_not_yield_is_seen_from_another_thread() {
        // The handler blocks first in the call that makes its future, then in a poll of that future.
        for in_poll in [false, true] {
            let (release, released) = mpsc::channel::<()>();
            let released = Arc::new(Mutex::new(released));
            let harness = Harness::handler(move |_: Work, _: Context| {
                let released = released.clone();
                let block = move || released.lock().unwrap().recv_timeout(TEST_TIMEOUT).unwrap();
                let later = if in_poll {
                    Some(block)
                } else {
                    block();
                    None
                };
                async move {
                    later.into_iter().for_each(|block| block());
                    DONE
                }
            });
            let control = harness.control.clone();
            let running = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(harness.run(job()))
            });
            let deadline = Instant::now() + TEST_TIMEOUT;
            while control.not_yielded_for(Instant::now()).is_none_or(|blocked| blocked < Duration::from_millis(20)) {
                assert!(Instant::now() < deadline, "never seen");
                std::thread::yield_now();
            }
            release.send(()).unwrap();
            assert_eq!(running.join().unwrap().settlement.verdict, Verdict::Complete { keep: true });
            assert_eq!(control.not_yielded_for(Instant::now()), None);
        }
    }
}

mod panicking {
    use super::*;

    #[inline(never)]
    fn reads_the_ledger(n: u32) -> u32 {
        let ledger: Vec<u32> = Vec::new();
        ledger[usize::try_from(n).unwrap()]
    }

    async fn settles_accounts(job: Work, _: Context) -> Result<(), Failure> {
        tokio::task::yield_now().await;
        reads_the_ledger(job.n);
        Ok(())
    }

    /// The name of an async function in a backtrace depends on the debug information; its location does not.
    #[track_caller]
    fn assert_only_handler_frames(backtrace: &str) {
        let (names, locations): (Vec<&str>, Vec<&str>) = backtrace.lines().partition(|line| !line.starts_with("  at "));
        let first = names.iter().position(|name| name.contains("reads_the_ledger"));
        assert!(first.is_some_and(|first| first < 4), "{backtrace}");
        assert_eq!(
            locations.iter().filter(|location| location.contains("execution/tests.rs:")).count(),
            2,
            "{backtrace}"
        );
        for ours in ["attempt_begins_here", "rust_begin_unwind", "catch_unwind", "panic::note", "tokio::"] {
            assert!(!names.iter().any(|name| name.contains(ours)), "{ours} in {backtrace}");
        }
    }

    // In paused time the backtrace does not time out on a slow machine.
    #[tokio::test(start_paused = true)]
    async fn a_panic_is_reported_with_message_location_and_the_handlers_own_frames() {
        let outcome = attempt(settles_accounts).await;
        assert!(matches!(outcome.settlement.verdict, Verdict::Retry { .. }));
        let message = "index out of bounds: the len is 0 but the index is 7";
        assert_eq!(failure(&outcome), (Code::Panic, message.into()));
        let (location, backtrace) = location_and_backtrace(&outcome);
        assert!(location.as_ref().unwrap().contains("execution/tests.rs:"), "{location:?}");
        assert_only_handler_frames(&backtrace.unwrap());
        let panic = outcome.panic.unwrap();
        assert_eq!((panic.location, panic.attempt, panic.job.to_string()), (location, 1, "j".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_in_a_blocking_handler_is_reported_the_same() {
        fn counts_pages(job: Work, _: Context) -> Result<(), Failure> {
            reads_the_ledger(job.n);
            Ok(())
        }
        let outcome = Harness::blocking(counts_pages).run(job()).await;
        assert_eq!(failure(&outcome).0, Code::Panic);
        let backtrace = location_and_backtrace(&outcome).1.unwrap();
        assert_only_handler_frames(&backtrace);
        assert!(backtrace.contains("counts_pages"), "{backtrace}");
        assert!(outcome.panic.is_some());
    }

    #[tokio::test]
    async fn a_panic_before_a_handler_returns_its_future_is_a_panic_too() {
        fn eager(_: Work, _: Context) -> std::future::Ready<Result<(), Failure>> {
            panic!("no future at all")
        }
        let outcome = attempt(eager).await;
        assert_eq!(failure(&outcome), (Code::Panic, "no future at all".into()));
    }

    #[tokio::test]
    async fn a_panic_payload_that_is_not_text_is_reported_as_such() {
        let outcome = attempt(|_: Work, _: Context| async { returned(|| panic_any(7)) }).await;
        assert_eq!(failure(&outcome).1, "a panic whose payload is not text");
        assert!(location_and_backtrace(&outcome).0.is_some(), "its location is known");
    }

    #[tokio::test]
    async fn a_panic_payload_that_panics_when_it_is_dropped_is_contained() {
        /// Panics this many times when it is dropped, so that a failing test ends.
        struct Bomb(u32);
        impl Drop for Bomb {
            fn drop(&mut self) {
                if self.0 > 0 {
                    panic_any(Bomb(self.0 - 1));
                }
            }
        }
        let outcome = attempt(|_: Work, _: Context| async { returned(|| panic_any(Bomb(2))) }).await;
        let message = "a panic whose payload is not text; dropping its payload panicked too";
        assert_eq!(failure(&outcome), (Code::Panic, message.into()));
    }

    #[tokio::test]
    async fn a_long_message_is_cut() {
        let outcome = attempt(|_: Work, _: Context| async { returned(|| panic!("{}", "x".repeat(100_000))) }).await;
        assert_eq!(failure(&outcome).1.len(), crate::failure::MESSAGE_BYTES_MAX);
        assert!(location_and_backtrace(&outcome).0.is_some(), "its location is known although the message was cut");
    }

    #[tokio::test]
    async fn a_panic_in_a_task_the_handler_joins_is_the_handlers_error() {
        async fn joins(_: Work, _: Context) -> Result<(), Failure> {
            tokio::spawn(async { panic!("in the task") }).await?;
            Ok(())
        }
        let outcome = attempt(joins).await;
        assert!(outcome.panic.is_none());
        let (code, message) = failure(&outcome);
        assert!(code == Code::JobExecutionFailed && message.contains("in the task"), "{code} {message}");
    }

    #[tokio::test]
    async fn a_panic_resumed_from_another_thread_has_no_location_rather_than_a_wrong_one() {
        async fn carries(_: Work, _: Context) -> Result<(), Failure> {
            let own = catch_unwind(|| panic!("caught by the handler")).unwrap_err();
            drop(own);
            resume_unwind(Box::new("from another thread"));
        }
        let outcome = attempt(carries).await;
        assert_eq!(failure(&outcome).1, "from another thread");
        assert_eq!(location_and_backtrace(&outcome), (None, None));
    }

    #[tokio::test]
    async fn a_panic_the_handler_catches_is_no_failure() {
        let outcome = attempt(|_: Work, _: Context| async {
            catch_unwind(|| panic!("caught by the handler")).unwrap_err();
            DONE
        })
        .await;
        assert_eq!(outcome.settlement.verdict, Verdict::Complete { keep: true });
        // The next attempt on this thread does not get the location of that panic.
        let outcome =
            attempt(|_: Work, _: Context| async { returned(|| resume_unwind(Box::new("caught by the handler"))) })
                .await;
        assert_eq!(location_and_backtrace(&outcome), (None, None));
    }

    #[tokio::test]
    async fn an_attempt_within_an_attempt_leaves_the_outer_ones_panic_alone() {
        let outcome = attempt(|_: Work, _: Context| async {
            let _held = OnDrop(|| {
                // The outer panic is unwinding here.
                let inner = catch_unwind(AssertUnwindSafe(|| panic!("inner")));
                inner.unwrap_err();
                let nested = super::super::panic::catch(|| panic!("nested"));
                assert_eq!(nested.unwrap_err().message, "nested");
            });
            returned(|| panic!("outer"))
        })
        .await;
        assert_eq!(failure(&outcome).1, "outer");
    }

    #[tokio::test]
    async fn a_second_panic_while_the_handler_is_dropped_changes_nothing() {
        /// Panics when it is polled, and again when it is dropped.
        struct Twice;
        impl Future for Twice {
            type Output = Result<(), Failure>;
            fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
                panic!("first")
            }
        }
        impl Drop for Twice {
            fn drop(&mut self) {
                panic!("second")
            }
        }
        let outcome = attempt(|_: Work, _: Context| Twice).await;
        assert_eq!(failure(&outcome), (Code::Panic, "first".into()));
    }

    #[tokio::test]
    async fn a_handler_that_returned_has_returned_even_if_dropping_it_panics() {
        struct Done;
        impl Future for Done {
            type Output = Result<(), Failure>;
            fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
                std::task::Poll::Ready(Ok(()))
            }
        }
        impl Drop for Done {
            fn drop(&mut self) {
                panic!("too late")
            }
        }
        let outcome = attempt(|_: Work, _: Context| Done).await;
        assert_eq!(outcome.settlement.verdict, Verdict::Complete { keep: true });
    }

    #[tokio::test]
    async fn data_whose_decoding_panics_is_a_panic_of_the_attempt() {
        #[derive(serde::Serialize)]
        struct Picky;
        impl<'de> serde::Deserialize<'de> for Picky {
            fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                panic!("no")
            }
        }
        impl Job for Picky {
            const KIND: &'static str = "work";
        }
        let outcome = attempt(|_: Picky, _: Context| async { DONE }).await;
        assert_eq!(failure(&outcome), (Code::Panic, "no".into()));
    }
}

mod unreadable {
    use super::*;

    async fn never(_: Work, _: Context) -> Result<(), Failure> {
        panic!("a handler was given what cannot be read")
    }

    #[tokio::test]
    async fn a_job_whose_envelope_cannot_be_read_is_poisoned() {
        for bytes in [&b""[..], b"\x01", b"{}", b"\x01\xdf\xff\xff\xff\xff"] {
            let outcome = Harness::handler(never).run(sealed(Bytes::from_static(bytes))).await;
            assert_eq!(outcome.settlement.verdict, Verdict::Poison, "{bytes:?}");
            assert_eq!(failure(&outcome).0, Code::DecodeFailed);
        }
    }

    #[tokio::test]
    async fn a_payload_of_another_version_is_not_poisoned_at_the_first_try() {
        let payload = codec::from_json(&serde_json::json!({"n": "seven"})).unwrap().into();
        let mut job = sealed(codec::seal(&Envelope { payload, ..envelope() }).unwrap());
        let blocking = Harness::blocking(|_: Work, _: Context| -> Result<(), Failure> { panic!("never called") });
        for harness in [Harness::handler(never), blocking] {
            job.counters.releases = 0;
            let outcome = harness.run(job.clone()).await;
            assert_eq!(outcome.settlement.verdict, Verdict::ReleaseAfter { delay: Duration::from_secs(30) });
            assert!(outcome.undecodable.as_ref().unwrap().starts_with("payload cannot be read: "), "{outcome:?}");
            assert_eq!(log(&outcome).ended, Ended::Released { reason: Released::Undecodable, delay_ms: 30_000 });
            assert!(log(&outcome).lines[0].text.starts_with("payload cannot be read: "));
            job.counters.releases = 20;
            let outcome = harness.run(job.clone()).await;
            assert_eq!((outcome.settlement.verdict, failure(&outcome).0), (Verdict::Poison, Code::DecodeFailed));
        }
    }

    #[tokio::test]
    async fn a_payload_larger_than_this_workers_limit_is_not_poisoned_at_the_first_try() {
        let mut harness = Harness::handler(never);
        harness.rules.payload_bytes_max = Some(3);
        let outcome = harness.run(job()).await;
        assert_eq!(outcome.settlement.verdict, Verdict::ReleaseAfter { delay: Duration::from_secs(30) });
        assert!(outcome.undecodable.is_some());
    }

    #[tokio::test]
    async fn a_payload_as_large_as_this_workers_limit_is_run() {
        let mut harness = Harness::handler(|_: Work| async { DONE });
        harness.rules.payload_bytes_max = Some(envelope().payload.len());
        assert_eq!(harness.run(job()).await.settlement.verdict, Verdict::Complete { keep: true });
    }

    #[tokio::test]
    async fn damage_is_not_taken_for_size_up_to_the_largest_envelope() {
        let mut harness = Harness::handler(never);
        harness.rules.payload_bytes_max = Some(3);
        let largest = 3 + codec::ENVELOPE_OVERHEAD_MAX;
        for (bytes, verdict) in
            [(largest, Verdict::Poison), (largest + 1, Verdict::ReleaseAfter { delay: Duration::from_secs(30) })]
        {
            assert_eq!(harness.run(sealed(vec![1; bytes].into())).await.settlement.verdict, verdict, "{bytes} bytes");
        }
    }

    #[tokio::test]
    async fn a_handler_that_calls_a_payload_unreadable_itself_is_not_contradicted() {
        let outcome = attempt(|_: Work| async { Err::<(), _>(Failure::new(Code::DecodeFailed, "bad page")) }).await;
        assert_eq!(outcome.settlement.verdict, Verdict::Poison);
    }

    #[tokio::test]
    async fn a_job_whose_payload_does_not_fit_its_type_is_poisoned_at_once_if_the_queue_says_so() {
        let payload = codec::from_json(&serde_json::json!({"n": "seven"})).unwrap().into();
        let job = sealed(codec::seal(&Envelope { payload, ..envelope() }).unwrap());
        let blocking = Harness::blocking(|_: Work, _: Context| -> Result<(), Failure> { panic!("never called") });
        for mut harness in [Harness::handler(never), blocking] {
            harness.rules.on_undecodable = OnUndecodable::Poison;
            let outcome = harness.run(job.clone()).await;
            assert_eq!(outcome.settlement.verdict, Verdict::Poison);
            let (code, message) = failure(&outcome);
            assert!(code == Code::DecodeFailed && message.starts_with("payload cannot be read: "), "{code} {message}");
            assert!(outcome.panic.is_none());
        }
    }

    #[tokio::test]
    async fn a_job_whose_payload_exceeds_this_workers_limit_is_poisoned_at_once_if_the_queue_says_so() {
        let mut harness = Harness::handler(never);
        harness.rules.on_undecodable = OnUndecodable::Poison;
        harness.rules.payload_bytes_max = Some(3);
        let outcome = harness.run(job()).await;
        assert_eq!(outcome.settlement.verdict, Verdict::Poison);
        let text = "the payload has 4 bytes, this worker takes payloads of at most 3";
        assert_eq!(failure(&outcome), (Code::DecodeFailed, text.into()));
        let huge = sealed(vec![1; 3 + codec::ENVELOPE_OVERHEAD_MAX + 1].into());
        assert!(failure(&harness.run(huge).await).1.starts_with("the envelope has 4100 bytes"));
    }

    #[tokio::test]
    async fn a_job_of_unknown_kind_is_released_with_a_delay_and_finally_dead() {
        let harness = Harness::new();
        let outcome = harness.run(job()).await;
        assert_eq!(outcome.settlement.verdict, Verdict::ReleaseAfter { delay: Duration::from_secs(30) });
        assert_eq!(outcome.unknown_kind.as_deref(), Some("work"));
        assert_eq!(log(&outcome).ended, Ended::Released { reason: Released::UnknownKind, delay_ms: 30_000 });
        let mut often_released = job();
        often_released.counters.releases = 20;
        let outcome = harness.run(often_released).await;
        assert_eq!(outcome.settlement.verdict, Verdict::Reject);
        assert_eq!(
            failure(&outcome),
            (Code::UnknownKind, "this worker has no handler for kind \"work\" in queue \"q\"".into())
        );
    }

    #[tokio::test]
    async fn an_envelope_of_a_newer_version_waits_for_a_newer_worker() {
        let harness = Harness::handler(never);
        let newer = || sealed(Bytes::from_static(&[2, 0x80]));
        let outcome = harness.run(newer()).await;
        assert_eq!(outcome.settlement.verdict, Verdict::ReleaseAfter { delay: Duration::from_secs(30) });
        assert!(outcome.unknown_kind.unwrap().contains("deploy a newer worker"));
        let mut often_released = newer();
        often_released.counters.releases = 20;
        let outcome = harness.run(often_released).await;
        assert_eq!((outcome.settlement.verdict, failure(&outcome).0), (Verdict::Reject, Code::DecodeFailed));
    }

    #[tokio::test]
    async fn a_catch_all_handler_gets_raw_jobs_of_all_kinds_without_a_handler() {
        let mut harness = Harness::handler(|_: Work, _: Context| async { DONE });
        harness
            .handlers
            .add_any(|raw: RawJob, _: Context| async move {
                Err::<(), Failure>(Failure::new(
                    Code::JobNotFound,
                    format!("{} {} {:?}", raw.kind, raw.id, raw.payload),
                ))
            })
            .unwrap();
        assert_eq!(harness.run(job()).await.settlement.verdict, Verdict::Complete { keep: true });
        let other = Envelope { kind: Kind::new("other").unwrap(), payload: Bytes::from_static(b"\xc1!"), ..envelope() };
        let outcome = harness.run(sealed(codec::seal(&other).unwrap())).await;
        assert_eq!(failure(&outcome).1, r#"other j b"\xc1!""#);
    }
}

mod blocking {
    use super::*;

    /// Waits to be asked to stop.
    fn wait_for_stop(ctx: &Context) {
        let deadline = std::time::Instant::now() + TEST_TIMEOUT;
        while !ctx.is_stop_requested() {
            assert!(std::time::Instant::now() < deadline, "never asked to stop");
            std::thread::yield_now();
        }
    }

    fn short() -> ClaimedJob {
        sealed(codec::seal(&Envelope { timeout_ms: Some(20), ..envelope() }).unwrap())
    }

    #[tokio::test]
    async fn a_blocking_handler_past_its_timeout_is_asked_to_stop_and_its_end_awaited() {
        let outcome = Harness::blocking(|_: Work, ctx: Context| {
            wait_for_stop(&ctx);
            assert_eq!(ctx.why_stopped(), Some(Stop::TimedOut));
            Err::<(), Failure>(Failure::permanent(Code::InvalidJobData, "stopped halfway"))
        })
        .run(short())
        .await;
        assert_eq!(failure(&outcome), (Code::Timeout, "the handler ran longer than its timeout of 20ms".into()));
        assert!(matches!(outcome.settlement.verdict, Verdict::Retry { .. }));
    }

    #[tokio::test]
    async fn a_blocking_handler_that_completes_late_has_completed() {
        let outcome = Harness::blocking(|_: Work, ctx: Context| {
            wait_for_stop(&ctx);
            DONE
        })
        .run(short())
        .await;
        assert_eq!(outcome.settlement.verdict, Verdict::Complete { keep: true });
    }

    #[test]
    fn a_blocking_handler_without_a_free_thread_is_released_and_never_runs() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
        let (release, released) = mpsc::channel::<()>();
        let ran = Arc::new(AtomicU32::new(0));
        let shared = ran.clone();
        runtime.block_on(async {
            let busy = tokio::task::spawn_blocking(move || released.recv_timeout(TEST_TIMEOUT));
            let harness = Harness::blocking(move |_: Work, _: Context| {
                shared.fetch_add(1, Ordering::SeqCst);
                DONE
            });
            let outcome = harness.run(short()).await;
            assert_eq!((outcome.settlement.verdict, outcome.failure), (Verdict::ReleaseNow, None));
            assert_eq!(log(&outcome).ended, Ended::Released { reason: Released::Unstarted, delay_ms: 0 });
            release.send(()).unwrap();
            busy.await.unwrap().unwrap();
            tokio::task::spawn_blocking(|| ()).await.unwrap(); // queued behind the handler's call
        });
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_call_that_got_no_thread_never_runs_later() {
        // The system refuses a stack of this size, and tokio then keeps the call for the thread that it starts next.
        let stack = usize::MAX / 4 + 1;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().thread_stack_size(stack).build().unwrap();
        let harness = Harness::blocking(|_: Work, _: Context| DONE);
        let outcome = runtime.block_on(harness.run(job()));
        assert_eq!((outcome.lacked, outcome.failure), (Some(Resource::Threads), None));
        // The control is part of the context with which the handler would be called.
        assert_eq!(Arc::strong_count(&harness.control), 1, "the handler can still be called");
        drop(runtime);
    }

    async fn panics(_: Work, _: Context) -> Returned {
        panic!("out of order")
    }

    #[test]
    fn a_panic_is_never_lost_because_no_thread_is_left_for_its_backtrace() {
        let stack = usize::MAX / 4 + 1;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().thread_stack_size(stack).build().unwrap();
        let harness = Harness::handler(panics);
        // More often than backtraces may be made at a time: none of them keeps its permit.
        for _ in 0..=BACKTRACE_RENDERERS_MAX {
            let begun = std::time::Instant::now();
            let outcome = runtime.block_on(harness.run(job()));
            assert_eq!(outcome.failure.map(|(code, _)| code), Some(Code::Panic));
            assert!(outcome.panic.is_some() && begun.elapsed() < BACKTRACE_RENDER_TIMEOUT);
        }
    }

    #[tokio::test]
    async fn an_attempt_that_is_dropped_asks_its_thread_to_stop() {
        let (starts, mut started) = tokio::sync::mpsc::unbounded_channel();
        let (ends, mut ended) = tokio::sync::mpsc::unbounded_channel();
        let harness = Harness::blocking(move |_: Work, ctx: Context| {
            starts.send(()).unwrap();
            wait_for_stop(&ctx);
            ends.send(ctx.why_stopped()).unwrap();
            DONE
        });
        tokio::select! {
            _ = harness.run(job()) => panic!("it waits"),
            _ = started.recv() => {}
        }
        let ended = tokio::time::timeout(TEST_TIMEOUT, ended.recv()).await;
        assert_eq!(ended, Ok(Some(Some(Stop::Shutdown))));
    }
}

mod arguments {
    use super::*;

    struct Mailer(u32);
    struct Missing;

    #[tokio::test]
    async fn a_state_is_an_argument_or_comes_from_the_context() {
        let mut harness = Harness::new();
        harness.states.insert(Mailer(5)).unwrap();
        harness
            .handlers
            .add(|_: Work, ctx: Context, mailer: State<Mailer>| async move {
                assert_eq!((mailer.0, ctx.state::<Mailer>().0), (5, 5));
                assert!(ctx.try_state::<Missing>().is_none());
                DONE
            })
            .unwrap();
        assert_eq!(harness.handlers.missing_states(&harness.states), []);
        assert_eq!(harness.run(job()).await.settlement.verdict, Verdict::Complete { keep: true });
    }

    #[tokio::test]
    async fn a_missing_state_is_named_at_start_with_its_handler() {
        let mut harness = Harness::handler(|_: Work, _: Context, _: State<Mailer>, _: State<Missing>| async { DONE });
        harness.states.insert(Mailer(5)).unwrap();
        let missing = harness.handlers.missing_states(&harness.states);
        let [missing] = &missing[..] else { panic!("{missing:?}") };
        let missing = missing.to_string();
        assert!(missing.starts_with("the handler of \"work\" needs a state of type "), "{missing}");
        assert!(missing.contains("Missing; add .state(…) with one"), "{missing}");
        // A runner that is used all the same gives a failure, not a panic.
        let outcome = harness.run(job()).await;
        assert!(outcome.panic.is_none() && failure(&outcome).1.contains("Missing"));
    }

    #[tokio::test]
    async fn asking_the_context_for_a_missing_state_panics_at_the_call() {
        let outcome = attempt(|_: Work, ctx: Context| async move {
            let _ = ctx.state::<Missing>();
            DONE
        })
        .await;
        assert!(failure(&outcome).1.starts_with("no state of type "));
        assert!(location_and_backtrace(&outcome).0.unwrap().contains("execution/tests.rs"));
    }

    #[tokio::test]
    async fn a_second_handler_of_a_kind_and_a_second_state_of_a_type_are_refused() {
        let mut harness = Harness::handler(|_: Work, _: Context| async { DONE });
        let twice = harness.handlers.add_blocking(|_: Work, _: Context| DONE).unwrap_err();
        assert_eq!(twice.to_string(), "two handlers were given for kind \"work\"");
        harness.states.insert(Mailer(1)).unwrap();
        assert!(harness.states.insert(Mailer(2)).unwrap_err().to_string().contains("Mailer"));
        assert_eq!(harness.states.get::<Mailer>().unwrap().0, 1);
    }

    #[tokio::test]
    async fn a_context_describes_its_attempt() {
        let mut job = job();
        job.counters = Counters { attempts: 6, failures: 2, crashes: 1, releases: 2 };
        let harness = Harness::handler(|_: Work, ctx: Context| async move {
            let about = (ctx.id().to_string(), ctx.queue_name().to_string(), ctx.kind().to_string());
            assert_eq!(about, ("j".into(), "q".into(), "work".into()));
            assert_eq!((ctx.attempt(), ctx.max_attempts(), ctx.counters().attempts), (3, 5, 6));
            assert_eq!((ctx.enqueued_ms(), ctx.started_ms()), (500, 1_000));
            assert_eq!(ctx.idempotency_key(), "q:j");
            assert!(!ctx.is_stop_requested() && !ctx.lease_ended() && ctx.why_stopped().is_none());
            assert!(ctx.lease_remaining() > Duration::ZERO);
            DONE
        });
        let outcome = harness.run(job).await;
        assert_eq!(outcome.settlement.verdict, Verdict::Complete { keep: true });
    }

    #[tokio::test]
    async fn a_handlers_log_and_progress_are_bounded() {
        let outcome = attempt(|_: Work, ctx: Context| async move {
            ctx.progress(10, "begun");
            ctx.progress(200, "é".repeat(1_000));
            for n in 0..40 {
                ctx.log(format!("{n} {}", "x".repeat(1_000)));
            }
            Err::<(), Failure>(Failure::new(Code::UnknownError, "x".repeat(20_000)))
        })
        .await;
        let log = log(&outcome);
        assert_eq!((log.lines.len(), log.lines_dropped), (LOG_LINES_MAX, 8));
        assert!(log.lines.iter().all(|line| line.text.len() <= LOG_LINE_BYTES_MAX && line.text.ends_with('…')));
        assert!(log.lines[0].text.starts_with("0 x"), "the first lines are kept");
        let progress = log.progress.unwrap();
        assert_eq!(progress.percent, 100);
        assert!(progress.note.len() <= LOG_LINE_BYTES_MAX && progress.note.starts_with('é'));
        assert_eq!(failure(&outcome).1.len(), crate::failure::MESSAGE_BYTES_MAX);
    }
}

mod out_of_resources {
    use super::*;

    fn too_many_open_files() -> std::io::Error {
        std::io::Error::from_raw_os_error(24)
    }

    #[tokio::test]
    async fn an_attempt_for_which_the_process_had_no_file_counts_no_failure() {
        let any_error = attempt(|_: Work| async { Err::<(), _>(too_many_open_files()) }).await;
        let classified =
            attempt(|_: Work| async { Err::<(), _>(Failure::temporary(Code::NetworkError, too_many_open_files())) });
        for outcome in [any_error, classified.await] {
            assert_eq!(outcome.settlement.verdict, Verdict::ReleaseAfter { delay: Duration::from_secs(1) });
            assert_eq!((outcome.lacked, outcome.failure), (Some(Resource::OpenFiles), None));
            assert_eq!(log(&outcome).ended, Ended::Released { reason: Released::OutOfResources, delay_ms: 1_000 });
            assert!(log(&outcome).lines[0].text.contains("Too many open files"));
        }
    }

    #[tokio::test]
    async fn a_job_that_uses_up_its_process_does_not_come_back_for_ever() {
        let mut often_released = job();
        often_released.counters.releases = 1_000;
        let harness = Harness::handler(|_: Work| async { Err::<(), _>(too_many_open_files()) });
        let outcome = harness.run(often_released).await;
        assert!(matches!(outcome.settlement.verdict, Verdict::Retry { .. }), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_wrong_address_is_not_taken_for_a_lack_of_ports_without_end() {
        let wrong_address = || std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
        let by_cause = Harness::handler(move |_: Work| async move { Err::<(), _>(wrong_address()) });
        let by_name =
            Harness::handler(move |_: Work| async move { Err::<(), _>(Failure::out_of(Resource::Ports, "no port")) });
        for harness in [&by_cause, &by_name] {
            let mut job = job();
            job.counters.releases = 4;
            assert_eq!(harness.run(job.clone()).await.lacked, Some(Resource::Ports));
            job.counters.releases = 5;
            let outcome = harness.run(job).await;
            assert!(matches!(outcome.settlement.verdict, Verdict::Retry { .. }), "{outcome:?}");
        }
        let mut often_released = job();
        often_released.counters.releases = 5;
        assert_eq!(failure(&by_name.run(often_released).await), (Code::NetworkError, "no port".into()));
    }

    #[tokio::test]
    async fn a_cancelled_job_stays_cancelled_though_its_process_had_no_file() {
        let harness = Harness::handler(|_: Work| async { Err::<(), _>(too_many_open_files()) });
        let outcome = harness.asked_to_stop(Stop::Cancelled).run(job()).await;
        assert_eq!((outcome.settlement.verdict, outcome.lacked), (Verdict::Cancel, None));
    }
}
