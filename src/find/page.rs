//! The methods of [`Operator`] that find jobs, and one page of their results.

use retraced_jobs::job::QueueName;
use retraced_jobs::store::JobSummary;

use super::bulk::Action;
use super::{BulkAction, FindError, JobCursor, JobFilter, JobSearch};
use crate::limits::FIND_EXAMINED_MAX;
use crate::operator::Operator;

/// One page of the jobs that were found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundJobs {
    /// The jobs, at most `limit`. Jobs of one state are in that state's order; jobs of several final states are latest first.
    pub jobs: Vec<JobSummary>,
    /// Where the next page begins; `None` after the last page. A page with fewer than `limit` jobs may have a cursor too, because a page ends when 100,000 jobs were
    /// examined or the jobs found reach 4 MiB.
    pub next: Option<JobCursor>,
    /// How many jobs were examined for this page.
    pub examined: u64,
}

impl Operator {
    /// Finds at most `limit` jobs of a queue, from the beginning or from the cursor of an earlier page. Examines at most 100,000 jobs, in reads of at most 200, and ends
    /// early when the jobs found reach 4 MiB.
    ///
    /// # Errors
    /// [`FindError::OtherList`] when the cursor is from a list of jobs in other states; [`FindError::Operator`] when the store refused or did not answer.
    pub async fn find(
        &self,
        queue: &QueueName,
        filter: &JobFilter,
        from: Option<JobCursor>,
        limit: usize,
    ) -> Result<FoundJobs, FindError> {
        let mut search = self.search(queue, filter, from)?;
        let jobs = search.take(limit, FIND_EXAMINED_MAX).await?;
        let next = search.cursor().await?;
        Ok(FoundJobs { jobs, next, examined: search.examined() })
    }

    /// Prepares a search of a queue, from the beginning or from the cursor of an earlier search. Nothing is read until [`JobSearch::take`] is called.
    ///
    /// # Errors
    /// [`FindError::OtherList`] when the cursor is from a list of jobs in other states.
    pub fn search(
        &self,
        queue: &QueueName,
        filter: &JobFilter,
        from: Option<JobCursor>,
    ) -> Result<JobSearch, FindError> {
        match from {
            Some(cursor) => JobSearch::resumed(self, queue, filter, cursor),
            None => Ok(JobSearch::from_the_beginning(self, queue, filter)),
        }
    }

    /// Redrives all jobs that match, as [`redrive`](Self::redrive) does, in steps: nothing happens until [`BulkAction::step`] is called. A redriven job that dies or is
    /// delayed again before the last step is not redriven a second time (of delayed jobs the last [`RECENT_IDS_MIN`](crate::limits::RECENT_IDS_MIN) are remembered), and a job that somebody else moves is left alone.
    #[must_use]
    pub fn redrive_matching(&self, queue: &QueueName, filter: &JobFilter) -> BulkAction {
        BulkAction::new(self, queue, filter, Action::Redrive)
    }

    /// Discards all jobs that match, as [`discard`](Self::discard) does, in steps: nothing happens until [`BulkAction::step`] is called. A job that comes into one of these
    /// final states after the first step is not discarded, and a job that somebody else moves is left alone.
    #[must_use]
    pub fn discard_matching(&self, queue: &QueueName, filter: &JobFilter) -> BulkAction {
        BulkAction::new(self, queue, filter, Action::Discard)
    }

    /// Cancels all jobs that match, as [`cancel`](Self::cancel) does, in steps: nothing happens until [`BulkAction::step`] is called. Jobs that are enqueued after the
    /// first step are not cancelled. A waiting job that a worker claims before its step is left alone; use a filter for jobs in
    /// [`JobState::Processing`](crate::JobState::Processing) to ask the handlers of running ones to stop. On a store that does not say its time
    /// ([`StoreFacts::now_ms`](crate::store::StoreFacts::now_ms)), jobs can be missed when others are claimed meanwhile.
    #[must_use]
    pub fn cancel_matching(&self, queue: &QueueName, filter: &JobFilter) -> BulkAction {
        BulkAction::new(self, queue, filter, Action::Cancel)
    }
}
