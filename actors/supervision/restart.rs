//! Restart policies as data, and their decisions as pure functions: which children restart, when, and when a supervisor gives up.
//!
//! The rules are those of OTP supervisors (Erlang/OTP, *Supervisor Behaviour*). The strategy says which children are restarted with the one that failed. Every
//! child is permanent: any end that its supervisor did not cause is a failure. The budget (in OTP: the intensity) says how many failures a window of time may hold.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use backoff::backoff::Backoff;
use tokio::time::Instant;

use crate::limits::{QUEUE_RESTARTS_MAX, REOPEN_DELAY_MIN, RESTART_WINDOW, ROOT_RESTARTS_MAX};

/// Which children restart when one fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strategy {
    /// The child that failed.
    OneForOne,
    /// All children: the others are stopped first, in reverse start order.
    OneForAll,
    /// The child that failed and those started after it.
    RestForOne,
}

impl Strategy {
    /// The children to restart, by their position in the start order.
    #[must_use]
    pub fn affected(self, failed: usize, children: usize) -> Range<usize> {
        match self {
            Strategy::OneForOne => failed..(failed + 1).min(children),
            Strategy::OneForAll => 0..children,
            Strategy::RestForOne => failed..children,
        }
    }
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// Without an error, a panic or a kill.
    Normal,
    /// By an error, a panic or a kill; with the reason.
    Abnormal(String),
}

/// How many failures a supervisor tolerates: with more than `restarts` within `window` it gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Budget {
    /// Failures the window may hold; at least 1.
    pub restarts: u32,
    /// Length of the sliding window; at least 1 s.
    pub window: Duration,
}

impl Budget {
    /// At most `restarts` within `window`.
    #[must_use]
    pub const fn new(restarts: u32, window: Duration) -> Self {
        Self { restarts, window }
    }
}

/// The backoff of restarts: none after the first failure of a window, then delays that double.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestartDelay {
    /// Delay after the second failure of a window.
    pub base: Duration,
    /// Longest delay. It must be below window ÷ restarts of the budget: with slower restarts a crash loop could stay within its budget for ever.
    pub max: Duration,
    /// The most by which jitter shortens a delay, in percent: 0 to 100.
    pub jitter_percent: u8,
}

impl RestartDelay {
    /// Delays from `base` to `max`, shortened by up to `jitter_percent`.
    #[must_use]
    pub const fn new(base: Duration, max: Duration, jitter_percent: u8) -> Self {
        Self { base, max, jitter_percent }
    }
}

/// Strategy, budget and delays of one supervisor.
///
/// ```
/// use std::time::Duration;
/// use retraced_actors::{Budget, RestartDelay, RestartPolicy, Strategy};
/// let delay = RestartDelay::new(Duration::from_millis(50), Duration::from_secs(5), 20);
/// let policy = RestartPolicy::new(Strategy::OneForOne, Budget::new(20, Duration::from_secs(60)), delay);
/// let refused = policy.validate().unwrap_err();
/// assert_eq!(refused.to_string(), "longest restart delay 5s is not below 60s ÷ 20 restarts: a crash loop could stay within its budget for ever");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestartPolicy {
    /// Which children restart.
    pub strategy: Strategy,
    /// How many restarts are tolerated.
    pub budget: Budget,
    /// When children restart.
    pub delay: RestartDelay,
}

impl RestartPolicy {
    /// A policy of these parts. It is checked where it is used, or by [`validate`](Self::validate).
    #[must_use]
    pub const fn new(strategy: Strategy, budget: Budget, delay: RestartDelay) -> Self {
        Self { strategy, budget, delay }
    }

    /// The policy of the root: one-for-one, 10 restarts in 60 s. Beyond that the runtime ends with an error.
    pub const ROOT: RestartPolicy = RestartPolicy {
        strategy: Strategy::OneForOne,
        budget: Budget { restarts: ROOT_RESTARTS_MAX, window: RESTART_WINDOW },
        delay: RestartDelay { base: Duration::from_millis(50), max: Duration::from_secs(3), jitter_percent: 20 },
    };
    /// The policy of a queue: one-for-one, 20 restarts in 60 s. Beyond that the queue's workers, or the whole queue, close and reopen later.
    pub const QUEUE: RestartPolicy = RestartPolicy {
        strategy: Strategy::OneForOne,
        budget: Budget { restarts: QUEUE_RESTARTS_MAX, window: RESTART_WINDOW },
        delay: RestartDelay { base: Duration::from_millis(50), max: Duration::from_secs(2), jitter_percent: 20 },
    };

    /// Returns the policy if it is valid. A supervisor with a valid policy gives up on a crash loop.
    ///
    /// # Errors
    /// [`InvalidPolicy`] names the number that is out of bounds.
    pub fn validate(self) -> Result<Self, InvalidPolicy> {
        let refuse = |text: String| Err(InvalidPolicy(text));
        if self.budget.restarts == 0 {
            return refuse(
                "a budget of 0 restarts would end its supervisor at the first failure; allow at least 1".into(),
            );
        }
        if self.budget.window < Duration::from_secs(1) {
            return refuse(format!("restart window {:?} is below 1s", self.budget.window));
        }
        if self.delay.jitter_percent > 100 {
            return refuse(format!("restart jitter {} % is above 100 %", self.delay.jitter_percent));
        }
        if self.delay.max >= self.budget.window / self.budget.restarts {
            return refuse(format!(
                "longest restart delay {:?} is not below {:?} ÷ {} restarts: a crash loop could stay within its budget for ever",
                self.delay.max, self.budget.window, self.budget.restarts
            ));
        }
        Ok(self)
    }

    /// How long to wait after the `failures`-th failure of the window, from 1. `draw`, from 0 to 999, chooses the jitter; 0 is none.
    #[must_use]
    pub fn delay_after(&self, failures: u32, draw: u16) -> Duration {
        let Some(steps) = failures.checked_sub(2) else { return Duration::ZERO };
        let mut backoff = backoff::ExponentialBackoff {
            current_interval: self.delay.base,
            initial_interval: self.delay.base,
            randomization_factor: 0.0,
            multiplier: 2.0,
            max_interval: self.delay.max,
            max_elapsed_time: None,
            ..backoff::ExponentialBackoff::default()
        };
        let mut delay = self.delay.base;
        for _ in 0..=steps.min(self.budget.restarts) {
            delay = backoff.next_backoff().unwrap_or(self.delay.max);
        }
        let delay = delay.min(self.delay.max);
        let spread = delay * u32::from(self.delay.jitter_percent) / 100;
        delay - spread * u32::from(draw.min(999)) / 1000
    }
}

/// A [`RestartPolicy`] or a [`Reopening`] that cannot work; the text says why.
///
/// ```
/// use retraced_actors::{InvalidPolicy, RestartPolicy};
/// let mut policy = RestartPolicy::QUEUE;
/// policy.budget.restarts = 0;
/// let refused: InvalidPolicy = policy.validate().unwrap_err();
/// assert!(refused.to_string().starts_with("a budget of 0 restarts would end its supervisor at the first failure"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidPolicy(String);

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidPolicy {}

/// The failures of a supervisor's children in a sliding window.
#[derive(Debug, Default)]
pub(crate) struct Window {
    failures: VecDeque<Instant>,
}

impl Window {
    /// Counts one failure. Returns how many the window holds now. Counts no further than one more than the budget allows.
    pub(crate) fn record_failure(&mut self, now: Instant, budget: &Budget) -> u32 {
        self.failures.retain(|at| now.duration_since(*at) < budget.window);
        self.failures.push_back(now);
        if self.failures.len() > budget.restarts as usize + 1 {
            self.failures.pop_front();
        }
        u32::try_from(self.failures.len()).unwrap_or(u32::MAX)
    }
}

/// When closed workers, or a closed queue, are reopened.
///
/// ```
/// use retraced_actors::Reopening;
/// use std::time::Duration;
/// let waits = [1, 2, 3, 9].map(|closings| Reopening::DEFAULT.delay_after(closings).as_secs());
/// assert_eq!(waits, [30, 60, 120, 300]);
/// let refused = Reopening::new(Duration::ZERO, Duration::ZERO).validate().unwrap_err();
/// assert_eq!(refused.to_string(), "first reopening delay 0ns is below 1s: closed workers that crash again would reopen without a pause");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reopening {
    /// Delay after the first closing; at least [`REOPEN_DELAY_MIN`], 1 s.
    pub first: Duration,
    /// Longest delay: delays double until they reach it. At least `first`.
    pub max: Duration,
}

impl Reopening {
    /// The first delay is `first`. It doubles with each further closing in a row, up to `max`.
    #[must_use]
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max }
    }

    /// The first delay is 30 s. It doubles with each further closing in a row, up to 5 min.
    pub const DEFAULT: Reopening = Reopening { first: Duration::from_secs(30), max: Duration::from_secs(300) };

    /// Returns the reopening if it is valid.
    ///
    /// # Errors
    /// [`InvalidPolicy`] names the delay that is out of bounds.
    pub fn validate(self) -> Result<Self, InvalidPolicy> {
        let Self { first, max } = self;
        if first < REOPEN_DELAY_MIN {
            return Err(InvalidPolicy(format!(
                "first reopening delay {first:?} is below {REOPEN_DELAY_MIN:?}: closed workers that crash again would reopen without a pause"
            )));
        }
        if first > max {
            return Err(InvalidPolicy(format!("first reopening delay {first:?} is above the longest, {max:?}")));
        }
        Ok(self)
    }

    /// How long to wait after the `closings`-th closing in a row, from 1.
    #[must_use]
    pub fn delay_after(&self, closings: u32) -> Duration {
        let doublings = closings.saturating_sub(1).min(16);
        self.first.saturating_mul(1 << doublings).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_strategy_names_the_children_that_restart_with_the_one_that_failed() {
        assert_eq!(Strategy::OneForOne.affected(1, 4), 1..2);
        assert_eq!(Strategy::OneForAll.affected(1, 4), 0..4);
        assert_eq!(Strategy::RestForOne.affected(1, 4), 1..4);
    }

    #[test]
    fn the_first_restart_is_at_once_and_later_ones_double_up_to_the_cap() {
        let policy = RestartPolicy::QUEUE;
        let delays: Vec<u128> = (1..=9).map(|n| policy.delay_after(n, 0).as_millis()).collect();
        assert_eq!(delays, [0, 50, 100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(policy.delay_after(3, 999).as_millis(), 80, "jitter only shortens");
        assert!(policy.validate().is_ok() && RestartPolicy::ROOT.validate().is_ok());
    }

    #[test]
    fn the_longest_delay_holds_even_if_it_is_below_the_base() {
        for max in [Duration::ZERO, Duration::from_millis(1)] {
            let delay = RestartDelay { max, jitter_percent: 100, ..RestartPolicy::QUEUE.delay };
            let policy = RestartPolicy { delay, ..RestartPolicy::QUEUE };
            assert!(policy.validate().is_ok());
            assert!((2..=5).all(|n| [0, 500, 999].iter().all(|draw| policy.delay_after(n, *draw) <= max)), "{max:?}");
        }
    }

    #[test]
    fn failures_older_than_the_window_are_forgotten() {
        let budget = Budget { restarts: 3, window: Duration::from_secs(10) };
        let mut window = Window::default();
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        assert_eq!([0, 1, 2].map(|s| window.record_failure(at(s), &budget)), [1, 2, 3]);
        assert_eq!(window.record_failure(at(10), &budget), 3, "the failure at 0 has left");
        assert_eq!(window.record_failure(at(10), &budget), 4, "one more than the budget allows");
        assert_eq!(window.record_failure(at(60), &budget), 1);
    }

    #[test]
    fn a_closed_queue_reopens_after_30_s_doubling_to_5_min() {
        let seconds: Vec<u64> = (1..=6).map(|n| Reopening::DEFAULT.delay_after(n).as_secs()).collect();
        assert_eq!(seconds, [30, 60, 120, 240, 300, 300]);
        assert!(Reopening::DEFAULT.validate().is_ok());
    }

    #[test]
    fn a_queue_never_reopens_at_once() {
        let shortest = Reopening { first: REOPEN_DELAY_MIN, max: REOPEN_DELAY_MIN };
        assert!(shortest.validate().is_ok());
        assert!(Reopening { first: Duration::ZERO, ..shortest }.validate().is_err());
        assert!(Reopening { first: REOPEN_DELAY_MIN * 2, ..shortest }.validate().is_err());
    }

    #[test]
    fn a_policy_is_refused_beyond_each_bound_and_allowed_at_it() {
        let of = |restarts, window_ms, max_ms, jitter_percent| {
            let budget = Budget { restarts, window: Duration::from_millis(window_ms) };
            let delay =
                RestartDelay { max: Duration::from_millis(max_ms), jitter_percent, ..RestartPolicy::QUEUE.delay };
            RestartPolicy { budget, delay, ..RestartPolicy::QUEUE }.validate().map_err(|refused| refused.to_string())
        };
        assert!(of(1, 1_000, 999, 100).is_ok() && of(20, 60_000, 2_999, 0).is_ok());
        for (refused, why) in [
            (of(0, 1_000, 0, 0), "a budget of 0 restarts"),
            (of(1, 999, 0, 0), "restart window 999ms is below 1s"),
            (of(1, 1_000, 0, 101), "restart jitter 101 %"),
            (of(20, 60_000, 3_000, 0), "longest restart delay 3s is not below 60s ÷ 20 restarts"),
        ] {
            assert!(refused.clone().unwrap_err().starts_with(why), "{refused:?}");
        }
    }
}
