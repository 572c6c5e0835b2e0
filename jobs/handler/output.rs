//! What a handler returns: nothing, or a value that is kept as the job's output.

use std::any::TypeId;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::IntoFailure;
use crate::codec::{self, CodecError};
use crate::failure::{Code, Failure};

/// What a handler returned when it succeeded: a value as MessagePack, or nothing.
///
/// ```
/// use retraced_jobs::failure::Failure;
/// use retraced_jobs::handler::{IntoOutput, Output};
/// let returned: Result<(&str, u32), Failure> = Ok(("ada", 42));
/// let output: Output = returned.into_output().unwrap();
/// assert_eq!(output.decode::<(String, u32)>().unwrap().unwrap(), ("ada".into(), 42));
/// assert_eq!(().into_output().unwrap(), Output::none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Output(Option<Bytes>);

impl Output {
    /// No output.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// A value as an output; `()` becomes no output.
    fn of<T: Serialize + 'static>(value: &T) -> Result<Self, Failure> {
        if TypeId::of::<T>() == TypeId::of::<()>() {
            return Ok(Self::none());
        }
        let output = codec::to_output(value);
        let output =
            output.map_err(|error| Failure::permanent(Code::JobExecutionFailed, format!("the handler's {error}")))?;
        Ok(Self(Some(output)))
    }

    /// The value as MessagePack, with structs as maps; `None` when there is none.
    #[must_use]
    pub fn bytes(&self) -> Option<&Bytes> {
        self.0.as_ref()
    }

    /// [`bytes`](Self::bytes), owned.
    #[must_use]
    pub fn into_bytes(self) -> Option<Bytes> {
        self.0
    }

    /// The value, read back; `None` when there is none.
    ///
    /// # Errors
    /// [`CodecError`] when the value is of another type.
    pub fn decode<T: DeserializeOwned>(&self) -> Option<Result<T, CodecError>> {
        self.0.as_ref().map(|bytes| codec::from_payload(bytes))
    }
}

/// What a handler may return: `()`, or `Result<T, E>` with `T: Serialize` and `E: `[`IntoFailure`].
///
/// `Ok(value)` completes the job and keeps the value as its output, at most [`OUTPUT_BYTES_MAX`](crate::limits::OUTPUT_BYTES_MAX); `Ok(())` keeps none.
/// A handler cannot return a plain value: `Result` implements `Serialize` too, so an error could not be distinguished from an output.
/// Return `Result<T, Infallible>` where nothing can fail.
///
/// `M` is inferred.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "neither `()` nor a `Result<T, E>` whose `T` is `Serialize` and whose `E` is `IntoFailure`",
    note = "return `()`, `Result<(), Failure>` or `Result<T, E>`; see `IntoFailure` for the errors that are allowed"
)]
pub trait IntoOutput<M> {
    /// The output, or why there is none.
    ///
    /// # Errors
    /// The handler's own failure; or a permanent one when its output cannot be serialized, nests too deep or is too large.
    fn into_output(self) -> Result<Output, Failure>;
}

impl IntoOutput<()> for () {
    fn into_output(self) -> Result<Output, Failure> {
        Ok(Output::none())
    }
}

impl<T, E, M> IntoOutput<M> for Result<T, E>
where
    T: Serialize + 'static,
    E: IntoFailure<M>,
{
    fn into_output(self) -> Result<Output, Failure> {
        match self {
            Ok(value) => Output::of(&value),
            Err(error) => Err(error.into_failure()),
        }
    }
}
