//! Records the jobs that a worker handles: how many, when, how late, and which attempt.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::job::{BenchJob, now_us};

/// The record of one measurement, shared by its handlers.
pub(super) struct Recorder {
    jobs: u64,
    handled: AtomicU64,
    begun: Instant,
    /// Nanoseconds since `begun` at which the first twentieth and all jobs were handled; 0: not yet.
    warm_ns: AtomicU64,
    all_ns: AtomicU64,
    /// The number of jobs for which `wait_for` waits.
    awaited: AtomicU64,
    reached: Notify,
    /// How often each job fails before it succeeds.
    failures: u8,
    /// The attempts of each job so far.
    attempts: Vec<AtomicU8>,
    /// How long after its `at_us` each job was handled, in µs, in order of handling.
    delays_us: Option<Mutex<Vec<u64>>>,
}

impl Recorder {
    /// A recorder that only counts jobs.
    pub(super) fn of(jobs: u64) -> Self {
        Self {
            jobs,
            handled: AtomicU64::new(0),
            begun: Instant::now(),
            warm_ns: AtomicU64::new(0),
            all_ns: AtomicU64::new(0),
            awaited: AtomicU64::new(u64::MAX),
            reached: Notify::new(),
            failures: 0,
            attempts: Vec::new(),
            delays_us: None,
        }
    }

    /// A recorder that also records how long after its `at_us` each job is handled.
    pub(super) fn with_delays(jobs: u64) -> Self {
        let capacity = usize::try_from(jobs).unwrap_or(0);
        Self { delays_us: Some(Mutex::new(Vec::with_capacity(capacity))), ..Self::of(jobs) }
    }

    /// A recorder with which each job fails this often, then succeeds.
    pub(super) fn with_failures(jobs: u64, failures: u8) -> Self {
        Self { failures, attempts: (0..jobs).map(|_| AtomicU8::new(0)).collect(), ..Self::of(jobs) }
    }

    /// Handles a job; returns whether the attempt succeeded.
    pub(super) fn handle(&self, job: &BenchJob) -> bool {
        if let Some(delays) = &self.delays_us {
            let delay = now_us().saturating_sub(job.at_us);
            delays.lock().unwrap_or_else(PoisonError::into_inner).push(delay);
        }
        let tried = usize::try_from(job.number).ok().and_then(|number| self.attempts.get(number));
        if tried.is_some_and(|tried| tried.fetch_add(1, Ordering::Relaxed) < self.failures) {
            return false;
        }
        let handled = self.handled.fetch_add(1, Ordering::SeqCst) + 1;
        if handled == self.warm_jobs() {
            self.warm_ns.store(self.elapsed_ns(), Ordering::Relaxed);
        }
        if handled == self.jobs {
            self.all_ns.store(self.elapsed_ns(), Ordering::Relaxed);
        }
        if handled == self.awaited.load(Ordering::SeqCst) {
            self.reached.notify_one();
        }
        true
    }

    /// Waits until this many jobs succeeded. Only one caller may wait at a time; the measurement has a timeout.
    pub(super) async fn wait_for(&self, jobs: u64) {
        self.awaited.store(jobs, Ordering::SeqCst);
        // The wake-up of an earlier wait may still be stored, so the number is checked each time.
        while self.handled.load(Ordering::SeqCst) < jobs {
            self.reached.notified().await;
        }
    }

    /// How many jobs succeeded so far.
    pub(super) fn count(&self) -> u64 {
        self.handled.load(Ordering::SeqCst)
    }

    /// Jobs per second, without the first twentieth, in which the worker warms up.
    pub(super) fn rate(&self) -> f64 {
        let ns = self.all_ns.load(Ordering::Relaxed).saturating_sub(self.warm_ns.load(Ordering::Relaxed));
        (self.jobs - self.warm_jobs()) as f64 / Duration::from_nanos(ns).as_secs_f64()
    }

    /// The delays of all jobs but the first `skipped`, in ms, sorted.
    pub(super) fn delays_ms(&self, skipped: usize) -> Vec<f64> {
        let Some(delays) = &self.delays_us else { return Vec::new() };
        let delays = delays.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<f64> = delays.iter().skip(skipped).map(|us| *us as f64 / 1_000.0).collect();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    fn warm_jobs(&self) -> u64 {
        self.jobs / 20
    }

    fn elapsed_ns(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_fails_as_often_as_asked_and_counts_once() {
        let recorder = Recorder::with_failures(2, 2);
        let tried: Vec<bool> = [0, 1, 0, 0, 1, 1].map(|number| recorder.handle(&BenchJob::now(number))).into();
        assert_eq!(tried, [false, false, false, true, false, true]);
        recorder.wait_for(2).await;
    }

    #[tokio::test]
    async fn a_waiter_is_woken_by_the_last_job() {
        let recorder = std::sync::Arc::new(Recorder::with_delays(3));
        let waits = tokio::spawn({
            let recorder = recorder.clone();
            async move { recorder.wait_for(3).await }
        });
        tokio::task::yield_now().await;
        (0..3).for_each(|number| assert!(recorder.handle(&BenchJob::at(number, 0))));
        assert!(tokio::time::timeout(Duration::from_secs(30), waits).await.is_ok());
        assert_eq!(recorder.delays_ms(1).len(), 2);
    }
}
