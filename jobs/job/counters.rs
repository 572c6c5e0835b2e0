//! The four counters of a job.

/// What happened to a job, and how often.
/// Exhaustive, so that a store has to count everything.
///
/// Only `failures` matters to the retry policy: for its delays and its `max_attempts`. A redrive sets all but `attempts` to 0.
///
/// ```
/// use retraced_jobs::job::Counters;
/// let counters = Counters { attempts: 4, failures: 1, crashes: 1, releases: 1 };
/// assert_eq!(counters.attempt(), 2); // one failure so far
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// How often the job was granted to a worker. The number of the latest grant is part of its fencing token, and traces show it.
    pub attempts: u32,
    /// How often an attempt failed: the handler returned an error, panicked or timed out, or the job could not be decoded. Ends that count as a release or a cancellation
    /// are no failures.
    pub failures: u32,
    /// How often the lease expired after the handler was known to have started: the worker died, was killed, or lost its connection for longer than the lease.
    pub crashes: u32,
    /// How often the job came back without a failure or a crash: interrupted, snoozed, of unknown kind, not decodable here, for lack of a resource, not started in time,
    /// because the reply to its claim was never read, or because its lease expired before the handler was known to have started.
    pub releases: u32,
}

impl Counters {
    /// Failures so far + 1, which is compared with `max_attempts`. If the attempt that runs now fails, this is the `n` of its retry decision. The trace numbers
    /// attempts by [`attempts`](Self::attempts) instead.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }

    /// Whether the job was returned to its queue before: released, or reclaimed after its lease had expired. Workers record each start of such a job
    /// ([`Leases::begin`](crate::store::Leases::begin)) before its handler runs. If the worker dies, the store can then tell whether the handler had started, and
    /// counts a crash only if it had.
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
