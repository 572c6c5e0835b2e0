//! Every bound of the facade, by name.

use std::time::Duration;

/// How long a store may take to answer for the first time: 10 s. Past it the start is refused.
pub(crate) const FIRST_PROBE_TIMEOUT: Duration = Duration::from_secs(10);
