//! When a returned job (one that was released or reclaimed before) may start again.
//!
//! A job for which a crash is counted is a crash suspect. The starts of suspects are spread over [`SUSPECT_START_SPREAD`], so that a worker that is killed at
//! regular intervals does not run the same jobs each time. A job that one more crash would poison is quarantined. It starts only while no other suspect
//! of its queue runs in this process, and while it runs no returned job starts here. So fewer crashes are counted for jobs that did not cause them. Jobs that
//! do not start in time are released: to the front of the queue, or with a delay of `QUARANTINE_DELAY` if the [`Gate`] blocks them.

use std::collections::BTreeMap;
use std::time::Duration;

use retraced_jobs::job::Counters;
use tokio::time::Instant;

use super::grant::GrantId;
use crate::limits::{SUSPECT_START_SPREAD, UNSTARTED_MAX};

/// What the counters of a job say about the danger that it kills its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CrashRisk {
    /// The job was never returned.
    None,
    /// It was returned, and no crash is counted for it.
    Returned,
    /// A crash is counted for it: its lease expired after its handler had started.
    Suspect,
    /// A suspect that one more crash would poison.
    Quarantined,
}

impl CrashRisk {
    pub(crate) fn of(counters: Counters, crashes_max: u32) -> Self {
        match counters.crashes {
            0 if counters.was_returned() => CrashRisk::Returned,
            0 => CrashRisk::None,
            crashes if crashes.saturating_add(1) >= crashes_max => CrashRisk::Quarantined,
            _ => CrashRisk::Suspect,
        }
    }
}

/// Which returned jobs may start now. That depends on the jobs under way: those that have started and whose outcome is not confirmed yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gate {
    /// Quarantined jobs may start.
    quarantined: bool,
    /// Other returned jobs may start.
    others: bool,
}

impl Gate {
    /// Every job may start.
    pub(crate) const OPEN: Gate = Gate { quarantined: true, others: true };

    pub(crate) fn of(under_way: impl Iterator<Item = CrashRisk>) -> Self {
        under_way.fold(Self::OPEN, |gate, risk| match risk {
            CrashRisk::Quarantined => Gate { quarantined: false, others: false },
            CrashRisk::Suspect => Gate { quarantined: false, ..gate },
            CrashRisk::None | CrashRisk::Returned => gate,
        })
    }

    fn admits(self, risk: CrashRisk) -> bool {
        if risk == CrashRisk::Quarantined { self.quarantined } else { self.others }
    }
}

/// The position of a job in its claim. It decides when a crash suspect starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClaimPosition {
    /// A random number, the same for all jobs of the claim.
    pub(crate) offset: u16,
    /// The number of the job in the claim, from 0.
    pub(crate) n: u16,
}

/// Returned jobs that have not started, by the instant from which they may start.
#[derive(Default)]
pub(crate) struct ReturnedJobs(BTreeMap<(Instant, GrantId), CrashRisk>);

impl ReturnedJobs {
    /// Adds a job. Returns the instant from which it may start: now, or for a crash suspect a point within [`SUSPECT_START_SPREAD`]. Multiples of the
    /// golden ratio, modulo one, cover an interval evenly, however many there are (Knuth, The Art of Computer Programming 3, 6.4, theorem S).
    pub(crate) fn add(&mut self, grant: GrantId, risk: CrashRisk, now: Instant, position: ClaimPosition) -> Instant {
        const GOLDEN: u16 = 40_503; // 2^16 over the golden ratio
        let point = f64::from(position.offset.wrapping_add(position.n.wrapping_mul(GOLDEN))) / 65_536.0;
        let spread = if risk == CrashRisk::Returned { Duration::ZERO } else { SUSPECT_START_SPREAD };
        let from = now + spread.mul_f64(point);
        self.0.insert((from, grant), risk);
        from
    }

    /// Removes a job that may start now.
    pub(crate) fn take(&mut self, now: Instant, gate: Gate) -> Option<GrantId> {
        let mut due = self.0.range(..=(now, GrantId::MAX));
        let key = due.find(|(_, risk)| gate.admits(**risk)).map(|(key, _)| *key)?;
        self.0.remove(&key);
        Some(key.1)
    }

    /// Whether a job may start now.
    pub(crate) fn any_ready(&self, now: Instant, gate: Gate) -> bool {
        self.0.range(..=(now, GrantId::MAX)).any(|(_, risk)| gate.admits(*risk))
    }

    /// Removes the jobs that have waited for [`UNSTARTED_MAX`] since the instant from which they may start. Returns each with whether the gate blocks it
    /// now.
    pub(crate) fn take_unstarted(&mut self, now: Instant, gate: Gate) -> Vec<(GrantId, bool)> {
        let Some(before) = now.checked_sub(UNSTARTED_MAX) else { return Vec::new() };
        let later = self.0.split_off(&(before, GrantId::MAX));
        let unstarted = std::mem::replace(&mut self.0, later).into_iter();
        unstarted.map(|((_, grant), risk)| (grant, !gate.admits(risk))).collect()
    }

    /// Removes all jobs in the order of their grants, which is the order of the queue.
    pub(crate) fn take_all(&mut self) -> Vec<GrantId> {
        let mut grants: Vec<GrantId> = std::mem::take(&mut self.0).into_keys().map(|(_, grant)| grant).collect();
        grants.sort_unstable();
        grants
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many of the jobs are no crash suspects, and how many are.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let others = self.0.values().filter(|risk| **risk == CrashRisk::Returned).count();
        (others, self.0.len() - others)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use CrashRisk::{Quarantined, Returned, Suspect};

    fn held(risks: &[CrashRisk], offset: u16) -> (ReturnedJobs, Instant, Vec<Instant>) {
        let (mut jobs, now) = (ReturnedJobs::default(), Instant::now());
        let from = risks
            .iter()
            .zip(0..)
            .map(|(risk, n)| jobs.add(n.into(), *risk, now, ClaimPosition { offset, n }))
            .collect();
        (jobs, now, from)
    }

    #[test]
    fn the_crash_risk_of_a_job_follows_from_its_counters() {
        let of = |crashes, releases, crashes_max| {
            CrashRisk::of(Counters { attempts: 9, failures: 2, crashes, releases }, crashes_max)
        };
        assert_eq!(
            [of(0, 0, 3), of(0, 1, 3), of(1, 1, 3), of(2, 1, 3)],
            [CrashRisk::None, Returned, Suspect, Quarantined]
        );
        assert_eq!([of(0, 1, 1), of(1, 0, 2), of(1, 0, 1)], [Returned, Quarantined, Quarantined]);
    }

    #[test]
    fn suspects_of_one_claim_start_evenly_within_the_spread() {
        for offset in [0, 1, 20_000, u16::MAX] {
            let (mut jobs, now, _) = held(&[Suspect; 200], offset);
            let mut started = Vec::new();
            for tenth in 1..=10 {
                let at = now + SUSPECT_START_SPREAD * tenth / 10;
                let mut count = 0;
                while jobs.take(at, Gate::OPEN).is_some() {
                    count += 1;
                }
                started.push(count);
            }
            assert!(started.iter().all(|count| (18..=22).contains(count)), "{started:?}");
        }
    }

    #[test]
    fn returned_jobs_that_are_no_suspects_start_at_once_and_in_order() {
        let (mut jobs, now, _) = held(&[Returned; 3], 30_000);
        assert_eq!(
            [jobs.take(now, Gate::OPEN), jobs.take(now, Gate::OPEN), jobs.take(now, Gate::OPEN)],
            [0, 1, 2].map(Some)
        );
    }

    #[test]
    fn no_returned_job_starts_beside_a_quarantined_one_and_no_quarantined_one_beside_a_suspect() {
        for (under_way, may_start) in [
            (CrashRisk::None, [Returned, Suspect, Quarantined].as_slice()),
            (Returned, &[Returned, Suspect, Quarantined]),
            (Suspect, &[Returned, Suspect]),
            (Quarantined, &[]),
        ] {
            let gate = Gate::of([CrashRisk::None, under_way].into_iter());
            for risk in [Returned, Suspect, Quarantined] {
                let (mut jobs, now, _) = held(&[risk], 0);
                let starts = may_start.contains(&risk);
                assert_eq!(jobs.any_ready(now + SUSPECT_START_SPREAD, gate), starts);
                assert_eq!(
                    jobs.take(now + SUSPECT_START_SPREAD, gate).is_some(),
                    starts,
                    "{risk:?} beside {under_way:?}"
                );
            }
        }
    }

    #[test]
    fn a_job_that_has_waited_a_second_since_its_start_time_is_taken_as_unstarted() {
        let (mut jobs, _, from) = held(&[Quarantined, Suspect, Returned], 1_000);
        let soonest = *from.iter().min().unwrap();
        let gate = Gate { quarantined: false, others: true };
        assert!(jobs.take_unstarted(soonest + UNSTARTED_MAX - Duration::from_millis(1), gate).is_empty());
        assert_eq!(jobs.take_unstarted(soonest + UNSTARTED_MAX, gate), [(2, false)]);
        assert_eq!(jobs.take_unstarted(from[0] + UNSTARTED_MAX, gate), [(0, true)]);
        assert_eq!((jobs.waiting(), jobs.take_all()), ((0, 1), vec![1]));
    }
}
