//! What a handler may take and return, and what each return value means for its job. Tested through the public API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use retraced_jobs::codec::{self, Envelope};
use retraced_jobs::context::{AttemptControl, Context, States, Stop};
use retraced_jobs::enqueue::{IntoNewJob, JobRequest};
use retraced_jobs::execution::{AttemptInput, AttemptOutcome, Layer, Layers, Next, Rules, Runner};
use retraced_jobs::failure::{Class, Code, Failure};
use retraced_jobs::handler::{
    Attempt, FromContext, Handlers, IntoBlockingHandler, IntoFailure, IntoHandler, Needs, Output, RawJob, State,
    StopRequest,
};
use retraced_jobs::job::{Counters, InstanceId, JobId, Kind, QueueName, Token};
use retraced_jobs::retry::{Retry, RetryOverrides};
use retraced_jobs::store::{ClaimedJob, Retention, Verdict};
use retraced_jobs::trace::{Ended, ExecutorId};
use retraced_jobs::typed_job::{Job, JobDefaults};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Serialize, Deserialize)]
struct Greet {
    name: String,
}

impl Job for Greet {
    const KIND: &'static str = "greet";
}

/// Everything a runner needs for one job.
struct Harness {
    handlers: Handlers,
    states: States,
    rules: Rules,
    layers: Layers,
    control: Arc<AttemptControl>,
    envelope: Envelope,
}

impl Harness {
    fn of<J: Job>(job: &J) -> Self {
        let envelope = Envelope::new(Kind::new(J::KIND).unwrap(), codec::to_payload(job).unwrap().into());
        Self {
            handlers: Handlers::default(),
            states: States::default(),
            rules: Rules::default(),
            layers: Layers::default(),
            control: Arc::new(AttemptControl::new(tokio::time::Instant::now() + Duration::from_secs(30))),
            envelope,
        }
    }

    fn greeting<M>(handler: impl IntoHandler<M>) -> Self {
        let mut harness = Self::of(&Greet { name: "Ada".into() });
        harness.handlers.add(handler).unwrap();
        harness
    }

    fn blocking<M>(handler: impl IntoBlockingHandler<M>) -> Self {
        let mut harness = Self::of(&Greet { name: "Ada".into() });
        harness.handlers.add_blocking(handler).unwrap();
        harness
    }

    fn layer(mut self, layer: impl Layer) -> Self {
        self.layers.push(layer);
        self
    }

    async fn attempt(&self) -> AttemptOutcome {
        let (handlers, states) = (Arc::new(self.handlers.clone()), Arc::new(self.states.clone()));
        let (queue, instance) = (QueueName::new("mail").unwrap(), InstanceId::from(Uuid::from_u128(9)));
        let runner = Runner::new(queue, handlers, states, self.rules.clone(), instance).layers(self.layers.clone());
        let token = Token { attempt: 3, nonce: *b"8 random" };
        let counters = Counters { attempts: 3, failures: 2, crashes: 0, releases: 0 };
        let envelope = codec::seal(&self.envelope).unwrap();
        let job = ClaimedJob::new(JobId::parse("welcome-42").unwrap(), token, counters, 1, envelope);
        let executor = ExecutorId::new(0, 0);
        runner
            .attempt(AttemptInput {
                job,
                executor,
                started: tokio::time::Instant::now(),
                started_ms: 2,
                control: self.control.clone(),
                jitter: 0,
            })
            .await
    }
}

fn error_of(outcome: &AttemptOutcome) -> (Code, Class, String) {
    let Ended::Failed { message, .. } = codec::decode_attempt(&outcome.settlement.record).unwrap().ended else {
        panic!("the attempt did not fail: {outcome:?}")
    };
    let (code, class) = outcome.failure.unwrap();
    (code, class, message)
}

fn output_of(outcome: &AttemptOutcome) -> Option<Bytes> {
    match codec::decode_attempt(&outcome.settlement.record).unwrap().ended {
        Ended::Completed { output } => output,
        other => panic!("the attempt did not complete: {other:?}"),
    }
}

fn completed(outcome: &AttemptOutcome) -> bool {
    matches!(outcome.settlement.verdict, Verdict::Complete { .. })
}

mod arguments {
    use super::*;

    struct Mailer(&'static str);

    /// An application's own extractor: the part of the job's id before the dash.
    struct Campaign(String);

    impl FromContext for Campaign {
        fn from_context(ctx: &Context) -> Result<Self, Failure> {
            let known = ctx.try_state::<Mailer>();
            let missing = || Failure::permanent(Code::InvalidJobData, "no campaign");
            known.map(|_| Self(ctx.id().to_string().split('-').next().unwrap().into())).ok_or_else(missing)
        }

        fn needs(needs: &mut Needs) {
            needs.state::<Mailer>();
        }
    }

    #[tokio::test]
    async fn extractors_come_in_any_number_and_order() {
        async fn none(job: Greet) {
            assert_eq!(job.name, "Ada");
        }
        #[allow(clippy::too_many_arguments, reason = "eight extractors are what is allowed")]
        async fn all(
            _: Greet,
            attempt: Attempt,
            mailer: State<Mailer>,
            id: JobId,
            ctx: Context,
            stop: StopRequest,
            campaign: Campaign,
            again: State<Mailer>,
            last: Attempt,
        ) -> Result<(), Failure> {
            assert_eq!((attempt.number, attempt.max, attempt.is_last()), (3, 5, false));
            assert_eq!((mailer.0, again.0, last), ("smtp", "smtp", attempt));
            assert_eq!((id.to_string().as_str(), ctx.id()), ("welcome-42", &id));
            assert_eq!((stop.reason(), campaign.0.as_str()), (None, "welcome"));
            Ok(())
        }
        assert!(completed(&Harness::greeting(none).attempt().await));
        let mut harness = Harness::greeting(all);
        harness.states.insert(Mailer("smtp")).unwrap();
        assert!(completed(&harness.attempt().await));
    }

    #[tokio::test]
    async fn blocking_and_any_kind_handlers_take_extractors_too() {
        fn blocks(_: Greet, attempt: Attempt, id: JobId) {
            assert_eq!((attempt.number, id.to_string().as_str()), (3, "welcome-42"));
        }
        assert!(completed(&Harness::blocking(blocks).attempt().await));
        let mut harness = Harness::of(&Greet { name: "Ada".into() });
        async fn any(job: RawJob, attempt: Attempt) -> Result<(), Failure> {
            assert_eq!((job.kind.as_str(), attempt.number), ("greet", 3));
            Ok(())
        }
        harness.handlers.add_any(any).unwrap();
        assert!(completed(&harness.attempt().await));
    }

    #[tokio::test]
    async fn what_an_extractor_needs_is_found_missing_before_anything_runs() {
        let mut harness = Harness::greeting(|_: Greet, _: Attempt, _: Campaign| async {});
        let missing = harness.handlers.missing_states(&harness.states);
        assert_eq!(missing.len(), 1);
        assert!(missing[0].to_string().contains("needs a state of type handlers::arguments::Mailer"), "{missing:?}");
        // If the job runs anyway, the extractor fails and the handler is not called.
        assert_eq!(error_of(&harness.attempt().await).1, Class::Permanent);
        harness.states.insert(Mailer("smtp")).unwrap();
        assert_eq!(harness.handlers.missing_states(&harness.states), []);
    }

    #[tokio::test]
    async fn a_stop_request_wakes_the_handler_and_says_why() {
        let harness = Harness::greeting(|_: Greet, stop: StopRequest| async move {
            let why = stop.wait().await;
            Err::<(), String>(format!("{why:?} {:?}", stop.reason()))
        });
        harness.control.stop(Stop::LeaseLost);
        assert_eq!(error_of(&harness.attempt().await).2, "LeaseLost Some(LeaseLost)");
    }
}

mod errors {
    use super::*;

    /// An application's error type that is a `std::error::Error`, as `thiserror` derives it.
    #[derive(Debug)]
    enum SmtpError {
        Busy,
        NoSuchUser,
    }

    impl std::fmt::Display for SmtpError {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(match self {
                SmtpError::Busy => "the server is busy",
                SmtpError::NoSuchUser => "no such user",
            })
        }
    }

    impl std::error::Error for SmtpError {}

    impl IntoFailure for SmtpError {
        fn into_failure(self) -> Failure {
            match self {
                SmtpError::Busy => Failure::temporary(Code::ServiceUnavailable, self),
                SmtpError::NoSuchUser => Failure::permanent(Code::InvalidJobData, self),
            }
        }
    }

    /// An application's error type that is no `std::error::Error`, and converts with `From`.
    struct Plain;

    impl From<Plain> for Failure {
        fn from(_: Plain) -> Self {
            Failure::permanent(Code::AuthorizationFailed, "not allowed")
        }
    }

    fn text(text: &str) -> String {
        text.to_owned()
    }

    #[tokio::test]
    async fn an_error_type_of_ones_own_chooses_the_failure_by_its_variant() {
        async fn busy(_: Greet) -> Result<(), SmtpError> {
            Err(SmtpError::Busy)
        }
        async fn unknown_user(_: Greet) -> Result<(), SmtpError> {
            async { Err(SmtpError::NoSuchUser) }.await?;
            Ok(())
        }
        let (busy, unknown_user) =
            (Harness::greeting(busy).attempt().await, Harness::greeting(unknown_user).attempt().await);
        assert_eq!(error_of(&busy), (Code::ServiceUnavailable, Class::Temporary, text("the server is busy")));
        assert_eq!(error_of(&unknown_user), (Code::InvalidJobData, Class::Permanent, text("no such user")));
        assert_eq!(unknown_user.settlement.verdict, Verdict::Poison);
    }

    #[tokio::test]
    async fn an_error_type_without_std_error_converts_with_from() {
        async fn refused(_: Greet) -> Result<(), Failure> {
            Err(Plain)?
        }
        assert_eq!(error_of(&Harness::greeting(refused).attempt().await).0, Code::AuthorizationFailed);
    }

    #[tokio::test]
    async fn a_std_error_is_of_unknown_class() {
        async fn direct(_: Greet) -> Result<(), std::io::Error> {
            Err(std::io::Error::other("disk full"))
        }
        async fn by_question_mark(_: Greet) -> Result<(), Failure> {
            Err(std::io::Error::other("disk full"))?
        }
        for outcome in [Harness::greeting(direct).attempt().await, Harness::greeting(by_question_mark).attempt().await]
        {
            assert_eq!(error_of(&outcome), (Code::JobExecutionFailed, Class::Unknown, text("disk full")));
            assert!(matches!(outcome.settlement.verdict, Verdict::Retry { .. }));
        }
    }

    #[tokio::test]
    async fn anyhow_and_boxed_errors_keep_their_text_and_causes() {
        use anyhow::Context as _;
        async fn fails(_: Greet) -> anyhow::Result<()> {
            Err(std::io::Error::other("disk full")).context("the report was not written")
        }
        async fn boxed(_: Greet) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            Err("no paper".into())
        }
        let outcome = Harness::greeting(fails).attempt().await;
        let expected = (Code::JobExecutionFailed, Class::Unknown, text("the report was not written"));
        assert_eq!(error_of(&outcome), expected);
        let Ended::Failed { chain, .. } = codec::decode_attempt(&outcome.settlement.record).unwrap().ended else {
            panic!()
        };
        assert_eq!(chain, ["disk full"]);
        assert_eq!(error_of(&Harness::greeting(boxed).attempt().await).2, "no paper");
    }

    #[tokio::test]
    async fn a_failure_inside_anyhow_keeps_code_and_class() {
        use anyhow::Context as _;
        async fn fails(_: Greet) -> anyhow::Result<()> {
            let failure = Failure::permanent(Code::InvalidJobData, "row 7 has no name");
            Err(failure.into_error()).context("the import stopped")
        }
        let outcome = Harness::greeting(fails).attempt().await;
        assert_eq!(error_of(&outcome), (Code::InvalidJobData, Class::Permanent, text("the import stopped")));
    }

    #[tokio::test]
    async fn a_failure_is_kept_unchanged_and_a_handler_that_cannot_fail_completes() {
        async fn slow_down(_: Greet) -> Result<(), Failure> {
            Err(Failure::temporary(Code::RateLimitExceeded, "slow down").retry_after(Duration::from_secs(7)))
        }
        async fn never_fails(_: Greet) -> Result<u32, Infallible> {
            Ok(7)
        }
        async fn nothing(_: Greet) {}
        let outcome = Harness::greeting(slow_down).attempt().await;
        assert_eq!(outcome.settlement.verdict, Verdict::Retry { delay: Duration::from_secs(7) });
        assert!(completed(&Harness::greeting(never_fails).attempt().await));
        assert!(completed(&Harness::greeting(nothing).attempt().await));
    }
}

mod outputs {
    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Thumbnail {
        path: String,
        width: u32,
    }

    #[tokio::test]
    async fn what_a_handler_returns_is_its_output_and_unit_is_none() {
        async fn makes(_: Greet) -> Result<Thumbnail, Failure> {
            Ok(Thumbnail { path: "/a.png".into(), width: 64 })
        }
        let output = output_of(&Harness::greeting(makes).attempt().await).unwrap();
        let expected = Thumbnail { path: "/a.png".into(), width: 64 };
        assert_eq!(codec::from_payload::<Thumbnail>(&output).unwrap(), expected);
        assert_eq!(
            output_of(&Harness::blocking(|_: Greet| Ok::<_, Failure>("done")).attempt().await).unwrap(),
            &b"\xa4done"[..]
        );
        assert_eq!(output_of(&Harness::greeting(|_: Greet| async { Ok::<(), Failure>(()) }).attempt().await), None);
    }

    #[tokio::test]
    async fn an_output_beyond_the_limit_is_a_permanent_failure() {
        let at = |bytes: usize| Harness::greeting(move |_: Greet| async move { Ok::<_, Failure>("x".repeat(bytes)) });
        // MessagePack puts three bytes before a text of this length.
        assert!(completed(&at(retraced_jobs::limits::OUTPUT_BYTES_MAX - 3).attempt().await));
        let (code, class, message) = error_of(&at(retraced_jobs::limits::OUTPUT_BYTES_MAX - 2).attempt().await);
        assert_eq!((code, class), (Code::JobExecutionFailed, Class::Permanent));
        assert!(message.starts_with("the handler's output has 65537 bytes, at most 65536 are kept"), "{message}");
    }

    #[tokio::test]
    async fn an_output_that_cannot_be_serialized_is_a_permanent_failure() {
        struct Stubborn;
        impl Serialize for Stubborn {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("not today"))
            }
        }
        let outcome = Harness::greeting(|_: Greet| async { Ok::<_, Failure>(Stubborn) }).attempt().await;
        let (_, class, message) = error_of(&outcome);
        assert!(class == Class::Permanent && message.contains("output") && message.contains("not today"), "{message}");
    }
}

mod defaults {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Report;

    const BY_KIND: Duration = Duration::from_secs(11);
    const BY_QUEUE: Duration = Duration::from_secs(22);
    const BY_CALL: Duration = Duration::from_secs(33);

    impl Job for Report {
        const KIND: &'static str = "report.build";

        fn defaults() -> JobDefaults {
            let retry = Retry::fixed().base(BY_KIND).jitter(0);
            JobDefaults::new().queue("reports").retry(retry).max_attempts(8).timeout(BY_KIND).discard_completed()
        }
    }

    /// The settings that applied: maximum attempts, timeout, and the delay of the retry.
    async fn settings(harness: &Harness) -> (u32, Duration, Duration) {
        let outcome = harness.attempt().await;
        let log = codec::decode_attempt(&outcome.settlement.record).unwrap();
        let max = log.lines[0].text.parse().unwrap();
        let Verdict::Retry { delay } = outcome.settlement.verdict else { panic!("{outcome:?}") };
        (max, harness.control.timeout().unwrap(), delay)
    }

    fn harness() -> Harness {
        let mut harness = Harness::of(&Report);
        async fn fails(_: Report, ctx: Context) -> Result<(), Failure> {
            ctx.log(ctx.max_attempts().to_string());
            Err(Failure::temporary(Code::NetworkError, "reset"))
        }
        harness.handlers.add(fails).unwrap();
        harness
    }

    fn by_queue() -> Retry {
        Retry::fixed().base(BY_QUEUE).jitter(0).max_attempts(6)
    }

    #[tokio::test]
    async fn the_kinds_defaults_hold_where_the_queue_sets_nothing() {
        assert_eq!(settings(&harness()).await, (8, BY_KIND, BY_KIND));
        assert_eq!(Report::defaults().default_queue(), Some("reports"));
    }

    #[tokio::test]
    async fn what_the_queue_sets_overrides_the_kind() {
        let mut harness = harness();
        (harness.rules.retry, harness.rules.timeout) = (Some(by_queue()), Some(BY_QUEUE));
        assert_eq!(settings(&harness).await, (6, BY_QUEUE, BY_QUEUE));
    }

    #[tokio::test]
    async fn each_setting_is_overridden_independently() {
        let mut harness = harness();
        harness.rules.timeout = Some(BY_QUEUE);
        assert_eq!(settings(&harness).await, (8, BY_QUEUE, BY_KIND));
    }

    #[tokio::test]
    async fn what_the_call_sets_overrides_both() {
        for by_queue in [(None, None), (Some(by_queue()), Some(BY_QUEUE))] {
            let mut harness = harness();
            (harness.rules.retry, harness.rules.timeout) = by_queue;
            harness.envelope.retry = RetryOverrides::all_of(&Retry::fixed().base(BY_CALL).jitter(0).max_attempts(9));
            harness.envelope.timeout_ms = Some(33_000);
            assert_eq!(settings(&harness).await, (9, BY_CALL, BY_CALL));
        }
    }

    #[tokio::test]
    async fn a_kind_may_be_discarded_when_it_completes_unless_its_queue_keeps_it() {
        for (retention, kept) in [(None, false), (Some(Retention::default()), true)] {
            let mut harness = Harness::of(&Report);
            harness.handlers.add(|_: Report| async {}).unwrap();
            harness.rules.retention = retention;
            let outcome = harness.attempt().await;
            assert_eq!(outcome.settlement.verdict, Verdict::Complete { keep: kept });
        }
    }

    #[tokio::test]
    async fn the_payload_limit_of_a_kind_holds_for_producers_and_workers_unless_call_or_queue_set_another() {
        #[derive(Serialize, Deserialize)]
        struct Tiny(String);
        impl Job for Tiny {
            const KIND: &'static str = "tiny";

            fn defaults() -> JobDefaults {
                JobDefaults::new().payload_bytes_max(8)
            }
        }
        let job = || JobRequest::new(Tiny("longer than eight bytes".into()));
        let refused = job().into_new_job().unwrap_err().to_string();
        assert!(refused.starts_with("the job has a payload of 24 bytes, payload_bytes_max allows 8; "), "{refused}");
        let envelope = codec::open(&job().payload_bytes_max(24).into_new_job().unwrap().envelope).unwrap();

        for (queue_allows, runs) in [(None, false), (Some(23), false), (Some(24), true)] {
            let mut harness = Harness::of(&Tiny(String::new()));
            harness.handlers.add(|_: Tiny| async {}).unwrap();
            harness.envelope = envelope.clone();
            harness.rules.payload_bytes_max = queue_allows;
            let outcome = harness.attempt().await;
            assert_eq!(completed(&outcome), runs, "{queue_allows:?}");
            assert_eq!(outcome.undecodable.is_some(), !runs, "{outcome:?}");
        }
    }

    #[test]
    fn a_default_out_of_bounds_is_refused_with_its_kind() {
        #[derive(Serialize, Deserialize)]
        struct Odd;
        impl Job for Odd {
            const KIND: &'static str = "odd";

            fn defaults() -> JobDefaults {
                JobDefaults::new().timeout(Duration::ZERO)
            }
        }
        let refused = Handlers::default().add(|_: Odd| async {}).unwrap_err().to_string();
        assert_eq!(refused, "the defaults of kind \"odd\": timeout is 0ns, allowed are 1ms to 604800s");
    }
}

mod layers {
    use super::*;

    #[derive(Clone, Default)]
    struct Notes(Arc<Mutex<Vec<String>>>);

    impl Notes {
        fn note(&self, line: impl Into<String>) {
            self.0.lock().unwrap().push(line.into());
        }

        fn all(&self) -> Vec<String> {
            self.0.lock().unwrap().clone()
        }
    }

    /// A layer that notes each call before and after it.
    struct Noting(&'static str, Notes);

    impl Layer for Noting {
        async fn call(&self, ctx: Context, next: Next) -> Result<Output, Failure> {
            self.1.note(format!("{} before {}", self.0, ctx.kind()));
            let result = next.run().await;
            let seen = result.as_ref().map_or_else(|failure| failure.code().to_string(), |_| "ok".into());
            self.1.note(format!("{} after {seen}", self.0));
            result
        }
    }

    fn noted(handler: Harness, log: &Notes) -> Harness {
        handler.layer(Noting("outer", log.clone())).layer(Noting("inner", log.clone()))
    }

    #[tokio::test]
    async fn the_first_layer_is_the_outermost_and_all_see_the_end() {
        let log = Notes::default();
        let shared = log.clone();
        let harness = Harness::greeting(move |_: Greet| {
            shared.note("handler");
            async { Err::<(), _>(Failure::temporary(Code::NetworkError, "reset")) }
        });
        assert_eq!(error_of(&noted(harness, &log).attempt().await).0, Code::NetworkError);
        let expected = [
            "outer before greet",
            "inner before greet",
            "handler",
            "inner after NETWORK_ERROR",
            "outer after NETWORK_ERROR",
        ];
        assert_eq!(log.all(), expected);
    }

    #[tokio::test]
    async fn a_function_is_a_layer_and_may_keep_the_handler_from_being_called() {
        async fn closed(ctx: Context, _: Next) -> Result<Output, Failure> {
            assert_eq!(ctx.id().to_string(), "welcome-42");
            Err(Failure::snooze(Duration::from_secs(60)))
        }
        let harness = Harness::greeting(|_: Greet| async { panic!("called") as () }).layer(closed);
        let outcome = harness.attempt().await;
        assert_eq!(outcome.settlement.verdict, Verdict::ReleaseAfter { delay: Duration::from_secs(60) });
    }

    #[tokio::test]
    async fn a_layer_may_turn_a_failure_into_another() {
        async fn gentle(_: Context, next: Next) -> Result<Output, Failure> {
            next.run().await.map_err(|failure| Failure::permanent(failure.code(), "enough"))
        }
        let harness = Harness::greeting(|_: Greet| async { Err::<(), _>(std::io::Error::other("disk full")) });
        let outcome = harness.layer(gentle).attempt().await;
        assert_eq!((outcome.settlement.verdict, error_of(&outcome).2), (Verdict::Poison, "enough".into()));
    }

    #[tokio::test]
    async fn a_layer_that_is_not_enabled_for_an_attempt_is_skipped() {
        struct Never(Notes);
        impl Layer for Never {
            async fn call(&self, _: Context, next: Next) -> Result<Output, Failure> {
                self.0.note("called");
                next.run().await
            }

            fn enabled(&self, _: &Context) -> bool {
                false
            }
        }
        let log = Notes::default();
        let harness = Harness::greeting(|_: Greet| async {}).layer(Never(log.clone())).layer(Noting("x", log.clone()));
        assert!(completed(&harness.layer(Never(log.clone())).attempt().await));
        assert_eq!(log.all(), ["x before greet", "x after ok"]);
    }

    /// Counts the calls of `enabled`; panics in them if the second field is set.
    struct Asked(Arc<AtomicU32>, bool);

    impl Layer for Asked {
        async fn call(&self, _: Context, next: Next) -> Result<Output, Failure> {
            next.run().await
        }

        fn enabled(&self, _: &Context) -> bool {
            self.0.fetch_add(1, Ordering::SeqCst);
            assert!(!self.1, "of enabled");
            true
        }
    }

    #[tokio::test]
    async fn each_layer_is_asked_once_per_attempt_whether_it_is_enabled() {
        let (first, second) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let harness = Harness::greeting(|_: Greet| async {});
        let harness = harness.layer(Asked(first.clone(), false)).layer(Asked(second.clone(), false));
        assert!(completed(&harness.attempt().await));
        assert_eq!((first.load(Ordering::SeqCst), second.load(Ordering::SeqCst)), (1, 1));
    }

    #[tokio::test]
    async fn a_panic_in_enabled_is_a_panic_of_the_attempt() {
        let harness = Harness::greeting(|_: Greet| async {}).layer(Asked(Arc::default(), true));
        assert_eq!(harness.attempt().await.panic.unwrap().message, "of enabled");
    }

    #[tokio::test(start_paused = true)]
    async fn the_timeout_covers_the_layers_and_drops_them_with_the_handler() {
        let mut harness = Harness::greeting(|_: Greet| async {}).layer(|_: Context, next: Next| async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            next.run().await
        });
        harness.rules.timeout = Some(Duration::from_secs(2));
        let outcome = harness.attempt().await;
        assert_eq!((error_of(&outcome).0, outcome.ran), (Code::Timeout, Duration::from_secs(2)));
        assert_eq!(harness.control.stop_reason(), Some(Stop::TimedOut));
    }

    #[tokio::test]
    async fn a_panic_passes_through_the_layers_and_is_reported_as_a_panic() {
        let log = Notes::default();
        let harness = Harness::greeting(|_: Greet| async { panic!("boom") as () });
        let outcome = noted(harness, &log).attempt().await;
        assert_eq!(outcome.panic.unwrap().message, "boom");
        assert_eq!(log.all(), ["outer before greet", "inner before greet"]);
        let harness = Harness::greeting(|_: Greet| async {})
            .layer(|_: Context, _: Next| async { panic!("of a layer") as Result<Output, Failure> });
        assert_eq!(harness.attempt().await.panic.unwrap().message, "of a layer");
    }

    #[tokio::test]
    async fn a_blocking_handler_runs_within_the_layers_whatever_its_end() {
        let log = Notes::default();
        let outcome = noted(Harness::blocking(|_: Greet| Ok::<_, Failure>(7)), &log).attempt().await;
        assert_eq!((completed(&outcome), output_of(&outcome).unwrap()), (true, vec![7].into()));
        let outcome = noted(Harness::blocking(|_: Greet| panic!("boom") as ()), &log).attempt().await;
        assert_eq!(outcome.panic.unwrap().message, "boom");
        let mut late = noted(
            Harness::blocking(|_: Greet, ctx: Context| {
                while !ctx.is_stop_requested() {
                    std::thread::yield_now();
                }
                Err::<(), _>("stopped halfway")
            }),
            &log,
        );
        late.rules.timeout = Some(Duration::from_millis(20));
        assert_eq!(error_of(&late.attempt().await).0, Code::Timeout);
        let ends: Vec<_> = log.all().into_iter().filter(|line| line.starts_with("outer after")).collect();
        assert_eq!(ends, ["outer after ok", "outer after PANIC", "outer after TIMEOUT"]);
    }

    /// A layer that waits no longer than 20 ms for the handler.
    async fn impatient(_: Context, next: Next) -> Result<Output, Failure> {
        let ended = tokio::time::timeout(Duration::from_millis(20), next.run()).await;
        ended.unwrap_or_else(|_| Err(Failure::temporary(Code::ServiceUnavailable, "the layer gave up")))
    }

    #[tokio::test]
    async fn a_layer_that_gives_up_on_a_blocking_handler_fails_the_attempt_when_the_thread_has_ended() {
        let why = Arc::new(Mutex::new(None));
        let seen = why.clone();
        let harness = Harness::blocking(move |_: Greet, ctx: Context| {
            while !ctx.is_stop_requested() {
                std::thread::yield_now();
            }
            std::thread::sleep(Duration::from_millis(50));
            *seen.lock().unwrap() = ctx.why_stopped();
        });
        let outcome = harness.layer(impatient).attempt().await;
        assert_eq!(
            *why.lock().unwrap(),
            Some(Stop::TimedOut),
            "the thread did not end before the attempt, or did not learn why"
        );
        assert_eq!(error_of(&outcome).0, Code::ServiceUnavailable);
        assert!(matches!(outcome.settlement.verdict, Verdict::Retry { .. }));
    }

    #[tokio::test]
    async fn a_panic_of_a_blocking_handler_that_its_layer_gave_up_on_is_not_lost() {
        let harness = Harness::blocking(|_: Greet, ctx: Context| {
            while !ctx.is_stop_requested() {
                std::thread::yield_now();
            }
            panic!("boom") as ()
        });
        assert_eq!(harness.layer(impatient).attempt().await.panic.unwrap().message, "boom");
    }

    #[tokio::test(start_paused = true)]
    async fn one_timeout_covers_the_layers_and_a_blocking_handler() {
        for before in [true, false] {
            let layer = move |_: Context, next: Next| async move {
                let hangs = || tokio::time::sleep(Duration::from_secs(60));
                if before {
                    hangs().await;
                    next.run().await
                } else {
                    let result = next.run().await;
                    hangs().await;
                    result
                }
            };
            let mut harness = Harness::blocking(|_: Greet| ()).layer(layer);
            harness.rules.timeout = Some(Duration::from_secs(2));
            let outcome = harness.attempt().await;
            assert_eq!((error_of(&outcome).0, outcome.ran), (Code::Timeout, Duration::from_secs(2)));
            assert_eq!(harness.control.stop_reason(), Some(Stop::TimedOut));
        }
    }

    #[tokio::test]
    async fn a_blocking_handler_is_not_begun_once_its_attempt_is_asked_to_stop() {
        for (why, verdict) in [(Stop::Cancelled, Verdict::Cancel), (Stop::Shutdown, Verdict::ReleaseNow)] {
            let harness = Harness::blocking(|_: Greet| panic!("begun") as ());
            let control = harness.control.clone();
            let layer = move |_: Context, next: Next| {
                control.stop(why);
                next.run()
            };
            assert_eq!(harness.layer(layer).attempt().await.settlement.verdict, verdict);
        }
    }

    #[tokio::test]
    async fn an_attempt_that_is_dropped_within_a_layer_stops_what_it_left_running() {
        let harness = Harness::greeting(|_: Greet| std::future::pending::<()>())
            .layer(|_: Context, next: Next| async move { next.run().await });
        assert!(tokio::time::timeout(Duration::from_millis(1), harness.attempt()).await.is_err());
        assert_eq!(harness.control.stop_reason(), Some(Stop::Shutdown));
    }
}
