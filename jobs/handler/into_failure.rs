//! Which error types a handler may return, and which failure each becomes.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::ops::Deref;

use crate::codec::CodecError;
use crate::enqueue::{EnqueueAllError, EnqueueError, OutcomeError};
use crate::failure::{Class, Code, Failure, FailureError, causes};
use crate::job::InvalidName;
use crate::retry::InvalidRetry;
use crate::store::StoreError;

/// An error that a handler may return: `Result<T, E>` with `E: IntoFailure`.
///
/// | error type | what it becomes |
/// | --- | --- |
/// | [`Failure`] | itself |
/// | your own type, with an `impl IntoFailure` | what your `into_failure` returns |
/// | [`EnqueueError`], or that of an [`EnqueueAllError`] | [`EnqueueError::to_failure`] |
/// | [`StoreError`], or that of an [`OutcomeError`] | temporary if [retryable](StoreError::is_retryable), otherwise class unknown |
/// | `anyhow::Error`, `eyre::Report`, `Box<dyn Error + Send + Sync>` | class unknown, unless it is or is caused by a [`FailureError`] or an error of the two rows above |
/// | [`CodecError`], [`InvalidName`], [`InvalidRetry`], the common errors of the standard library and tokio, `String`, `&str` | class unknown |
/// | [`Infallible`] | never happens |
///
/// Errors of other crates do not implement `IntoFailure`: return one of the types above, and `?` converts them. `?` converts into the *returned* type: in a
/// handler that returns `Result<_, Failure>`, `?` on a type of your own goes through `std::error::Error` and ignores its `into_failure`. Return your type, or write
/// `.map_err(IntoFailure::into_failure)?`.
///
/// Your own type may implement [`std::error::Error`] as well, as with `thiserror`:
///
/// ```
/// use retraced_jobs::failure::{Class, Code, Failure};
/// use retraced_jobs::handler::IntoFailure;
///
/// #[derive(Debug)]
/// enum SmtpError { Busy, NoSuchUser(String) }
/// impl std::fmt::Display for SmtpError {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         match self {
///             SmtpError::Busy => f.write_str("the mail server is busy"),
///             SmtpError::NoSuchUser(name) => write!(f, "no such user: {name}"),
///         }
///     }
/// }
/// impl std::error::Error for SmtpError {}
///
/// impl IntoFailure for SmtpError {
///     fn into_failure(self) -> Failure {
///         match self {
///             SmtpError::Busy => Failure::temporary(Code::ServiceUnavailable, self),
///             SmtpError::NoSuchUser(_) => Failure::permanent(Code::InvalidJobData, self),
///         }
///     }
/// }
/// assert_eq!(SmtpError::Busy.into_failure().class(), Class::Temporary);
/// assert_eq!(SmtpError::NoSuchUser("ada".into()).into_failure().message(), "no such user: ada");
/// ```
///
/// `M` is inferred; it keeps boxed errors apart from all others.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return the error `{Self}`",
    label = "nothing says what this error means for the job",
    note = "if the type is yours, implement `IntoFailure` for it",
    note = "if it is not, return `Failure`, `anyhow::Error` or `Box<dyn Error + Send + Sync>`: `?` turns any error into those"
)]
pub trait IntoFailure<M = Own> {
    /// The failure.
    fn into_failure(self) -> Failure;
}

/// Marks the types that have an `impl IntoFailure` of their own. It is the default of the trait's parameter, so nobody writes it.
#[derive(Debug)]
pub enum Own {}

/// Marks the types that hold an error of any type: `anyhow::Error`, `eyre::Report`, boxed errors. It is inferred, so nobody writes it.
#[derive(Debug)]
pub enum Boxed {}

/// `?` in a handler that returns `Result<_, Failure>`.
impl<E: StdError + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        of_any(&error)
    }
}

/// The failure for an error of any type. If the class of the error or of one of its causes is known ([`classified`]), that one's code, class and delay are used;
/// otherwise the class is unknown.
fn of_any(error: &(dyn StdError + 'static)) -> Failure {
    let known = std::iter::once(error).chain(causes(error)).find_map(classified);
    match known {
        Some(failure) => failure.with_text_of(error),
        None => Failure::caused_by(Code::JobExecutionFailed, Code::JobExecutionFailed.class(), error),
    }
}

/// The failure for those errors of this library whose class is known; `None` for any other error.
fn classified(error: &(dyn StdError + 'static)) -> Option<Failure> {
    let store = match error.downcast_ref::<OutcomeError>() {
        Some(OutcomeError::Store { source }) => Some(&**source),
        _ => error.downcast_ref::<StoreError>(),
    };
    if let Some(store) = store.filter(|store| store.is_retryable()) {
        return Some(Failure::caused_by(Code::ServiceUnavailable, Class::Temporary, store));
    }
    let bulk = error.downcast_ref::<EnqueueAllError>().map(|bulk| &bulk.error);
    if let Some(enqueue) = bulk.or_else(|| error.downcast_ref::<EnqueueError>()) {
        return Some(enqueue.to_failure());
    }
    error.downcast_ref::<FailureError>().map(|known| known.failure().clone())
}

impl IntoFailure for Failure {
    fn into_failure(self) -> Failure {
        self
    }
}

impl IntoFailure for Infallible {
    fn into_failure(self) -> Failure {
        match self {}
    }
}

/// `anyhow::Error` and `eyre::Report` dereference to the error they hold, as a `Box` does. Ordinary error types do not.
impl<E> IntoFailure<Boxed> for E
where
    E: Deref<Target = dyn StdError + Send + Sync + 'static>,
{
    fn into_failure(self) -> Failure {
        of_any(&*self)
    }
}

macro_rules! of_error {
    ($($error:ty),* $(,)?) => {
        $(impl IntoFailure for $error {
            fn into_failure(self) -> Failure {
                of_any(&self)
            }
        })*
    };
}

of_error! {
    std::io::Error,
    std::fmt::Error,
    std::env::VarError,
    std::num::ParseIntError,
    std::num::ParseFloatError,
    std::num::TryFromIntError,
    std::str::Utf8Error,
    std::string::FromUtf8Error,
    std::time::SystemTimeError,
    tokio::task::JoinError,
    tokio::time::error::Elapsed,
    CodecError,
    EnqueueAllError,
    EnqueueError,
    OutcomeError,
    InvalidName,
    InvalidRetry,
    StoreError,
}

macro_rules! of_text {
    ($($text:ty),*) => {
        $(impl IntoFailure for $text {
            fn into_failure(self) -> Failure {
                Failure::new(Code::JobExecutionFailed, self)
            }
        })*
    };
}

of_text!(String, &'static str);
