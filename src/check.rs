//! What is checked of a builder before anything starts.

use retraced_jobs::codec::PAYLOAD_BYTES_CEILING;
use retraced_jobs::handler::{TIMEOUT_MAX, TIMEOUT_MIN};

use crate::build_error::{Mistake, Mistakes};
use crate::builder::{Queue, RuntimeBuilder};

/// Finds every mistake.
pub(crate) fn check(builder: &RuntimeBuilder) -> Result<(), Mistakes> {
    let mut mistakes = builder.mistakes.clone();
    if cfg!(panic = "abort") {
        mistakes.push(Mistake::PanicAbort);
    }
    for queue in &builder.queues {
        mistakes.extend(handlers(queue, builder));
        mistakes.extend(rules(queue));
    }
    if builder.store.is_none() {
        mistakes.push(Mistake::NoStore);
    }
    let queues = builder.queues.iter().map(|queue| (&queue.name, &queue.options));
    mistakes.extend(retraced_actors::invalid_options(&builder.options, queues).into_iter().map(Mistake::Option));
    if mistakes.is_empty() { Ok(()) } else { Err(Mistakes(mistakes)) }
}

fn handlers(queue: &Queue, builder: &RuntimeBuilder) -> Vec<Mistake> {
    let name = &queue.name;
    let invalid = queue.invalid.iter().map(|invalid| Mistake::Handler(name.clone(), invalid.clone()));
    let missing = queue.handlers.missing_states(&builder.states).into_iter();
    let missing = missing.map(|missing| Mistake::MissingState(name.clone(), missing));
    let mut mistakes: Vec<_> = invalid.chain(missing).collect();
    if queue.handlers.is_empty() && queue.invalid.is_empty() {
        mistakes.push(Mistake::NoHandler(name.clone()));
    }
    mistakes
}

fn rules(queue: &Queue) -> Vec<Mistake> {
    let (name, rules) = (&queue.name, &queue.rules);
    let retry = rules.retry.validate().err().map(|invalid| Mistake::Retry(name.clone(), invalid));
    let timeout = !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&rules.timeout);
    let payload = rules.payload_bytes_max > PAYLOAD_BYTES_CEILING;
    retry
        .into_iter()
        .chain(timeout.then(|| Mistake::Timeout(name.clone(), rules.timeout)))
        .chain(payload.then(|| Mistake::PayloadBytes(name.clone(), rules.payload_bytes_max)))
        .collect()
}
