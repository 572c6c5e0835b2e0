//! What ran, as the handlers saw it: kept outside everything that is tested.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use retraced_jobs::context::{Context, Stop};
use retraced_jobs::job::JobId;
use tokio::time::Instant;

/// How an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Succeeded,
    Failed,
    Panicked,
    /// Dropped at an await.
    Cut,
}

/// One execution of one job.
#[derive(Debug, Clone)]
pub struct Run {
    pub id: JobId,
    /// The grant's number, from 1: no two executions of a job may share it.
    pub grant: u32,
    /// The try, as handlers are told it.
    pub attempt: u32,
    pub started: Instant,
    pub ended: Option<(Instant, How)>,
    pub stopped: Option<Stop>,
}

/// All executions, in the order they started. Cheap to clone.
#[derive(Clone, Default)]
pub struct Book(Arc<Mutex<Vec<Run>>>);

impl Book {
    fn lock(&self) -> MutexGuard<'_, Vec<Run>> {
        self.0.lock().unwrap()
    }

    /// An execution begins. It is `Cut` unless its entry is told otherwise.
    pub fn begin(&self, ctx: &Context) -> Entry {
        let mut runs = self.lock();
        runs.push(Run {
            id: ctx.id().clone(),
            grant: ctx.counters().attempts,
            attempt: ctx.attempt(),
            started: Instant::now(),
            ended: None,
            stopped: None,
        });
        let earlier = runs.iter().filter(|run| run.id == *ctx.id()).count() - 1;
        Entry { book: self.clone(), at: runs.len() - 1, earlier, ctx: ctx.clone(), how: How::Cut }
    }

    pub fn all(&self) -> Vec<Run> {
        self.lock().clone()
    }

    pub fn of(&self, id: &JobId) -> Vec<Run> {
        self.lock().iter().filter(|run| run.id == *id).cloned().collect()
    }

    pub fn count(&self) -> usize {
        self.lock().len()
    }

    pub fn running(&self) -> usize {
        self.lock().iter().filter(|run| run.ended.is_none()).count()
    }

    pub fn ended(&self) -> usize {
        self.lock().iter().filter(|run| run.ended.is_some()).count()
    }

    /// Most executions that ran at one instant.
    pub fn overlap_max(&self) -> usize {
        let runs = self.lock();
        let at = |t: Instant| {
            runs.iter().filter(|run| run.started <= t && run.ended.is_none_or(|(ended, _)| ended > t)).count()
        };
        runs.iter().map(|run| at(run.started)).max().unwrap_or(0)
    }

    pub fn by_job(&self) -> BTreeMap<JobId, Vec<Run>> {
        let mut jobs: BTreeMap<JobId, Vec<Run>> = BTreeMap::new();
        for run in self.all() {
            jobs.entry(run.id.clone()).or_default().push(run);
        }
        jobs
    }
}

/// An execution under way.
pub struct Entry {
    book: Book,
    at: usize,
    /// Executions of this job before this one.
    pub earlier: usize,
    ctx: Context,
    how: How,
}

impl Entry {
    pub fn ends(mut self, how: How) {
        self.how = how;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let how = if std::thread::panicking() { How::Panicked } else { self.how };
        let mut runs = self.book.lock();
        runs[self.at].ended = Some((Instant::now(), how));
        runs[self.at].stopped = self.ctx.why_stopped();
    }
}
