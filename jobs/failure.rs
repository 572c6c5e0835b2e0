//! What went wrong with a job, in words that decide what happens next. (What goes wrong with the runtime is an error of its own.)

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// Longest error message kept, in bytes. The rest is cut at a character and marked with `…`.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// Longest text kept of each cause, in bytes. The rest is cut at a character and marked with `…`.
pub const CAUSE_BYTES_MAX: usize = 1024;
/// Most causes kept of an error's chain; deeper ones are dropped.
pub const CHAIN_LENGTH_MAX: usize = 8;
/// Longest snooze; a longer one is shortened to this: 30 days.
pub const SNOOZE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Why an attempt did not succeed.
///
/// ```
/// use retraced_jobs::failure::{Class, Code};
/// assert_eq!(Code::NetworkError.as_str(), "NETWORK_ERROR");
/// assert_eq!(Code::NetworkError.class(), Class::Temporary);
/// assert_eq!("TIMEOUT".parse(), Ok(Code::Timeout));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The job's data makes no sense to its handler. Permanent.
    InvalidJobData,
    /// Who we say we are was refused. Permanent.
    AuthenticationFailed,
    /// What we may do was refused. Permanent.
    AuthorizationFailed,
    /// No answer, or half of one. Temporary.
    NetworkError,
    /// It took longer than the job's timeout. Temporary.
    Timeout,
    /// The other side is down or overloaded. Temporary.
    ServiceUnavailable,
    /// The other side asks us to slow down. Temporary.
    RateLimitExceeded,
    /// A job this one needed could not be made. Unknown.
    JobCreationFailed,
    /// A job this one needed is not there. Unknown.
    JobNotFound,
    /// The handler failed and did not say why. Unknown.
    JobExecutionFailed,
    /// Nobody knows. Unknown.
    UnknownError,
    /// The handler panicked. Retried like a temporary failure.
    Panic,
    /// The lease ran out while the worker was gone. Counted as a crash, not a failure.
    LeaseLost,
    /// No worker here knows this kind. Put back with a delay, dead after a cap.
    UnknownKind,
    /// The envelope or payload cannot be read. Permanent.
    DecodeFailed,
    /// A shutdown or restart took the job back. Costs nothing.
    Interrupted,
    /// Somebody called the job off while it ran.
    Cancelled,
}

/// What a code means for the next step.
///
/// ```
/// use retraced_jobs::failure::{Class, Code, Failure};
/// let failure = Failure::new(Code::RateLimitExceeded, "slow down");
/// assert_eq!(failure.class(), Class::Temporary);
/// // The one who knows better says so.
/// assert_eq!(Failure::permanent(Code::Timeout, "never answers").class(), Class::Permanent);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// May go away by itself: retried by policy, `dead` when the attempts are used up.
    Temporary,
    /// Will not go away: `poisoned` at once.
    Permanent,
    /// Could be either: `dead` at once, so that nothing is repeated that should not be.
    Unknown,
}

impl Code {
    /// Every code.
    pub const ALL: [Code; 17] = [
        Code::InvalidJobData,
        Code::AuthenticationFailed,
        Code::AuthorizationFailed,
        Code::NetworkError,
        Code::Timeout,
        Code::ServiceUnavailable,
        Code::RateLimitExceeded,
        Code::JobCreationFailed,
        Code::JobNotFound,
        Code::JobExecutionFailed,
        Code::UnknownError,
        Code::Panic,
        Code::LeaseLost,
        Code::UnknownKind,
        Code::DecodeFailed,
        Code::Interrupted,
        Code::Cancelled,
    ];

    /// The class a failure of this code has unless the handler says otherwise.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Code::InvalidJobData | Code::AuthenticationFailed | Code::AuthorizationFailed | Code::DecodeFailed => {
                Class::Permanent
            }
            Code::NetworkError
            | Code::Timeout
            | Code::ServiceUnavailable
            | Code::RateLimitExceeded
            | Code::Panic
            | Code::LeaseLost
            | Code::UnknownKind
            | Code::Interrupted => Class::Temporary,
            Code::JobCreationFailed
            | Code::JobNotFound
            | Code::JobExecutionFailed
            | Code::UnknownError
            | Code::Cancelled => Class::Unknown,
        }
    }

    /// The name used on the wire, in commands and in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Code::InvalidJobData => "INVALID_JOB_DATA",
            Code::AuthenticationFailed => "AUTHENTICATION_FAILED",
            Code::AuthorizationFailed => "AUTHORIZATION_FAILED",
            Code::NetworkError => "NETWORK_ERROR",
            Code::Timeout => "TIMEOUT",
            Code::ServiceUnavailable => "SERVICE_UNAVAILABLE",
            Code::RateLimitExceeded => "RATE_LIMIT_EXCEEDED",
            Code::JobCreationFailed => "JOB_CREATION_FAILED",
            Code::JobNotFound => "JOB_NOT_FOUND",
            Code::JobExecutionFailed => "JOB_EXECUTION_FAILED",
            Code::UnknownError => "UNKNOWN_ERROR",
            Code::Panic => "PANIC",
            Code::LeaseLost => "LEASE_LOST",
            Code::UnknownKind => "UNKNOWN_KIND",
            Code::DecodeFailed => "DECODE_FAILED",
            Code::Interrupted => "INTERRUPTED",
            Code::Cancelled => "CANCELLED",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A code was named that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCode(String);

impl fmt::Display for UnknownCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        write!(f, "unknown error code \"{}\", expected one of {}", self.0.escape_debug(), names.join(", "))
    }
}

impl StdError for UnknownCode {}

impl std::str::FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        Code::ALL.into_iter().find(|c| c.as_str() == text).ok_or_else(|| UnknownCode(text.chars().take(40).collect()))
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        // A code a newer worker wrote must not make the whole history unreadable.
        Ok(text.parse().unwrap_or(Code::UnknownError))
    }
}

/// What a handler returns when it did not succeed.
///
/// `?` works on any error: it becomes `JOB_EXECUTION_FAILED`, whose class is unknown, so the job goes to the dead letter queue at once. Say
/// [`temporary`](Self::temporary) where a retry makes sense.
///
/// ```
/// use retraced_jobs::failure::{Class, Code, Failure};
/// let refused = std::io::Error::other("connection refused");
/// let failure = Failure::temporary(Code::NetworkError, refused).retry_after(std::time::Duration::from_secs(3));
/// assert_eq!(failure.class(), Class::Temporary);
/// assert_eq!(failure.message(), "connection refused");
/// ```
#[derive(Debug, Clone)]
pub struct Failure {
    code: Code,
    class: Class,
    message: String,
    chain: Vec<String>,
    retry_after: Option<Duration>,
    snooze: Option<Duration>,
}

impl Failure {
    /// May go away by itself: retried by the job's policy.
    #[must_use]
    pub fn temporary(code: Code, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::with_class(code, Class::Temporary, cause)
    }

    /// Will not go away: the job is poisoned at once.
    #[must_use]
    pub fn permanent(code: Code, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::with_class(code, Class::Permanent, cause)
    }

    /// Classed by its code alone.
    #[must_use]
    pub fn new(code: Code, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::with_class(code, code.class(), cause)
    }

    /// Not a failure at all: "not yet, ask me again in a while", at most [`SNOOZE_MAX`]. Costs no attempt; counted in `releases`. Without a delay the job goes
    /// to the back of its queue.
    #[must_use]
    pub fn snooze(delay: Duration) -> Self {
        let mut failure = Self::with_class(Code::Interrupted, Class::Temporary, "snoozed by its handler");
        failure.snooze = Some(delay.min(SNOOZE_MAX));
        failure
    }

    fn with_class(code: Code, class: Class, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let cause = cause.into();
        let mut chain = Vec::new();
        let mut deeper = cause.source();
        while let Some(source) = deeper.filter(|_| chain.len() < CHAIN_LENGTH_MAX) {
            chain.push(bounded(&source.to_string(), CAUSE_BYTES_MAX));
            deeper = source.source();
        }
        let message = bounded(&cause.to_string(), MESSAGE_BYTES_MAX);
        Self { code, class, message, chain, retry_after: None, snooze: None }
    }

    /// The other side said when to come back. It wins over the policy's delay, capped by the policy's maximum.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Why.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// What it means for the next step.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The error's own text, at most [`MESSAGE_BYTES_MAX`].
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The texts of its causes, nearest first, at most [`CHAIN_LENGTH_MAX`] of at most [`CAUSE_BYTES_MAX`] each.
    #[must_use]
    pub fn chain(&self) -> &[String] {
        &self.chain
    }

    /// When the other side said to come back.
    #[must_use]
    pub fn asked_delay(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The delay, if this is a snooze.
    #[must_use]
    pub fn snoozed_for(&self) -> Option<Duration> {
        self.snooze
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Code::JobExecutionFailed, error)
    }
}

/// The text, cut at a character boundary so that it has at most `bytes_max` bytes, the mark of the cut included where there is room for it.
#[must_use]
pub fn bounded(text: &str, bytes_max: usize) -> String {
    const CUT: &str = "…";
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let Some(mut end) = bytes_max.checked_sub(CUT.len()) else { return String::new() };
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{CUT}", &text[..end])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_code_reads_back_from_its_name() {
        for code in Code::ALL {
            assert_eq!(code.as_str().parse(), Ok(code));
        }
        assert!("nonsense".parse::<Code>().unwrap_err().to_string().contains("NETWORK_ERROR"));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let cut = bounded(&"é".repeat(10), 9);
        assert_eq!(cut, "ééé…");
        assert!(bounded(&"x".repeat(20_000), MESSAGE_BYTES_MAX).len() <= MESSAGE_BYTES_MAX);
        assert_eq!([bounded("abcd", 4), bounded("abcd", 3), bounded("abcd", 2)], ["abcd", "…", ""]);
    }

    #[test]
    fn a_chain_of_causes_without_end_is_cut() {
        #[derive(Debug)]
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&"again ".repeat(10_000))
            }
        }
        impl StdError for Endless {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(self)
            }
        }
        let failure = Failure::from(Endless);
        assert_eq!(failure.chain().len(), CHAIN_LENGTH_MAX);
        assert!(failure.chain().iter().all(|cause| cause.len() <= CAUSE_BYTES_MAX));
        assert!(failure.message().len() <= MESSAGE_BYTES_MAX);
    }

    #[test]
    fn a_code_a_newer_worker_wrote_is_an_unknown_error() {
        assert_eq!(serde_json::from_str::<Code>("\"MOON_PHASE\"").unwrap(), Code::UnknownError);
    }
}
