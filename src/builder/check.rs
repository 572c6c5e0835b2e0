//! Checks what was given to a builder, before anything starts.

use std::sync::Arc;

use retraced_actors::TreeOptions;
use retraced_jobs::codec::PAYLOAD_BYTES_CEILING;
use retraced_jobs::context::States;
use retraced_jobs::handler::{HANDLER_TIMEOUT_MAX, HANDLER_TIMEOUT_MIN};
use retraced_jobs::store::Store;

use super::Queue;
use crate::build_error::{Mistake, Mistakes};

/// Finds all mistakes; `mistakes` are those found while the builder was used. Returns the store when there are none.
pub(crate) fn check(
    mut mistakes: Vec<Mistake>,
    store: Option<Arc<dyn Store>>,
    queues: &[Queue],
    states: &States,
    options: &TreeOptions,
) -> Result<Arc<dyn Store>, Mistakes> {
    if cfg!(panic = "abort") {
        mistakes.push(Mistake::PanicAbort);
    }
    for queue in queues {
        mistakes.extend(handler_mistakes(queue, states));
        mistakes.extend(rule_mistakes(queue));
    }
    if store.is_none() {
        mistakes.push(Mistake::NoStore);
    }
    let queues = queues.iter().map(|queue| (&queue.name, &queue.options));
    mistakes.extend(retraced_actors::invalid_options(options, queues).into_iter().map(Mistake::Option));
    match store {
        Some(store) if mistakes.is_empty() => Ok(store),
        _ => Err(Mistakes(mistakes)),
    }
}

fn handler_mistakes(queue: &Queue, states: &States) -> Vec<Mistake> {
    let name = &queue.name;
    let invalid = queue.invalid_handlers.iter().map(|invalid| Mistake::Handler(name.clone(), invalid.clone()));
    let missing = queue.handlers.missing_states(states).into_iter();
    let missing = missing.map(|missing| Mistake::MissingState(name.clone(), missing));
    let mut mistakes: Vec<_> = invalid.chain(missing).collect();
    if queue.handlers.is_empty() && queue.invalid_handlers.is_empty() {
        mistakes.push(Mistake::NoHandler(name.clone()));
    }
    mistakes
}

fn rule_mistakes(queue: &Queue) -> Vec<Mistake> {
    let (name, rules) = (&queue.name, &queue.rules);
    let retry = rules.retry.and_then(|retry| retry.validate().err());
    let timeout = rules.timeout.filter(|timeout| !(HANDLER_TIMEOUT_MIN..=HANDLER_TIMEOUT_MAX).contains(timeout));
    let payload_bytes = rules.payload_bytes_max.filter(|bytes| *bytes > PAYLOAD_BYTES_CEILING);
    let retry = retry.map(|invalid| Mistake::Retry(name.clone(), invalid));
    let timeout = timeout.map(|timeout| Mistake::Timeout(name.clone(), timeout));
    let payload_bytes = payload_bytes.map(|bytes| Mistake::PayloadBytes(name.clone(), bytes));
    retry.into_iter().chain(timeout).chain(payload_bytes).collect()
}
