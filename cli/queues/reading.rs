//! The numbers of queues, read at one instant or over a time.

use std::time::Duration;

use retraced::store::QueueStats;
use retraced::view::{QueueRow, Rates, Timestamp};
use retraced::{Operator, OperatorError, QueueName};
use serde::Serialize;
use tokio::time::Instant;

use crate::live_workers::WithWorkers;

/// All queues at one instant.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) any_queue: bool,
    pub(super) rows: Vec<QueueRow>,
    /// For each row how many live workers process its queue; empty if the store does not say.
    pub(super) workers: Vec<usize>,
    /// Why some queues cannot be shown.
    pub(super) unread: Vec<String>,
}

/// A queue as it is printed.
#[derive(Serialize)]
pub(super) struct ShownQueue<'a> {
    #[serde(flatten)]
    pub(super) row: WithWorkers<'a, QueueRow>,
    /// When it was read; only with `--watch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    read_at: Option<Timestamp>,
}

impl Reading {
    pub(super) fn shown(&self, read_at: Option<Timestamp>) -> Vec<ShownQueue<'_>> {
        let rows = self.rows.iter().enumerate();
        rows.map(|(at, row)| ShownQueue { row: WithWorkers::new(row, self.workers.get(at).copied()), read_at })
            .collect()
    }
}

/// Reads the statistics of these queues, each with its own result, with rates if `rates_over` is given. Ends at an error that may pass: the other queues would wait for the
/// same answer.
pub(super) async fn read_rows<'a>(
    operator: &Operator,
    names: &'a [QueueName],
    rates_over: Option<Duration>,
) -> Result<Vec<(&'a QueueName, Result<QueueRow, OperatorError>)>, OperatorError> {
    let mut before = Vec::new();
    if let Some(wait) = rates_over {
        for name in names {
            before.push((stats(operator, name).await?, Instant::now()));
        }
        tokio::time::sleep(wait).await;
    }
    let mut rows = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        let row = stats(operator, name).await?.map(|stats| {
            let row = QueueRow::new(name, &stats);
            match before.get(at) {
                Some((Ok(before), since)) => row.with_rates(Rates::between(before, &stats, since.elapsed())),
                _ => row,
            }
        });
        rows.push((name, row));
    }
    Ok(rows)
}

/// The outer error is one that may pass.
async fn stats(operator: &Operator, name: &QueueName) -> Result<Result<QueueStats, OperatorError>, OperatorError> {
    match operator.stats(name).await {
        Err(error) if error.is_retryable() => Err(error),
        read => Ok(read),
    }
}
