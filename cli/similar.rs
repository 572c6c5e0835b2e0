//! Finds the known name that was probably meant.

use crate::limits::{NAME_BYTES_COMPARED_MAX, SIMILARITY_MIN};

/// The known name that resembles this one most, if it does enough to count as meant.
pub(crate) fn most_similar<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The distance of two texts takes the product of their lengths in steps.
    if name.len() > NAME_BYTES_COMPARED_MAX {
        return None;
    }
    let similar = known.map(|known| (strsim::normalized_damerau_levenshtein(name, known), known));
    let most = similar.max_by(|one, other| one.0.total_cmp(&other.0));
    most.filter(|(similarity, _)| *similarity >= SIMILARITY_MIN).map(|(_, known)| known)
}
