//! When an actor polls one queue next. An actor that serves many queues has one schedule for each, so that it rarely polls idle queues.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When the next poll of one queue is due. The first poll is due at once.
pub(crate) struct PollSchedule(Mutex<Next>);

struct Next {
    /// When the next poll is due unless one is requested earlier.
    planned: Instant,
    /// When the last poll began; before the first poll, when the schedule was made.
    polled: Instant,
    /// The earliest poll requested since the last poll began.
    requested: Option<Instant>,
}

impl Default for PollSchedule {
    fn default() -> Self {
        Self(Mutex::new(Next { planned: Instant::now(), polled: Instant::now(), requested: None }))
    }
}

impl PollSchedule {
    fn lock(&self) -> MutexGuard<'_, Next> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests a poll within `wait`. The end of a poll that is under way does not cancel the request: that poll may have missed what the request is about.
    pub(crate) fn request_within(&self, wait: Duration) {
        let at = Instant::now() + wait;
        let mut next = self.lock();
        next.requested = Some(next.requested.map_or(at, |requested| requested.min(at)));
    }

    /// Time until the next poll; zero if it is due.
    pub(crate) fn remaining(&self) -> Duration {
        let next = self.lock();
        let at = next.requested.map_or(next.planned, |requested| requested.min(next.planned));
        at.saturating_duration_since(Instant::now())
    }

    pub(crate) fn is_due(&self) -> bool {
        self.remaining().is_zero()
    }

    /// A poll begins. If it never ends, the next poll is due at once.
    pub(crate) fn begin(&self) {
        let mut next = self.lock();
        next.planned = Instant::now();
        next.polled = next.planned;
        next.requested = None;
    }

    /// Uses the answer to a call that is no poll. It was sent at `since`, and its answer says that nothing is due for `wait` after that: plans the next poll for
    /// the end of this time, unless a poll has begun since. Requests stay. Returns whether the next poll is now planned for an earlier time.
    pub(crate) fn plan_from(&self, since: Instant, wait: Duration) -> bool {
        let mut next = self.lock();
        if next.polled >= since {
            return false;
        }
        let at = since + wait;
        let sooner = at < next.planned;
        next.planned = at;
        sooner
    }

    /// A poll has ended. The next one is due after `wait`.
    pub(crate) fn again_in(&self, wait: Duration) {
        self.lock().planned = Instant::now() + wait;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_polled_as_planned_or_as_soon_as_requested() {
        let schedule = PollSchedule::default();
        assert!(schedule.is_due());
        schedule.again_in(5 * SECOND);
        tokio::time::advance(2 * SECOND).await;
        assert_eq!(schedule.remaining(), 3 * SECOND);
        schedule.request_within(4 * SECOND);
        assert_eq!(schedule.remaining(), 3 * SECOND);
        schedule.request_within(SECOND);
        schedule.request_within(2 * SECOND);
        assert_eq!(schedule.remaining(), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_during_a_poll_is_not_forgotten_at_its_end() {
        let schedule = PollSchedule::default();
        schedule.request_within(SECOND);
        schedule.begin();
        schedule.again_in(5 * SECOND);
        assert_eq!(schedule.remaining(), 5 * SECOND, "requested before");
        schedule.begin();
        schedule.request_within(SECOND);
        schedule.again_in(5 * SECOND);
        assert_eq!(schedule.remaining(), SECOND, "requested meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_call_found_counts_unless_it_is_older_than_the_last_poll() {
        let schedule = PollSchedule::default();
        schedule.again_in(5 * SECOND);
        tokio::time::advance(SECOND).await;
        let earlier = Instant::now();
        assert!(!schedule.plan_from(earlier, 5 * SECOND));
        assert_eq!(schedule.remaining(), 5 * SECOND, "postponed");
        assert!(schedule.plan_from(earlier, 2 * SECOND));
        assert_eq!(schedule.remaining(), 2 * SECOND, "brought forward");

        tokio::time::advance(SECOND).await;
        schedule.request_within(SECOND);
        assert!(!schedule.plan_from(earlier, 5 * SECOND));
        assert_eq!(schedule.remaining(), SECOND, "requested meanwhile");
        schedule.begin();
        schedule.again_in(SECOND);
        assert!(!schedule.plan_from(earlier, 5 * SECOND));
        assert_eq!(schedule.remaining(), SECOND, "polled meanwhile");
    }
}
