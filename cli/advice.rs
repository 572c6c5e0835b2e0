//! Advice of the library, in the words of the command line.

use crate::tls::with_tls_flags;

/// Advice of the library, with flags in place of its options.
pub(crate) fn with_flags(advice: &str) -> String {
    with_tls_flags(&advice.replace("(RedisOptions::allow_eviction)", "(--allow-eviction)"))
}
