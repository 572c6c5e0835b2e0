//! The ids of jobs that were acted on recently.

use std::collections::HashSet;

use retraced_jobs::job::JobId;

use crate::limits::RECENT_IDS_MIN;

/// The ids that were added last: at least [`RECENT_IDS_MIN`] of them, and at most twice as many.
#[derive(Default)]
pub(super) struct RecentIds {
    latest: HashSet<JobId>,
    /// The [`RECENT_IDS_MIN`] ids that were added before `latest`.
    earlier: HashSet<JobId>,
}

impl RecentIds {
    pub(super) fn contains(&self, id: &JobId) -> bool {
        self.latest.contains(id) || self.earlier.contains(id)
    }

    pub(super) fn extend(&mut self, ids: impl IntoIterator<Item = JobId>) {
        for id in ids {
            if self.latest.len() == RECENT_IDS_MIN {
                self.earlier = std::mem::take(&mut self.latest);
            }
            self.latest.insert(id);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn id(number: usize) -> JobId {
        JobId::parse(&number.to_string()).unwrap()
    }

    #[test]
    fn the_latest_ids_are_kept_and_their_number_is_bounded() {
        let mut ids = RecentIds::default();
        let added = 3 * RECENT_IDS_MIN + 1;
        ids.extend((0..added).map(id));
        assert!((added - RECENT_IDS_MIN..added).all(|number| ids.contains(&id(number))));
        let kept = (0..added).filter(|number| ids.contains(&id(*number))).count();
        assert!((RECENT_IDS_MIN..=2 * RECENT_IDS_MIN).contains(&kept), "{kept}");
    }
}
