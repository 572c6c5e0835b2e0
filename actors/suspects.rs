//! Suspects: jobs held here that came back from a worker before, until they begin again.
//!
//! One whose handler was running when a worker died is a suspect. Suspects begin spread over [`SUSPECT_SPREAD`]: a worker that is killed at regular intervals must not
//! meet the same jobs running each time. One that a further crash would poison is on trial: it begins only when no other suspect is under way here, and as long
//! as it is, nothing begins that came back, so that a death is charged to whom it belongs. What cannot begin in time goes back: behind the others after
//! [`TRIAL_PUT_OFF`] when it waited for a trial or for its own, so that healthy jobs pass.

use std::collections::BTreeMap;
use std::time::Duration;

use retraced_jobs::job::Counters;
use tokio::time::Instant;

use crate::inflight::{Grant, UNSTARTED_MAX};

/// Over how much time suspects of one claim begin.
pub const SUSPECT_SPREAD: Duration = Duration::from_secs(1);
/// For how long a job is put off that waits for a trial to end, or for its own.
pub const TRIAL_PUT_OFF: Duration = Duration::from_secs(10);

/// What is to be feared of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing: it never came back.
    Clear,
    /// Little: it was handed back, or its worker died and nobody knows whether it ran.
    CameBack,
    /// Its handler was running when a worker died.
    Suspect,
    /// The same, and a further crash would poison it.
    OnTrial,
}

impl Standing {
    pub(crate) fn of(counters: Counters, crashes_max: u32) -> Self {
        match counters.crashes {
            0 if counters.came_back() => Standing::CameBack,
            0 => Standing::Clear,
            crashes if crashes.saturating_add(1) >= crashes_max => Standing::OnTrial,
            _ => Standing::Suspect,
        }
    }
}

/// Who may begin now, given who is under way: from the start of a handler until the store has confirmed its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gate {
    trials: bool,
    others: bool,
}

impl Gate {
    pub(crate) fn of(under_way: impl Iterator<Item = Standing>) -> Self {
        under_way.fold(Gate { trials: true, others: true }, |gate, standing| match standing {
            Standing::OnTrial => Gate { trials: false, others: false },
            Standing::Suspect => Gate { trials: false, ..gate },
            Standing::Clear | Standing::CameBack => gate,
        })
    }

    fn lets(self, standing: Standing) -> bool {
        if standing == Standing::OnTrial { self.trials } else { self.others }
    }
}

/// Those that have not begun, by when they may.
#[derive(Default)]
pub(crate) struct Suspects(BTreeMap<(Instant, Grant), Standing>);

impl Suspects {
    /// The n-th job of a claim at `now` may begin from the instant this gives; `offset` is the claim's own, at random. Multiples of the golden ratio,
    /// modulo one, cover an interval evenly however many they are (Knuth, The Art of Computer Programming 3, 6.4, theorem S).
    pub(crate) fn add(&mut self, grant: Grant, standing: Standing, now: Instant, offset: u16, n: u16) -> Instant {
        const GOLDEN: u16 = 40_503; // 2^16 over the golden ratio
        let point = f64::from(offset.wrapping_add(n.wrapping_mul(GOLDEN))) / 65_536.0;
        let spread = if standing == Standing::CameBack { Duration::ZERO } else { SUSPECT_SPREAD };
        let from = now + spread.mul_f64(point);
        self.0.insert((from, grant), standing);
        from
    }

    /// One that may begin now.
    pub(crate) fn take(&mut self, now: Instant, gate: Gate) -> Option<Grant> {
        let mut due = self.0.range(..=(now, Grant::MAX));
        let key = due.find(|(_, standing)| gate.lets(**standing)).map(|(key, _)| *key)?;
        self.0.remove(&key);
        Some(key.1)
    }

    /// Whether one may begin now.
    pub(crate) fn any_ready(&self, now: Instant, gate: Gate) -> bool {
        self.0.range(..=(now, Grant::MAX)).any(|(_, standing)| gate.lets(*standing))
    }

    /// Removes those that could have begun a while ago and have not; gives whether each waits for a trial, or for its own.
    pub(crate) fn take_unstarted(&mut self, now: Instant, gate: Gate) -> Vec<(Grant, bool)> {
        let Some(before) = now.checked_sub(UNSTARTED_MAX) else { return Vec::new() };
        let later = self.0.split_off(&(before, Grant::MAX));
        let unstarted = std::mem::replace(&mut self.0, later).into_iter();
        unstarted.map(|((_, grant), standing)| (grant, !gate.lets(standing))).collect()
    }

    /// Removes all, in the order of their grants, which is the order of the queue.
    pub(crate) fn take_all(&mut self) -> Vec<Grant> {
        let mut grants: Vec<Grant> = std::mem::take(&mut self.0).into_keys().map(|(_, grant)| grant).collect();
        grants.sort_unstable();
        grants
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many wait for executors, and how many for their own time.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let came_back = self.0.values().filter(|standing| **standing == Standing::CameBack).count();
        (came_back, self.0.len() - came_back)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use Standing::{CameBack, Clear, OnTrial, Suspect};

    const OPEN: Gate = Gate { trials: true, others: true };

    fn held(standings: &[Standing], offset: u16) -> (Suspects, Instant, Vec<Instant>) {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        let from = standings.iter().zip(0..).map(|(one, n)| suspects.add(n.into(), *one, now, offset, n)).collect();
        (suspects, now, from)
    }

    #[test]
    fn a_jobs_standing_is_told_from_its_counters() {
        let of = |crashes, releases, crashes_max| {
            Standing::of(Counters { attempts: 9, failures: 2, crashes, releases }, crashes_max)
        };
        assert_eq!([of(0, 0, 3), of(0, 1, 3), of(1, 1, 3), of(2, 1, 3)], [Clear, CameBack, Suspect, OnTrial]);
        assert_eq!([of(0, 1, 1), of(1, 0, 2), of(1, 0, 1)], [CameBack, OnTrial, OnTrial]);
    }

    #[test]
    fn suspects_of_one_claim_begin_evenly_within_the_spread() {
        for offset in [0, 1, 20_000, u16::MAX] {
            let (mut suspects, now, _) = held(&[Suspect; 200], offset);
            let mut begun = Vec::new();
            for tenth in 1..=10 {
                let at = now + SUSPECT_SPREAD * tenth / 10;
                let mut count = 0;
                while suspects.take(at, OPEN).is_some() {
                    count += 1;
                }
                begun.push(count);
            }
            assert!(begun.iter().all(|count| (18..=22).contains(count)), "{begun:?}");
        }
    }

    #[test]
    fn what_was_only_handed_back_begins_at_once_and_in_order() {
        let (mut suspects, now, _) = held(&[CameBack; 3], 30_000);
        assert_eq!([suspects.take(now, OPEN), suspects.take(now, OPEN), suspects.take(now, OPEN)], [0, 1, 2].map(Some));
    }

    #[test]
    fn nothing_that_came_back_begins_beside_a_trial_and_no_trial_beside_a_suspect() {
        for (under_way, may_begin) in [
            (Clear, [CameBack, Suspect, OnTrial].as_slice()),
            (CameBack, &[CameBack, Suspect, OnTrial]),
            (Suspect, &[CameBack, Suspect]),
            (OnTrial, &[]),
        ] {
            let gate = Gate::of([Clear, under_way].into_iter());
            for standing in [CameBack, Suspect, OnTrial] {
                let (mut suspects, now, _) = held(&[standing], 0);
                let begins = may_begin.contains(&standing);
                assert_eq!(suspects.any_ready(now + SUSPECT_SPREAD, gate), begins);
                assert_eq!(
                    suspects.take(now + SUSPECT_SPREAD, gate).is_some(),
                    begins,
                    "{standing:?} beside {under_way:?}"
                );
            }
        }
    }

    #[test]
    fn what_could_have_begun_a_second_ago_is_unstarted() {
        let (mut suspects, _, from) = held(&[OnTrial, Suspect, CameBack], 1_000);
        let soonest = *from.iter().min().unwrap();
        let gate = Gate { trials: false, others: true };
        assert!(suspects.take_unstarted(soonest + UNSTARTED_MAX - Duration::from_millis(1), gate).is_empty());
        assert_eq!(suspects.take_unstarted(soonest + UNSTARTED_MAX, gate), [(2, false)]);
        assert_eq!(suspects.take_unstarted(from[0] + UNSTARTED_MAX, gate), [(0, true)]);
        assert_eq!((suspects.waiting(), suspects.take_all()), ((0, 1), vec![1]));
    }
}
