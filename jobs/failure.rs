//! Why an attempt failed: a code and a class, which decide what happens next. The errors of the runtime itself have other types.

mod causes;
mod resource;

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

pub(crate) use self::causes::causes;
pub use self::resource::Resource;
use crate::limits::QUOTED_CHARS_MAX;
pub use crate::limits::{CAUSE_BYTES_MAX, CHAIN_LENGTH_MAX, MESSAGE_BYTES_MAX, SNOOZE_MAX};

/// What went wrong in an attempt, from a fixed list; operators filter jobs by it.
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
    /// The other side rejected our credentials. Permanent.
    AuthenticationFailed,
    /// The other side knows us, but does not allow the operation. Permanent.
    AuthorizationFailed,
    /// No answer, or an incomplete one. Temporary.
    NetworkError,
    /// The attempt took longer than its timeout. Temporary.
    Timeout,
    /// The other side is down or overloaded. Temporary.
    ServiceUnavailable,
    /// The other side asks us to slow down. Temporary.
    RateLimitExceeded,
    /// A follow-up job could not be enqueued. Of unknown class.
    JobCreationFailed,
    /// A job that this job depends on does not exist. Of unknown class.
    JobNotFound,
    /// The handler failed and did not say why. Of unknown class.
    JobExecutionFailed,
    /// The cause is not known. Of unknown class.
    UnknownError,
    /// The handler panicked. Temporary.
    Panic,
    /// The worker stopped renewing the lease, and it expired. Counted as a crash or a release, not as a failure.
    LeaseLost,
    /// No handler of this worker knows the job's kind. The job is released with a delay; after too many releases it is dead.
    UnknownKind,
    /// The envelope or payload cannot be read. Permanent. But a job is released first if its payload does not fit its handler or is too large
    /// ([`OnUndecodable`](crate::retry::OnUndecodable)), or if a newer version sealed its envelope: in this last case it is dead after too many releases.
    DecodeFailed,
    /// The handler stopped because it was asked to. Temporary; during a shutdown an error counts no failure, whatever its code.
    Interrupted,
    /// The handler returned an error, panicked or timed out after the job was cancelled. The job is `cancelled`; no failure is counted.
    Cancelled,
}

/// Whether a retry may help, which decides what happens to the job after a failure.
/// No classes will be added: whoever decides by the class may match it exhaustively.
///
/// ```
/// use retraced_jobs::failure::{Class, Code, Failure};
/// let failure = Failure::new(Code::RateLimitExceeded, "slow down");
/// assert_eq!(failure.class(), Class::Temporary);
/// // A handler that knows better overrides the class of the code.
/// assert_eq!(Failure::permanent(Code::Timeout, "never answers").class(), Class::Permanent);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// May go away by itself: retried by policy; the job is `dead` when its retries are exhausted.
    Temporary,
    /// Will not go away: the job is `poisoned` at once.
    Permanent,
    /// Could be either: retried by policy, or `dead` at once where the queue says so ([`OnUnknown`](crate::retry::OnUnknown)).
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

/// A text that is not the name of a [`Code`].
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
        Code::ALL
            .into_iter()
            .find(|c| c.as_str() == text)
            .ok_or_else(|| UnknownCode(text.chars().take(QUOTED_CHARS_MAX).collect()))
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
        // A code that a newer worker wrote must not make the whole history unreadable.
        Ok(text.parse().unwrap_or(Code::UnknownError))
    }
}

/// Why an attempt did not succeed, as its handler reports it.
///
/// `?` turns any [`std::error::Error`] into a failure. Its code is `JOB_EXECUTION_FAILED` and its class unknown, except for errors whose class is known
/// ([`IntoFailure`](crate::handler::IntoFailure) lists them). Use [`temporary`](Self::temporary) or [`permanent`](Self::permanent) where the handler knows
/// whether a retry helps. For an error type of your own, implement `IntoFailure` once.
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
    exhausted: Option<Resource>,
    undecodable: bool,
}

impl Failure {
    /// A failure that may go away by itself: the job is retried by its policy.
    #[must_use]
    pub fn temporary(code: Code, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::with_class(code, Class::Temporary, cause)
    }

    /// A failure that will not go away: the job is poisoned at once.
    #[must_use]
    pub fn permanent(code: Code, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::with_class(code, Class::Permanent, cause)
    }

    /// A failure with the [class of its code](Code::class).
    #[must_use]
    pub fn new(code: Code, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::with_class(code, code.class(), cause)
    }

    /// Not a failure: the job is released, and runs again after `delay`. A delay above [`SNOOZE_MAX`] is shortened to it. No failure is counted, only a release.
    /// With a delay of zero the job goes to the back of its queue.
    #[must_use]
    pub fn snooze(delay: Duration) -> Self {
        let mut failure = Self::with_class(Code::Interrupted, Class::Temporary, "snoozed by its handler");
        failure.snooze = Some(delay.min(SNOOZE_MAX));
        failure
    }

    /// Not a failure of the job: this process has run out of something, so no failure is counted. The job is released, and the executor pauses before its next
    /// job. Errors of the operating system that say so are recognised without this.
    ///
    /// After too many releases ([`PORTS_RELEASES_MAX`](crate::limits::PORTS_RELEASES_MAX),
    /// [`OUT_OF_RESOURCES_RELEASES_MAX`](crate::limits::OUT_OF_RESOURCES_RELEASES_MAX)) it counts as a temporary failure: of [`Code::NetworkError`] for ports, of
    /// [`Code::ServiceUnavailable`] for anything else.
    #[must_use]
    pub fn out_of(resource: Resource, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let code = match resource {
            Resource::Ports => Code::NetworkError,
            _ => Code::ServiceUnavailable,
        };
        let failure = Self::temporary(code, cause);
        Self { exhausted: Some(resource), ..failure }
    }

    /// The payload does not fit the type of the handler. A worker of another version may be able to read it.
    pub(crate) fn undecodable(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { undecodable: true, ..Self::permanent(Code::DecodeFailed, cause) }
    }

    fn with_class(code: Code, class: Class, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let cause: Box<dyn StdError + Send + Sync> = cause.into();
        Self::caused_by(code, class, &*cause)
    }

    pub(crate) fn caused_by(code: Code, class: Class, cause: &(dyn StdError + 'static)) -> Self {
        let chain = causes(cause).map(|cause| bounded(&cause.to_string(), CAUSE_BYTES_MAX));
        let message = bounded(&cause.to_string(), MESSAGE_BYTES_MAX);
        let exhausted = Resource::missing_in(cause);
        Self {
            code,
            class,
            message,
            chain: chain.collect(),
            retry_after: None,
            snooze: None,
            exhausted,
            undecodable: false,
        }
    }

    /// This failure with the text and the causes of another error.
    pub(crate) fn with_text_of(self, error: &(dyn StdError + 'static)) -> Self {
        let Self { message, chain, .. } = Self::caused_by(self.code, self.class, error);
        Self { message, chain, ..self }
    }

    /// This failure as a [`std::error::Error`], for code that returns `anyhow::Error` or a boxed error: [`FailureError`] shows it.
    #[must_use]
    pub fn into_error(self) -> FailureError {
        FailureError(self)
    }

    /// Sets the delay that the other side asked for, as with `Retry-After`. A retry then uses this delay, at most the policy's longest one, instead of the policy's.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The class, which decides what happens to the job next.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The error's own text, at most [`MESSAGE_BYTES_MAX`].
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The texts of the error's causes, nearest first, at most [`CHAIN_LENGTH_MAX`] of at most [`CAUSE_BYTES_MAX`] each.
    #[must_use]
    pub fn chain(&self) -> &[String] {
        &self.chain
    }

    /// The delay the other side asked for, if [`retry_after`](Self::retry_after) set one.
    #[must_use]
    pub fn asked_delay(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What this process had run out of, if that was the reason, whatever the code and the class are.
    #[must_use]
    pub fn exhausted(&self) -> Option<Resource> {
        self.exhausted
    }

    /// Whether the payload did not fit the type of the handler.
    pub(crate) fn is_undecodable(&self) -> bool {
        self.undecodable
    }

    /// The delay, if this is a snooze.
    #[must_use]
    pub fn snoozed_for(&self) -> Option<Duration> {
        self.snooze
    }
}

/// A [`Failure`] as a [`std::error::Error`]. When errors that wrap it become a failure again, the text is that of the outermost error, and code, class and delay
/// are still those of the inner failure.
///
/// ```
/// use retraced_jobs::failure::{Class, Code, Failure};
/// use retraced_jobs::handler::IntoFailure;
/// fn charge(cents: i64) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///     if cents < 0 {
///         return Err(Failure::permanent(Code::InvalidJobData, "a negative amount").into_error().into());
///     }
///     Ok(())
/// }
/// let failure = charge(-1).unwrap_err().into_failure();
/// assert_eq!((failure.code(), failure.class()), (Code::InvalidJobData, Class::Permanent));
/// ```
#[derive(Debug, Clone)]
pub struct FailureError(Failure);

impl FailureError {
    /// The failure.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.0
    }
}

impl fmt::Display for FailureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for FailureError {}

/// The text in at most `bytes_max` bytes. A longer one is cut at a character boundary and ends with `…` (3 bytes); below 3 bytes nothing of it is left.
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
            assert_eq!(code.to_string().parse(), Ok(code));
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
    fn a_failure_among_the_causes_decides_and_the_outer_error_gives_the_text() {
        #[derive(Debug)]
        struct Outer(FailureError);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the invoice was not sent")
            }
        }
        impl StdError for Outer {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(&self.0)
            }
        }
        let delay = Duration::from_secs(7);
        let inner = Failure::temporary(Code::RateLimitExceeded, "slow down").retry_after(delay);
        let failure = Failure::from(Outer(inner.into_error()));
        assert_eq!((failure.code(), failure.class()), (Code::RateLimitExceeded, Class::Temporary));
        assert_eq!((failure.message(), failure.chain()), ("the invoice was not sent", &["slow down".to_owned()][..]));
        assert_eq!(failure.asked_delay(), Some(delay));
    }

    #[test]
    fn a_code_that_a_newer_worker_wrote_reads_as_unknown_error() {
        assert_eq!(serde_json::from_str::<Code>("\"MOON_PHASE\"").unwrap(), Code::UnknownError);
    }
}
