//! A retry decision as a sentence, with the numbers that went into it.

use retraced_jobs::retry::{Decision, RetryOutcome, Strategy, Why};

use crate::view::duration_text;

/// The text after a failed attempt, as in `→ dead: failure 5 of 5 was the last`.
pub(super) fn explain(decision: &Decision) -> String {
    let text = without_class(decision);
    match decision.class_unknown {
        true => format!("{text}; the class of the failure is unknown, and the queue retries those"),
        false => text,
    }
}

/// The explanation without the remark about failures of unknown class.
fn without_class(decision: &Decision) -> String {
    let Decision { n, max_attempts, strategy, base_ms, jitter_percent, jitter_drawn, max_ms, .. } = decision;
    match (decision.outcome, decision.why) {
        (RetryOutcome::Retry, Why::RetryAfter) => {
            let asked_ms = decision.retry_after_ms.unwrap_or(decision.delay_ms);
            let how = if asked_ms > decision.delay_ms {
                format!("the policy's longest delay; the failure asked for {}", duration_text(asked_ms))
            } else {
                "as the failure asked".into()
            };
            format!("→ due again in {}, {how} (failure {n} of {max_attempts})", duration_text(decision.delay_ms))
        }
        (RetryOutcome::Retry, Why::ImmediateTry) => {
            let tries = decision.immediate_tries.unwrap_or_default();
            format!("→ queued again at once: {strategy}, {} (failure {n} of {max_attempts})", not_waiting(tries))
        }
        (RetryOutcome::Retry, _) => format!(
            "→ due again in {}: {strategy}, base {}{}, jitter {jitter_percent} % drawn {} %, at most {} (failure {n} of {max_attempts})",
            duration_text(decision.delay_ms),
            duration_text(*base_ms),
            growth(decision),
            drawn_percent(*jitter_drawn, *jitter_percent),
            duration_text(*max_ms),
        ),
        (_, Why::AttemptsExhausted) if *max_attempts == 1 => "→ dead: one failure is allowed, and this was it".into(),
        (_, Why::AttemptsExhausted) => format!("→ dead: failure {max_attempts} of {max_attempts} was the last"),
        (_, Why::PermanentFailure) => "→ poisoned: a permanent failure is never retried".into(),
        (_, Why::UnknownFailure) => "→ dead: the failure does not say whether a retry helps".into(),
        (outcome, why) => format!("→ {outcome:?}: {why:?}"),
    }
}

/// The numbers besides the base that the strategy's formula uses.
fn growth(decision: &Decision) -> String {
    let Decision { n, factor, .. } = decision;
    match decision.strategy {
        Strategy::Linear => format!(", n {n}"),
        Strategy::Exponential => format!(", factor {factor}, n {n}"),
        Strategy::ThreeTier => {
            let tries = decision.immediate_tries.unwrap_or_default();
            format!(", factor {factor}, n {n}, {}", not_waiting(tries))
        }
        // `Fixed`; a new strategy should say here what it adds.
        _ => String::new(),
    }
}

fn not_waiting(tries: u32) -> String {
    match tries {
        1 => "the first attempt does not wait".into(),
        tries => format!("the first {tries} attempts do not wait"),
    }
}

/// The jitter that was drawn, in percent of the delay. A jitter that rounds to 0 is shown as `+0.0`.
fn drawn_percent(drawn: i16, percent: u8) -> String {
    let tenths = (f64::from(drawn) * f64::from(percent) / 100.0).round() as i32;
    format!("{:+.1}", f64::from(tenths) / 10.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use retraced_jobs::failure::Class;
    use retraced_jobs::retry::{Retry, decide};

    use super::*;

    fn explained(retry: Retry, n: u32, class: Class, retry_after: Option<Duration>) -> String {
        let retry = retry.base(Duration::from_secs(2)).max_delay(Duration::from_secs(90)).max_attempts(5);
        explain(&decide(&retry, n, class, retry_after, -500))
    }

    #[test]
    fn a_delay_is_explained_with_the_numbers_of_its_formula_and_no_others() {
        let delay = |retry, n| explained(retry, n, Class::Temporary, None);
        let rest = "jitter 20 % drawn -10.0 %, at most 1m30s";
        assert_eq!(delay(Retry::fixed(), 3), format!("→ due again in 1.8s: fixed, base 2s, {rest} (failure 3 of 5)"));
        assert_eq!(
            delay(Retry::linear(), 3),
            format!("→ due again in 5.4s: linear, base 2s, n 3, {rest} (failure 3 of 5)")
        );
        assert_eq!(
            delay(Retry::exponential(), 3),
            format!("→ due again in 7.2s: exponential, base 2s, factor 2, n 3, {rest} (failure 3 of 5)")
        );
        assert_eq!(
            delay(Retry::three_tier(), 4),
            format!(
                "→ due again in 3.6s: three-tier, base 2s, factor 2, n 4, the first 3 attempts do not wait, {rest} (failure 4 of 5)"
            )
        );
    }

    #[test]
    fn a_decision_without_a_formula_names_its_reason() {
        let retry_after = |secs| Some(Duration::from_secs(secs));
        assert_eq!(
            explained(Retry::three_tier(), 1, Class::Temporary, None),
            "→ queued again at once: three-tier, the first 3 attempts do not wait (failure 1 of 5)"
        );
        assert_eq!(
            explained(Retry::linear(), 1, Class::Temporary, retry_after(7)),
            "→ due again in 7s, as the failure asked (failure 1 of 5)"
        );
        assert_eq!(
            explained(Retry::linear(), 1, Class::Temporary, retry_after(120)),
            "→ due again in 1m30s, the policy's longest delay; the failure asked for 2m (failure 1 of 5)"
        );
        assert_eq!(
            explained(Retry::linear(), 5, Class::Temporary, retry_after(7)),
            "→ dead: failure 5 of 5 was the last"
        );
        assert_eq!(
            explained(Retry::linear(), 1, Class::Permanent, None),
            "→ poisoned: a permanent failure is never retried"
        );
        assert_eq!(
            explained(Retry::linear(), 1, Class::Unknown, None),
            "→ dead: the failure does not say whether a retry helps"
        );
    }

    #[test]
    fn a_retried_failure_of_unknown_class_is_explained_as_one() {
        let mut decision = decide(&Retry::fixed(), 5, Class::Temporary, None, 0);
        decision.class_unknown = true;
        assert_eq!(
            explain(&decision),
            "→ dead: failure 5 of 5 was the last; the class of the failure is unknown, and the queue retries those"
        );
    }

    #[test]
    fn a_single_immediate_try_is_no_plural() {
        let explained = explained(Retry::three_tier().immediate_tries(1), 1, Class::Temporary, None);
        assert!(explained.contains(", n 1, the first attempt does not wait, jitter"), "{explained}");
    }

    #[test]
    fn a_jitter_that_rounds_to_zero_has_no_minus() {
        assert_eq!(drawn_percent(-1, 20), "+0.0");
        assert_eq!(drawn_percent(-3, 20), "-0.1");
        assert_eq!(drawn_percent(1000, 20), "+20.0");
    }
}
