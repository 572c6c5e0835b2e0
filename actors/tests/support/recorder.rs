//! Records every execution from inside the handlers, outside of everything that is tested.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use retraced_jobs::context::{Context, Stop};
use retraced_jobs::job::JobId;
use tokio::time::Instant;

/// How an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    Succeeded,
    Failed,
    Panicked,
    /// Dropped at an await.
    Dropped,
}

/// One execution of one job.
#[derive(Debug, Clone)]
pub struct Run {
    pub id: JobId,
    /// Number of the grant, from 1. No two executions of a job may share it.
    pub grant: u32,
    /// `Context::attempt()`: failures so far + 1. It differs from `grant` if the job was released or crashed.
    pub attempt: u32,
    pub started: Instant,
    pub ended: Option<(Instant, RunEnd)>,
    pub stopped: Option<Stop>,
}

/// All executions in the order they started. Cheap to clone.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<Run>>>);

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Vec<Run>> {
        self.0.lock().unwrap()
    }

    /// Records the start of an execution. It counts as dropped unless [`ActiveRun::finish`] is called.
    pub fn start(&self, ctx: &Context) -> ActiveRun {
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
        ActiveRun { recorder: self.clone(), index: runs.len() - 1, earlier, ctx: ctx.clone(), end: RunEnd::Dropped }
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

    /// The largest number of executions that ran at the same time.
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

/// An execution that has not ended yet.
pub struct ActiveRun {
    recorder: Recorder,
    index: usize,
    /// Executions of this job before this one.
    pub earlier: usize,
    ctx: Context,
    end: RunEnd,
}

impl ActiveRun {
    pub fn finish(mut self, end: RunEnd) {
        self.end = end;
    }
}

impl Drop for ActiveRun {
    fn drop(&mut self) {
        let end = if std::thread::panicking() { RunEnd::Panicked } else { self.end };
        let mut runs = self.recorder.lock();
        runs[self.index].ended = Some((Instant::now(), end));
        runs[self.index].stopped = self.ctx.why_stopped();
    }
}
