//! Damage that a scan, which is also part of a repair, found in a queue.

use std::fmt;

use crate::job::JobId;
use crate::limits::FINDING_EXAMPLES_MAX;

/// One kind of damage, and how much of it. Manual edits, evicted keys and writes lost in a failover cause damage.
///
/// ```
/// use retraced_jobs::events::{Finding, FindingKind};
/// let finding = Finding::new(FindingKind::Orphaned, 1, vec!["welcome-42".parse()?]);
/// assert_eq!(format!("{finding}, such as {}", finding.examples[0]), "1 job in no container, such as welcome-42");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// How often.
    pub count: u64,
    /// Some of the affected jobs: at most [`FINDING_EXAMPLES_MAX`](super::FINDING_EXAMPLES_MAX). Empty where the damage concerns no job.
    pub examples: Vec<JobId>,
}

impl Finding {
    /// A finding with examples; more than [`FINDING_EXAMPLES_MAX`](super::FINDING_EXAMPLES_MAX) are dropped.
    #[must_use]
    pub fn new(kind: FindingKind, count: u64, mut examples: Vec<JobId>) -> Self {
        examples.truncate(FINDING_EXAMPLES_MAX);
        Self { kind, count, examples }
    }
}

/// How often, and what: `1 job in no container`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => write!(f, "1 {}", self.kind.of_one()),
            count => write!(f, "{count} {}", self.kind),
        }
    }
}

/// What can be wrong in a queue, and what a repair does about it. No repair deletes a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// An entry of a container, a grant, a retry state or an attempt whose job does not exist. Repair: it is deleted.
    EntryWithoutJob,
    /// The stored record of a grant (its token and worker) whose job is not in the list of leases. Repair: the job gets a lease of 5 min. A live worker renews it in time if its own
    /// lease is at most 15 min; otherwise the job is reclaimed.
    GrantWithoutLease,
    /// A lease without the record of its grant; no worker can renew it or settle its job. Repair: it expires now, and the job is reclaimed.
    LeaseWithoutGrant,
    /// A job in two containers. Repair: it stays in the container from which the store reads its state, and leaves the other.
    TwoContainers,
    /// A job in no container. Repair: if its records show how it ended, it is put back among the jobs that ended so; otherwise it goes to the front of `pending`.
    Orphaned,
    /// A job in no container whose header, envelope or retry state cannot be read. Repair: it is poisoned.
    Damaged,
    /// The count of stale entries in the pending list was wrong; [`Finding::count`] is the difference. Repair: the count is set right.
    StaleCount,
    /// The sum of the bytes of ended jobs, which retention keeps below its bound, was wrong; [`Finding::count`] is the difference. Repair: it is set right, unless jobs are redriven or
    /// discarded, or very many end, during each of several tries.
    KeptBytes,
}

impl FindingKind {
    /// What is wrong, in a few words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FindingKind::EntryWithoutJob => "entries whose job does not exist",
            FindingKind::GrantWithoutLease => "grants without a lease",
            FindingKind::LeaseWithoutGrant => "leases without a grant",
            FindingKind::TwoContainers => "jobs in two containers",
            FindingKind::Orphaned => "jobs in no container",
            FindingKind::Damaged => "jobs in no container that cannot be read",
            FindingKind::StaleCount => "stale entries miscounted",
            FindingKind::KeptBytes => "bytes of ended jobs miscounted",
        }
    }

    /// Whether this is about jobs that are in no container or in two. [`GrantWithoutLease`](Self::GrantWithoutLease) is not, because such a job may still be in `pending`. If it is in
    /// no container, no scan reports it as orphaned, but the counts differ by it ([`CountCheck::difference`](crate::store::CountCheck::difference)).
    #[must_use]
    pub fn misplaces_jobs(self) -> bool {
        matches!(self, FindingKind::TwoContainers | FindingKind::Orphaned | FindingKind::Damaged)
    }

    /// [`as_str`](Self::as_str) of a single one.
    fn of_one(self) -> &'static str {
        match self {
            FindingKind::EntryWithoutJob => "entry whose job does not exist",
            FindingKind::GrantWithoutLease => "grant without a lease",
            FindingKind::LeaseWithoutGrant => "lease without a grant",
            FindingKind::TwoContainers => "job in two containers",
            FindingKind::Orphaned => "job in no container",
            FindingKind::Damaged => "job in no container that cannot be read",
            FindingKind::StaleCount => "stale entry miscounted",
            FindingKind::KeptBytes => "byte of ended jobs miscounted",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
