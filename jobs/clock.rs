//! Sources of the present time. The memory store and the runtime take a [`Clock`] as an argument, so that tests can pass another one.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::units::millis;

/// A source of milliseconds since the Unix epoch.
///
/// ```
/// use retraced_jobs::clock::Clock;
/// use retraced_jobs::store::memory::MemoryStore;
/// struct Stopped;
/// impl Clock for Stopped {
///     fn now_ms(&self) -> u64 {
///         1_750_000_000_000
///     }
/// }
/// let store = MemoryStore::with_clock(std::sync::Arc::new(Stopped));
/// ```
pub trait Clock: Send + Sync + 'static {
    /// The present instant in milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
}

/// The operating system's wall clock.
///
/// ```
/// use retraced_jobs::clock::{Clock, SystemClock};
/// assert!(SystemClock.now_ms() > 1_700_000_000_000);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
    }
}

/// A clock that starts at a given instant and follows tokio's time. While tokio's time is paused, the clock moves only when that time is advanced.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use retraced_jobs::clock::{Clock, TokioClock};
/// let clock = TokioClock::starting_at(1_000);
/// tokio::time::sleep(std::time::Duration::from_secs(5)).await; // ends at once, because tokio's time is paused and jumps
/// assert_eq!(clock.now_ms(), 6_000);
/// # });
/// ```
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    start_ms: u64,
    origin: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that reads `start_ms` now.
    #[must_use]
    pub fn starting_at(start_ms: u64) -> Self {
        Self { start_ms, origin: tokio::time::Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now_ms(&self) -> u64 {
        self.start_ms.saturating_add(millis(self.origin.elapsed()))
    }
}
