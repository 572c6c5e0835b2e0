//! The error of a supervisor that gave up.

use std::fmt;
use std::time::Duration;

/// The error a supervisor ends with when it gives up: its restart budget is exhausted, a child could not be started the first time, or a child requested it.
///
/// ```
/// use retraced_actors::Exhausted;
/// use std::time::Duration;
/// let (supervisor, child) = ("retraced".to_owned(), "watchdog".to_owned());
/// let gave_up = Exhausted { supervisor, child, failures: 11, window: Duration::from_secs(60), reason: "killed".into() };
/// assert_eq!(gave_up.to_string(), "supervisor retraced gave up: watchdog failed, the 11th failure within 60s: killed");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// The supervisor.
    pub supervisor: String,
    /// The child that failed last.
    pub child: String,
    /// Failures within the window, the last one included; 0 if the child did not fail but requested that the supervisor give up.
    pub failures: u32,
    /// The length of the window.
    pub window: Duration,
    /// Why the child failed last, or why it made the request.
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
