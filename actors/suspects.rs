//! Suspects: jobs held here whose handlers were running when a worker died, before they begin again.
//!
//! They begin spread over [`SUSPECT_SPREAD`]: a worker that is killed at regular intervals must not meet the same jobs running each time. One that a further crash
//! would poison is on trial: it begins only when no other such job is held here under way, so that a death is charged to one of them and not to its
//! neighbours. What cannot begin in time goes back: a job on trial to the back of the queue after [`TRIAL_PUT_OFF`], so that healthy jobs pass.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::inflight::{Grant, UNSTARTED_MAX};

/// Over how much time suspects of one claim begin.
pub const SUSPECT_SPREAD: Duration = Duration::from_secs(1);
/// For how long a job on trial is put off when the trial before it lasts.
pub const TRIAL_PUT_OFF: Duration = Duration::from_secs(10);

/// Those that have not begun, by when they may.
#[derive(Default)]
pub(crate) struct Suspects(BTreeMap<(Instant, Grant), bool>);

impl Suspects {
    /// The n-th suspect of a claim at `now` may begin from the instant this gives; `offset` is the claim's own, at random. Multiples of the golden ratio,
    /// modulo one, cover an interval evenly however many they are (Knuth, The Art of Computer Programming 3, 6.4, theorem S).
    pub(crate) fn add(&mut self, grant: Grant, trial: bool, now: Instant, offset: u16, n: u16) -> Instant {
        const GOLDEN: u16 = 40_503; // 2^16 over the golden ratio
        let point = f64::from(offset.wrapping_add(n.wrapping_mul(GOLDEN))) / 65_536.0;
        let from = now + SUSPECT_SPREAD.mul_f64(point);
        self.0.insert((from, grant), trial);
        from
    }

    /// One that may begin now; `trial_open`: a job on trial may.
    pub(crate) fn take(&mut self, now: Instant, trial_open: bool) -> Option<Grant> {
        let due = self.0.range(..=(now, Grant::MAX));
        let key = due.into_iter().find(|(_, trial)| trial_open || !**trial).map(|(key, _)| *key)?;
        self.0.remove(&key);
        Some(key.1)
    }

    /// How many may begin now.
    pub(crate) fn ready(&self, now: Instant, trial_open: bool) -> usize {
        let (trials, others) = self.0.range(..=(now, Grant::MAX)).fold((0, 0), |(trials, others), (_, trial)| {
            if *trial { (trials + 1, others) } else { (trials, others + 1) }
        });
        others + usize::from(trial_open && trials > 0)
    }

    /// Removes those that could have begun a while ago and have not; gives whether each is on trial.
    pub(crate) fn take_unstarted(&mut self, now: Instant) -> Vec<(Grant, bool)> {
        let Some(before) = now.checked_sub(UNSTARTED_MAX) else { return Vec::new() };
        let later = self.0.split_off(&(before, Grant::MAX));
        std::mem::replace(&mut self.0, later).into_iter().map(|((_, grant), trial)| (grant, trial)).collect()
    }

    /// Removes all, in the order of their grants, which is the order of the queue.
    pub(crate) fn take_all(&mut self) -> Vec<Grant> {
        let mut grants: Vec<Grant> = std::mem::take(&mut self.0).into_keys().map(|(_, grant)| grant).collect();
        grants.sort_unstable();
        grants
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn any_on_trial(&self) -> bool {
        self.0.values().any(|trial| *trial)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn held(trials: &[bool], offset: u16) -> (Suspects, Instant, Vec<Instant>) {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        let from = trials.iter().zip(0..).map(|(trial, n)| suspects.add(n.into(), *trial, now, offset, n)).collect();
        (suspects, now, from)
    }

    #[test]
    fn suspects_of_one_claim_begin_evenly_within_the_spread() {
        for offset in [0, 1, 20_000, u16::MAX] {
            let (mut suspects, now, _) = held(&[false; 200], offset);
            let mut begun = Vec::new();
            for tenth in 1..=10 {
                let at = now + SUSPECT_SPREAD * tenth / 10;
                let mut count = 0;
                while suspects.take(at, true).is_some() {
                    count += 1;
                }
                begun.push(count);
            }
            assert!(begun.iter().all(|count| (18..=22).contains(count)), "{begun:?}");
        }
    }

    #[test]
    fn a_trial_waits_for_the_one_before_it_and_holds_up_no_other_suspect() {
        let (mut suspects, now, _) = held(&[true, false, true], 0);
        let end = now + SUSPECT_SPREAD;
        assert_eq!((suspects.ready(end, false), suspects.ready(end, true)), (1, 2));
        assert_eq!((suspects.take(end, false), suspects.take(end, false)), (Some(1), None));
        assert!(suspects.take(end, true).is_some());
        assert_eq!((suspects.len(), suspects.any_on_trial()), (1, true));
    }

    #[test]
    fn what_could_have_begun_a_second_ago_is_unstarted() {
        let (mut suspects, _, from) = held(&[true, false], 0);
        let soonest = *from.iter().min().unwrap();
        assert!(suspects.take_unstarted(soonest + UNSTARTED_MAX - Duration::from_millis(1)).is_empty());
        assert_eq!(suspects.take_unstarted(soonest + UNSTARTED_MAX), [(0, true)]);
        assert_eq!(suspects.take_all(), [1]);
    }
}
