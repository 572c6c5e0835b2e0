//! What work costs: processor time of this process and of Redis, what Redis was asked, and memory.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::figures::Figures;
use super::server::{Counters, Server};
use crate::cli::error::CliError;

/// What was spent until a moment.
pub(super) struct Cost {
    own_s: f64,
    server: Counters,
}

impl Cost {
    pub(super) async fn until_now(server: &mut Server) -> Result<Self, CliError> {
        Ok(Self { own_s: processor_time().as_secs_f64(), server: server.counters().await? })
    }

    /// Adds what was spent since then, a job, to the figures of `what`.
    pub(super) async fn since(
        self,
        server: &mut Server,
        jobs: u64,
        what: &str,
        into: &mut Figures,
    ) -> Result<(), CliError> {
        let now = Cost::until_now(server).await?;
        let jobs = jobs as f64;
        let cpu = |seconds: f64| seconds / jobs * 100_000.0;
        let a_job = |before: u64, after: u64| after.saturating_sub(before) as f64 / jobs;
        into.put(format!("{what}_worker_cpu"), cpu(now.own_s - self.own_s), "s/100k jobs");
        into.put(format!("{what}_redis_cpu"), cpu(now.server.cpu_s - self.server.cpu_s), "s/100k jobs");
        into.put(format!("{what}_redis_calls"), a_job(self.server.calls, now.server.calls), "calls/job");
        into.put(format!("{what}_redis_reads"), a_job(self.server.reads, now.server.reads), "socket reads/job");
        Ok(())
    }
}

/// Processor time of all threads of this process, user and system.
fn processor_time() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(spent.tv_sec).unwrap_or(0), u32::try_from(spent.tv_nsec).unwrap_or(0))
}

/// The most memory this process ever had, in MiB; `None` where the system does not tell it (other than Linux).
pub(super) fn memory_peak_mib() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    Some(kib.trim().parse::<f64>().ok()? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_some_of_both() {
        assert!(processor_time() > Duration::ZERO);
        assert_eq!(memory_peak_mib().is_some_and(|mib| mib > 0.5), cfg!(target_os = "linux"));
    }
}
