//! Jobs of one or several states, read page by page and filtered, and where to go on.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use retraced_jobs::job::{JobId, JobState, QueueName};
use retraced_jobs::store::Cursor;
use retraced_jobs::trace::JobSummary;

use super::error::CliError;
use super::filter::Filter;
use crate::Operator;

/// Most jobs one listing looks at in search of those that pass its filter; there it stops, says so and gives the cursor to go on with.
pub(super) const LOOKED_AT_MAX: u64 = 100_000;

/// Jobs of one page: few enough that workers, who wait for its end, do not notice.
const PAGE: usize = 200;

/// A place in a listing: behind this job, in these pages. As text it is the cursor that `--cursor` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// `None`: at the beginning of the pages.
    behind: Option<Looked>,
    pages: Vec<PageOf>,
}

/// A job that was looked at: its instant, its state, its id.
type Looked = (Option<u64>, JobState, JobId);
/// A state that has more, and the beginning of the page to go on with; `None`: the first.
type PageOf = (JobState, Option<String>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_vec(&(&self.behind, &self.pages)).map_err(|_| fmt::Error)?;
        f.write_str(&URL_SAFE_NO_PAD.encode(json))
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let json = URL_SAFE_NO_PAD.decode(text).ok();
        let parts = json.and_then(|json| serde_json::from_slice::<(Option<Looked>, Vec<PageOf>)>(&json).ok());
        parts
            .map(|(behind, pages)| Self { behind, pages })
            .ok_or_else(|| "this is no cursor; take the one that an earlier list ended with".to_owned())
    }
}

/// Reads jobs: of one state in its order, of several final states latest first.
pub(super) struct Pages<'a> {
    operator: &'a Operator,
    queue: &'a QueueName,
    filter: &'a Filter,
    page_size: usize,
    streams: Vec<Stream>,
    behind: Option<Looked>,
    looked_at: u64,
}

/// The jobs of one state that were read and not looked at yet.
struct Stream {
    state: JobState,
    page: VecDeque<JobSummary>,
    /// Where that page begins.
    begin: Option<Cursor>,
    /// Where the next one does.
    next: Option<Cursor>,
    /// Whether some of the page was looked at.
    entered: bool,
    /// Whether the pages may still hold what an earlier listing has looked at.
    resumes: bool,
    begun: bool,
    ended: bool,
}

impl<'a> Pages<'a> {
    /// From the beginning, or from a place an earlier listing of these states ended at. `wanted`: how many are, so that no more are read than needed.
    pub(super) fn new(
        operator: &'a Operator,
        queue: &'a QueueName,
        states: &[JobState],
        filter: &'a Filter,
        from: Option<Place>,
        wanted: usize,
    ) -> Result<Self, CliError> {
        let whole = || Place { behind: None, pages: states.iter().map(|state| (*state, None)).collect() };
        let Place { behind, pages } = from.unwrap_or_else(whole);
        if pages.iter().any(|(state, _)| !states.contains(state)) {
            return Err(CliError::Usage("this cursor is of another list: its jobs are in other states".into()));
        }
        let resumes = behind.is_some();
        let streams =
            pages.into_iter().map(|(state, begin)| Stream::new(state, begin.map(Cursor::from), resumes)).collect();
        // What is filtered out makes no page larger.
        let page_size = if filter.is_open() { wanted.clamp(1, PAGE) } else { PAGE };
        Ok(Self { operator, queue, filter, page_size, streams, behind, looked_at: 0 })
    }

    /// How many jobs were looked at.
    pub(super) fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// The next job that passes; `None` after the last, or when so many were looked at.
    pub(super) async fn next(&mut self, looked_at_max: u64) -> Result<Option<JobSummary>, CliError> {
        while self.looked_at < looked_at_max {
            for at in 0..self.streams.len() {
                self.fill(at).await?;
            }
            let heads = self.streams.iter().enumerate().filter_map(|(at, s)| s.page.front().map(|job| (at, job)));
            let Some((at, _)) = heads.max_by(|(_, a), (_, b)| latest(a, b)) else { return Ok(None) };
            let Some(job) = self.streams[at].page.pop_front() else { return Ok(None) };
            self.streams[at].entered = true;
            self.looked_at += 1;
            self.behind = Some((job.at_ms, job.state, job.id.clone()));
            if job.state.is_final() && self.filter.is_too_early(&job) {
                self.streams.clear();
                return Ok(None);
            }
            if self.filter.passes(&job) {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    /// Where to go on; `None` when that was all.
    pub(super) async fn place(&mut self) -> Result<Option<Place>, CliError> {
        for at in 0..self.streams.len() {
            self.fill(at).await?;
        }
        let left = self.streams.iter().filter(|stream| !stream.page.is_empty());
        // At the beginning of a page nothing has to be skipped, unless it is the first, where others come before it meanwhile.
        let behind = self.behind.clone().filter(|_| left.clone().any(|s| s.entered || s.begin.is_none()));
        let pages: Vec<_> =
            left.map(|stream| (stream.state, stream.begin.as_ref().map(|c| c.as_str().to_owned()))).collect();
        Ok(Some(Place { behind, pages }).filter(|place| !place.pages.is_empty()))
    }

    /// Reads pages of this state until one has jobs, or there are no more.
    async fn fill(&mut self, at: usize) -> Result<(), CliError> {
        let behind = self.behind.clone();
        let stream = &mut self.streams[at];
        while stream.page.is_empty() && !stream.ended {
            let begin = if stream.begun { stream.next.take() } else { stream.begin.take() };
            let page = self.operator.jobs(self.queue, stream.state, begin.clone(), self.page_size).await?;
            stream.page = page.jobs.into();
            if let Some(behind) = behind.as_ref().filter(|_| stream.resumes) {
                skip(&mut stream.page, behind);
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

/// Leaves out what an earlier listing has looked at.
fn skip(page: &mut VecDeque<JobSummary>, (at_ms, state, id): &Looked) {
    let Some(behind_ms) = *at_ms else {
        // Pending jobs have no instant, and this one may have been claimed meanwhile.
        if let Some(at) = page.iter().position(|job| job.id == *id) {
            page.drain(..=at);
        }
        return;
    };
    let behind = (behind_ms, *state, id.as_wire());
    while let Some(job) = page.front() {
        let order = ordered((job.at_ms.unwrap_or(0), job.state, job.id.as_wire()), behind);
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
    use crate::cli::dead::GIVEN_UP;
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
    async fn given_up() -> (Operator, QueueName) {
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
        let (operator, queue) = given_up().await;
        let filters = [
            (Filter::default(), 90),
            (Filter { code: Some(Code::InvalidJobData), ..Filter::default() }, 30),
            (Filter { code: Some(Code::NetworkError), ..Filter::default() }, 60),
        ];
        for (filter, total) in filters {
            for limit in [1, 7, 29, 30, 31, 90, 100] {
                let (mut place, mut seen, mut last_ms) = (None, BTreeSet::new(), u64::MAX);
                loop {
                    let mut pages = Pages::new(&operator, &queue, &GIVEN_UP, &filter, place, limit).unwrap();
                    for _ in 0..limit {
                        let Some(job) = pages.next(u64::MAX).await.unwrap() else { break };
                        assert!(job.at_ms.unwrap() <= last_ms, "latest first");
                        last_ms = job.at_ms.unwrap();
                        assert!(seen.insert(job.id.to_string()), "{} twice", job.id);
                    }
                    let Some(next) = pages.place().await.unwrap() else { break };
                    place = Some(next.to_string().parse().unwrap());
                }
                assert_eq!(seen.len(), total, "by {limit}");
            }
        }
    }

    #[tokio::test]
    async fn a_search_ends_at_its_bound_and_goes_on_from_there() {
        let (operator, queue) = given_up().await;
        let filter = Filter { code: Some(Code::Panic), ..Filter::default() };
        let mut pages = Pages::new(&operator, &queue, &GIVEN_UP, &filter, None, 10).unwrap();
        assert_eq!((pages.next(50).await.unwrap(), pages.looked_at()), (None, 50));
        let place = pages.place().await.unwrap();
        let mut pages = Pages::new(&operator, &queue, &GIVEN_UP, &filter, place, 10).unwrap();
        assert_eq!((pages.next(1_000).await.unwrap(), pages.looked_at()), (None, 40));
        assert_eq!(pages.place().await.unwrap(), None);
    }

    #[test]
    fn a_cursor_that_is_none_is_told() {
        for text in ["", "x", "e30", "!!!"] {
            assert!(text.parse::<Place>().unwrap_err().contains("no cursor"), "{text}");
        }
    }
}
