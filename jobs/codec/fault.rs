//! Why a payload cannot be written or read, inside the serializer and the deserializer.

use std::fmt;

use super::CodecError;

/// The error type that serde wants. It is private, so that [`CodecError`] does not promise to be one.
#[derive(Debug)]
pub(super) enum Fault {
    /// Found by this library; the text is complete.
    Codec(CodecError),
    /// Reported by the type that is written or read; the text does not say whether a payload or an output is meant.
    Type(String),
}

impl Fault {
    /// This error as a [`CodecError`]. The text of a type follows `beginning`, which says what could not be written or read.
    pub(super) fn into_codec_error(self, beginning: &str) -> CodecError {
        match self {
            Fault::Codec(error) => error,
            Fault::Type(text) => CodecError::new(format!("{beginning}: {text}")),
        }
    }
}

impl From<CodecError> for Fault {
    fn from(error: CodecError) -> Self {
        Fault::Codec(error)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Codec(error) => error.fmt(f),
            Fault::Type(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Fault {}

impl serde::ser::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Fault::Type(text.to_string())
    }
}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Fault::Type(text.to_string())
    }
}
