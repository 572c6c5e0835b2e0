//! How a job is retried: the strategy, its numbers and their bounds.

use std::fmt;
use std::time::Duration;

use crate::limits::{RETRY_ATTEMPTS_MAX, RETRY_DELAY_MAX, RETRY_FACTOR_MAX};
use crate::units::millis;

/// How the delay grows with `n`, the number of failures so far, the latest one included.
///
/// ```
/// use retraced_jobs::retry::Strategy;
/// assert_eq!("three-tier".parse(), Ok(Strategy::ThreeTier));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Strategy {
    /// The same delay every time: base.
    Fixed,
    /// Base · n.
    Linear,
    /// Base · factor^(n−1).
    Exponential,
    /// No delay while n < `immediate_tries`; then base · factor^(n − `immediate_tries`).
    ThreeTier,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Strategy; 4] = [Strategy::Fixed, Strategy::Linear, Strategy::Exponential, Strategy::ThreeTier];

    /// The name used in commands, JSON and documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Strategy::Fixed => "fixed",
            Strategy::Linear => "linear",
            Strategy::Exponential => "exponential",
            Strategy::ThreeTier => "three-tier",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Strategy {
    type Err = InvalidRetry;

    fn from_str(text: &str) -> Result<Self, InvalidRetry> {
        Strategy::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| {
            InvalidRetry(format!(
                "unknown retry strategy \"{}\", expected fixed, linear, exponential or three-tier",
                text.escape_debug()
            ))
        })
    }
}

/// A retry policy that is refused: a number outside its bounds, or an unknown strategy. The text says which.
///
/// ```
/// use retraced_jobs::retry::{InvalidRetry, Retry};
/// let refused: InvalidRetry = Retry::exponential().factor(0).validate().unwrap_err();
/// assert_eq!(refused.to_string(), "factor is 0, allowed are 1 to 100");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidRetry(String);

impl fmt::Display for InvalidRetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidRetry {}

/// A retry policy. Start from a strategy and change its numbers. They are checked when the runtime starts, or when the job that is given the policy is enqueued.
///
/// Defaults: 5 attempts, base 5 s, factor 2, at most 300 s, jitter 20 %; with three-tier, 3 attempts without delay.
///
/// ```
/// use std::time::Duration;
/// use retraced_jobs::retry::Retry;
/// let retry = Retry::exponential().base(Duration::from_millis(200)).max_attempts(8);
/// assert!(retry.validate().is_ok());
/// let refused = Retry::fixed().max_attempts(0).validate().unwrap_err();
/// assert_eq!(refused.to_string(), "max attempts is 0, allowed are 1 to 1000");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    pub(super) strategy: Strategy,
    pub(super) max_attempts: u32,
    pub(super) base_ms: u64,
    pub(super) factor: u32,
    pub(super) max_ms: u64,
    pub(super) jitter_percent: u8,
    pub(super) immediate_tries: u32,
}

impl Retry {
    /// Most attempts a policy may allow: 1000.
    pub const MAX_ATTEMPTS_MAX: u32 = RETRY_ATTEMPTS_MAX;
    /// Longest delay between two attempts: 30 days.
    pub const DELAY_MAX: Duration = RETRY_DELAY_MAX;
    /// Largest factor of the exponential and three-tier strategies: 100.
    pub const FACTOR_MAX: u32 = RETRY_FACTOR_MAX;

    /// A policy with this strategy and the default numbers.
    #[must_use]
    pub const fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            max_attempts: 5,
            base_ms: 5_000,
            factor: 2,
            max_ms: 300_000,
            jitter_percent: 20,
            immediate_tries: 3,
        }
    }

    /// The same delay every time.
    #[must_use]
    pub const fn fixed() -> Self {
        Self::new(Strategy::Fixed)
    }

    /// Base · n.
    #[must_use]
    pub const fn linear() -> Self {
        Self::new(Strategy::Linear)
    }

    /// Base · factor^(n−1).
    #[must_use]
    pub const fn exponential() -> Self {
        Self::new(Strategy::Exponential)
    }

    /// A few retries without delay, then exponential ones.
    #[must_use]
    pub const fn three_tier() -> Self {
        Self::new(Strategy::ThreeTier)
    }

    /// How many attempts may fail, the first included, before the job is dead: 1 to 1000, default 5. With 1 nothing is retried.
    #[must_use]
    pub const fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// The delay the strategy starts from: up to 30 days, default 5 s. Parts of a millisecond are cut off.
    #[must_use]
    pub const fn base(mut self, base: Duration) -> Self {
        self.base_ms = millis(base);
        self
    }

    /// Growth of the delay in the exponential and three-tier strategies: 1 to 100, default 2. Has no effect on the other strategies.
    #[must_use]
    pub const fn factor(mut self, factor: u32) -> Self {
        self.factor = factor;
        self
    }

    /// Longest delay, applied after jitter: 1 ms to 30 days, default 300 s.
    #[must_use]
    pub const fn max_delay(mut self, max: Duration) -> Self {
        self.max_ms = millis(max);
        self
    }

    /// By up to how many percent the delay is randomly lengthened or shortened, so that jobs that failed together are not retried together: 0 to 100, default 20.
    #[must_use]
    pub const fn jitter(mut self, percent: u8) -> Self {
        self.jitter_percent = percent;
        self
    }

    /// How many attempts the three-tier strategy makes without delay, the first included: 1 to 1000, default 3, which means two immediate retries. Has no effect on
    /// the other strategies.
    #[must_use]
    pub const fn immediate_tries(mut self, tries: u32) -> Self {
        self.immediate_tries = tries;
        self
    }

    /// The number set by [`max_attempts`](Self::max_attempts).
    #[must_use]
    pub const fn attempts_max(&self) -> u32 {
        self.max_attempts
    }

    /// The policy, if every number is within its bounds.
    ///
    /// # Errors
    /// [`InvalidRetry`] names the number, its value and what is allowed.
    pub fn validate(self) -> Result<Self, InvalidRetry> {
        fn within<N: PartialOrd + fmt::Display>(what: &str, value: N, min: N, max: N) -> Result<(), InvalidRetry> {
            if value < min || value > max {
                return Err(InvalidRetry(format!("{what} is {value}, allowed are {min} to {max}")));
            }
            Ok(())
        }
        let delay_max = millis(Self::DELAY_MAX);
        within("max attempts", self.max_attempts, 1, Self::MAX_ATTEMPTS_MAX)?;
        within("base delay in ms", self.base_ms, 0, delay_max)?;
        within("factor", self.factor, 1, Self::FACTOR_MAX)?;
        within("max delay in ms", self.max_ms, 1, delay_max)?;
        within("jitter in percent", self.jitter_percent, 0, 100)?;
        within("immediate tries", self.immediate_tries, 1, Self::MAX_ATTEMPTS_MAX)?;
        Ok(self)
    }

    /// This policy, with the settings that a job has of its own in place of this policy's.
    #[must_use]
    pub fn overridden_by(mut self, job: &RetryOverrides) -> Self {
        self.strategy = job.strategy.unwrap_or(self.strategy);
        self.max_attempts = job.max_attempts.unwrap_or(self.max_attempts);
        self.base_ms = job.base_ms.unwrap_or(self.base_ms);
        self.factor = job.factor.unwrap_or(self.factor);
        self.max_ms = job.max_ms.unwrap_or(self.max_ms);
        self.jitter_percent = job.jitter.unwrap_or(self.jitter_percent);
        self.immediate_tries = job.immediate_tries.unwrap_or(self.immediate_tries);
        self
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::exponential()
    }
}

/// The retry settings that one job has of its own, stored in its envelope. The rest come from its queue, or else from its kind, or else from the library's defaults.
///
/// ```
/// use retraced_jobs::retry::{Retry, RetryOverrides};
/// let own: RetryOverrides = serde_json::from_str(r#"{"max_attempts": 2}"#).unwrap();
/// assert_eq!(Retry::linear().overridden_by(&own), Retry::linear().max_attempts(2));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RetryOverrides {
    /// See [`Strategy`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// See [`Retry::max_attempts`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// See [`Retry::base`]; milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_ms: Option<u64>,
    /// See [`Retry::factor`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<u32>,
    /// See [`Retry::max_delay`]; milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<u64>,
    /// See [`Retry::jitter`]; percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<u8>,
    /// See [`Retry::immediate_tries`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub immediate_tries: Option<u32>,
}

impl RetryOverrides {
    /// Whether the job has no retry settings of its own.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Overrides that replace every setting of the policy that would apply by that of `retry`.
    #[must_use]
    pub fn all_of(retry: &Retry) -> Self {
        Self {
            strategy: Some(retry.strategy),
            max_attempts: Some(retry.max_attempts),
            base_ms: Some(retry.base_ms),
            factor: Some(retry.factor),
            max_ms: Some(retry.max_ms),
            jitter: Some(retry.jitter_percent),
            immediate_tries: Some(retry.immediate_tries),
        }
    }
}
