//! The error of a supervisor that gave up, whatever the cause.

use std::fmt;
use std::time::Duration;

/// The error a supervisor ends with when it gives up. There are four causes: its restart budget is used up; a child could not be started the first time; a child
/// requested it; or a child that is itself a supervisor gave up, and it is none that closes and reopens instead.
///
/// ```
/// use retraced_actors::Exhausted;
/// /// As in `supervisor retraced gave up: watchdog failed, the 11th failure within 60s: killed`.
/// fn page(gave_up: &Exhausted) -> String {
///     format!("{gave_up} ({} is to blame)", gave_up.child)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exhausted {
    /// The supervisor.
    pub supervisor: String,
    /// The child that failed last, or that made the request.
    pub child: String,
    /// Failures of all children within the window, the last one included. 1 if a child could not be started the first time; the number of the child's own error if
    /// the child is a supervisor that gave up; 0 if a child requested it.
    pub failures: u32,
    /// The length of the window.
    pub window: Duration,
    /// Why the child failed, or why it made the request.
    pub reason: String,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.failures == 0 {
            return write!(
                f,
                "supervisor {} gave up at the request of {}: {}",
                self.supervisor, self.child, self.reason
            );
        }
        write!(
            f,
            "supervisor {} gave up: {} failed, the {} failure within {:?}: {}",
            self.supervisor,
            self.child,
            ordinal(self.failures),
            self.window,
            self.reason
        )
    }
}

impl std::error::Error for Exhausted {}

fn ordinal(n: u32) -> String {
    let suffix = match (n % 10, n % 100) {
        (1, h) if h != 11 => "st",
        (2, h) if h != 12 => "nd",
        (3, h) if h != 13 => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_supervisor_child_failures_and_reason() {
        let (supervisor, child) = ("retraced".to_owned(), "watchdog".to_owned());
        let window = Duration::from_secs(60);
        let gave_up = Exhausted { supervisor, child, failures: 11, window, reason: "killed".into() };
        assert_eq!(
            gave_up.to_string(),
            "supervisor retraced gave up: watchdog failed, the 11th failure within 60s: killed"
        );
    }
}
