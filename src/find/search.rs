//! Jobs of one or several states, read page by page and filtered.

use std::cmp::Ordering;
use std::collections::VecDeque;

use retraced_jobs::job::{JobState, QueueName};
use retraced_jobs::store::Cursor;
use retraced_jobs::trace::JobSummary;

use super::cursor::Examined;
use super::{FindError, JobCursor, JobFilter};
use crate::limits::FIND_READ_MAX;
use crate::operator::{Operator, OperatorError};

/// A search under way: reads jobs page by page, and keeps what it has read between two calls. [`Operator::find`] is the short form for one page.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::sync::Arc;
/// # use retraced::{Client, Job, MemoryStore, Operator, QueueName, store::Store};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Welcome;
/// # impl Job for Welcome { const KIND: &'static str = "welcome"; }
/// # let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
/// # let client = Client::shared(store.clone()).queue("email")?;
/// # for _ in 0..3 { client.enqueue(Welcome).await?; }
/// # let (operator, queue) = (Operator::new(store), QueueName::new("email")?);
/// use retraced::{JobFilter, JobState, find::JobSearch};
/// let mut search: JobSearch = operator.search(&queue, &JobFilter::in_state(JobState::Pending), None)?;
/// let (first, rest) = (search.take(2, 1_000).await?, search.take(2, 1_000).await?);
/// assert_eq!((first.len(), rest.len(), search.examined()), (2, 1, 3));
/// assert_eq!(search.cursor().await?, None);
/// # Ok(())
/// # }
/// ```
pub struct JobSearch {
    operator: Operator,
    queue: QueueName,
    filter: JobFilter,
    page_size: usize,
    streams: Vec<Stream>,
    after: Option<Examined>,
    examined: u64,
}

/// The jobs of one state that were read and not examined yet.
struct Stream {
    state: JobState,
    page: VecDeque<JobSummary>,
    /// Where that page begins.
    begin: Option<Cursor>,
    /// Where the next one does.
    next: Option<Cursor>,
    /// Whether some of the page was examined.
    entered: bool,
    /// Whether the pages may still hold what an earlier search has examined.
    resumes: bool,
    begun: bool,
    ended: bool,
}

impl JobSearch {
    pub(super) fn from_the_beginning(operator: &Operator, queue: &QueueName, filter: &JobFilter) -> Self {
        let streams = filter.states().iter().map(|state| Stream::new(*state, None, false)).collect();
        let (operator, queue, filter) = (operator.clone(), queue.clone(), filter.clone());
        Self { operator, queue, filter, page_size: FIND_READ_MAX, streams, after: None, examined: 0 }
    }

    pub(super) fn resumed(
        operator: &Operator,
        queue: &QueueName,
        filter: &JobFilter,
        from: JobCursor,
    ) -> Result<Self, FindError> {
        let JobCursor { after, pages } = from;
        if pages.iter().any(|(state, _)| !filter.states().contains(state)) {
            return Err(FindError::OtherList);
        }
        let resumes = after.is_some();
        let streams =
            pages.into_iter().map(|(state, begin)| Stream::new(state, begin.map(Cursor::from), resumes)).collect();
        Ok(Self { streams, after, ..Self::from_the_beginning(operator, queue, filter) })
    }

    /// How many jobs were examined so far.
    #[must_use]
    pub fn examined(&self) -> u64 {
        self.examined
    }

    /// The next jobs that match: fewer than `limit` after the last, or when this call has examined `examined_max` jobs.
    ///
    /// # Errors
    /// [`OperatorError`] when the store refused or did not answer.
    pub async fn take(&mut self, limit: usize, examined_max: u64) -> Result<Vec<JobSummary>, OperatorError> {
        // Pages no larger than what is asked for, unless most of a page may be filtered out.
        self.page_size = if self.filter.is_unconditional() { limit.clamp(1, FIND_READ_MAX) } else { FIND_READ_MAX };
        let examined_max = self.examined.saturating_add(examined_max);
        let mut jobs = Vec::new();
        while jobs.len() < limit {
            let Some(job) = self.next(examined_max).await? else { break };
            jobs.push(job);
        }
        Ok(jobs)
    }

    /// The next job that matches; `None` after the last, or when so many were examined in all.
    async fn next(&mut self, examined_max: u64) -> Result<Option<JobSummary>, OperatorError> {
        while self.examined < examined_max {
            for at in 0..self.streams.len() {
                self.fill(at).await?;
            }
            let heads = self.streams.iter().enumerate().filter_map(|(at, s)| s.page.front().map(|job| (at, job)));
            let Some((at, _)) = heads.max_by(|(_, a), (_, b)| latest(a, b)) else { return Ok(None) };
            let Some(job) = self.streams[at].page.pop_front() else { return Ok(None) };
            self.streams[at].entered = true;
            self.examined += 1;
            self.after = Some((job.at_ms, job.state, job.id.clone()));
            if job.state.is_final() && self.filter.is_too_early(&job) {
                self.streams.clear();
                return Ok(None);
            }
            if self.filter.matches(&job) {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    /// Where to go on; `None` when that was all.
    ///
    /// # Errors
    /// [`OperatorError`] when the store refused or did not answer.
    pub async fn cursor(&mut self) -> Result<Option<JobCursor>, OperatorError> {
        for at in 0..self.streams.len() {
            self.fill(at).await?;
        }
        let left = self.streams.iter().filter(|stream| !stream.page.is_empty());
        // At the beginning of a page nothing has to be skipped, unless it is the first, where others come before it meanwhile.
        let after = self.after.clone().filter(|_| left.clone().any(|s| s.entered || s.begin.is_none()));
        let pages: Vec<_> =
            left.map(|stream| (stream.state, stream.begin.as_ref().map(|c| c.as_str().to_owned()))).collect();
        Ok(Some(JobCursor { after, pages }).filter(|cursor| !cursor.pages.is_empty()))
    }

    /// Reads pages of this state until one has jobs, or there are no more.
    async fn fill(&mut self, at: usize) -> Result<(), OperatorError> {
        let after = self.after.clone();
        let stream = &mut self.streams[at];
        while stream.page.is_empty() && !stream.ended {
            let begin = if stream.begun { stream.next.take() } else { stream.begin.take() };
            let page = self.operator.jobs(&self.queue, stream.state, begin.clone(), self.page_size).await?;
            stream.page = page.jobs.into();
            if let Some(after) = after.as_ref().filter(|_| stream.resumes) {
                skip(&mut stream.page, after);
                stream.resumes = stream.page.is_empty();
                stream.entered = true;
            } else {
                stream.entered = false;
            }
            (stream.begin, stream.ended, stream.next, stream.begun) = (begin, page.next.is_none(), page.next, true);
        }
        Ok(())
    }
}

impl Stream {
    fn new(state: JobState, begin: Option<Cursor>, resumes: bool) -> Self {
        Self { state, page: VecDeque::new(), begin, next: None, entered: false, resumes, begun: false, ended: false }
    }
}

/// Leaves out what an earlier search has examined.
fn skip(page: &mut VecDeque<JobSummary>, (at_ms, state, id): &Examined) {
    let Some(after_ms) = *at_ms else {
        // Pending jobs have no instant, and this one may have been claimed meanwhile.
        if let Some(at) = page.iter().position(|job| job.id == *id) {
            page.drain(..=at);
        }
        return;
    };
    let after = (after_ms, *state, id.as_wire());
    while let Some(job) = page.front() {
        let order = ordered((job.at_ms.unwrap_or(0), job.state, job.id.as_wire()), after);
        let seen = if job.state.is_final() { order.is_ge() } else { order.is_le() };
        if !seen {
            return;
        }
        page.pop_front();
    }
}

/// The later one is greater; of one instant, stores order by the bytes of ids, and so do we within a state.
fn latest(a: &JobSummary, b: &JobSummary) -> Ordering {
    ordered((a.at_ms.unwrap_or(0), a.state, a.id.as_wire()), (b.at_ms.unwrap_or(0), b.state, b.id.as_wire()))
}

fn ordered(a: (u64, JobState, &[u8]), b: (u64, JobState, &[u8])) -> Ordering {
    a.cmp(&b)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use retraced_jobs::failure::Code;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::limits::BULK_STEP_JOBS;
    use crate::{Context, Failure, Job, MemoryStore, Queue, Retry, Runtime};

    #[derive(Serialize, Deserialize)]
    struct Fails {
        poison: bool,
    }

    impl Job for Fails {
        const KIND: &'static str = "fails";
    }

    async fn fail(job: Fails, _: Context) -> Result<(), Failure> {
        if job.poison {
            return Err(Failure::permanent(Code::InvalidJobData, "no"));
        }
        Err(Failure::temporary(Code::NetworkError, "no"))
    }

    /// A queue with 60 dead and 30 poisoned jobs.
    async fn failed_jobs() -> (Operator, QueueName) {
        let store = MemoryStore::new();
        let queue = Queue::new("q").unwrap().retry(Retry::fixed().max_attempts(1));
        let runtime = Runtime::builder().store(store.clone()).queue(queue.handler(fail)).start().await.unwrap();
        for n in 0..90 {
            let job = Fails { poison: n % 3 == 0 };
            runtime.queue("q").unwrap().job(job).id(format!("j-{n}")).enqueue().await.unwrap();
        }
        let operator = Operator::new(Arc::new(store));
        let name = QueueName::new("q").unwrap();
        tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let stats = operator.stats(&name).await.unwrap();
                if stats.dead + stats.poisoned == 90 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        runtime.shutdown().await.unwrap();
        (operator, name)
    }

    #[tokio::test]
    async fn pages_of_two_states_join_without_a_gap_or_a_repetition_at_any_size() {
        let (operator, queue) = failed_jobs().await;
        let filters = [
            (JobFilter::failed(), 90),
            (JobFilter::failed().code(Code::InvalidJobData), 30),
            (JobFilter::failed().code(Code::NetworkError), 60),
        ];
        for (filter, total) in filters {
            for limit in [1, 7, 29, 30, 31, 90, 100] {
                let (mut from, mut seen, mut last_ms) = (None, BTreeSet::new(), u64::MAX);
                loop {
                    let page = operator.find(&queue, &filter, from, limit).await.unwrap();
                    for job in page.jobs {
                        assert!(job.at_ms.unwrap() <= last_ms, "latest first");
                        last_ms = job.at_ms.unwrap();
                        assert!(seen.insert(job.id.to_string()), "{} twice", job.id);
                    }
                    let Some(next) = page.next else { break };
                    from = Some(next.to_string().parse().unwrap());
                }
                assert_eq!(seen.len(), total, "by {limit}");
            }
        }
    }

    #[tokio::test]
    async fn a_search_ends_at_its_bound_and_goes_on_from_there() {
        let (operator, queue) = failed_jobs().await;
        let filter = JobFilter::failed().code(Code::Panic);
        let mut search = operator.search(&queue, &filter, None).unwrap();
        assert_eq!((search.take(10, 50).await.unwrap(), search.examined()), (vec![], 50));
        let from = search.cursor().await.unwrap();
        let mut search = operator.search(&queue, &filter, from).unwrap();
        assert_eq!((search.take(10, 1_000).await.unwrap(), search.examined()), (vec![], 40));
        assert_eq!(search.cursor().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_cursor_from_jobs_in_other_states_is_refused() {
        let (operator, queue) = failed_jobs().await;
        let page = operator.find(&queue, &JobFilter::failed(), None, 1).await.unwrap();
        let refused = operator.find(&queue, &JobFilter::in_state(JobState::Pending), page.next, 1).await;
        assert!(matches!(refused, Err(FindError::OtherList)));
    }

    #[tokio::test]
    async fn a_bulk_action_takes_what_matches_in_steps_and_nothing_else() {
        let (operator, queue) = failed_jobs().await;
        let mut discard = operator.discard_matching(&queue, &JobFilter::failed().code(Code::NetworkError));
        let mut results = Vec::new();
        while let Some(step) = discard.step().await.unwrap() {
            assert!(step.results.len() <= BULK_STEP_JOBS);
            results.extend(step.results);
        }
        assert_eq!((discard.changed(), discard.unchanged(), results.len()), (60, 0, 60));
        let stats = operator.stats(&queue).await.unwrap();
        assert_eq!((stats.dead, stats.poisoned), (0, 30));
        assert!(discard.step().await.unwrap().is_none(), "it has ended");
    }
}
