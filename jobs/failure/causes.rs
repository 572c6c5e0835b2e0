//! The causes of an error.

use std::error::Error as StdError;

use crate::limits::CHAIN_LENGTH_MAX;

/// The causes of an error, nearest first, at most [`CHAIN_LENGTH_MAX`], because an error may name itself as its cause.
pub(crate) fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(error.source(), |cause: &&'a (dyn StdError + 'static)| (*cause).source())
        .take(CHAIN_LENGTH_MAX)
}
