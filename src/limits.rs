//! Every bound of the facade, by name.

use std::time::Duration;

/// How long a store may take to answer for the first time: 10 s. Past it the start is refused.
pub(crate) const FIRST_PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often [`drain`](crate::testing::TestRuntime::drain) looks at the queues: 5,000 times. Past it the jobs that are left are reported as never ending.
#[cfg(feature = "testing")]
pub(crate) const DRAIN_LOOKS_MAX: u32 = 5_000;
/// Longest step of paused time between two looks of `drain` while jobs run: a second. The clock may be ahead of the last job's end by as much.
#[cfg(feature = "testing")]
pub(crate) const DRAIN_STEP_MAX: Duration = Duration::from_secs(1);
