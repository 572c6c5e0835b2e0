//! Whether a queue exists, and which workers are live. The store takes an unknown queue for an empty one, so a mistyped name would look like a queue without jobs.

use retraced_jobs::job::QueueName;
use retraced_jobs::store::{QueueStats, StoreError, WorkerRow};

use super::{Operator, OperatorError};
use crate::limits::SIMILARITY_MIN;

impl Operator {
    /// Checks that a queue exists: a producer or a worker has announced it, or the store keeps something for it. The other methods take an unknown queue for an
    /// empty one, and [`pause`](Self::pause) pauses it for later; so check a name that a person typed before you use it.
    ///
    /// # Errors
    /// [`OperatorError::UnknownQueue`], with the most similar name; the others if the store refuses or does not answer.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use retraced::{MemoryStore, Operator, OperatorError, QueueName};
    /// let admin = Operator::new(MemoryStore::new());
    /// admin.create_queue(&QueueName::new("billing")?).await?;
    /// let Err(OperatorError::UnknownQueue { nearest, .. }) = admin.require_queue(&QueueName::new("biling")?).await else { panic!() };
    /// assert_eq!(nearest, Some(QueueName::new("billing")?));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn require_queue(&self, queue: &QueueName) -> Result<(), OperatorError> {
        let names = self.queues().await?;
        if names.contains(queue) {
            return Ok(());
        }
        // A queue may hold jobs and not be listed: a producer whose Redis user may not write the list of names enqueues all the same.
        match self.stats(queue).await {
            Ok(stats) if stats == QueueStats::default() => {
                Err(OperatorError::UnknownQueue { queue: queue.clone(), nearest: nearest(queue, names) })
            }
            // A queue whose data is damaged exists.
            Ok(_) | Err(OperatorError::Store(StoreError::Corrupt { .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes a queue known before a producer or a worker uses it, so that [`queues`](Self::queues) lists it and [`require_queue`](Self::require_queue) accepts it. Changes nothing if it exists.
    ///
    /// # Errors
    /// [`OperatorError`] when the store refuses the call or does not answer in time, or when the operator's runtime has ended.
    pub async fn create_queue(&self, queue: &QueueName) -> Result<(), OperatorError> {
        self.on_queue(queue, |store, queue| store.announce(std::slice::from_ref(queue))).await
    }

    /// The [`workers`](Self::workers) that are live: their last heartbeat is at most 30 s old ([`WORKER_STALE_AFTER`](crate::limits::WORKER_STALE_AFTER)). A worker that was
    /// killed counts as live until then, and so does any worker if the store does not say its time.
    /// [`WorkerRow::may_process`] says whether one processes a queue.
    ///
    /// # Errors
    /// [`OperatorError`] when the store refuses the call or does not answer in time, or when the operator's runtime has ended.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use retraced::{MemoryStore, Operator, QueueName};
    /// let (admin, queue) = (Operator::new(MemoryStore::new()), QueueName::new("email")?);
    /// let workers = admin.live_workers().await?;
    /// assert!(!workers.iter().any(|worker| worker.may_process(&queue)));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn live_workers(&self) -> Result<Vec<WorkerRow>, OperatorError> {
        let mut rows = self.workers().await?;
        let now_ms = self.probe().await?.now_ms;
        rows.retain(|row| now_ms.is_none_or(|now_ms| !row.is_stale(now_ms)));
        Ok(rows)
    }
}

/// The name most similar to this one, unless none is similar.
fn nearest(queue: &QueueName, names: Vec<QueueName>) -> Option<QueueName> {
    let wanted = queue.as_str().to_lowercase();
    let similarity = |name: &QueueName| strsim::normalized_damerau_levenshtein(&wanted, &name.as_str().to_lowercase());
    let rated = names.into_iter().map(|name| (similarity(&name), name)).filter(|(rate, _)| *rate >= SIMILARITY_MIN);
    rated.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use retraced_jobs::store::memory::MemoryStore;

    use super::*;

    fn name(text: &str) -> QueueName {
        QueueName::new(text).unwrap()
    }

    #[test]
    fn a_mistyped_name_is_near_the_one_that_was_meant_and_an_unlike_name_is_not() {
        let names = || ["billing", "email", "email.bulk", "sms"].map(name).to_vec();
        for (typed, meant) in
            [("biling", "billing"), ("emial", "email"), ("Email", "email"), ("email.bluk", "email.bulk")]
        {
            assert_eq!(nearest(&name(typed), names()), Some(name(meant)), "{typed}");
        }
        assert_eq!(nearest(&name("orders"), names()), None);
        assert_eq!(nearest(&name("orders"), Vec::new()), None);
    }

    #[tokio::test]
    async fn a_queue_that_was_never_announced_but_holds_something_is_known() {
        let admin = Operator::new(MemoryStore::new());
        admin.pause(&name("email")).await.unwrap();
        admin.require_queue(&name("email")).await.unwrap();
        assert!(admin.require_queue(&name("emial")).await.is_err());
    }
}
