//! How an attempt is observed and stopped from outside of its handler.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Stop;
use super::latest_progress::LatestProgress;
use crate::trace::Progress;
use crate::units::micros;

/// What an attempt shares with the lease keeper and the watchdog: how long its lease lasts, whether the lease is lost, whether the handler is asked to stop, how far it
/// has come, and since when it has not yielded.
#[derive(Debug)]
pub struct AttemptControl {
    /// The instant from which the microseconds below count.
    origin: Instant,
    /// When the lease expires, in microseconds after the origin.
    expires_us: AtomicU64,
    lost: AtomicBool,
    stop: OnceLock<Stop>,
    /// Created by the first call of [`token`](Self::token), because most handlers never use it.
    token: OnceLock<CancellationToken>,
    timeout: OnceLock<Duration>,
    /// When the current poll of the handler began, in microseconds after the origin, plus 1; 0 between polls.
    polling_us: AtomicU64,
    progress: LatestProgress,
}

impl AttemptControl {
    /// The control of an attempt that has not started. Its lease expires at `expires` unless it is extended.
    #[must_use]
    pub fn new(expires: Instant) -> Self {
        Self::new_at(Instant::now(), expires)
    }

    /// [`new`](Self::new), for a caller that has just read the clock.
    #[must_use]
    pub fn new_at(now: Instant, expires: Instant) -> Self {
        let origin = now;
        Self {
            origin,
            expires_us: AtomicU64::new(micros(expires.saturating_duration_since(origin))),
            lost: AtomicBool::new(false),
            stop: OnceLock::new(),
            token: OnceLock::new(),
            timeout: OnceLock::new(),
            polling_us: AtomicU64::new(0),
            progress: LatestProgress::default(),
        }
    }

    /// Records that the lease was renewed and now expires at `expires`. An earlier instant than the known one changes nothing: renewals may be answered in another order
    /// than they were sent. A lost lease stays lost.
    pub fn extend(&self, expires: Instant) {
        self.expires_us.fetch_max(micros(expires.saturating_duration_since(self.origin)), Ordering::Relaxed);
    }

    /// How long the lease lasts unless renewed; zero when it has expired or is lost.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.remaining_at(Instant::now())
    }

    /// [`remaining`](Self::remaining), for a caller that has just read the clock.
    #[must_use]
    pub fn remaining_at(&self, now: Instant) -> Duration {
        if self.is_lost() {
            return Duration::ZERO;
        }
        let expires = Duration::from_micros(self.expires_us.load(Ordering::Relaxed));
        expires.saturating_sub(now.saturating_duration_since(self.origin))
    }

    /// Records that the lease is lost, and asks the handler to stop.
    pub fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.stop(Stop::LeaseLost);
    }

    /// Whether the lease is lost.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Asks the handler to stop. The first reason stays.
    pub fn stop(&self, why: Stop) {
        let _ = self.stop.set(why);
        // Pairs with the fence in `token`: when both functions run at once, at least one of them sees what the other wrote.
        fence(Ordering::SeqCst);
        if let Some(token) = self.token.get() {
            token.cancel();
        }
    }

    /// Why the handler is asked to stop, if it is.
    #[must_use]
    pub fn stop_reason(&self) -> Option<Stop> {
        self.stop.get().copied()
    }

    /// The attempt's timeout; `None` before it starts.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.get().copied()
    }

    /// How long the handler's current poll has lasted without yielding to the runtime; `None` between polls.
    #[must_use]
    pub fn not_yielded_for(&self, now: Instant) -> Option<Duration> {
        let began = self.polling_us.load(Ordering::Relaxed).checked_sub(1)?;
        Some(now.saturating_duration_since(self.origin + Duration::from_micros(began)))
    }

    /// The latest progress that the handler reported, if the store has not been told of an equal one.
    #[must_use]
    pub fn unstored_progress(&self) -> Option<Progress> {
        self.progress.unstored()
    }

    /// Records that the store was told of this progress.
    pub fn progress_stored(&self, progress: Progress) {
        self.progress.stored(progress);
    }

    /// Replaces the progress that the handler reported before.
    pub(crate) fn report(&self, progress: Progress) {
        self.progress.replace(progress);
    }

    /// The latest progress that the handler reported.
    pub(crate) fn progress(&self) -> Option<Progress> {
        self.progress.get()
    }

    /// Records that the attempt starts now, with this timeout.
    pub(crate) fn started_with_timeout(&self, timeout: Duration) {
        let _ = self.timeout.set(timeout);
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        let token = self.token.get_or_init(CancellationToken::new);
        fence(Ordering::SeqCst);
        // `stop` may have been called before the token was created.
        if self.stop.get().is_some() {
            token.cancel();
        }
        token
    }

    pub(crate) fn poll_begins(&self) {
        self.polling_us.store(micros(self.origin.elapsed()) + 1, Ordering::Relaxed);
    }

    pub(crate) fn poll_ends(&self) {
        self.polling_us.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_lease_lasts_until_it_expires_or_is_extended() {
        let control = AttemptControl::new(Instant::now() + 30 * SECOND);
        tokio::time::advance(10 * SECOND).await;
        assert_eq!(control.remaining(), 20 * SECOND);
        control.extend(Instant::now() + 30 * SECOND);
        assert_eq!(control.remaining(), 30 * SECOND);
        tokio::time::advance(31 * SECOND).await;
        assert_eq!((control.remaining(), control.is_lost()), (Duration::ZERO, false), "expired is not yet lost");
        control.extend(Instant::now() + SECOND);
        assert_eq!(control.remaining(), SECOND, "a late renewal counts when the job was not reclaimed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_was_sent_earlier_and_answered_later_never_shortens_a_lease() {
        let control = AttemptControl::new(Instant::now() + 10 * SECOND);
        let sent_earlier = Instant::now();
        tokio::time::advance(5 * SECOND).await;
        control.extend(Instant::now() + 10 * SECOND);
        control.extend(sent_earlier + 10 * SECOND);
        assert_eq!(control.remaining(), 10 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_lease_stays_lost_and_stops_the_handler() {
        let control = AttemptControl::new(Instant::now() + 30 * SECOND);
        control.lose();
        control.extend(Instant::now() + 30 * SECOND);
        assert_eq!((control.remaining(), control.is_lost()), (Duration::ZERO, true));
        assert_eq!(control.stop_reason(), Some(Stop::LeaseLost));
        assert!(control.token().is_cancelled());
    }

    #[tokio::test]
    async fn the_first_reason_to_stop_stays() {
        let control = AttemptControl::new(Instant::now());
        assert_eq!((control.stop_reason(), control.token().is_cancelled()), (None, false));
        control.stop(Stop::Cancelled);
        control.stop(Stop::Shutdown);
        control.lose();
        assert_eq!((control.stop_reason(), control.is_lost()), (Some(Stop::Cancelled), true));
    }

    #[tokio::test]
    async fn an_expiry_in_the_past_or_far_in_the_future_is_allowed() {
        let control = AttemptControl::new(Instant::now() - SECOND);
        assert_eq!(control.remaining(), Duration::ZERO);
        control.extend(Instant::now() + Duration::from_secs(u64::from(u32::MAX)));
        assert!(control.remaining() > SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn the_current_poll_is_measured() {
        let control = AttemptControl::new(Instant::now());
        assert_eq!(control.not_yielded_for(Instant::now()), None);
        control.poll_begins();
        assert_eq!(control.not_yielded_for(Instant::now() + 3 * SECOND), Some(3 * SECOND));
        assert_eq!(control.not_yielded_for(Instant::now() - 3 * SECOND), Some(Duration::ZERO));
        control.poll_ends();
        assert_eq!(control.not_yielded_for(Instant::now() + SECOND), None);
    }
}
