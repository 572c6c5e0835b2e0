//! A retry decision as a sentence, with the numbers that went into it.

use retraced_jobs::retry::{Decision, Outcome, Strategy, Why};

use crate::view::span;

/// A decision in words, with the numbers that went into it.
pub(super) fn explain(decision: &Decision) -> String {
    let said = decided(decision);
    match decision.class_unknown {
        true => format!("{said}; the class of the failure is unknown, and the queue retries those"),
        false => said,
    }
}

fn decided(decision: &Decision) -> String {
    let Decision { n, max_attempts, strategy, base_ms, jitter_percent, jitter_drawn, max_ms, .. } = decision;
    match (decision.outcome, decision.why) {
        (Outcome::Retry, Why::RetryAfter) => {
            let asked_ms = decision.retry_after_ms.unwrap_or(decision.delay_ms);
            let how = if asked_ms > decision.delay_ms {
                format!("the policy's longest delay; the other side asked for {}", span(asked_ms))
            } else {
                "as the other side asked".into()
            };
            format!("→ due again in {}, {how} (try {n} of {max_attempts})", span(decision.delay_ms))
        }
        (Outcome::Retry, Why::ImmediateTry) => {
            let tries = decision.immediate_tries.unwrap_or_default();
            format!(
                "→ queued again at once: {strategy}, the first {tries} tries do not wait (try {n} of {max_attempts})"
            )
        }
        (Outcome::Retry, _) => format!(
            "→ due again in {}: {strategy}, base {}{}, jitter {jitter_percent} % drawn {} %, at most {} (try {n} of {max_attempts})",
            span(decision.delay_ms),
            span(*base_ms),
            growth(decision),
            drawn_percent(*jitter_drawn, *jitter_percent),
            span(*max_ms),
        ),
        (_, Why::AttemptsExhausted) if *max_attempts == 1 => "→ dead: its only try failed".into(),
        (_, Why::AttemptsExhausted) => format!("→ dead: all {max_attempts} tries are used up"),
        (_, Why::PermanentFailure) => "→ poisoned: a permanent failure is never retried".into(),
        (_, Why::UnknownFailure) => "→ dead: the handler did not say whether a retry helps".into(),
        (outcome, why) => format!("→ {outcome:?}: {why:?}"),
    }
}

/// What the strategy's formula takes beyond its base, and nothing that plays no part in it.
fn growth(decision: &Decision) -> String {
    let Decision { n, factor, .. } = decision;
    match decision.strategy {
        Strategy::Fixed => String::new(),
        Strategy::Linear => format!(", n {n}"),
        Strategy::Exponential => format!(", factor {factor}, n {n}"),
        Strategy::ThreeTier => {
            let tries = decision.immediate_tries.unwrap_or_default();
            format!(", factor {factor}, n {n} of which the first {tries} do not wait")
        }
    }
}

/// The jitter that was drawn, in percent of the delay. What rounds to nothing has no sign.
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

    fn said(retry: Retry, n: u32, class: Class, asked: Option<Duration>) -> String {
        let retry = retry.base(Duration::from_secs(2)).max_delay(Duration::from_secs(90)).max_attempts(5);
        explain(&decide(&retry, n, class, asked, -500))
    }

    #[test]
    fn a_delay_is_explained_by_what_its_formula_takes_and_by_nothing_else() {
        let delay = |retry, n| said(retry, n, Class::Temporary, None);
        let rest = "jitter 20 % drawn -10.0 %, at most 1 min 30 s";
        assert_eq!(delay(Retry::fixed(), 3), format!("→ due again in 1.8s: fixed, base 2s, {rest} (try 3 of 5)"));
        assert_eq!(
            delay(Retry::linear(), 3),
            format!("→ due again in 5.4s: linear, base 2s, n 3, {rest} (try 3 of 5)")
        );
        assert_eq!(
            delay(Retry::exponential(), 3),
            format!("→ due again in 7.2s: exponential, base 2s, factor 2, n 3, {rest} (try 3 of 5)")
        );
        assert_eq!(
            delay(Retry::three_tier(), 4),
            format!(
                "→ due again in 3.6s: three-tier, base 2s, factor 2, n 4 of which the first 3 do not wait, {rest} (try 4 of 5)"
            )
        );
    }

    #[test]
    fn what_is_not_decided_by_a_formula_says_what_decided() {
        let asked = |secs| Some(Duration::from_secs(secs));
        assert_eq!(
            said(Retry::three_tier(), 1, Class::Temporary, None),
            "→ queued again at once: three-tier, the first 3 tries do not wait (try 1 of 5)"
        );
        assert_eq!(
            said(Retry::linear(), 1, Class::Temporary, asked(7)),
            "→ due again in 7s, as the other side asked (try 1 of 5)"
        );
        assert_eq!(
            said(Retry::linear(), 1, Class::Temporary, asked(120)),
            "→ due again in 1 min 30 s, the policy's longest delay; the other side asked for 2 min 0 s (try 1 of 5)"
        );
        assert_eq!(said(Retry::linear(), 5, Class::Temporary, asked(7)), "→ dead: all 5 tries are used up");
        assert_eq!(
            said(Retry::linear(), 1, Class::Permanent, None),
            "→ poisoned: a permanent failure is never retried"
        );
        assert_eq!(
            said(Retry::linear(), 1, Class::Unknown, None),
            "→ dead: the handler did not say whether a retry helps"
        );
    }

    #[test]
    fn a_failure_of_unknown_class_that_is_retried_is_said_to_be_one() {
        let decision = Decision { class_unknown: true, ..decide(&Retry::fixed(), 5, Class::Temporary, None, 0) };
        assert_eq!(
            explain(&decision),
            "→ dead: all 5 tries are used up; the class of the failure is unknown, and the queue retries those"
        );
    }

    #[test]
    fn a_jitter_of_nearly_nothing_has_no_minus() {
        assert_eq!(drawn_percent(-1, 20), "+0.0");
        assert_eq!(drawn_percent(-3, 20), "-0.1");
        assert_eq!(drawn_percent(1000, 20), "+20.0");
    }
}
