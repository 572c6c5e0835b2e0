//! Reads the jobs of one or several states page by page, and filters them.

use std::cmp::Ordering;
use std::collections::VecDeque;

use retraced_jobs::job::{JobState, QueueName};
use retraced_jobs::store::{Cursor, JobSummary};

use super::cursor::Examined;
use super::{FindError, JobCursor, JobFilter};
use crate::limits::{FIND_BYTES_MAX, FIND_FIRST_READ_MAX, FIND_READ_MAX};
use crate::operator::{Operator, OperatorError};

/// A search that reads jobs page by page, and keeps between two calls what it has read and not returned. [`Operator::find`] is the short form for one page.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::sync::Arc;
/// # use retraced::{Client, Job, MemoryStore, Operator, QueueName, Store};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Welcome;
/// # impl Job for Welcome { const KIND: &'static str = "welcome"; }
/// # let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
/// # let client = Client::shared(store.clone()).queue("email")?;
/// # for _ in 0..3 { client.enqueue(Welcome).await?; }
/// # let (operator, queue) = (Operator::shared(store), QueueName::new("email")?);
/// use retraced::{JobState, find::{JobFilter, JobSearch}};
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
    /// The maximum number of jobs in one read, computed from the size of the jobs read last.
    read_max: usize,
    readers: Vec<StateReader>,
    /// The last job examined.
    after: Option<Examined>,
    examined: u64,
    /// Jobs that a failed call found and could not return. The next call returns them.
    found: Vec<JobSummary>,
    /// The position before the first job of `found`.
    before_found: Option<JobCursor>,
}

/// Reads the jobs of one state.
struct StateReader {
    state: JobState,
    /// Jobs that were read and not yet examined.
    page: VecDeque<JobSummary>,
    /// Where `page` begins.
    begin: Option<Cursor>,
    /// Where the page after it begins.
    next: Option<Cursor>,
    /// Whether a job of `page` was already examined.
    entered: bool,
    /// Whether the next page may still contain jobs that an earlier search examined.
    resumes: bool,
    /// Whether a page was read.
    begun: bool,
    /// Whether `page` is the last one.
    ended: bool,
}

impl JobSearch {
    pub(super) fn from_the_beginning(operator: &Operator, queue: &QueueName, filter: &JobFilter) -> Self {
        let readers = filter.states().iter().map(|state| StateReader::new(*state, None, false)).collect();
        let (operator, queue, filter) = (operator.clone(), queue.clone(), filter.clone());
        Self {
            operator,
            queue,
            filter,
            page_size: FIND_READ_MAX,
            read_max: FIND_FIRST_READ_MAX,
            readers,
            after: None,
            examined: 0,
            found: Vec::new(),
            before_found: None,
        }
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
        let readers =
            pages.into_iter().map(|(state, begin)| StateReader::new(state, begin.map(Cursor::from), resumes)).collect();
        Ok(Self { readers, after, ..Self::from_the_beginning(operator, queue, filter) })
    }

    /// How many jobs this search has examined so far.
    #[must_use]
    pub fn examined(&self) -> u64 {
        self.examined
    }

    /// The next jobs that match, at most `limit`. There are fewer (or none) at the end of the list and when this call has examined `examined_max` jobs; there are fewer,
    /// but at least one, when the jobs found reach 4 MiB.
    ///
    /// # Errors
    /// [`OperatorError`] when the store refused or did not answer. No job is lost: the next call first returns the jobs that this call found.
    pub async fn take(&mut self, limit: usize, examined_max: u64) -> Result<Vec<JobSummary>, OperatorError> {
        // Without conditions every job read is returned, so no more than `limit` are read. With conditions most of a page may be filtered out.
        self.page_size = if self.filter.is_unconditional() { limit.clamp(1, FIND_READ_MAX) } else { FIND_READ_MAX };
        let examined_max = self.examined.saturating_add(examined_max);
        if self.found.is_empty() {
            self.before_found = Some(self.position());
        }
        let mut bytes: usize = self.found.iter().map(size).sum();
        while self.found.len() < limit && bytes < FIND_BYTES_MAX {
            let Some(job) = self.next(examined_max).await? else { break };
            bytes += size(&job);
            self.found.push(job);
        }
        Ok(std::mem::take(&mut self.found))
    }

    /// Whether every job was examined and returned.
    pub(super) fn is_over(&self) -> bool {
        self.found.is_empty() && self.readers.iter().all(|reader| reader.ended && reader.page.is_empty())
    }

    /// Where the list continues, as far as that is known without a read.
    fn position(&self) -> JobCursor {
        let unfinished = self.readers.iter().filter(|reader| !(reader.ended && reader.page.is_empty()));
        let begin = |reader: &StateReader| {
            let page_is_done = reader.begun && reader.page.is_empty();
            if page_is_done { reader.next.clone() } else { reader.begin.clone() }
        };
        let pages = unfinished.map(|reader| (reader.state, begin(reader).map(|cursor| cursor.as_str().to_owned())));
        JobCursor { after: self.after.clone(), pages: pages.collect() }
    }

    /// The next job that matches; `None` at the end of the list, or when this search has examined `examined_max` jobs in total.
    async fn next(&mut self, examined_max: u64) -> Result<Option<JobSummary>, OperatorError> {
        while self.examined < examined_max {
            for index in 0..self.readers.len() {
                self.fill(index).await?;
            }
            let heads = self.readers.iter().enumerate().filter_map(|(index, r)| Some((index, r.page.front()?)));
            let Some((index, _)) = heads.max_by(|(_, a), (_, b)| by_time(a, b)) else { return Ok(None) };
            let Some(job) = self.readers[index].page.pop_front() else { return Ok(None) };
            self.readers[index].entered = true;
            self.examined += 1;
            self.after = Some((job.at_ms, job.state, job.id.clone()));
            if job.state.is_final() && self.filter.is_too_old(&job) {
                self.readers.clear();
                return Ok(None);
            }
            if self.filter.matches(&job) {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    /// Where the list continues after the jobs that were returned; `None` at its end.
    ///
    /// # Errors
    /// [`OperatorError`] when the store refused or did not answer; this method can be called again.
    pub async fn cursor(&mut self) -> Result<Option<JobCursor>, OperatorError> {
        if !self.found.is_empty() {
            return Ok(self.before_found.clone());
        }
        for index in 0..self.readers.len() {
            self.fill(index).await?;
        }
        let unfinished = self.readers.iter().filter(|reader| !reader.page.is_empty());
        // A search that continues at the beginning of a page has no job to skip, except on the first page of a state: new jobs may stand there before those already seen.
        let after = self.after.clone().filter(|_| unfinished.clone().any(|r| r.entered || r.begin.is_none()));
        let pages: Vec<_> =
            unfinished.map(|reader| (reader.state, reader.begin.as_ref().map(|c| c.as_str().to_owned()))).collect();
        Ok(Some(JobCursor { after, pages }).filter(|cursor| !cursor.pages.is_empty()))
    }

    /// Reads pages with the reader at this index until a page has jobs or its state has no more.
    async fn fill(&mut self, index: usize) -> Result<(), OperatorError> {
        let after = self.after.clone();
        let reader = &mut self.readers[index];
        while reader.page.is_empty() && !reader.ended {
            // The reader changes only after the read has succeeded: a read that fails or is dropped is repeated from the same position.
            let begin = if reader.begun { reader.next.clone() } else { reader.begin.clone() };
            let limit = self.page_size.min(self.read_max);
            let page = self.operator.jobs(&self.queue, reader.state, begin.clone(), limit).await?;
            let bytes: usize = page.jobs.iter().map(size).sum();
            self.read_max = (FIND_BYTES_MAX / (bytes / page.jobs.len().max(1)).max(1)).clamp(1, FIND_READ_MAX);
            reader.page = page.jobs.into();
            if let Some(after) = after.as_ref().filter(|_| reader.resumes) {
                // The final states are merged by time, so the jobs of each were examined up to that of the last job. Another state is examined in one go: of this page no
                // job was examined unless the last one was of this state.
                if reader.state.is_final() || reader.state == after.1 {
                    skip(&mut reader.page, after);
                }
                reader.resumes = reader.page.is_empty();
                reader.entered = true;
            } else {
                reader.entered = false;
            }
            (reader.begin, reader.ended, reader.next, reader.begun) = (begin, page.next.is_none(), page.next, true);
        }
        Ok(())
    }
}

impl StateReader {
    fn new(state: JobState, begin: Option<Cursor>, resumes: bool) -> Self {
        Self { state, page: VecDeque::new(), begin, next: None, entered: false, resumes, begun: false, ended: false }
    }
}

/// The bytes of a job that count against [`FIND_BYTES_MAX`].
fn size(job: &JobSummary) -> usize {
    job.envelope.len()
}

/// Removes the jobs that an earlier search has examined, up to and including the last of them.
fn skip(page: &mut VecDeque<JobSummary>, (at_ms, state, id): &Examined) {
    let Some(after_ms) = *at_ms else {
        // Pending jobs are not ordered by time, so the last one is looked up by its id. It may have been claimed since; then nothing is removed.
        if let Some(at) = page.iter().position(|job| job.id == *id) {
            page.drain(..=at);
        }
        return;
    };
    let after = (after_ms, *state, id.as_wire());
    while let Some(job) = page.front() {
        let order = compare((job.at_ms.unwrap_or(0), job.state, job.id.as_wire()), after);
        let seen = if job.state.is_final() { order.is_ge() } else { order.is_le() };
        if !seen {
            return;
        }
        page.pop_front();
    }
}

/// The later job is greater. Jobs of the same instant are ordered by state, then by the bytes of their ids as in the stores.
fn by_time(a: &JobSummary, b: &JobSummary) -> Ordering {
    compare((a.at_ms.unwrap_or(0), a.state, a.id.as_wire()), (b.at_ms.unwrap_or(0), b.state, b.id.as_wire()))
}

fn compare(a: (u64, JobState, &[u8]), b: (u64, JobState, &[u8])) -> Ordering {
    a.cmp(&b)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::time::Duration;

    use retraced_jobs::failure::Code;
    use retraced_jobs::job::{InstanceId, NewJob, RunAt};
    use retraced_jobs::store::{
        Admin, CallId, Decorator, JobPage, Moved, ReplaySlots, Store, StoreError, StoreFuture, Target, Transitions,
    };
    use retraced_jobs::trace::OperatorName;
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
        let (store, name) = store_of_failed_jobs().await;
        (Operator::shared(Arc::new(store)), name)
    }

    async fn store_of_failed_jobs() -> (MemoryStore, QueueName) {
        let store = MemoryStore::new();
        let queue = Queue::new("q").unwrap().retry(Retry::fixed().max_attempts(1));
        let runtime = Runtime::builder().store(store.clone()).queue(queue.handler(fail)).start().await.unwrap();
        for n in 0..90 {
            let job = Fails { poison: n % 3 == 0 };
            runtime.queue("q").unwrap().job(job).id(format!("j-{n}")).enqueue().await.unwrap();
        }
        let operator = Operator::shared(Arc::new(store.clone()));
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
        (store, name)
    }

    /// A store that refuses every second read of jobs, and every second discard.
    struct Shaky {
        inner: MemoryStore,
        reads: AtomicU32,
        discards: AtomicU32,
    }

    fn refused<T>(calls: &AtomicU32) -> Option<Result<T, StoreError>> {
        let is_second = calls.fetch_add(1, SeqCst) % 2 == 1;
        is_second.then(|| Err(StoreError::Refused { operation: "jobs", reason: "for a test".into() }))
    }

    impl Decorator for Shaky {
        fn inner(&self) -> &dyn Store {
            &self.inner
        }

        fn jobs<'a>(
            &'a self,
            queue: &'a QueueName,
            state: JobState,
            from: Option<Cursor>,
            limit: usize,
        ) -> StoreFuture<'a, JobPage> {
            match refused(&self.reads) {
                Some(refused) => Box::pin(async move { refused }),
                None => self.inner.jobs(queue, state, from, limit),
            }
        }

        fn discard<'a>(
            &'a self,
            call: CallId,
            queue: &'a QueueName,
            by: &'a OperatorName,
            jobs: &'a [Target],
        ) -> StoreFuture<'a, Vec<Moved>> {
            match refused(&self.discards) {
                Some(refused) => Box::pin(async move { refused }),
                None => self.inner.discard(call, queue, by, jobs),
            }
        }
    }

    /// The failed jobs behind a store that refuses every second call.
    async fn shaky() -> (Operator, QueueName) {
        let (inner, queue) = store_of_failed_jobs().await;
        (Operator::shared(Arc::new(Shaky { inner, reads: AtomicU32::new(0), discards: AtomicU32::new(1) })), queue)
    }

    #[tokio::test]
    async fn a_failed_read_is_repeated_and_the_jobs_found_before_it_are_kept() {
        let (operator, queue) = shaky().await;
        let mut search = operator.search(&queue, &JobFilter::failed(), None).unwrap();
        let (mut seen, mut failures) = (Vec::new(), 0);
        loop {
            match search.take(7, u64::MAX).await {
                Ok(jobs) if jobs.is_empty() => break,
                Ok(jobs) => seen.extend(jobs.into_iter().map(|job| job.id)),
                Err(_) => failures += 1,
            }
        }
        assert_eq!((seen.len(), seen.iter().collect::<BTreeSet<_>>().len()), (90, 90));
        assert!(failures > 3, "{failures}");
    }

    #[tokio::test]
    async fn the_cursor_after_a_failure_leads_to_jobs_that_were_found_and_not_returned() {
        let (operator, queue) = shaky().await;
        let mut search = operator.search(&queue, &JobFilter::failed(), None).unwrap();
        let mut seen = 0;
        while search.found.is_empty() {
            assert!(seen < 90, "no read failed after a job was found");
            seen += search.take(7, u64::MAX).await.map_or(0, |jobs| jobs.len());
        }
        let from = search.cursor().await.unwrap().unwrap().to_string();
        let mut rest = operator.search(&queue, &JobFilter::failed(), Some(from.parse().unwrap())).unwrap();
        while !rest.is_over() {
            seen += rest.take(7, u64::MAX).await.map_or(0, |jobs| jobs.len());
            assert!(seen <= 90, "{seen}");
        }
        assert_eq!(seen, 90);
    }

    #[tokio::test]
    async fn a_bulk_action_repeats_a_step_that_failed() {
        let (operator, queue) = shaky().await;
        let mut discard = operator.discard_matching(&queue, &JobFilter::failed());
        let mut failures = 0;
        loop {
            match discard.step().await {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => failures += 1,
            }
        }
        assert_eq!((discard.changed(), discard.unchanged()), (90, 0));
        assert!(failures > 1, "{failures}");
        let stats = operator.stats(&queue).await.unwrap();
        assert_eq!((stats.dead, stats.poisoned), (0, 0));
    }

    #[tokio::test]
    async fn large_jobs_are_returned_in_results_of_bounded_bytes() {
        let store = Arc::new(MemoryStore::new());
        let queue = QueueName::new("q").unwrap();
        let large = |n| NewJob {
            id: format!("j-{n}").parse().unwrap(),
            run_at: RunAt::Now,
            envelope: vec![0; FIND_BYTES_MAX / 2].into(),
        };
        let call = CallId {
            instance: uuid::Uuid::nil().into(),
            replay_slot: 0,
            sequence: 1,
            nonce: [0; 8],
            first_sending: false,
        };
        store.enqueue(call, &queue, &[large(0), large(1), large(2)]).await.unwrap();
        let operator = Operator::shared(store);
        let mut search = operator.search(&queue, &JobFilter::in_state(JobState::Pending), None).unwrap();
        assert_eq!(search.take(9, u64::MAX).await.unwrap().len(), 2);
        assert_eq!(search.read_max, 2);
        assert_eq!(search.take(9, u64::MAX).await.unwrap().len(), 1);
        assert_eq!(search.take(9, u64::MAX).await.unwrap().len(), 0);
    }

    #[tokio::test]
    async fn pages_of_two_states_have_no_gap_and_no_repetition_at_any_page_size() {
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
                assert_eq!(seen.len(), total, "pages of {limit}");
            }
        }
    }

    #[tokio::test]
    async fn pages_of_waiting_jobs_never_leave_out_the_pending_ones() {
        let (store, queue) = (MemoryStore::new(), QueueName::new("q").unwrap());
        let slots = ReplaySlots::new(InstanceId::from(uuid::Uuid::from_u128(1)), 1);
        let jobs: Vec<_> = (0..7_u64)
            .map(|n| NewJob {
                id: format!("j-{n}").parse().unwrap(),
                run_at: if n < 3 { RunAt::After(Duration::from_secs(60 + n)) } else { RunAt::Now },
                envelope: "sealed".into(),
            })
            .collect();
        store.enqueue(slots.take().await.next_call(), &queue, &jobs).await.unwrap();
        let operator = Operator::new(store);
        for limit in [1, 2, 3, 4, 5, 7, 100] {
            let (mut from, mut seen) = (None, Vec::new());
            loop {
                let page = operator.find(&queue, &JobFilter::waiting(), from, limit).await.unwrap();
                seen.extend(page.jobs.into_iter().map(|job| job.id.to_string()));
                let Some(next) = page.next else { break };
                from = Some(next.to_string().parse().unwrap());
            }
            assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 7, "pages of {limit}: {seen:?}");
            assert_eq!(seen.len(), 7, "pages of {limit}: {seen:?}");
        }
    }

    #[tokio::test]
    async fn a_search_ends_at_its_bound_and_continues_from_there() {
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
    async fn a_bulk_action_acts_in_steps_on_the_jobs_that_match_and_no_others() {
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
