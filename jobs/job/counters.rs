//! The four counters of a job.

/// What happened to a job, and how often.
///
/// `attempts` counts the grants, for tokens and display. Only `failures` matters to the retry policy: for its delays and its `max_attempts`.
///
/// ```
/// use retraced_jobs::job::Counters;
/// let counters = Counters { attempts: 4, failures: 1, crashes: 1, releases: 1 };
/// assert_eq!(counters.attempt(), 2); // one failure so far
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Grants of the job, however they ended.
    pub attempts: u32,
    /// How often the handler returned an error, panicked or timed out.
    pub failures: u32,
    /// How often the lease expired outside of an outage after the handler had started: the worker died, was killed, or lost its connection.
    pub crashes: u32,
    /// How often the job was released without counting a failure: interrupted, unknown kind, not started, snoozed, or its lease expired before its handler was known
    /// to have started.
    pub releases: u32,
}

impl Counters {
    /// Failures + 1: the `n` of the retry formula, compared with `max_attempts`. The trace numbers attempts by [`attempts`](Self::attempts) instead.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }

    /// Whether the job was returned to its queue before: released, or taken back from a worker that lost it. From then on each start is recorded
    /// ([`Leases::begin`](crate::store::Leases::begin)) before the handler runs, so that the death of a worker is counted as a crash of the jobs that ran, and of no
    /// others.
    ///
    /// ```
    /// use retraced_jobs::job::Counters;
    /// assert!(!Counters { attempts: 3, failures: 2, ..Counters::default() }.was_returned());
    /// assert!(Counters { attempts: 2, releases: 1, ..Counters::default() }.was_returned());
    /// ```
    #[must_use]
    pub fn was_returned(&self) -> bool {
        self.crashes > 0 || self.releases > 0
    }
}
