//! The verdict on a scenario: what was lost, what is stuck, what ran again and why, what was counted wrong, and how soon all was well.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::Duration;

use retraced::JobState;
use retraced::job::JobSummary;
use retraced::store::{AuditReport, QueueStats};
use serde::{Deserialize, Serialize};

use crate::book::{Execution, How, Pages};
use crate::worker;

/// How long after its handler ended a settlement may still have been on its way when its worker was hurt.
const SETTLING_MAX_MS: u64 = 2_000;

/// Something done to a worker process, which explains that what it held ran again.
#[derive(Debug, Clone)]
pub(crate) struct Wound {
    pub(crate) what: &'static str,
    pub(crate) pid: u64,
    pub(crate) from_ms: u64,
    /// When it could go on; for the dead, never.
    pub(crate) until_ms: u64,
    /// The grants that stood when it happened: job and attempt.
    pub(crate) held: HashSet<(u64, u32)>,
}

impl Wound {
    fn touched(&self, run: &Execution) -> bool {
        let running = run.end.is_none_or(|(end, _)| end + SETTLING_MAX_MS >= self.from_ms);
        self.pid == run.pid && run.start_ms <= self.until_ms && running && self.held.contains(&(run.job, run.grant))
    }

    /// Whether its process can have gone on beside another one.
    fn lived_on(&self) -> bool {
        self.until_ms != u64::MAX
    }
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) scenario: String,
    pub(crate) about: String,
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
    pub(crate) jobs: u64,
    pub(crate) executions: u64,
    /// By kind.
    pub(crate) faults: BTreeMap<String, u64>,
    /// Acknowledged, and not kept, or said to be completed without ever having returned.
    pub(crate) lost: u64,
    /// Not at an end when everything should have been, or in no container.
    pub(crate) stuck: u64,
    /// At another end than theirs.
    pub(crate) astray: u64,
    /// Executions beyond the first and the retries, by what explains them.
    pub(crate) again: BTreeMap<String, u64>,
    /// Those that nothing explains.
    pub(crate) unexplained: u64,
    /// Jobs whose attempts are not their failures, crashes, releases and completion.
    pub(crate) miscounted: u64,
    /// Counters of the queue that differ from the sum over its jobs, or of the store from the book.
    pub(crate) drift: u64,
    /// Settlements of former owners, refused.
    pub(crate) stale: u64,
    pub(crate) crashes: u64,
    pub(crate) releases: u64,
    /// Longest time two executions of a job ran at once.
    pub(crate) overlap_ms: u64,
    pub(crate) recovery: BTreeMap<String, Spread>,
    /// What else was seen, as a sentence each.
    pub(crate) notes: Vec<String>,
}

/// Times, in ms.
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
        // Nearest rank.
        let at = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        let of = |percent| at(percent).unwrap_or(0);
        Self { count: times.len() as u64, p50: of(50), p99: of(99), max: of(100) }
    }
}

/// What the store says at the end.
pub(crate) struct Kept {
    pub(crate) jobs: Vec<JobSummary>,
    pub(crate) stats: QueueStats,
    pub(crate) audit: AuditReport,
}

/// What the scenario knows.
pub(crate) struct Known<'a> {
    /// Jobs whose enqueue was acknowledged, and where each must end.
    pub(crate) acknowledged: &'a BTreeMap<u64, JobState>,
    pub(crate) wounds: &'a [Wound],
}

impl Verdict {
    /// Judges the book and the store against each other.
    pub(crate) fn judge(&mut self, pages: &Pages, kept: &Kept, known: &Known) {
        let by_number: BTreeMap<u64, &JobSummary> =
            kept.jobs.iter().filter_map(|job| Some((worker::number(&job.id)?, job))).collect();
        self.jobs = known.acknowledged.len() as u64;
        self.executions = pages.all().count() as u64;
        self.unexplained += pages.twice;
        for (number, end) in known.acknowledged {
            let returned = pages.of(*number).iter().any(|run| matches!(run.end, Some((_, How::Returned))));
            match by_number.get(number).map(|job| job.state) {
                None => self.lost += 1,
                Some(JobState::Completed) if !returned => self.lost += 1,
                Some(state) if !state.is_final() => self.stuck += 1,
                Some(state) if state != *end => {
                    self.astray += 1;
                    let job = by_number[number];
                    self.notes.push(format!("{} is {state}: {:?}, {:?}", job.id, job.counters, pages.of(*number)));
                }
                Some(_) => {}
            }
        }
        self.stuck += kept.audit.difference().unsigned_abs() + kept.audit.grant_difference.unsigned_abs();
        for runs in pages.executions.values() {
            self.judge_runs(runs, known.wounds);
        }
        self.judge_counters(pages, kept, &by_number, known.wounds);
    }

    fn judge_runs(&mut self, runs: &[Execution], wounds: &[Wound]) {
        for pair in runs.windows(2) {
            let (one, next) = (&pair[0], &pair[1]);
            let wound = wounds.iter().find(|wound| wound.touched(one));
            let retried = next.failures > one.failures;
            if !retried {
                match wound {
                    Some(wound) => *self.again.entry(wound.what.to_owned()).or_default() += 1,
                    None => {
                        self.unexplained += 1;
                        self.notes.push(format!("ran again without a reason: {one:?}, then {next:?}"));
                    }
                }
            }
            let both_ran = match one.end {
                Some((end, _)) => end.saturating_sub(next.start_ms),
                None => 0,
            };
            self.overlap_ms = self.overlap_ms.max(both_ran);
            if both_ran > 0 && !wound.is_some_and(Wound::lived_on) {
                self.unexplained += 1;
                self.notes.push(format!("ran twice at once without a reason: {one:?} beside {next:?}"));
            }
        }
    }

    fn judge_counters(&mut self, pages: &Pages, kept: &Kept, by_number: &BTreeMap<u64, &JobSummary>, wounds: &[Wound]) {
        let (mut completed, mut failures, mut crashes, mut releases) = (0, 0, 0, 0);
        for (number, job) in by_number {
            let (counters, runs) = (job.counters, pages.of(*number));
            let done = u32::from(job.state == JobState::Completed);
            let ends = done + counters.failures + counters.crashes + counters.releases;
            if counters.attempts != ends || runs.len() > counters.attempts as usize {
                self.miscounted += 1;
                self.notes.push(format!("miscounted: {} {} {counters:?}, {} runs", job.id, job.state, runs.len()));
            }
            // What nothing happened to failed as often as its handler says, unless no handler was asked.
            let failed = runs.iter().filter(|run| matches!(run.end, Some((_, How::Failed)))).count();
            let unhurt = !runs.is_empty()
                && runs.iter().all(|run| run.end.is_some() && !wounds.iter().any(|wound| wound.touched(run)));
            if unhurt && counters.failures as usize != failed {
                self.drift += 1;
                self.notes.push(format!("{}: {} failures stored, {failed} in the book", job.id, counters.failures));
            }
            completed += u64::from(done);
            failures += u64::from(counters.failures);
            crashes += u64::from(counters.crashes);
            releases += u64::from(counters.releases);
        }
        let stats = &kept.stats;
        for (what, counted, summed) in [
            ("enqueued", stats.enqueued_total, kept.jobs.len() as u64),
            ("completed", stats.completed_total, completed),
            ("failures", stats.failures_total, failures),
            ("crashes", stats.crashes_total, crashes),
            ("releases", stats.releases_total, releases),
        ] {
            if counted != summed {
                self.drift += 1;
                self.notes.push(format!("{what}: the queue counts {counted}, its jobs say {summed}"));
            }
        }
        (self.stale, self.crashes, self.releases) = (stats.stale_settlements_total, crashes, releases);
    }

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
        [self.lost, self.stuck, self.astray, self.unexplained, self.miscounted, self.drift].iter().all(|n| *n == 0)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |by: &BTreeMap<String, u64>| by.values().sum::<u64>();
        writeln!(f, "{} {} (SEED={}, {:.1} s)", self.scenario, self.about, self.seed, self.seconds)?;
        writeln!(
            f,
            "  jobs {}, executions {}: lost {}, stuck {}, astray {}, again {}, unexplained {}, miscounted {}, counters off {}",
            self.jobs,
            self.executions,
            self.lost,
            self.stuck,
            self.astray,
            sum(&self.again),
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
        for (why, count) in &self.again {
            write!(f, "\n  again: {why}: {count}")?;
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

#[test]
fn a_repeated_execution_is_explained_only_by_a_disruption_of_its_worker_and_job() {
    let run = |grant, pid, start_ms, end| Execution { job: 7, grant, failures: 0, pid, mark: 0, start_ms, end };
    let wound = |pid, held: &[u64]| Wound {
        what: "killed",
        pid,
        from_ms: 150,
        until_ms: u64::MAX,
        held: held.iter().map(|job| (*job, 1)).collect(),
    };
    let judged = |runs: &[Execution], wounds: &[Wound]| {
        let mut verdict = Verdict::default();
        verdict.judge_runs(runs, wounds);
        (verdict.again.values().sum::<u64>(), verdict.unexplained)
    };
    let again = [run(1, 10, 100, None), run(2, 11, 200, Some((210, How::Returned)))];
    assert_eq!(judged(&again, &[wound(10, &[7])]), (1, 0));
    assert_eq!(judged(&again, &[]), (0, 1));
    assert_eq!(judged(&again, &[wound(11, &[7])]), (0, 1), "another was killed");
    assert_eq!(judged(&again, &[wound(10, &[8])]), (0, 1), "it was not held");
    let beside = [run(1, 10, 100, Some((230, How::Returned))), run(2, 11, 200, Some((210, How::Returned)))];
    assert_eq!(judged(&beside, &[wound(10, &[7])]), (1, 1), "the dead do not run on");
    let frozen = Wound { until_ms: 300, ..wound(10, &[7]) };
    assert_eq!(judged(&beside, &[frozen]), (1, 0));
    let retried = [run(1, 10, 100, Some((110, How::Failed))), Execution { failures: 1, ..run(2, 10, 200, None) }];
    assert_eq!(judged(&retried, &[]), (0, 0));
}

#[test]
fn a_spread_takes_the_nearest_rank() {
    assert_eq!(Spread::of((1..=100).rev().collect()), Spread { count: 100, p50: 50, p99: 99, max: 100 });
    assert_eq!(Spread::of(vec![7]), Spread { count: 1, p50: 7, p99: 7, max: 7 });
}
