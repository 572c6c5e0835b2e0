//! [`Admin`] on Redis: for operators, waiters for outcomes and the janitor.

use std::time::Duration;

use super::RedisStore;
use super::reply::Reply;
use super::scan::Scan;
use super::scripts::{self, Action, about_key};
use crate::events::Finding;
use crate::job::{JobId, JobState, QueueName};
use crate::limits::OUTCOME_WAIT_MAX;
use crate::store::batch::check_batch;
use crate::store::{
    Admin, BATCH_MAX, CallId, CountCheck, Cursor, JobPage, JobView, Moved, QueueDeletion, QueueStats, StoreFuture,
    Target, Tombstone, TrimPolicy, Trimmed, UnfinishedJobs,
};
use crate::trace::OperatorName;

impl Admin for RedisStore {
    fn queues(&self) -> StoreFuture<'_, Vec<QueueName>> {
        Box::pin(async move {
            let key = &self.keyspace().queues;
            let sent = self.0.general.send("queues", redis::cmd("SMEMBERS").arg(key)).await;
            let value = sent.map_err(|error| about_key(key, error))?;
            let mut members = Reply::new("queues", value)?;
            let mut queues = Vec::with_capacity(members.len());
            while !members.is_empty() {
                // A name that no queue can have was written by hand, and is left out.
                let member = String::from_utf8(members.bytes()?).unwrap_or_default();
                queues.extend(QueueName::new(member));
            }
            queues.sort();
            Ok(queues)
        })
    }

    fn stats<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, QueueStats> {
        Box::pin(async move { scripts::stats(&self.0.general, &self.keys(queue)).await })
    }

    fn jobs<'a>(
        &'a self,
        queue: &'a QueueName,
        state: JobState,
        from: Option<Cursor>,
        limit: usize,
    ) -> StoreFuture<'a, JobPage> {
        let limit = limit.clamp(1, BATCH_MAX);
        Box::pin(async move { scripts::jobs(&self.0.general, &self.keys(queue), state, from, limit).await })
    }

    fn job<'a>(&'a self, queue: &'a QueueName, id: &'a JobId) -> StoreFuture<'a, Option<JobView>> {
        Box::pin(async move { scripts::job(&self.0.general, &self.keys(queue), queue, id).await })
    }

    fn tombstone<'a>(&'a self, queue: &'a QueueName, id: &'a JobId) -> StoreFuture<'a, Option<Tombstone>> {
        Box::pin(async move { scripts::tombstone(&self.0.general, &self.keys(queue), id).await })
    }

    fn redrive<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        by: &'a OperatorName,
        jobs: &'a [Target],
    ) -> StoreFuture<'a, Vec<Moved>> {
        Box::pin(async move {
            check_batch("redrive", jobs.len())?;
            scripts::act(&self.0.general, &self.keys(queue), call, Action::Redrive, by, jobs).await
        })
    }

    fn cancel<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        by: &'a OperatorName,
        jobs: &'a [Target],
    ) -> StoreFuture<'a, Vec<Moved>> {
        Box::pin(async move {
            check_batch("cancel", jobs.len())?;
            scripts::act(&self.0.general, &self.keys(queue), call, Action::Cancel, by, jobs).await
        })
    }

    fn discard<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        by: &'a OperatorName,
        jobs: &'a [Target],
    ) -> StoreFuture<'a, Vec<Moved>> {
        Box::pin(async move {
            check_batch("discard", jobs.len())?;
            scripts::act(&self.0.general, &self.keys(queue), call, Action::Discard, by, jobs).await
        })
    }

    fn watch_outcome<'a>(
        &'a self,
        queue: &'a QueueName,
        id: &'a JobId,
        wait: Duration,
    ) -> StoreFuture<'a, Option<JobView>> {
        let wait = wait.min(OUTCOME_WAIT_MAX);
        Box::pin(async move { scripts::watch_outcome(&self.0.general, &self.keys(queue), queue, id, wait).await })
    }

    fn pause<'a>(&'a self, call: CallId, queue: &'a QueueName, by: &'a OperatorName) -> StoreFuture<'a, bool> {
        Box::pin(async move { scripts::pause(&self.0.general, &self.keys(queue), call, by).await })
    }

    fn resume<'a>(&'a self, call: CallId, queue: &'a QueueName) -> StoreFuture<'a, bool> {
        Box::pin(async move { scripts::resume(&self.0.general, &self.keys(queue), call).await })
    }

    fn delete_queue<'a>(&'a self, queue: &'a QueueName, unfinished: UnfinishedJobs) -> StoreFuture<'a, QueueDeletion> {
        Box::pin(async move {
            // The rights of the script are checked when it runs. That of the command after it is checked here, so that the deletion is not left half done.
            self.0.general.require("delete_queue", &["SREM"]).await?;
            let deletion = scripts::delete_queue(&self.0.general, &self.keys(queue), unfinished).await?;
            if matches!(deletion, QueueDeletion::Deleted { .. }) {
                // Not atomic, because the list of queues has no hash tag in common with the queue: if this command gets no answer, an empty queue may stay listed.
                let key = &self.keyspace().queues;
                let mut command = redis::cmd("SREM");
                command.arg(key).arg(queue.as_str());
                self.0.general.send("delete_queue", &command).await.map_err(|error| about_key(key, error))?;
            }
            Ok(deletion)
        })
    }

    fn trim<'a>(&'a self, call: CallId, queue: &'a QueueName, policy: &'a TrimPolicy) -> StoreFuture<'a, Trimmed> {
        Box::pin(async move {
            check_batch("trim", policy.limit)?;
            scripts::trim(&self.0.general, &self.keys(queue), call, policy).await
        })
    }

    fn check_counts<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, CountCheck> {
        Box::pin(async move { scripts::check_counts(&self.0.general, &self.keys(queue)).await })
    }

    fn scan<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, Vec<Finding>> {
        Box::pin(async move { Scan::reporting(self, &self.keys(queue)).run().await })
    }

    fn repair<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, Vec<Finding>> {
        Box::pin(async move { Scan::repairing(self, &self.keys(queue)).run().await })
    }
}
