//! When one queue is to be looked at next, for one purpose: actors that look after many queues leave the quiet ones alone.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The next look at one queue. It is due at the beginning.
pub(crate) struct Agenda(Mutex<Next>);

struct Next {
    planned: Instant,
    /// When the last look began.
    looked: Instant,
    /// Asked for since the last look began.
    asked: Option<Instant>,
}

impl Default for Agenda {
    fn default() -> Self {
        Self(Mutex::new(Next { planned: Instant::now(), looked: Instant::now(), asked: None }))
    }
}

impl Agenda {
    fn lock(&self) -> MutexGuard<'_, Next> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There may be something to find: it is looked at after this at the latest, also when a look is under way that may have missed it.
    pub(crate) fn within(&self, wait: Duration) {
        let at = Instant::now() + wait;
        let mut next = self.lock();
        next.asked = Some(next.asked.map_or(at, |asked| asked.min(at)));
    }

    /// Until the next look; zero when it is due.
    pub(crate) fn remaining(&self) -> Duration {
        let next = self.lock();
        let at = next.asked.map_or(next.planned, |asked| asked.min(next.planned));
        at.saturating_duration_since(Instant::now())
    }

    pub(crate) fn is_due(&self) -> bool {
        self.remaining().is_zero()
    }

    /// A look begins. One that does not end is still due.
    pub(crate) fn look(&self) {
        let mut next = self.lock();
        next.planned = Instant::now();
        next.looked = next.planned;
        next.asked = None;
    }

    /// Somebody else looked, from `since` on, and saw that there is nothing to do until `wait` later. What was asked for stands, and so
    /// does what a look of ours found that began since. Tells whether the next look is planned for sooner than it was.
    pub(crate) fn seen(&self, since: Instant, wait: Duration) -> bool {
        let mut next = self.lock();
        if next.looked >= since {
            return false;
        }
        let at = since + wait;
        let sooner = at < next.planned;
        next.planned = at;
        sooner
    }

    /// A look has ended; the next one is due after this.
    pub(crate) fn again_in(&self, wait: Duration) {
        self.lock().planned = Instant::now() + wait;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_looked_at_as_planned_or_as_soon_as_somebody_asks() {
        let agenda = Agenda::default();
        assert!(agenda.is_due());
        agenda.again_in(5 * SECOND);
        tokio::time::advance(2 * SECOND).await;
        assert_eq!(agenda.remaining(), 3 * SECOND);
        agenda.within(4 * SECOND);
        assert_eq!(agenda.remaining(), 3 * SECOND);
        agenda.within(SECOND);
        agenda.within(2 * SECOND);
        assert_eq!(agenda.remaining(), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_during_a_look_is_not_forgotten_at_its_end() {
        let agenda = Agenda::default();
        agenda.within(SECOND);
        agenda.look();
        agenda.again_in(5 * SECOND);
        assert_eq!(agenda.remaining(), 5 * SECOND, "asked for before");
        agenda.look();
        agenda.within(SECOND);
        agenda.again_in(5 * SECOND);
        assert_eq!(agenda.remaining(), SECOND, "asked for meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_else_saw_counts_unless_it_is_older_than_the_last_look() {
        let agenda = Agenda::default();
        agenda.again_in(5 * SECOND);
        tokio::time::advance(SECOND).await;
        let earlier = Instant::now();
        assert!(!agenda.seen(earlier, 5 * SECOND));
        assert_eq!(agenda.remaining(), 5 * SECOND, "put off");
        assert!(agenda.seen(earlier, 2 * SECOND));
        assert_eq!(agenda.remaining(), 2 * SECOND, "brought forward");

        tokio::time::advance(SECOND).await;
        agenda.within(SECOND);
        assert!(!agenda.seen(earlier, 5 * SECOND));
        assert_eq!(agenda.remaining(), SECOND, "asked for meanwhile");
        agenda.look();
        agenda.again_in(SECOND);
        assert!(!agenda.seen(earlier, 5 * SECOND));
        assert_eq!(agenda.remaining(), SECOND, "looked at meanwhile");
    }
}
