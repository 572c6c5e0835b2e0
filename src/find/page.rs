//! The calls that find jobs, and one page of what they find.

use retraced_jobs::job::QueueName;
use retraced_jobs::trace::JobSummary;

use super::bulk::Verb;
use super::{BulkAction, FindError, JobCursor, JobFilter, JobSearch};
use crate::limits::FIND_EXAMINED_MAX;
use crate::operator::Operator;

/// One page of the jobs that were found.
///
/// Used in the example of [`JobFilter`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundJobs {
    /// The jobs, at most as many as were asked for. Of one state in that state's order; of several final states latest first.
    pub jobs: Vec<JobSummary>,
    /// Where to go on; `None` when that was all. A page may hold fewer jobs than were asked for and still have a cursor: then 100,000 jobs were examined, or those found
    /// have 4 MiB.
    pub next: Option<JobCursor>,
    /// How many jobs were examined.
    pub examined: u64,
}

impl Operator {
    /// Finds at most `limit` jobs of a queue, from the beginning or from the cursor of an earlier page. Examines at most 100,000 jobs, read at most 200 at a
    /// time, and ends early when those found have 4 MiB.
    ///
    /// # Errors
    /// [`FindError::OtherList`] when the cursor is from a list of other states; [`FindError::Operator`] when the store refused or did not answer.
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

    /// Begins to search a queue, from the beginning or from the cursor of an earlier search. Reads nothing before [`JobSearch::take`] is called.
    ///
    /// # Errors
    /// [`FindError::OtherList`] when the cursor is from a list of other states.
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

    /// Redrives all jobs that match, as [`redrive`](Self::redrive) does, in steps: nothing happens before [`BulkAction::step`] is called. A job that dies again
    /// meanwhile is not redriven twice, and one that somebody else moves is left alone.
    #[must_use]
    pub fn redrive_matching(&self, queue: &QueueName, filter: &JobFilter) -> BulkAction {
        BulkAction::new(self, queue, filter, Verb::Redrive)
    }

    /// Discards all jobs that match, as [`discard`](Self::discard) does, in steps: nothing happens before [`BulkAction::step`] is called. A job that ends
    /// meanwhile is not discarded, and one that somebody else moves is left alone.
    #[must_use]
    pub fn discard_matching(&self, queue: &QueueName, filter: &JobFilter) -> BulkAction {
        BulkAction::new(self, queue, filter, Verb::Discard)
    }
}
