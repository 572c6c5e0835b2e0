//! Records the jobs that a worker handles: how many succeeded, when, and how late. Also decides which attempts fail.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::job::{BenchJob, now_us};
use crate::limits::WARM_UP_ONE_IN;

/// The record of one measurement, shared by its handlers.
pub(super) struct Recorder {
    jobs: u64,
    succeeded: AtomicU64,
    begun: Instant,
    /// Nanoseconds from `begun` until the end of the warm-up, and until all jobs had succeeded; 0: not yet.
    warm_ns: AtomicU64,
    all_ns: AtomicU64,
    /// The number of jobs for which `wait_for` waits.
    awaited: AtomicU64,
    awaited_reached: Notify,
    /// How often each job fails before it succeeds.
    failures: u8,
    /// The attempts of each job so far.
    attempts: Vec<AtomicU8>,
    /// How long after it was sent, or was due if it was delayed (`BenchJob::at_us`), each job reached its handler, in µs, in the order in which the jobs reached it.
    delays_us: Option<Mutex<Vec<u64>>>,
}

impl Recorder {
    /// A recorder that counts jobs, and with which each attempt succeeds.
    pub(super) fn of(jobs: u64) -> Self {
        Self {
            jobs,
            succeeded: AtomicU64::new(0),
            begun: Instant::now(),
            warm_ns: AtomicU64::new(0),
            all_ns: AtomicU64::new(0),
            awaited: AtomicU64::new(u64::MAX),
            awaited_reached: Notify::new(),
            failures: 0,
            attempts: Vec::new(),
            delays_us: None,
        }
    }

    /// A recorder that also records how long after its `at_us` each job reaches its handler.
    pub(super) fn with_delays(jobs: u64) -> Self {
        let capacity = usize::try_from(jobs).unwrap_or(0);
        Self { delays_us: Some(Mutex::new(Vec::with_capacity(capacity))), ..Self::of(jobs) }
    }

    /// A recorder with which each job fails this often, then succeeds.
    pub(super) fn with_failures(jobs: u64, failures: u8) -> Self {
        Self { failures, attempts: (0..jobs).map(|_| AtomicU8::new(0)).collect(), ..Self::of(jobs) }
    }

    /// Records an attempt; returns whether the handler should succeed.
    pub(super) fn handle(&self, job: &BenchJob) -> bool {
        if let Some(delays) = &self.delays_us {
            let delay = now_us().saturating_sub(job.at_us);
            delays.lock().unwrap_or_else(PoisonError::into_inner).push(delay);
        }
        let attempts = usize::try_from(job.number).ok().and_then(|number| self.attempts.get(number));
        if attempts.is_some_and(|attempts| attempts.fetch_add(1, Ordering::Relaxed) < self.failures) {
            return false;
        }
        let succeeded = self.succeeded.fetch_add(1, Ordering::SeqCst) + 1;
        if succeeded == self.warm_jobs() {
            self.warm_ns.store(self.elapsed_ns(), Ordering::Relaxed);
        }
        if succeeded == self.jobs {
            self.all_ns.store(self.elapsed_ns(), Ordering::Relaxed);
        }
        if succeeded == self.awaited.load(Ordering::SeqCst) {
            self.awaited_reached.notify_one();
        }
        true
    }

    /// Waits until this many jobs have succeeded, without a timeout of its own. Only one caller may wait at a time.
    pub(super) async fn wait_for(&self, jobs: u64) {
        self.awaited.store(jobs, Ordering::SeqCst);
        // A `Notify` may hold a permit from an earlier wait, so the number is checked again.
        while self.succeeded.load(Ordering::SeqCst) < jobs {
            self.awaited_reached.notified().await;
        }
    }

    /// How many jobs have succeeded so far.
    pub(super) fn count(&self) -> u64 {
        self.succeeded.load(Ordering::SeqCst)
    }

    /// Jobs per second, without those of the warm-up.
    pub(super) fn rate(&self) -> f64 {
        let ns = self.all_ns.load(Ordering::Relaxed).saturating_sub(self.warm_ns.load(Ordering::Relaxed));
        (self.jobs - self.warm_jobs()) as f64 / Duration::from_nanos(ns).as_secs_f64()
    }

    /// The recorded delays, in ms, sorted, without those of the `skipped` jobs that reached their handlers first.
    pub(super) fn delays_ms(&self, skipped: usize) -> Vec<f64> {
        let Some(delays) = &self.delays_us else { return Vec::new() };
        let delays = delays.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<f64> = delays.iter().skip(skipped).map(|us| *us as f64 / 1_000.0).collect();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    fn warm_jobs(&self) -> u64 {
        self.jobs / WARM_UP_ONE_IN
    }

    fn elapsed_ns(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_fails_as_often_as_set_and_is_counted_once() {
        let recorder = Recorder::with_failures(2, 2);
        let succeeded: Vec<bool> = [0, 1, 0, 0, 1, 1].map(|number| recorder.handle(&BenchJob::now(number))).into();
        assert_eq!(succeeded, [false, false, false, true, false, true]);
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
