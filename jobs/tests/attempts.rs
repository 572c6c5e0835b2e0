//! What the runner guarantees for every attempt, tested through its public API with complete tables and random bytes. Single behaviours are tested beside its code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use retraced_jobs::codec::{self, Envelope};
use retraced_jobs::context::{AttemptControl, Context, States, Stop};
use retraced_jobs::execution::{AttemptInput, AttemptOutcome, RanBy, Rules, Runner};
use retraced_jobs::failure::{Code, Failure, SNOOZE_MAX};
use retraced_jobs::handler::{Handlers, RawJob};
use retraced_jobs::job::{Counters, InstanceId, JobId, Kind, QueueName, Token};
use retraced_jobs::retry::{OnUndecodable, Retry};
use retraced_jobs::store::{ClaimedJob, Settlement, Verdict};
use retraced_jobs::trace::{AttemptLog, Ended, ExecutorId, Released};
use retraced_jobs::typed_job::{Job, JobOptions, seal_job};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

const EXECUTOR: ExecutorId = ExecutorId::new(3, 7);
const STARTED_MS: u64 = 1_700_000_000_000;

#[derive(Serialize, Deserialize)]
struct Greet {
    name: String,
}

impl Job for Greet {
    const KIND: &'static str = "greet";
}

/// A runner, one job, and the control of its attempt.
struct Harness {
    handlers: Handlers,
    rules: Rules,
    envelope: Envelope,
    counters: Counters,
    control: Arc<AttemptControl>,
}

impl Harness {
    fn new() -> Self {
        let payload = Bytes::from(codec::to_payload(&Greet { name: "Ada".into() }).unwrap());
        let kind = Kind::new(Greet::KIND).unwrap();
        Self {
            handlers: Handlers::default(),
            rules: Rules {
                retry: Some(Retry::fixed().jitter(0)),
                timeout: Some(Duration::from_secs(60)),
                ..Rules::default()
            },
            envelope: Envelope::new(kind, payload),
            counters: Counters { attempts: 1, ..Counters::default() },
            control: Arc::new(AttemptControl::new(Instant::now() + Duration::from_secs(30))),
        }
    }

    /// A harness whose handler runs this function, whatever the job.
    fn running<F: Future<Output = Result<(), Failure>> + Send + 'static>(
        run: impl Fn(Context) -> F + Send + Sync + 'static,
    ) -> Self {
        let mut harness = Self::new();
        harness.handlers.add(move |_: Greet, ctx: Context| run(ctx)).unwrap();
        harness
    }

    fn job(&self) -> ClaimedJob {
        self.sealed(codec::seal(&self.envelope).unwrap())
    }

    fn sealed(&self, envelope: Bytes) -> ClaimedJob {
        let token = Token { attempt: self.counters.attempts, nonce: *b"8 random" };
        ClaimedJob::new(JobId::parse("welcome-42").unwrap(), token, self.counters, STARTED_MS - 5_000, envelope)
    }

    fn runner(&self) -> Runner {
        let (handlers, states) = (Arc::new(self.handlers.clone()), Arc::new(States::default()));
        let queue = QueueName::new("mail").unwrap();
        Runner::new(queue, handlers, states, self.rules.clone(), InstanceId::from(Uuid::from_u128(9)))
    }

    async fn attempt(&self) -> AttemptOutcome {
        self.attempt_of(self.job()).await
    }

    async fn attempt_of(&self, job: ClaimedJob) -> AttemptOutcome {
        let control = self.control.clone();
        self.runner()
            .attempt(AttemptInput {
                job,
                executor: EXECUTOR,
                started: Instant::now(),
                started_ms: STARTED_MS,
                control,
                jitter: 0,
            })
            .await
    }
}

fn log_of(settlement: &Settlement) -> AttemptLog {
    codec::decode_attempt(&settlement.record).unwrap()
}

fn retry_in(secs: u64) -> Verdict {
    Verdict::Retry { delay: Duration::from_secs(secs) }
}

fn release_in(secs: u64) -> Verdict {
    Verdict::ReleaseAfter { delay: Duration::from_secs(secs) }
}

/// Goal: a panic is seen although the program has set no subscriber. Method: the test runs itself in a process of its own, in which a handler panics.
#[tokio::test(start_paused = true)]
async fn no_panic_is_silent_in_a_program_without_a_subscriber() {
    const IN_CHILD: &str = "RETRACED_TEST_CHILD";
    if std::env::var_os(IN_CHILD).is_some() {
        assert!(Harness::running(|_| async { panic!("boom") }).attempt().await.panic.is_some());
        return;
    }
    let this = ["--exact", "no_panic_is_silent_in_a_program_without_a_subscriber", "--nocapture"];
    let child = std::process::Command::new(std::env::current_exe().unwrap()).args(this).env(IN_CHILD, "1").output();
    let child = child.unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said.contains("job welcome-42 of queue mail panicked at "), "{said}");
    assert!(said.contains(" in attempt 1: boom"), "{said}");
}

mod ending {
    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Does {
        Returns,
        FailsTemporarily,
        FailsPermanently,
        Snoozes,
        Panics,
        NeverEnds,
    }

    async fn run(does: Does) -> Result<(), Failure> {
        match does {
            Does::Returns => Ok(()),
            Does::FailsTemporarily => Err(Failure::temporary(Code::NetworkError, "refused")),
            Does::FailsPermanently => Err(Failure::permanent(Code::InvalidJobData, "no recipient")),
            Does::Snoozes => Err(Failure::snooze(Duration::from_secs(9))),
            Does::Panics => panic!("boom"),
            Does::NeverEnds => std::future::pending().await,
        }
    }

    /// For every way in which a handler can end: the verdict for each reason to stop (none, shutdown, cancelled, lease lost).
    #[tokio::test(start_paused = true)]
    async fn every_end_leads_to_one_verdict_for_each_reason_to_stop() {
        let reasons = [None, Some(Stop::Shutdown), Some(Stop::Cancelled), Some(Stop::LeaseLost)];
        let done = Verdict::Complete { keep: true };
        let (cancel, back) = (Verdict::Cancel, Verdict::ReleaseNow);
        for (does, verdicts) in [
            (Does::Returns, [done, done, done, done]),
            (Does::FailsTemporarily, [retry_in(5), back, cancel, retry_in(5)]),
            (Does::FailsPermanently, [Verdict::Poison, back, cancel, Verdict::Poison]),
            (Does::Snoozes, [release_in(9), release_in(9), cancel, release_in(9)]),
            (Does::Panics, [retry_in(5), retry_in(5), cancel, retry_in(5)]),
            (Does::NeverEnds, [retry_in(5), back, cancel, retry_in(5)]),
        ] {
            for (why, verdict) in reasons.into_iter().zip(verdicts) {
                let harness = Harness::running(move |_| run(does));
                why.into_iter().for_each(|why| harness.control.stop(why));
                let outcome = harness.attempt().await;
                let what = format!("a handler that {does:?} with reason {why:?}");
                assert_eq!(outcome.settlement.verdict, verdict, "{what}");
                assert_eq!(outcome.panic.is_some(), matches!(does, Does::Panics), "{what}");
                let counted = matches!(verdict, Verdict::Retry { .. } | Verdict::Poison | Verdict::Cancel);
                assert_eq!(outcome.failure.is_some(), counted, "{what}");
                let logged = matches!(verdict, Verdict::Retry { .. } | Verdict::Poison);
                assert_eq!(outcome.message.is_some(), logged, "{what}: {:?}", outcome.message);
            }
        }
    }

    #[tokio::test]
    async fn crashes_and_releases_use_up_no_attempts() {
        let mut harness = Harness::running(|ctx| async move {
            ctx.log(format!("attempt {}", ctx.attempt()));
            Err(Failure::temporary(Code::NetworkError, "refused"))
        });
        harness.counters = Counters { attempts: 40, failures: 1, crashes: 2, releases: 37 };
        let settlement = harness.attempt().await.settlement;
        assert_eq!(settlement.verdict, retry_in(5));
        assert_eq!(log_of(&settlement).lines[0].text, "attempt 2");
    }

    #[tokio::test]
    async fn a_snooze_longer_than_allowed_is_shortened() {
        let harness = Harness::running(|_| async { Err(Failure::snooze(Duration::MAX)) });
        assert_eq!(harness.attempt().await.settlement.verdict, Verdict::ReleaseAfter { delay: SNOOZE_MAX });
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_too_long_for_any_clock_does_not_stop_the_handler() {
        let mut harness = Harness::running(|_| async {
            tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
            Ok(())
        });
        harness.envelope.timeout_ms = Some(u64::MAX);
        assert_eq!(harness.attempt().await.settlement.verdict, Verdict::Complete { keep: true });
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_below_a_millisecond_is_rounded_up_and_not_replaced_by_the_queues() {
        let harness = Harness::running(|_| std::future::pending());
        let options = JobOptions::default().timeout(Duration::from_micros(10));
        let sealed = seal_job(&Greet { name: "Ada".into() }, &options).unwrap();
        let outcome = harness.attempt_of(harness.sealed(sealed.envelope)).await;
        assert_eq!((outcome.ran, outcome.settlement.verdict), (Duration::from_millis(1), retry_in(5)));
    }

    #[tokio::test]
    async fn the_idempotency_key_is_the_same_in_every_attempt() {
        let keys = Arc::new(Mutex::new(Vec::new()));
        let seen = keys.clone();
        let mut harness = Harness::running(move |ctx| {
            seen.lock().unwrap().push(ctx.idempotency_key());
            async { Ok(()) }
        });
        harness.attempt().await;
        harness.counters = Counters { attempts: 9, failures: 2, crashes: 1, releases: 5 };
        harness.attempt().await;
        assert_eq!(*keys.lock().unwrap(), ["mail:welcome-42", "mail:welcome-42"]);
    }
}

mod settled_from_outside {
    use super::*;

    fn ran_for(ran: Duration) -> RanBy {
        RanBy { executor: EXECUTOR, started_ms: STARTED_MS, ran }
    }

    #[test]
    fn a_job_that_never_ran_goes_back_to_the_front_and_leaves_no_record() {
        let harness = Harness::new();
        for settlement in
            [harness.runner().unstarted(&harness.job()), harness.runner().interrupted(&harness.job(), None)]
        {
            assert_eq!((settlement.verdict, settlement.record.len()), (Verdict::ReleaseNow, 0));
            assert_eq!(settlement.token, harness.job().token);
        }
    }

    #[test]
    fn an_interrupted_attempt_goes_back_to_the_front_and_says_who_ran_it() {
        let harness = Harness::new();
        let by = Some(ran_for(Duration::from_secs(4)));
        let settlement = harness.runner().interrupted(&harness.job(), by);
        assert_eq!(settlement.verdict, Verdict::ReleaseNow);
        let log = log_of(&settlement);
        assert_eq!((log.executor, log.started_ms, log.ran_ms), (EXECUTOR, STARTED_MS, 4_000));
        assert_eq!(log.ended, Ended::Released { reason: Released::Interrupted, delay_ms: 0 });
    }

    #[test]
    fn the_attempt_of_a_zombie_is_settled_by_its_jobs_policy_and_warns_of_overlap() {
        let mut harness = Harness::new();
        harness.envelope.retry.base_ms = Some(7_000);
        let ran_by = ran_for(Duration::from_secs(70));
        let settlement = harness.runner().timed_out(&harness.job(), ran_by, 0);
        assert_eq!(settlement.verdict, retry_in(7));
        let Ended::Failed { code, message, decision, .. } = log_of(&settlement).ended else { panic!("no failure") };
        assert_eq!((code, decision.unwrap().delay_ms), (Code::Timeout, 7_000));
        assert!(message.contains("still runs after 70s") && message.contains("may overlap"), "{message}");
        harness.counters.failures = 4;
        let settlement = harness.runner().timed_out(&harness.job(), ran_by, 0);
        assert_eq!(settlement.verdict, Verdict::DeadLetter);
    }
}

mod odd_input {
    use super::*;

    #[tokio::test]
    async fn retry_numbers_out_of_bounds_are_replaced_by_the_queues_and_logged() {
        let mut harness = Harness::running(|_| async { Err(Failure::temporary(Code::NetworkError, "refused")) });
        harness.envelope.retry = serde_json::from_str(r#"{"max_attempts": 0, "base_ms": 1}"#).unwrap();
        let settlement = harness.attempt().await.settlement;
        assert_eq!(settlement.verdict, retry_in(5));
        let expected = "the job's own retry settings were refused, those of its kind and queue are used: max attempts is 0, allowed are 1 to 1000";
        assert_eq!(log_of(&settlement).lines[0].text, expected);
    }

    #[test]
    fn a_kind_whose_name_is_not_allowed_gets_no_handler() {
        #[derive(Serialize, Deserialize)]
        struct Odd;
        impl Job for Odd {
            const KIND: &'static str = "odd kind";
        }
        let mut handlers = Handlers::default();
        let refused = handlers.add(|_: Odd, _: Context| async { Ok::<(), Failure>(()) }).unwrap_err().to_string();
        assert!(refused.starts_with("invalid kind \"odd kind\": character 4 is ' '"), "{refused}");
        assert!(handlers.is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        /// Whatever bytes are stored, an attempt ends with a settlement under the token of its claim: the job is poisoned, or released for a newer worker.
        #[test]
        fn any_stored_bytes_end_with_a_settlement(mut envelope in proptest::collection::vec(any::<u8>(), 0..200), ours: bool) {
            if ours && !envelope.is_empty() {
                envelope[0] = codec::ENVELOPE_VERSION;
            }
            let mut harness = Harness::new();
            harness.handlers.add_any(|_: RawJob, _: Context| async { Ok::<(), Failure>(()) }).unwrap();
            let job = harness.sealed(envelope.clone().into());
            let settlement = block_on(harness.attempt_of(job.clone())).settlement;
            // A byte from 0x20 on may begin a text or JSON, so it is not taken for a version.
            let newer = envelope.first().is_some_and(|byte| (codec::ENVELOPE_VERSION + 1..0x20).contains(byte));
            prop_assert_eq!(settlement.token, job.token);
            prop_assert_eq!(settlement.verdict, if newer { release_in(30) } else { Verdict::Poison });
        }

        /// If the envelope can be decoded and its payload cannot, the handler does not run, and the job is put off or poisoned as the queue says.
        #[test]
        fn a_job_whose_payload_cannot_be_decoded_is_put_off_or_poisoned(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut harness = Harness::running(|_| async { Ok(()) });
            let readable = codec::from_payload::<Greet>(&payload).is_ok();
            harness.envelope.payload = payload.into();
            for (rule, unreadable) in [(OnUndecodable::PutOff, release_in(30)), (OnUndecodable::Poison, Verdict::Poison)] {
                harness.rules.on_undecodable = rule;
                let verdict = block_on(harness.attempt()).settlement.verdict;
                prop_assert_eq!(verdict, if readable { Verdict::Complete { keep: true } } else { unreadable });
            }
        }
    }

    fn block_on<T>(attempt: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(attempt)
    }
}
