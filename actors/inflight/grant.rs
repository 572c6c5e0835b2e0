//! A job that the store has granted to this worker.

/// The number of a grant in the table of its queue.
pub(crate) type Grant = u64;
