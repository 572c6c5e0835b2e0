//! The clock of the store as this process knows it.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::Instant;

/// The store's clock: the time of its last reply, continued by the local monotonic clock.
pub(crate) struct StoreClock {
    origin: Instant,
    offset_ms: AtomicI64,
}

impl StoreClock {
    pub(crate) fn starting_at(now_ms: u64) -> Self {
        Self { origin: Instant::now(), offset_ms: AtomicI64::new(signed(now_ms)) }
    }

    /// Sets the clock to the time in a reply of the store. 0 means that the reply has no time.
    pub(crate) fn observe(&self, now_ms: u64) {
        if now_ms == 0 {
            return;
        }
        self.offset_ms.store(signed(now_ms) - self.since_origin_ms(Instant::now()), Ordering::Relaxed);
    }

    /// The store's current time, in ms since the Unix epoch.
    pub(crate) fn now_ms(&self) -> u64 {
        self.at(Instant::now())
    }

    /// The store's time at a local instant, in ms since the Unix epoch.
    pub(crate) fn at(&self, now: Instant) -> u64 {
        u64::try_from(self.offset_ms.load(Ordering::Relaxed).saturating_add(self.since_origin_ms(now))).unwrap_or(0)
    }

    fn since_origin_ms(&self, now: Instant) -> i64 {
        i64::try_from(now.saturating_duration_since(self.origin).as_millis()).unwrap_or(i64::MAX)
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_stores_clock_continues_between_replies() {
        let clock = StoreClock::starting_at(1_000);
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(clock.now_ms(), 1_250);
        clock.observe(5_000);
        tokio::time::advance(Duration::from_millis(10)).await;
        assert_eq!(clock.now_ms(), 5_010);
        clock.observe(4_000);
        assert_eq!(clock.now_ms(), 4_000, "a clock set back is followed");
        clock.observe(0);
        assert_eq!(clock.now_ms(), 4_000, "a reply without a time changes nothing");
    }
}
