//! What an error prints, and what its chain of sources adds to it.
#![allow(clippy::unwrap_used)]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use retraced::find::FindError;
use retraced::store::StoreError;
use retraced::{BuildError, EnqueueError, OperatorError, OutcomeError, TraceError};

/// The text of an error and of all its sources, as a program that prints the whole chain shows them.
fn chain(error: &dyn Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut next = error.source();
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    texts
}

fn unreachable() -> StoreError {
    let cause = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused by 127.0.0.1:6379");
    StoreError::Unavailable { operation: "claim", cause: cause.into() }
}

#[test]
fn no_error_prints_the_text_of_its_source_and_then_the_source_again() {
    let errors: [Box<dyn Error>; 8] = [
        Box::new(unreachable()),
        Box::new(OperatorError::Store(unreachable())),
        Box::new(FindError::Operator(OperatorError::Store(unreachable()))),
        Box::new(TraceError::Operator(OperatorError::Store(unreachable()))),
        Box::new(BuildError::Store(unreachable())),
        Box::new(BuildError::Threads(std::io::Error::other("too many threads"))),
        Box::new(EnqueueError::Refused { source: Arc::new(unreachable()) }),
        Box::new(OutcomeError::Store { source: Arc::new(unreachable()) }),
    ];
    for error in errors {
        let texts = chain(&*error);
        for (n, text) in texts.iter().enumerate() {
            assert!(!texts[..n].iter().any(|earlier| earlier.contains(text)), "{text:?} is said twice: {texts:#?}");
        }
    }
}

#[test]
fn only_errors_that_may_go_away_are_retryable() {
    let timeout = Duration::from_secs(5);
    let refused = || OperatorError::Store(StoreError::Refused { operation: "claim", reason: "wrong password".into() });
    assert!(OperatorError::Store(unreachable()).is_retryable() && !refused().is_retryable());
    assert!(
        OperatorError::TimedOut { timeout }.is_retryable() && OperatorError::TooManyCalls { timeout }.is_retryable()
    );
    assert!(!OperatorError::RuntimeEnded.is_retryable());
    assert!(
        FindError::Operator(OperatorError::TimedOut { timeout }).is_retryable() && !FindError::OtherList.is_retryable()
    );
    let id = "welcome-42".parse().unwrap();
    assert!(TraceError::Operator(OperatorError::TimedOut { timeout }).is_retryable());
    assert!(!TraceError::NotFound { id }.is_retryable() && !TraceError::Operator(refused()).is_retryable());
}
