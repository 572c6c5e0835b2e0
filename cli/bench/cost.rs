//! The cost of work: processor time of the worker and of Redis, commands that Redis ran, and peak memory.

use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::figures::Figures;
use super::server::{Counters, Server};
use crate::error::CliError;

/// What this process and Redis had spent when it was read. The figures are differences from this reading.
pub(super) struct Cost {
    /// Seconds of processor time of this process.
    own_s: f64,
    server: Counters,
    at: Instant,
}

impl Cost {
    pub(super) async fn read(server: &mut Server) -> Result<Self, CliError> {
        let counters = server.counters().await?;
        Ok(Self { own_s: processor_time().as_secs_f64(), server: counters, at: Instant::now() })
    }

    /// Puts what this process and Redis have spent since this reading, per job, into figures whose names begin with `prefix`.
    pub(super) async fn put_per_job(
        self,
        server: &mut Server,
        jobs: u64,
        prefix: &str,
        into: &mut Figures,
    ) -> Result<(), CliError> {
        let own_s = processor_time().as_secs_f64() - self.own_s;
        self.put_per_job_of_workers(own_s, server, jobs, prefix, into).await
    }

    /// Does the same for workers in other processes; `worker_s` is the processor time in seconds that all of them together spent on these jobs.
    pub(super) async fn put_per_job_of_workers(
        self,
        worker_s: f64,
        server: &mut Server,
        jobs: u64,
        prefix: &str,
        into: &mut Figures,
    ) -> Result<(), CliError> {
        let now = server.counters().await?;
        let jobs = jobs as f64;
        let per_100k_jobs = |seconds: f64| seconds / jobs * 100_000.0;
        let per_job = |before: u64, after: u64| after.saturating_sub(before) as f64 / jobs;
        into.put(format!("{prefix}_worker_cpu"), per_100k_jobs(worker_s), "s/100k jobs");
        into.put(format!("{prefix}_redis_cpu"), per_100k_jobs(now.cpu_s - self.server.cpu_s), "s/100k jobs");
        into.put(format!("{prefix}_redis_calls"), per_job(self.server.calls, now.calls), "calls/job");
        into.put(format!("{prefix}_redis_reads"), per_job(self.server.reads, now.reads), "socket reads/job");
        Ok(())
    }

    /// Puts the processor time of this process and the number of commands that Redis ran since this reading, per second, into figures whose names begin with `prefix`.
    pub(super) async fn put_per_second(
        self,
        server: &mut Server,
        prefix: &str,
        into: &mut Figures,
    ) -> Result<(), CliError> {
        let now = Cost::read(server).await?;
        let took_s = (now.at - self.at).as_secs_f64();
        into.put(format!("{prefix}_worker_cpu"), (now.own_s - self.own_s) / took_s * 100.0, "% of a core");
        let calls = now.server.calls.saturating_sub(self.server.calls) as f64;
        into.put(format!("{prefix}_redis_calls"), calls / took_s, "calls/s");
        Ok(())
    }
}

/// Processor time of all threads of this process, user and system.
pub(super) fn processor_time() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(spent.tv_sec).unwrap_or(0), u32::try_from(spent.tv_nsec).unwrap_or(0))
}

/// Peak memory of this process, in MiB; `None` on systems other than Linux.
pub(super) fn memory_peak_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    Some(kib.trim().parse::<f64>().ok()? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_processor_time_and_memory() {
        assert!(processor_time() > Duration::ZERO);
        assert_eq!(memory_peak_mib().is_some_and(|mib| mib > 0.5), cfg!(target_os = "linux"));
    }
}
