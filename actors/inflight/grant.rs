//! The number of a grant.

/// Numbers the grants of one in-flight table, in the order in which they entered it.
pub(crate) type GrantId = u64;
