//! The lengths of the leases in use in one queue. They tell how often a worker must look for expired leases, how long a lease grace lasts, and whether a lease ends
//! later than any lease may.

use crate::limits::CLOCK_STEP_TOLERATED;
use crate::units::millis;

/// The lengths, and what depends on them. Instants and lengths are in ms.
#[derive(Debug, Default)]
pub(super) struct LeaseLengths {
    /// The longest one: no lease ends further from now, unless the clock was set back. `None` until a worker has looked for expired leases.
    longest: Option<InUse>,
    /// The shortest one of the workers that look for expired leases.
    shortest: Option<InUse>,
    /// When a worker last looked for expired leases.
    looked_at: Option<u64>,
    /// The end of the latest lease grace.
    grace_until: u64,
}

/// A length, and when it was last known to be in use.
#[derive(Debug, Clone, Copy)]
struct InUse {
    length: u64,
    at: u64,
}

impl InUse {
    /// This length, if it was still in use at the last look, that is, known to be in use at most `age_max` before it. If `at` is after `now`, the clock was set back,
    /// and `now` is taken instead.
    fn until_last_look(self, looked_at: u64, age_max: u64, now: u64) -> Option<Self> {
        let at = self.at.min(now);
        (looked_at.saturating_sub(at) <= age_max).then_some(Self { at, ..self })
    }
}

impl LeaseLengths {
    /// Leases of this length begin or are renewed. What is unknown stays unknown, because longer leases may exist.
    pub(super) fn note_in_use(&mut self, length: u64, now: u64) {
        if let Some(longest) = &mut self.longest
            && length > longest.length
        {
            *longest = InUse { length, at: now };
        }
    }

    /// A worker whose leases have this length looks for expired leases. Begins a lease grace if there are leases and no worker has looked for too long. `last_expiry` is
    /// the latest expiry of all leases.
    pub(super) fn look(&mut self, length: u64, last_expiry: Option<u64>, now: u64) {
        let caller = InUse { length, at: now };
        let looked_at = self.looked_at.map(|at| at.min(now));
        // No length is forgotten in a reclaim gap, because what is judged is whether it was in use at the last look.
        let longest = self.longest.and_then(|longest| longest.until_last_look(looked_at?, longest.length, now));
        let longest = longest.unwrap_or_else(|| {
            let standing = last_expiry.map_or(0, |expiry| expiry.saturating_sub(now));
            InUse { length: length.max(standing), at: now }
        });
        let mut longest = if length >= longest.length { caller } else { longest };
        let shortest =
            self.shortest.and_then(|shortest| shortest.until_last_look(looked_at?, shortest.length / 2, now));
        // A shorter lease of the caller does not count yet: until now nobody had to look as often as that.
        let gap_min = shortest.map_or(length, |shortest| shortest.length) / 2;
        let shortest = shortest.filter(|shortest| shortest.length < length).unwrap_or(caller);

        // A grace that is longer than the longest lease was given before the clock was set back. It goes on: the workers that it protects may not have renewed yet.
        self.grace_until = self.grace_until.min(now.saturating_add(longest.length));
        let gap = looked_at.map_or(u64::MAX, |at| now - at);
        if last_expiry.is_some() && gap > gap_min {
            // Leases of more than twice the gap had time enough to be renewed.
            let grace = longest.length.min(gap.saturating_mul(2));
            self.grace_until = self.grace_until.max(now.saturating_add(grace));
            longest.at = now;
        }
        (self.longest, self.shortest, self.looked_at) = (Some(longest), Some(shortest), Some(now));
    }

    /// The latest instant at which a lease may end.
    pub(super) fn expiry_max(&self, now: u64) -> u64 {
        now.saturating_add(self.longest.map_or(u64::MAX, |longest| longest.length))
    }

    /// How much later than [`expiry_max`](Self::expiry_max) a lease may end and still not be shortened: a clock set back by a small step is tolerated.
    pub(super) fn step_tolerated(&self) -> u64 {
        self.longest.map_or(u64::MAX, |longest| longest.length / 10).min(millis(CLOCK_STEP_TOLERATED))
    }

    /// The end of the lease grace, if there is one now.
    pub(super) fn grace(&self, now: u64) -> Option<u64> {
        Some(self.grace_until).filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_nobody_looks_with_is_not_kept_in_use_by_claims() {
        let mut lengths = LeaseLengths::default();
        lengths.look(10_000, None, 0);
        lengths.note_in_use(10_000, 9_000);
        lengths.look(1_000, None, 10_001);
        assert_eq!(lengths.expiry_max(10_001), 20_001);
        lengths.look(1_000, None, 10_002);
        assert_eq!(lengths.expiry_max(10_002), 11_002);
        lengths.note_in_use(1_001, 10_003);
        assert_eq!(lengths.expiry_max(10_003), 11_004);
    }

    #[test]
    fn no_length_stays_in_use_for_as_long_as_the_clock_was_set_back() {
        let mut lengths = LeaseLengths::default();
        lengths.look(10_000, None, 100_000);
        for now in [50_000, 60_001] {
            lengths.look(1_000, None, now);
            assert_eq!(lengths.expiry_max(now), now + 10_000);
        }
        lengths.look(1_000, None, 60_002);
        assert_eq!(lengths.expiry_max(60_002), 61_002);
    }
}
