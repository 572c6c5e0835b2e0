//! What the system allows this process, compared with what its jobs may need.

use rustix::process::{Resource, getrlimit};

use crate::limits::OTHER_FILES_MAX;
use crate::output::warn;

/// Says so if the jobs that run at a time may need more open files than the system allows: each request needs a connection.
pub(super) fn warn_if_files_are_few(concurrency: usize) {
    // `None`: there is no limit.
    if let Some(allowed) = getrlimit(Resource::Nofile).current
        && let Some(warning) = too_few_files(allowed, concurrency)
    {
        warn(warning);
    }
}

fn too_few_files(allowed: u64, concurrency: usize) -> Option<String> {
    let needed = (concurrency as u64).saturating_add(OTHER_FILES_MAX);
    (allowed < needed).then(|| {
        format!(
            "this process may open {allowed} files at a time, but with a concurrency of {concurrency} it may need {needed}; raise the limit (ulimit -n) or lower the \
             concurrency. Jobs for which there is no file are released, without counting a failure"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_below_what_the_concurrency_needs_is_not_passed_over() {
        assert_eq!(too_few_files(82, 50), None);
        let warning = too_few_files(81, 50).unwrap_or_default();
        assert!(warning.contains("may open 81 files") && warning.contains("may need 82"), "{warning}");
    }
}
