//! The arithmetic of retries: lists of delays as users expect them, and properties that hold for any numbers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use proptest::prelude::*;

use super::{Decision, Retry, RetryOutcome, RetryOverrides, Strategy, Why, decide};
use crate::failure::Class;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The delays after failure 1, 2, 3 … by a policy without jitter, until its attempts are used up.
fn delays(retry: Retry) -> Vec<u64> {
    let retry = retry.jitter(0);
    let decided = (1..).map(|n| decide(&retry, n, Class::Temporary, None, 0));
    decided.take_while(|decision| decision.outcome == RetryOutcome::Retry).map(|decision| decision.delay_ms).collect()
}

#[test]
fn the_delays_of_the_four_strategies() {
    let with = |retry: Retry| retry.base(ms(1_000)).max_delay(ms(20_000)).max_attempts(8);
    assert_eq!(delays(with(Retry::fixed())), [1_000; 7]);
    assert_eq!(delays(with(Retry::linear())), [1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000]);
    assert_eq!(delays(with(Retry::exponential())), [1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]);
    assert_eq!(delays(with(Retry::exponential().factor(3))), [1_000, 3_000, 9_000, 20_000, 20_000, 20_000, 20_000]);
    assert_eq!(delays(with(Retry::exponential().factor(1))), [1_000; 7]);
    assert_eq!(delays(with(Retry::three_tier())), [0, 0, 1_000, 2_000, 4_000, 8_000, 16_000]);
    assert_eq!(
        delays(with(Retry::three_tier().immediate_tries(1))),
        [1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000]
    );
    assert_eq!(delays(with(Retry::three_tier().immediate_tries(8))), [0; 7]);
    assert_eq!(delays(with(Retry::linear()).max_delay(ms(2_500))), [1_000, 2_000, 2_500, 2_500, 2_500, 2_500, 2_500]);
}

#[test]
fn the_defaults_are_those_that_are_documented() {
    assert_eq!(delays(Retry::default()), [5_000, 10_000, 20_000, 40_000]);
    assert_eq!(Retry::default(), Retry::exponential().max_delay(Duration::from_secs(300)).jitter(20).factor(2));
}

#[test]
fn an_immediate_retry_is_recorded_as_one() {
    let why = |n| decide(&Retry::three_tier(), n, Class::Temporary, None, 700).why;
    assert_eq!(
        [why(1), why(2), why(3), why(5)],
        [Why::ImmediateTry, Why::ImmediateTry, Why::Strategy, Why::AttemptsExhausted]
    );
    // Jitter never delays an immediate retry.
    assert_eq!(decide(&Retry::three_tier(), 1, Class::Temporary, None, 1_000).delay_ms, 0);
}

#[test]
fn jitter_moves_the_delay_by_up_to_its_percentage() {
    let retry = Retry::fixed().base(ms(10_000)).max_delay(ms(60_000)).jitter(20);
    let delay = |drawn| decide(&retry, 1, Class::Temporary, None, drawn).delay_ms;
    assert_eq!([delay(0), delay(1_000), delay(-1_000), delay(500), delay(-1)], [10_000, 12_000, 8_000, 11_000, 9_998]);
    assert_eq!([delay(i16::MAX), delay(i16::MIN)], [12_000, 8_000], "a draw is clamped");
}

#[test]
fn jobs_at_the_cap_spread_downwards() {
    let retry = Retry::exponential().base(ms(200_000)).max_delay(ms(300_000)).jitter(10);
    let delay = |drawn| decide(&retry, 4, Class::Temporary, None, drawn).delay_ms;
    assert_eq!([delay(-1_000), delay(0), delay(1_000)], [270_000, 300_000, 300_000]);
}

#[test]
fn a_decision_records_what_went_into_it() {
    let retry = Retry::linear().base(ms(100)).max_delay(ms(1_000)).max_attempts(4).factor(7).jitter(50);
    assert_eq!(
        decide(&retry, 2, Class::Temporary, None, 400),
        Decision {
            outcome: RetryOutcome::Retry,
            why: Why::Strategy,
            strategy: Strategy::Linear,
            n: 2,
            max_attempts: 4,
            attempts_left: 2,
            base_ms: 100,
            factor: 7,
            max_ms: 1_000,
            jitter_percent: 50,
            jitter_drawn: 400,
            immediate_tries: None,
            retry_after_ms: None,
            delay_ms: 240,
            class_unknown: false,
        }
    );
    let tries = decide(&Retry::three_tier().immediate_tries(2), 2, Class::Temporary, None, 0).immediate_tries;
    assert_eq!(tries, Some(2), "only three-tier records its immediate tries");
}

#[test]
fn numbers_at_their_ends_saturate() {
    let wild = Retry::exponential()
        .base(Duration::MAX)
        .factor(u32::MAX)
        .max_delay(Duration::MAX)
        .jitter(u8::MAX)
        .max_attempts(u32::MAX);
    for strategy in Strategy::ALL {
        let retry = Retry { strategy, ..wild };
        assert_eq!(decide(&retry, u32::MAX - 1, Class::Temporary, None, 1_000).delay_ms, u64::MAX, "{strategy}");
    }
    for n in [64, 65, 66, 1_000] {
        let grown = Retry::exponential().base(ms(1)).max_delay(ms(u64::MAX)).jitter(0).max_attempts(u32::MAX);
        let expected = 1_u64.checked_shl(n - 1).unwrap_or(u64::MAX);
        assert_eq!(decide(&grown, n, Class::Temporary, None, 0).delay_ms, expected, "{n}");
    }
    let tries = Retry::three_tier().immediate_tries(u32::MAX).max_attempts(u32::MAX);
    assert_eq!(decide(&tries, u32::MAX - 2, Class::Temporary, None, 1_000).why, Why::ImmediateTry);
    assert_eq!(decide(&Retry::fixed(), 0, Class::Temporary, None, 0).n, 1, "n is at least 1");
}

#[test]
fn a_policy_out_of_bounds_is_refused_with_the_number() {
    let refused = |retry: Retry| retry.validate().unwrap_err().to_string();
    assert_eq!(refused(Retry::fixed().max_attempts(1_001)), "max attempts is 1001, allowed are 1 to 1000");
    assert_eq!(refused(Retry::fixed().factor(0)), "factor is 0, allowed are 1 to 100");
    assert_eq!(refused(Retry::fixed().jitter(101)), "jitter in percent is 101, allowed are 0 to 100");
    assert_eq!(refused(Retry::fixed().max_delay(Duration::ZERO)), "max delay in ms is 0, allowed are 1 to 2592000000");
    assert_eq!(
        refused(Retry::fixed().base(Duration::MAX)),
        format!("base delay in ms is {}, allowed are 0 to 2592000000", u64::MAX)
    );
    assert_eq!(refused(Retry::three_tier().immediate_tries(0)), "immediate tries is 0, allowed are 1 to 1000");
}

#[test]
fn a_policy_at_its_bounds_is_allowed() {
    let least = Retry::fixed().max_attempts(1).base(Duration::ZERO).factor(1).max_delay(ms(1)).jitter(0);
    assert!(least.immediate_tries(1).validate().is_ok());
    let (most, longest) = (Retry::MAX_ATTEMPTS_MAX, Retry::DELAY_MAX);
    let greatest = Retry::fixed().max_attempts(most).base(longest).factor(Retry::FACTOR_MAX).max_delay(longest);
    assert!(greatest.jitter(100).immediate_tries(most).validate().is_ok());
}

#[test]
fn a_jobs_own_numbers_replace_the_queues_one_by_one() {
    let queue = Retry::three_tier().max_attempts(9).base(ms(7));
    assert_eq!(queue.overridden_by(&RetryOverrides::default()), queue);
    let own = RetryOverrides { max_attempts: Some(2), jitter: Some(0), ..RetryOverrides::default() };
    assert_eq!(queue.overridden_by(&own), queue.max_attempts(2).jitter(0));
    assert_eq!(queue.overridden_by(&RetryOverrides::all_of(&Retry::fixed())), Retry::fixed());
}

#[test]
fn strategies_have_one_name_everywhere() {
    for strategy in Strategy::ALL {
        assert_eq!(strategy.to_string().parse(), Ok(strategy));
        assert_eq!(serde_json::to_value(strategy).unwrap(), strategy.as_str());
    }
    let unknown = "cubic\u{1b}".parse::<Strategy>().unwrap_err().to_string();
    assert_eq!(unknown, "unknown retry strategy \"cubic\\u{1b}\", expected fixed, linear, exponential or three-tier");
}

fn any_strategy() -> impl proptest::strategy::Strategy<Value = Strategy> {
    prop::sample::select(Strategy::ALL.to_vec())
}

prop_compose! {
    /// Any numbers, in bounds or not: what a damaged envelope could ask for.
    fn any_retry()(
        strategy in any_strategy(),
        max_attempts in prop_oneof![0_u32..20, any::<u32>()],
        base_ms in prop_oneof![0_u64..10_000, any::<u64>()],
        factor in prop_oneof![0_u32..10, any::<u32>()],
        max_ms in prop_oneof![0_u64..1_000_000, any::<u64>()],
        jitter_percent in any::<u8>(),
        immediate_tries in prop_oneof![0_u32..10, any::<u32>()],
    ) -> Retry {
        Retry { strategy, max_attempts, base_ms, factor, max_ms, jitter_percent, immediate_tries }
    }
}

fn any_n() -> impl proptest::strategy::Strategy<Value = u32> {
    prop_oneof![0_u32..20, any::<u32>()]
}

fn any_class() -> impl proptest::strategy::Strategy<Value = Class> {
    prop::sample::select(vec![Class::Temporary, Class::Permanent, Class::Unknown])
}

proptest! {
    #[test]
    fn no_delay_exceeds_the_cap(retry in any_retry(), n in any_n(), drawn in any::<i16>(), asked in proptest::option::of(any::<u64>())) {
        let decision = decide(&retry, n, Class::Temporary, asked.map(ms), drawn);
        prop_assert!(decision.delay_ms <= retry.max_ms);
    }

    #[test]
    fn only_a_temporary_failure_with_attempts_left_is_retried(retry in any_retry(), n in any_n(), class in any_class(), drawn in any::<i16>()) {
        let decision = decide(&retry, n, class, None, drawn);
        let expected = match class {
            Class::Permanent => (RetryOutcome::Poisoned, Why::PermanentFailure),
            Class::Unknown => (RetryOutcome::Dead, Why::UnknownFailure),
            Class::Temporary if n.max(1) >= retry.max_attempts => (RetryOutcome::Dead, Why::AttemptsExhausted),
            Class::Temporary => (RetryOutcome::Retry, decision.why),
        };
        prop_assert_eq!((decision.outcome, decision.why), expected);
        prop_assert_eq!(decision.attempts_left, retry.max_attempts.saturating_sub(n.max(1)));
        prop_assert!(decision.outcome == RetryOutcome::Retry || decision.delay_ms == 0);
    }

    #[test]
    fn a_policy_allows_exactly_its_attempts(retry in any_retry(), attempts in 1_u32..=1_000) {
        let retry = retry.max_attempts(attempts);
        let exhausted = (1..).find(|n| decide(&retry, *n, Class::Temporary, None, 0).outcome == RetryOutcome::Dead);
        prop_assert_eq!(exhausted, Some(attempts));
    }

    #[test]
    fn delays_never_shrink_without_jitter(retry in any_retry(), from in prop_oneof![1_u32..100, 1_u32..u32::MAX - 100]) {
        let retry = Retry { factor: retry.factor.max(1), ..retry.jitter(0).max_attempts(u32::MAX) };
        let delays = (from..from + 70).map(|n| decide(&retry, n, Class::Temporary, None, 999).delay_ms);
        prop_assert!(delays.is_sorted());
    }

    #[test]
    fn jitter_stays_within_its_percentage(retry in any_retry(), n in any_n(), drawn in any::<i16>()) {
        let retry = retry.jitter(retry.jitter_percent % 101).max_attempts(u32::MAX);
        let plain = decide(&retry, n.min(u32::MAX - 1), Class::Temporary, None, 0).delay_ms;
        let moved = decide(&retry, n.min(u32::MAX - 1), Class::Temporary, None, drawn).delay_ms;
        let share = u128::from(plain) * u128::from(retry.jitter_percent) / 100;
        prop_assert!(u128::from(plain.abs_diff(moved)) <= share);
        prop_assert!((moved >= plain) || drawn < 0);
    }

    #[test]
    fn retry_after_wins_over_the_formula_and_is_capped(retry in any_retry(), n in any_n(), asked in any::<u64>(), drawn in any::<i16>()) {
        let retry = retry.max_attempts(u32::MAX);
        let decision = decide(&retry, n.min(u32::MAX - 1), Class::Temporary, Some(ms(asked)), drawn);
        prop_assert_eq!((decision.why, decision.delay_ms), (Why::RetryAfter, asked.min(retry.max_ms)));
        prop_assert_eq!(decision.retry_after_ms, Some(asked));
    }

    #[test]
    fn three_tiers_are_immediate_tries_and_then_the_exponential_from_its_start(retry in any_retry(), tries in 1_u32..50, n in 1_u32..200) {
        let three = Retry { strategy: Strategy::ThreeTier, immediate_tries: tries, max_attempts: u32::MAX, ..retry };
        let exponential = Retry { strategy: Strategy::Exponential, ..three };
        let decision = decide(&three, n, Class::Temporary, None, 0);
        if n < tries {
            prop_assert_eq!((decision.delay_ms, decision.why), (0, Why::ImmediateTry));
        } else {
            prop_assert_eq!(decision.delay_ms, decide(&exponential, n - tries + 1, Class::Temporary, None, 0).delay_ms);
        }
    }
}
