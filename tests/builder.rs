//! What the builder refuses, before anything runs, and in which words.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use retraced::{Context, Failure, Job, MemoryStore, Queue, RedisStore, Retry, Runtime, RuntimeBuilder, State};
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

struct Mailer;

async fn send_email(_: SendEmail, _: Context) -> Result<(), Failure> {
    Ok(())
}

async fn send_by(_: SendEmail, _: Context, _: State<Mailer>) -> Result<(), Failure> {
    Ok(())
}

async fn misnamed(_: Misnamed, _: Context) -> Result<(), Failure> {
    Ok(())
}

fn email() -> Queue {
    Queue::new("email").unwrap()
}

fn builder() -> RuntimeBuilder {
    Runtime::builder().store(MemoryStore::new()).queue(email()).handler("email", send_email)
}

async fn refused(builder: RuntimeBuilder) -> String {
    builder.start().await.expect_err("it is refused").to_string()
}

#[tokio::test]
async fn every_mistake_is_told_at_once() {
    let told = refused(Runtime::builder().queue(email()).handler("mail", send_email)).await;
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    assert!(lines[0].starts_with("a handler was given for queue \"mail\", which is not there"), "{told}");
    assert!(lines[1].starts_with("queue \"email\" has no handler"), "{told}");
    assert!(lines[2].starts_with("no store was given"), "{told}");
}

#[tokio::test]
async fn handlers_that_do_not_fit_are_refused_by_name() {
    let twice = refused(builder().handler("email", send_email)).await;
    assert_eq!(twice, "queue \"email\": two handlers were given for kind \"email.send\"");
    let missing = Runtime::builder().store(MemoryStore::new()).queue(email()).handler("email", send_by);
    let missing = refused(missing).await;
    assert!(missing.contains("the handler of \"email.send\" needs a state of type builder::Mailer"), "{missing}");
    let kind = refused(builder().handler("email", misnamed)).await;
    assert!(kind.contains("invalid kind \"email send\": character 6 is ' '"), "{kind}");
    let states = refused(builder().state(Mailer).state(Mailer)).await;
    assert!(states.contains("two states of type builder::Mailer"), "{states}");
}

#[tokio::test]
async fn options_out_of_bounds_are_refused_with_what_is_allowed() {
    let with = |queue: Queue| Runtime::builder().store(MemoryStore::new()).queue(queue).handler("email", send_email);
    let table = [
        (builder().lease(Duration::from_millis(1)), "lease is 1ms, allowed are 300ms to 3600s"),
        (builder().grace(Duration::MAX), "allowed is up to 3600s"),
        (builder().crashes_max(0), "crashes max is 0, allowed are 1 to 1000"),
        (builder().zombies_max(0), "zombies max is 0"),
        (builder().queue(email()), "queue \"email\" was given twice"),
        (with(email().concurrency(0)), "concurrency of queue \"email\" is 0, allowed are 1 to 10000"),
        (with(email().timeout(Duration::ZERO)), "timeout of queue \"email\" is 0ns"),
        (with(email().retry(Retry::fixed().max_attempts(0))), "max attempts is 0, allowed are 1 to 1000"),
        (with(email().payload_bytes_max(usize::MAX)), "largest payload of queue \"email\""),
    ];
    for (builder, expected) in table {
        let told = refused(builder).await;
        assert!(told.contains(expected), "{told:?} does not say {expected:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_its_password() {
    let told = RedisStore::connect("redis://:canary-secret@127.0.0.1:1").await.expect_err("nobody listens").to_string();
    assert!(told.contains("127.0.0.1:1") && !told.contains("canary"), "{told}");
}
