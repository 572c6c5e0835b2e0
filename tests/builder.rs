//! The mistakes that the builder refuses before anything runs, and its error messages.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::error::Error;
use std::time::Duration;

use retraced::build::Mistake;
use retraced::{
    BuildError, Context, Failure, Job, JobDefaults, MemoryStore, Queue, Retry, Runtime, RuntimeBuilder, State,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct SendEmail;

impl Job for SendEmail {
    const KIND: &'static str = "email.send";
}

#[derive(Serialize, Deserialize)]
struct Misnamed;

impl Job for Misnamed {
    const KIND: &'static str = "email send";
}

#[derive(Serialize, Deserialize)]
struct WithoutAttempts;

impl Job for WithoutAttempts {
    const KIND: &'static str = "hopeless";

    fn defaults() -> JobDefaults {
        JobDefaults::new().max_attempts(0)
    }
}

struct Mailer;

async fn send_email(_: SendEmail, _: Context) -> Result<(), Failure> {
    Ok(())
}

async fn send_by(_: SendEmail, _: State<Mailer>) -> Result<(), Failure> {
    Ok(())
}

async fn misnamed(_: Misnamed) {}

async fn without_attempts(_: WithoutAttempts) {}

fn email() -> Queue {
    Queue::new("email").unwrap()
}

fn with(queue: Queue) -> RuntimeBuilder {
    Runtime::builder().store(MemoryStore::new()).queue(queue)
}

fn builder() -> RuntimeBuilder {
    with(email().handler(send_email))
}

async fn refused(builder: RuntimeBuilder) -> String {
    builder.start().await.expect_err("the builder refuses to start").to_string()
}

#[tokio::test]
async fn every_mistake_is_reported_at_once() {
    let queue = email().handler(send_by).handler(misnamed).retry(Retry::fixed().max_attempts(0)).concurrency(0);
    let builder = Runtime::builder().queue(queue).queue(Queue::new("idle").unwrap()).lease(Duration::ZERO);
    let message = refused(builder.shutdown_grace(Duration::MAX).state(1).state(2)).await;
    let expected = [
        "two states of type i32",
        "queue \"email\": invalid kind \"email send\"",
        "queue \"email\": the handler of \"email.send\" needs a state of type builder::Mailer",
        "queue \"email\": max attempts is 0",
        "queue \"idle\" has no handler; add one with .handler(…)",
        "no store was given",
        "lease is 0ns",
        "shutdown grace is ",
        "concurrency of queue \"email\" is 0",
    ];
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{message}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line:?} does not begin with {expected:?}");
    }
}

#[tokio::test]
async fn invalid_handlers_are_refused_by_name() {
    let twice = refused(with(email().handler(send_email).handler(send_email))).await;
    assert_eq!(twice, "queue \"email\": two handlers were given for kind \"email.send\"");
    let missing = refused(with(email().handler(send_by))).await;
    assert!(missing.contains("the handler of \"email.send\" needs a state of type builder::Mailer"), "{missing}");
    let kind = refused(with(email().handler(misnamed))).await;
    assert!(kind.contains("invalid kind \"email send\": character 6 is ' '"), "{kind}");
    let defaults = refused(with(email().handler(without_attempts))).await;
    assert_eq!(
        defaults,
        "queue \"email\": the defaults of kind \"hopeless\": max attempts is 0, allowed are 1 to 1000"
    );
    let states = refused(builder().state(Mailer).state(Mailer)).await;
    assert!(states.contains("two states of type builder::Mailer"), "{states}");
}

#[tokio::test]
async fn options_out_of_bounds_are_refused_with_what_is_allowed() {
    let with = |queue: Queue| with(queue.handler(send_email));
    let table = [
        (builder().lease(Duration::from_millis(1)), "lease is 1ms, allowed are 300ms to 3600s"),
        (builder().shutdown_grace(Duration::MAX), "allowed is up to 3600s"),
        (builder().crashes_max(0), "crashes_max is 0, allowed is 1 to 1000"),
        (builder().zombies_max(0), "zombies_max is 0"),
        (builder().queue(email().handler(send_email)), "queue \"email\" was given twice"),
        (Runtime::builder().store(MemoryStore::new()), "no queue was given"),
        (with(email().concurrency(0)), "concurrency of queue \"email\" is 0, allowed are 1 to 10000"),
        (with(email().timeout(Duration::ZERO)), "timeout of queue \"email\" is 0ns"),
        (with(email().retry(Retry::fixed().max_attempts(0))), "max attempts is 0, allowed are 1 to 1000"),
        (with(email().payload_bytes_max(usize::MAX)), "largest payload of queue \"email\""),
        (
            with(email().reopening(Duration::ZERO, Duration::ZERO)),
            "queue \"email\": first reopening delay 0ns is below 1s",
        ),
        (
            with(email().reopening(Duration::from_secs(3), Duration::from_secs(2))),
            "queue \"email\": first reopening delay 3s is above the longest, 2s",
        ),
    ];
    for (builder, expected) in table {
        let message = refused(builder).await;
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    }
}

#[tokio::test]
async fn a_build_error_keeps_its_cause_and_says_it_once() {
    let refused = with(email().handler(without_attempts)).start().await.expect_err("the builder refuses to start");
    let BuildError::Mistakes(mistakes) = &refused else { panic!("{refused:?}") };
    assert!(matches!(mistakes.all(), [Mistake::Handler(..)]), "{refused:?}");
    let (mut texts, mut cause) = (refused.to_string(), refused.source());
    while let Some(error) = cause {
        texts += &error.to_string();
        cause = error.source();
    }
    assert_eq!(texts.matches("max attempts is 0, allowed are 1 to 1000").count(), 1, "{texts}");
}

#[test]
fn a_start_outside_tokio_is_an_error_and_no_panic() {
    let mut start = Box::pin(builder().start());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Err(refused)) = start.as_mut().poll(&mut cx) else {
        panic!("the start did not fail at once")
    };
    assert!(matches!(refused, BuildError::NoTokio), "{refused:?}");
    assert!(refused.to_string().contains("outside a tokio runtime"), "{refused}");
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn an_unreachable_server_is_named_without_its_password() {
    let message = retraced::RedisStore::connect("redis://:canary-secret@127.0.0.1:1")
        .await
        .expect_err("no server listens")
        .to_string();
    assert!(message.contains("127.0.0.1:1") && !message.contains("canary"), "{message}");
}
