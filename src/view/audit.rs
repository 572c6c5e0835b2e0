//! What an audit found.

use retraced_jobs::events::Finding;
use retraced_jobs::job::QueueName;
use serde::Serialize;

use crate::operator::Audit;

/// What an audit of a queue found, and the queue's counts after the audit.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::sync::Arc;
/// # use retraced::{MemoryStore, Operator, QueueName};
/// # let (operator, queue) = (Operator::new(MemoryStore::new()), QueueName::new("email")?);
/// use retraced::view::AuditRow;
/// let row = AuditRow::found(&queue, operator.audit(&queue).await?);
/// assert!(row.is_sound() && !row.repaired);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AuditRow {
    /// The queue.
    pub queue: QueueName,
    /// Whether the counts agree: `difference`, `grant_difference` and `uncounted` are 0.
    pub adds_up: bool,
    /// Whether this was a repair.
    pub repaired: bool,
    /// Jobs stored.
    pub jobs: u64,
    /// Entries of the pending list, stale ones included.
    pub pending_entries: u64,
    /// Stale entries of the pending list: their jobs were cancelled or discarded.
    pub stale_entries: u64,
    /// Jobs in all other containers.
    pub contained: u64,
    /// Jobs stored minus jobs in containers, without stale entries; 0 in a sound queue.
    pub difference: i64,
    /// Leases minus grants; 0 in a sound queue.
    pub grant_difference: i64,
    /// Ended jobs whose bytes retention does not count, because the store has lost the counters of their states; 0 in a sound queue.
    pub uncounted: u64,
    /// What was wrong; if this was a repair, what was wrong before it.
    pub findings: Vec<Finding>,
}

impl AuditRow {
    /// The result of [`Operator::audit`](crate::Operator::audit).
    #[must_use]
    pub fn found(queue: &QueueName, audit: Audit) -> Self {
        let Audit { after, findings, .. } = audit;
        Self {
            queue: queue.clone(),
            adds_up: after.adds_up(),
            repaired: false,
            jobs: after.jobs,
            pending_entries: after.pending_entries,
            stale_entries: after.stale,
            contained: after.contained,
            difference: after.difference(),
            grant_difference: after.grant_difference,
            uncounted: after.uncounted,
            findings,
        }
    }

    /// The result of [`Operator::repair`](crate::Operator::repair).
    #[must_use]
    pub fn repaired(queue: &QueueName, audit: Audit) -> Self {
        Self { repaired: true, ..Self::found(queue, audit) }
    }

    /// Whether the queue is sound now: its counts agree, and nothing was wrong or it was repaired.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.adds_up && (self.repaired || self.findings.is_empty())
    }
}
