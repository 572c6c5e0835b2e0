//! The texts of an error and its causes, as a log prints them one after the other.
#![allow(clippy::unwrap_used)]

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use retraced_jobs::codec::{self, CodecError};
use retraced_jobs::context::{DuplicateState, States};
use retraced_jobs::enqueue::{EnqueueAllError, EnqueueError, Outcome, OutcomeError};
use retraced_jobs::execution::HandlerPanic;
use retraced_jobs::failure::{Class, Code, Failure};
use retraced_jobs::handler::{Handlers, IntoFailure, InvalidHandler, State};
use retraced_jobs::job::{InvalidName, JobId, JobState, Kind, QueueName};
use retraced_jobs::retry::{InvalidRetry, Retry};
use retraced_jobs::store::StoreError;
use retraced_jobs::typed_job::{InvalidDefaults, Job, JobDefaults};

/// An error of a connection: its text does not have that of its cause.
#[derive(Debug)]
struct NotConnected(std::io::Error);

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no connection")
    }
}

impl Error for NotConnected {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

fn unavailable() -> StoreError {
    let cause = NotConnected(std::io::Error::other("the network is down"));
    StoreError::Unavailable { operation: "claim", cause: Box::new(cause) }
}

fn texts(error: &dyn Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts
}

fn invalid_name() -> InvalidName {
    JobId::parse("no spaces").unwrap_err()
}

fn invalid_retry() -> InvalidRetry {
    Retry::fixed().max_attempts(0).validate().unwrap_err()
}

fn unreadable() -> CodecError {
    codec::from_payload::<u32>(b"\xa4text").unwrap_err()
}

fn enqueue_errors() -> Vec<EnqueueError> {
    let queue = QueueName::new("email").unwrap();
    let id = JobId::parse("welcome-42").unwrap();
    vec![
        EnqueueError::InvalidId(invalid_name()),
        EnqueueError::InvalidQueue(invalid_name()),
        EnqueueError::NoSuchQueue { queue: queue.clone(), known: vec![queue.clone()] },
        EnqueueError::NoQueue { known: vec![queue.clone()] },
        EnqueueError::InvalidRetry(invalid_retry()),
        EnqueueError::Payload(unreadable()),
        EnqueueError::QueueFull { queue: queue.clone() },
        EnqueueError::StoreUnavailable,
        EnqueueError::Refused { source: Arc::new(unavailable()) },
        EnqueueError::ShuttingDown { queue },
        EnqueueError::NoProducer,
        EnqueueError::OutcomeUnknown { id, timeout: Duration::from_secs(1) },
    ]
}

fn outcome_errors() -> Vec<OutcomeError> {
    vec![
        OutcomeError::TimedOut { timeout: Duration::from_secs(1), state: None },
        OutcomeError::Store { source: Arc::new(unavailable()) },
        OutcomeError::RuntimeEnded,
        OutcomeError::EndUnknown { seen: JobState::Pending },
        OutcomeError::NotCompleted(Box::new(Outcome::NotKept)),
        OutcomeError::OutputNotKept,
        OutcomeError::Decode(unreadable()),
    ]
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Odd;
impl Job for Odd {
    const KIND: &'static str = "odd";
}

#[test]
fn no_text_of_an_error_is_told_again_by_one_of_its_causes() {
    let mut errors: Vec<Box<dyn Error>> = Vec::new();
    errors.extend(enqueue_errors().into_iter().map(|error| Box::new(error) as _));
    errors.extend(enqueue_errors().into_iter().map(|error| Box::new(EnqueueAllError::new(vec![], vec![], error)) as _));
    errors.extend(outcome_errors().into_iter().map(|error| Box::new(error) as _));
    errors.push(Box::new(unavailable()));
    errors.push(Box::new(StoreError::Superseded { operation: "claim" }));
    errors.push(Box::new(StoreError::CallIdTaken { operation: "claim" }));
    errors.push(Box::new(StoreError::Refused { operation: "claim", reason: "wrong password".into() }));
    errors.push(Box::new(StoreError::Corrupt { operation: "claim", what: "a key has the wrong type".into() }));

    let kind = || Kind::new(Odd::KIND).unwrap();
    let defaults = || [InvalidDefaults::Retry(invalid_retry()), InvalidDefaults::Queue(invalid_name())];
    errors.push(Box::new(InvalidDefaults::Timeout(Duration::ZERO)));
    errors.push(Box::new(JobDefaults::new().payload_bytes_max(usize::MAX).validate().unwrap_err()));
    errors.extend(defaults().map(|error| Box::new(error) as _));
    errors.extend(defaults().map(|error| Box::new(InvalidHandler::Defaults(kind(), error)) as _));
    errors.push(Box::new(InvalidHandler::Twice(kind())));
    errors.push(Box::new(InvalidHandler::Any));
    errors.push(Box::new(InvalidHandler::Kind(invalid_name())));

    let mut states = States::default();
    states.insert(1_u32).unwrap();
    let twice: DuplicateState = states.insert(2_u32).unwrap_err();
    errors.push(Box::new(twice));
    let mut handlers = Handlers::default();
    handlers.add(|_: Odd, _: State<u8>| async {}).unwrap();
    errors.push(Box::new(handlers.missing_states(&states).remove(0)));

    errors.push(Box::new(Failure::from(unavailable()).into_error()));
    errors.push(Box::new("nonsense".parse::<Code>().unwrap_err()));
    errors.push(Box::new("nonsense".parse::<JobState>().unwrap_err()));
    let (queue, job) = (QueueName::new("email").unwrap(), JobId::parse("welcome-42").unwrap());
    errors.push(Box::new(HandlerPanic { queue, job, attempt: 1, message: "boom".into(), location: None }));

    for error in errors {
        let texts = texts(&*error);
        for (n, text) in texts.iter().enumerate() {
            for later in &texts[n + 1..] {
                assert!(!text.contains(later.as_str()), "\"{later}\" is told twice: {texts:?}");
            }
        }
    }
}

#[test]
fn the_causes_that_a_text_leaves_out_are_still_told() {
    let told = ["the store did not answer (claim): there is no connection", "the network is down"];
    assert_eq!(texts(&unavailable()), told);
    assert_eq!(texts(&OutcomeError::Store { source: Arc::new(unavailable()) }), told);
}

#[test]
fn an_error_that_wraps_an_unavailable_store_or_a_failed_enqueue_is_a_temporary_failure() {
    let failures = [
        OutcomeError::Store { source: Arc::new(unavailable()) }.into_failure(),
        EnqueueAllError::new(vec![], vec![], EnqueueError::StoreUnavailable).into_failure(),
    ];
    for failure in failures {
        assert_eq!(failure.class(), Class::Temporary, "{failure:?}");
    }
}
