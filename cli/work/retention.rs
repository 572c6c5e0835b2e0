//! What the options for retention mean for dead and poisoned jobs, where that is probably not what was wanted.

use std::time::Duration;

use retraced::limits::KEPT_BYTES_MIN;

use crate::limits::{DEAD_AGE_WARNED_BELOW, DEAD_JOBS_WARNED_BELOW};
use crate::output::{duration_text, job_count, millis, warn};

/// Says so if dead and poisoned jobs are removed before anybody can look at them.
pub(super) fn warn_if_few_dead_are_kept(age: Duration, bytes: u64) {
    too_short(age).into_iter().chain(too_few(bytes)).for_each(warn);
}

fn too_short(age: Duration) -> Option<String> {
    (age < DEAD_AGE_WARNED_BELOW).then(|| {
        let when = match age.is_zero() {
            true => "about a second".to_owned(),
            false => duration_text(millis(age)),
        };
        format!("--keep-dead removes each dead or poisoned job for good {when} after its end: it can hardly be read or redriven before")
    })
}

fn too_few(bytes: u64) -> Option<String> {
    let most = bytes / KEPT_BYTES_MIN;
    (most < DEAD_JOBS_WARNED_BELOW).then(|| {
        let kept = match most {
            0 => "keeps no dead and no poisoned job: each one is removed for good about a second after its end"
                .to_owned(),
            most => format!(
                "keeps at most {} of each queue that died, and as many poisoned ones; others are removed for good",
                job_count(most)
            ),
        };
        format!("--keep-dead-bytes {kept}. A job counts at least {KEPT_BYTES_MIN} bytes")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_warned_of_only_if_jobs_vanish_before_they_can_be_read() {
        assert_eq!(too_short(DEAD_AGE_WARNED_BELOW), None);
        assert!(too_short(Duration::ZERO).is_some_and(|text| text.contains("about a second after its end")));
        assert!(too_short(Duration::from_secs(30)).is_some_and(|text| text.contains("30s after its end")));
        assert_eq!(too_few(DEAD_JOBS_WARNED_BELOW * KEPT_BYTES_MIN), None);
        assert!(too_few(1).is_some_and(|text| text.contains("keeps no dead and no poisoned job")));
        assert!(too_few(2 * KEPT_BYTES_MIN).is_some_and(|text| text.contains("at most 2 jobs")));
    }
}
