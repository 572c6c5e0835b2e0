//! The retry decision: the arithmetic, and a record of the decision with all its inputs.

use std::time::Duration;

use super::{Retry, Strategy};
use crate::failure::Class;
use crate::units::millis;

/// What becomes of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RetryOutcome {
    /// Retried after the decision's delay.
    Retry,
    /// Moved to the dead letter queue.
    Dead,
    /// Poisoned.
    Poisoned,
}

/// The rule that decided.
///
/// ```
/// use retraced_jobs::{failure::Class, retry::{Retry, Why, decide}};
/// let decided = |n| decide(&Retry::three_tier(), n, Class::Temporary, None, 0).why;
/// assert_eq!([decided(1), decided(3), decided(5)], [Why::ImmediateTry, Why::Strategy, Why::AttemptsExhausted]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Why {
    /// The strategy's formula gave the delay.
    Strategy,
    /// The three-tier strategy retries without delay while `n` is below its `immediate_tries`.
    ImmediateTry,
    /// The failure asked for this delay.
    RetryAfter,
    /// The attempts are used up.
    AttemptsExhausted,
    /// A permanent failure is never retried.
    PermanentFailure,
    /// The queue does not retry failures of unknown class ([`OnUnknown::DeadLetter`](super::OnUnknown::DeadLetter)).
    UnknownFailure,
}

/// A decision with everything that went into it, kept with the attempt. A retried job is due `delay_ms` after the store has applied the settlement.
///
/// ```
/// use std::time::Duration;
/// use retraced_jobs::{failure::Class, retry::{decide, RetryOutcome, Retry}};
/// let retry = Retry::exponential().base(Duration::from_secs(5)).jitter(0);
/// let decision = decide(&retry, 3, Class::Temporary, None, 0);
/// assert_eq!((decision.outcome, decision.delay_ms, decision.attempts_left), (RetryOutcome::Retry, 20_000, 2));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Decision {
    /// What becomes of the job.
    pub outcome: RetryOutcome,
    /// The rule that decided.
    pub why: Why,
    /// The policy's strategy.
    pub strategy: Strategy,
    /// The job's failures, this one included.
    pub n: u32,
    /// The policy's limit for `n`: at this many failures the job is dead.
    pub max_attempts: u32,
    /// How many more failures the policy allows: `max_attempts` − `n`.
    pub attempts_left: u32,
    /// The policy's base delay, in ms.
    pub base_ms: u64,
    /// The policy's factor.
    pub factor: u32,
    /// The policy's longest delay, in ms.
    pub max_ms: u64,
    /// The policy's jitter, in percent.
    pub jitter_percent: u8,
    /// The random number drawn, −1000 to 1000: 1000 adds `jitter_percent` of the delay, −1000 subtracts as much.
    pub jitter_drawn: i16,
    /// The policy's [`immediate_tries`](Retry::immediate_tries); `None` unless its strategy is three-tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immediate_tries: Option<u32>,
    /// The delay that the failure asked for ([`Failure::retry_after`](crate::failure::Failure::retry_after)), in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The delay before the retry, in ms; 0 for an immediate retry, and when there is no retry.
    pub delay_ms: u64,
    /// Whether the failure is of unknown class, and was treated as temporary because the queue retries such failures ([`OnUnknown::Retry`](super::OnUnknown::Retry)).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub class_unknown: bool,
}

/// Decides what becomes of a job after a failure.
///
/// [`Class::Unknown`] is not retried here: for a queue that retries such failures, the caller passes [`Class::Temporary`]
/// ([`OnUnknown::treats`](super::OnUnknown::treats)).
///
/// `n` is the number of failures, this one included (1 for the first). `jitter` is a random number, clamped to −1000 to 1000: 1000 lengthens the delay by
/// `jitter_percent`, −1000 shortens it by as much. `retry_after` replaces the computed delay and gets no jitter. No delay exceeds the policy's longest one.
/// All arithmetic saturates.
#[must_use]
pub fn decide(retry: &Retry, n: u32, class: Class, retry_after: Option<Duration>, jitter: i16) -> Decision {
    let n = n.max(1);
    let attempts_left = retry.max_attempts.saturating_sub(n);
    let jitter = jitter.clamp(-1000, 1000);
    let retry_after_ms = retry_after.map(millis);
    let (outcome, why, delay_ms) = match class {
        Class::Permanent => (RetryOutcome::Poisoned, Why::PermanentFailure, 0),
        Class::Unknown => (RetryOutcome::Dead, Why::UnknownFailure, 0),
        Class::Temporary if attempts_left == 0 => (RetryOutcome::Dead, Why::AttemptsExhausted, 0),
        Class::Temporary => match (retry_after_ms, immediate(retry, n)) {
            (Some(asked), _) => (RetryOutcome::Retry, Why::RetryAfter, asked.min(retry.max_ms)),
            (None, true) => (RetryOutcome::Retry, Why::ImmediateTry, 0),
            (None, false) => {
                (RetryOutcome::Retry, Why::Strategy, capped(retry, jittered(retry, formula(retry, n), jitter)))
            }
        },
    };
    Decision {
        outcome,
        why,
        strategy: retry.strategy,
        n,
        max_attempts: retry.max_attempts,
        attempts_left,
        base_ms: retry.base_ms,
        factor: retry.factor,
        max_ms: retry.max_ms,
        jitter_percent: retry.jitter_percent,
        jitter_drawn: jitter,
        immediate_tries: (retry.strategy == Strategy::ThreeTier).then_some(retry.immediate_tries),
        retry_after_ms,
        delay_ms,
        class_unknown: false,
    }
}

fn immediate(retry: &Retry, n: u32) -> bool {
    retry.strategy == Strategy::ThreeTier && n < retry.immediate_tries
}

fn formula(retry: &Retry, n: u32) -> u64 {
    let grown = |steps: u32| retry.base_ms.saturating_mul(u64::from(retry.factor).saturating_pow(steps));
    match retry.strategy {
        Strategy::Fixed => retry.base_ms,
        Strategy::Linear => retry.base_ms.saturating_mul(u64::from(n)),
        Strategy::Exponential => grown(n - 1),
        Strategy::ThreeTier => grown(n.saturating_sub(retry.immediate_tries)),
    }
}

/// Applies jitter to the capped delay, so that jobs at the cap spread out too: downwards only, because the caller caps the result again.
fn jittered(retry: &Retry, delay_ms: u64, drawn: i16) -> u64 {
    let delay_ms = delay_ms.min(retry.max_ms);
    let width = u128::from(delay_ms) * u128::from(retry.jitter_percent) * u128::from(drawn.unsigned_abs()) / 100_000;
    let width = u64::try_from(width).unwrap_or(u64::MAX);
    if drawn < 0 { delay_ms.saturating_sub(width) } else { delay_ms.saturating_add(width) }
}

fn capped(retry: &Retry, delay_ms: u64) -> u64 {
    delay_ms.min(retry.max_ms)
}
