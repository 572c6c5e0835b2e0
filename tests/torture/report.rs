//! The report of a scenario: lost jobs, stuck jobs, repeated executions and their causes, wrong counts, and recovery times.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use retraced::job::JobSummary;
use retraced::store::{CountCheck, QueueStats};
use retraced::{JobId, JobState};
use serde::{Deserialize, Serialize};

use crate::execution_log::{Execution, Records, RunEnd};
use crate::worker;

/// After the end of a handler, its settlement may be in flight for this long. A disruption of the worker in this time explains another execution.
const SETTLING_MAX_MS: u64 = 2_000;
/// A process that continues begins a handler that it was about to begin within this time.
const STARTING_MAX_MS: u64 = 500;
/// A worker does not begin a job whose lease has expired. It can be stopped between this check and the handler, but hardly in two executors at once.
const LATE_STARTS_MAX: usize = 1;

/// A fault injected into a worker process. It explains why the jobs that the process held ran again.
#[derive(Debug, Clone)]
pub(crate) struct Disruption {
    pub(crate) what: &'static str,
    pub(crate) pid: u64,
    pub(crate) from_ms: u64,
    pub(crate) fate: Fate,
    /// The grants at the time of the fault: job and attempt.
    pub(crate) held: HashSet<(u64, u32)>,
}

/// What became of a disrupted process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Died,
    /// It went on until this instant.
    WentOn {
        until_ms: u64,
    },
    /// It was stopped, and continued at this instant. What it was about to do then, it does late.
    Continued {
        at_ms: u64,
    },
}

impl Disruption {
    /// Whether it explains that this run was followed by another one.
    fn affects(&self, run: &Execution) -> bool {
        let until_ms = match self.fate {
            Fate::Died => u64::MAX,
            Fate::WentOn { until_ms } => until_ms,
            Fate::Continued { at_ms } => at_ms,
        };
        let running = run.end.is_none_or(|(end, _)| end + SETTLING_MAX_MS >= self.from_ms);
        self.held(run) && run.start_ms <= until_ms && running
    }

    /// Whether it explains that this run began late, beside or after `next` under a later grant: the process was stopped as it was about to begin the handler, and
    /// continued.
    fn delays(&self, run: &Execution, next: &Execution) -> bool {
        let Fate::Continued { at_ms } = self.fate else { return false };
        let until_ms = at_ms + STARTING_MAX_MS;
        self.held(run) && (at_ms..=until_ms).contains(&run.start_ms) && next.start_ms <= until_ms
    }

    fn held(&self, run: &Execution) -> bool {
        self.pid == run.pid && self.held.contains(&(run.job, run.grant))
    }

    /// Whether the process may have run beside its successor.
    fn survived(&self) -> bool {
        self.fate != Fate::Died
    }

    /// How many jobs it began late, although they were granted again.
    fn late_starts(&self, records: &Records) -> usize {
        let is_late = |run: &Execution, runs: &[Execution]| {
            runs.iter().any(|next| next.grant > run.grant && self.delays(run, next))
        };
        records.executions.values().filter(|runs| runs.iter().any(|run| is_late(run, runs))).count()
    }
}

/// Whether `next`, under a later grant, began before `one`.
fn overtook(next: &Execution, one: &Execution) -> bool {
    next.grant > one.grant && next.start_ms < one.start_ms
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) id: String,
    pub(crate) about: String,
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
    pub(crate) jobs: u64,
    pub(crate) executions: u64,
    /// How many faults of each kind were injected.
    pub(crate) faults: BTreeMap<String, u64>,
    /// Acknowledged jobs that are not stored, or are completed although no handler returned.
    pub(crate) lost: u64,
    /// Jobs that are in no final state at the end, or in no container.
    pub(crate) stuck: u64,
    /// Jobs in another final state than expected.
    pub(crate) wrong_state: u64,
    /// Executions that are neither the first one of their job nor a retry, by the fault that explains them.
    pub(crate) repeated: BTreeMap<String, u64>,
    /// Executions of this sort that no fault explains.
    pub(crate) unexplained: u64,
    /// Jobs whose attempts are not the sum of their failures, crashes, releases and completion.
    pub(crate) miscounted: u64,
    /// Counters of the queue that are not the sum over its jobs, and jobs whose stored failures are not those in the log.
    pub(crate) drift: u64,
    /// Settlements of former owners, which were refused.
    pub(crate) stale: u64,
    pub(crate) crashes: u64,
    pub(crate) releases: u64,
    /// The longest overlap of two executions of a job.
    pub(crate) overlap_ms: u64,
    pub(crate) recovery: BTreeMap<String, Spread>,
    /// Further observations, one sentence each.
    pub(crate) notes: Vec<String>,
}

/// The number of measured times, and their percentiles in ms.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) count: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

impl Spread {
    pub(crate) fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        // A percentile is taken by nearest rank.
        let at = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        let of = |percent| at(percent).unwrap_or(0);
        Self { count: times.len() as u64, p50: of(50), p99: of(99), max: of(100) }
    }
}

/// The state of the store at the end.
pub(crate) struct StoredState {
    pub(crate) jobs: Vec<JobSummary>,
    /// How many attempts of a job a quarantine postponed, which count as nothing: at least, and at most if none of those without a record is another one. Jobs without any are
    /// missing.
    pub(crate) postponed: BTreeMap<JobId, RangeInclusive<u32>>,
    pub(crate) stats: QueueStats,
    pub(crate) audit: CountCheck,
}

/// What the scenario expects.
pub(crate) struct Expected<'a> {
    /// Jobs whose enqueue was acknowledged, and the final state of each.
    pub(crate) acknowledged: &'a BTreeMap<u64, JobState>,
    pub(crate) disruptions: &'a [Disruption],
}

impl Report {
    /// Checks the log and the store against each other.
    pub(crate) fn evaluate(&mut self, records: &Records, stored: &StoredState, expected: &Expected) {
        let by_number: BTreeMap<u64, &JobSummary> =
            stored.jobs.iter().filter_map(|job| Some((worker::number(&job.id)?, job))).collect();
        self.jobs = expected.acknowledged.len() as u64;
        self.executions = records.all().count() as u64;
        self.unexplained += records.twice;
        for (number, end) in expected.acknowledged {
            let returned = records.of(*number).iter().any(|run| matches!(run.end, Some((_, RunEnd::Returned))));
            match by_number.get(number).map(|job| job.state) {
                None => self.lost += 1,
                Some(JobState::Completed) if !returned => self.lost += 1,
                Some(state) if !state.is_final() => self.stuck += 1,
                Some(state) if state != *end => {
                    self.wrong_state += 1;
                    let job = by_number[number];
                    self.notes.push(format!("{} is {state}: {:?}, {:?}", job.id, job.counters, records.of(*number)));
                }
                Some(_) => {}
            }
        }
        self.stuck += stored.audit.difference().unsigned_abs() + stored.audit.grant_difference.unsigned_abs();
        for runs in records.executions.values() {
            self.check_runs(runs, expected.disruptions);
        }
        for disruption in expected.disruptions {
            let late = disruption.late_starts(records);
            if late > LATE_STARTS_MAX {
                self.unexplained += late as u64;
                let (what, pid) = (disruption.what, disruption.pid);
                self.notes.push(format!("process {pid} ({what}) began {late} jobs late, after others had run them"));
            }
        }
        self.check_counters(records, stored, &by_number, expected.disruptions);
    }

    fn check_runs(&mut self, runs: &[Execution], disruptions: &[Disruption]) {
        let mut runs: Vec<&Execution> = runs.iter().collect();
        runs.sort_by_key(|run| run.grant);
        for (at, pair) in runs.windows(2).enumerate() {
            let (one, next) = (pair[0], pair[1]);
            let is_late = overtook(next, one);
            let explains = |of: &&Disruption| of.delays(one, next) || (!is_late && of.affects(one));
            let disruption = disruptions.iter().find(explains);
            let retried = next.failures > one.failures && !is_late;
            if !retried {
                match disruption {
                    Some(disruption) => *self.repeated.entry(disruption.what.to_owned()).or_default() += 1,
                    None => {
                        self.unexplained += 1;
                        self.notes.push(format!("ran again without a reason: {one:?}, then {next:?}"));
                    }
                }
            }
            let both_ran = runs[at + 1..].iter().map(|later| overlap_ms(one, later)).max().unwrap_or(0);
            self.overlap_ms = self.overlap_ms.max(both_ran);
            if both_ran > 0 && !disruption.is_some_and(Disruption::survived) {
                self.unexplained += 1;
                self.notes.push(format!("ran twice at once without a reason: {one:?} beside {:?}", &runs[at + 1..]));
            }
        }
    }

    fn check_counters(
        &mut self,
        records: &Records,
        stored: &StoredState,
        by_number: &BTreeMap<u64, &JobSummary>,
        disruptions: &[Disruption],
    ) {
        let (mut completed, mut failures, mut crashes, mut releases) = (0, 0, 0, 0);
        for (number, job) in by_number {
            let (counters, runs) = (job.counters, records.of(*number));
            let done = u32::from(job.state == JobState::Completed);
            let ends = done + counters.failures + counters.crashes + counters.releases;
            let uncounted = counters.attempts.checked_sub(ends);
            let postponed = stored.postponed.get(&job.id).cloned().unwrap_or(0..=0);
            if !uncounted.is_some_and(|attempts| postponed.contains(&attempts))
                || runs.len() > counters.attempts as usize
            {
                self.miscounted += 1;
                self.notes.push(format!("miscounted: {} {} {counters:?}, {} runs", job.id, job.state, runs.len()));
            }
            // A job that no fault affected has as many failures as its handlers reported.
            let failed = runs.iter().filter(|run| matches!(run.end, Some((_, RunEnd::Failed)))).count();
            let unaffected = !runs.is_empty()
                && runs
                    .iter()
                    .all(|run| run.end.is_some() && !disruptions.iter().any(|disruption| disruption.affects(run)));
            if unaffected && counters.failures as usize != failed {
                self.drift += 1;
                self.notes.push(format!("{}: {} failures stored, {failed} in the log", job.id, counters.failures));
            }
            completed += u64::from(done);
            failures += u64::from(counters.failures);
            crashes += u64::from(counters.crashes);
            releases += u64::from(counters.releases);
        }
        let stats = &stored.stats;
        for (what, counted, summed) in [
            ("enqueued", stats.enqueued_total, stored.jobs.len() as u64),
            ("completed", stats.completed_total, completed),
            ("failures", stats.failures_total, failures),
            ("crashes", stats.crashes_total, crashes),
            ("releases", stats.releases_total, releases),
        ] {
            if counted != summed {
                self.drift += 1;
                self.notes.push(format!("{what}: the queue counts {counted}, its jobs together {summed}"));
            }
        }
        (self.stale, self.crashes, self.releases) = (stats.stale_settlements_total, crashes, releases);
    }

    /// Adds recovery times, measured from this event.
    pub(crate) fn recovered(&mut self, after: &str, times: Vec<Duration>) {
        if !times.is_empty() {
            let times = times.iter().map(|time| u64::try_from(time.as_millis()).unwrap()).collect();
            self.recovery.insert(after.to_owned(), Spread::of(times));
        }
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    pub(crate) fn is_clean(&self) -> bool {
        [self.lost, self.stuck, self.wrong_state, self.unexplained, self.miscounted, self.drift].iter().all(|n| *n == 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |by: &BTreeMap<String, u64>| by.values().sum::<u64>();
        writeln!(f, "{} {} (SEED={}, {:.1} s)", self.id, self.about, self.seed, self.seconds)?;
        writeln!(
            f,
            "  jobs {}, executions {}: lost {}, stuck {}, in a wrong state {}, repeated {}, unexplained {}, miscounted {}, counters off {}",
            self.jobs,
            self.executions,
            self.lost,
            self.stuck,
            self.wrong_state,
            sum(&self.repeated),
            self.unexplained,
            self.miscounted,
            self.drift
        )?;
        write!(
            f,
            "  crashes {}, releases {}, stale settlements refused {}, longest overlap {} ms",
            self.crashes, self.releases, self.stale, self.overlap_ms
        )?;
        for (kind, count) in &self.faults {
            write!(f, "\n  fault: {kind}: {count}")?;
        }
        for (why, count) in &self.repeated {
            write!(f, "\n  repeated: {why}: {count}")?;
        }
        for (what, Spread { count, p50, p99, max }) in &self.recovery {
            write!(f, "\n  recovery: {what}: {count} times, p50 {p50} ms, p99 {p99} ms, max {max} ms")?;
        }
        for note in self.notes.iter().take(20) {
            write!(f, "\n  {note}")?;
        }
        Ok(())
    }
}

/// How long a run went on beside another one of the same job, which has a later grant.
fn overlap_ms(one: &Execution, later: &Execution) -> u64 {
    let Some((end, _)) = one.end else { return 0 };
    if !overtook(later, one) {
        return end.saturating_sub(later.start_ms);
    }
    later.end.map_or(end, |(later_end, _)| later_end.min(end)).saturating_sub(one.start_ms)
}

#[test]
fn a_repeated_execution_is_explained_only_by_a_disruption_of_its_worker_and_job() {
    let run = |grant, pid, start_ms, end| Execution { job: 7, grant, failures: 0, pid, mark: 0, start_ms, end };
    let disruption = |pid, held: &[u64]| Disruption {
        what: "killed",
        pid,
        from_ms: 150,
        fate: Fate::Died,
        held: held.iter().map(|job| (*job, 1)).collect(),
    };
    let checked = |runs: &[Execution], disruptions: &[Disruption]| {
        let mut report = Report::default();
        report.check_runs(runs, disruptions);
        (report.repeated.values().sum::<u64>(), report.unexplained)
    };
    let again = [run(1, 10, 100, None), run(2, 11, 200, Some((210, RunEnd::Returned)))];
    assert_eq!(checked(&again, &[disruption(10, &[7])]), (1, 0));
    assert_eq!(checked(&again, &[]), (0, 1));
    assert_eq!(checked(&again, &[disruption(11, &[7])]), (0, 1), "another worker was killed");
    assert_eq!(checked(&again, &[disruption(10, &[8])]), (0, 1), "the killed worker did not hold the job");
    let beside = [run(1, 10, 100, Some((230, RunEnd::Returned))), run(2, 11, 200, Some((210, RunEnd::Returned)))];
    assert_eq!(checked(&beside, &[disruption(10, &[7])]), (1, 1), "a dead process cannot run beside its successor");
    let frozen = Disruption { fate: Fate::Continued { at_ms: 300 }, ..disruption(10, &[7]) };
    assert_eq!(checked(&beside, &[frozen]), (1, 0));
    let retried = [run(1, 10, 100, Some((110, RunEnd::Failed))), Execution { failures: 1, ..run(2, 10, 200, None) }];
    assert_eq!(checked(&retried, &[]), (0, 0));
}

#[test]
fn percentiles_are_taken_by_nearest_rank() {
    assert_eq!(Spread::of((1..=100).rev().collect()), Spread { count: 100, p50: 50, p99: 99, max: 100 });
    assert_eq!(Spread::of(vec![7]), Spread { count: 1, p50: 7, p99: 7, max: 7 });
}

/// A worker is stopped between the check of a lease and the handler. Another one runs the job, and then the first one continues.
#[test]
fn a_late_start_is_explained_by_a_stop_of_its_own_process_alone_and_once() {
    let run = |job, grant, pid, start_ms| {
        let end = Some((start_ms + 18, RunEnd::Returned));
        Execution { job, grant, failures: 0, pid, mark: 0, start_ms, end }
    };
    let disruption = |pid, fate, grant| {
        let held = HashSet::from([(7, grant), (8, grant)]);
        Disruption { what: "stopped", pid, from_ms: 9_500, fate, held }
    };
    let unexplained = |runs: &[Execution], disruption| {
        let mut report = Report::default();
        report.check_runs(runs, &[disruption]);
        report.unexplained
    };
    let (continued, ended) = (|at_ms| Fate::Continued { at_ms }, Fate::WentOn { until_ms: 11_000 });
    let stop = disruption(2, continued(11_000), 1);
    let late = [run(7, 2, 1, 10_500), run(7, 1, 2, 11_001)];
    assert_eq!(unexplained(&late, stop.clone()), 0);
    for other in [
        disruption(1, continued(11_000), 1),
        disruption(2, continued(11_000), 2),
        disruption(2, continued(15_000), 1),
        disruption(2, continued(11_002), 1),
        disruption(2, ended, 1),
        disruption(2, Fate::Died, 1),
    ] {
        assert_eq!(unexplained(&late, other.clone()), 1, "{other:?}");
    }
    // A third run follows the second, whose worker had no fault.
    assert_eq!(unexplained(&[late[0], late[1], run(7, 3, 3, 12_000)], stop.clone()), 1);
    // What another worker begins much later has another reason.
    assert_eq!(unexplained(&[late[1], run(7, 2, 1, 12_500)], stop.clone()), 1);
    // But it may also begin just after it.
    assert_eq!(unexplained(&[late[1], run(7, 2, 1, 11_005)], stop.clone()), 0);
    // A failure counted under the later grant makes the run under the earlier one no retry.
    let failed = Execution { failures: 1, ..late[0] };
    assert_eq!(unexplained(&[failed, late[1]], disruption(3, Fate::Died, 1)), 1);

    let other_job = [run(8, 2, 1, 10_500), run(8, 1, 2, 11_001)];
    let mut records = Records::default();
    records.executions.insert(7, late.to_vec());
    assert_eq!(stop.late_starts(&records), 1);
    records.executions.insert(8, other_job.to_vec());
    assert_eq!(stop.late_starts(&records), 2);
}
