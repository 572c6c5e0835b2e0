//! The four counters of a job.

/// What happened to a job, and how often.
///
/// `attempts` are grants the store made (for tokens and display); only `failures` feed the retry formula and `max_attempts`.
///
/// ```
/// use retraced_jobs::job::Counters;
/// let counters = Counters { attempts: 4, failures: 1, crashes: 1, releases: 1 };
/// assert_eq!(counters.attempt(), 2); // one failure so far: this is the second try
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Grants the store made, whatever became of them.
    pub attempts: u32,
    /// The handler returned an error, panicked or timed out.
    pub failures: u32,
    /// The lease expired while others were renewed, and the handler had started: the process died, was lost or was killed.
    pub crashes: u32,
    /// Released without a charge: interrupted, unknown kind, unstarted, snoozed, or lost by a worker before its handler was known to have started.
    pub releases: u32,
}

impl Counters {
    /// The number people mean by "attempt": failures + 1. The retry formula's `n`.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }

    /// Whether a worker returned the job before without a report of its handler. From then on its start is recorded
    /// ([`Leases::begin`](crate::store::Leases::begin)) before its handler runs, so that a worker's death is charged to the running jobs and to no other.
    ///
    /// ```
    /// use retraced_jobs::job::Counters;
    /// assert!(!Counters { attempts: 3, failures: 2, ..Counters::default() }.came_back());
    /// assert!(Counters { attempts: 2, releases: 1, ..Counters::default() }.came_back());
    /// ```
    #[must_use]
    pub fn came_back(&self) -> bool {
        self.crashes > 0 || self.releases > 0
    }
}
