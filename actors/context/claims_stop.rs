//! Reports when refused settlements keep a queue from claiming, and when that ends; at most one stop per minute.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::limits::REFUSED_REPORT_INTERVAL;

/// Whether it is reported that a queue has stopped claiming.
///
/// Its lock is held while the caller finds out what holds the queue back, and while that is reported. So a report is true when it is made, and reports of several settlements
/// keep their order.
#[derive(Default)]
pub(crate) struct ClaimsStop(Mutex<State>);

#[derive(Default)]
struct State {
    reported: bool,
    last: Option<Instant>,
}

impl ClaimsStop {
    /// The store refused to settle. If outcomes hold the queue back, their number is reported: once per stop, and at most once per [`REFUSED_REPORT_INTERVAL`],
    /// because a store may refuse some settlements and take others.
    pub(crate) fn refused(&self, held_back_by: impl FnOnce() -> usize, report: impl FnOnce(usize)) {
        let mut state = self.state();
        if state.reported || state.last.is_some_and(|at| at.elapsed() < REFUSED_REPORT_INTERVAL) {
            return;
        }
        let unsettled = held_back_by();
        if unsettled > 0 {
            *state = State { reported: true, last: Some(Instant::now()) };
            report(unsettled);
        }
    }

    /// The store has settled. If a stop was reported and nothing holds the queue back any more, its end is reported.
    pub(crate) fn settled(&self, held_back_by: impl FnOnce() -> usize, report: impl FnOnce()) {
        let mut state = self.state();
        if state.reported && held_back_by() == 0 {
            state.reported = false;
            report();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// The reports of one queue: the number of outcomes for a stop, 0 for its end.
    #[derive(Default)]
    struct Reports {
        stop: ClaimsStop,
        last: Cell<Option<usize>>,
    }

    impl Reports {
        fn refused(&self, held_back_by: usize) -> Option<usize> {
            self.stop.refused(|| held_back_by, |unsettled| self.last.set(Some(unsettled)));
            self.last.take()
        }

        fn settled(&self, held_back_by: usize) -> Option<usize> {
            self.stop.settled(|| held_back_by, || self.last.set(Some(0)));
            self.last.take()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_reported_stop_is_never_lost() {
        let reports = Reports::default();
        assert_eq!(reports.settled(0), None, "nothing was reported");
        assert_eq!(reports.refused(3), Some(3));
        assert_eq!((reports.refused(3), reports.settled(2)), (None, None), "the stop goes on");
        assert_eq!((reports.settled(0), reports.settled(0)), (Some(0), None));
        assert_eq!(reports.refused(3), None, "it was reported just now");
        tokio::time::advance(REFUSED_REPORT_INTERVAL).await;
        assert_eq!(reports.refused(4), Some(4), "the next stop is not taken for the one before");
    }

    #[test]
    fn a_queue_that_claims_again_is_never_reported_as_stopped() {
        let reports = Reports::default();
        assert_eq!(reports.refused(0), None, "another settlement was confirmed meanwhile");
        assert_eq!(reports.settled(0), None);
        assert_eq!(reports.refused(3), Some(3));
    }

    /// The confirmation of another settlement waits for the report of the stop, so its end is reported after it.
    #[test]
    fn the_end_of_a_stop_is_never_reported_before_the_stop() {
        let stop = ClaimsStop::default();
        let locked = || stop.0.try_lock().is_err();
        stop.refused(|| if locked() { 3 } else { 0 }, |_| assert!(locked()));
        let ended = Cell::new(false);
        stop.settled(|| usize::from(!locked()), || ended.set(locked()));
        assert!(ended.get());
    }
}
