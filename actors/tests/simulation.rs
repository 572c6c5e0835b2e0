//! Simulated runs from a seed: kills, lost and late replies, panics in the store, outages, panicking handlers, workers that start and stop. The invariants are
//! checked against the recorder of the handlers, which no fault can affect.
//!
//! A failure prints the seed. `SEED=n cargo test -p retraced-actors simulation` repeats that run, `SEEDS=n` makes this many runs.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use retraced_actors::{Budget, RestartDelay, RestartPolicy, Strategy};
use retraced_jobs::job::{JobId, JobState, RunAt};
use retraced_jobs::retry::Retry;
use retraced_jobs::trace::AttemptRecord;
use tokio::time::Instant;

use crate::support::{Action, Fault, Harness, RunEnd, Verb, Work, millis, secs};

const SEEDS: u64 = 100;
const LEASE: Duration = Duration::from_secs(3);
/// Large enough for all kills of a simulation.
const LARGE_BUDGET: RestartPolicy = RestartPolicy::new(
    Strategy::OneForOne,
    Budget::new(1_000, Duration::from_secs(60)),
    RestartDelay::new(Duration::from_millis(1), Duration::from_millis(20), 50),
);
const ACTORS: [&str; 15] = [
    "email",
    "email/queue",
    "email/workers",
    "email/fetcher",
    "email/settler",
    "email/pool",
    "email/executor-0",
    "email/executor-1",
    "retry-scheduler",
    "reclaimer",
    "janitor",
    "watchdog",
    "lease-keeper",
    "ledger",
    "store-link",
];

#[test]
fn under_random_faults_no_job_is_lost_stuck_or_run_twice_without_a_reason() {
    let from_env = |name| std::env::var(name).ok().map(|n| n.parse::<u64>().unwrap());
    let seeds = match from_env("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..from_env("SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let run = || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            runtime.block_on(simulate(seed));
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            eprintln!("SEED={seed}");
            resume_unwind(panic);
        }
    }
}

/// The faults of a run.
#[derive(Debug)]
struct FaultProfile {
    /// Share of store calls that get a fault, in thousandths.
    faults: u32,
    /// Share of those faults that panic in the caller's task, in thousandths.
    panics: u32,
    kills: usize,
    /// At least one lease, or none.
    outage: Option<Duration>,
    /// A second worker starts, and dies (`true`) or shuts down (`false`).
    second: Option<bool>,
    latency: Duration,
    concurrency: usize,
}

impl FaultProfile {
    fn draw(rng: &mut SmallRng) -> Self {
        Self {
            faults: *[0, 20, 100].choose(rng).unwrap(),
            panics: *[0, 0, 0, 20].choose(rng).unwrap(),
            kills: rng.random_range(0..16),
            outage: rng.random_bool(0.2).then(|| LEASE * rng.random_range(1..4)),
            second: rng.random_bool(0.4).then(|| rng.random_bool(0.5)),
            latency: millis(rng.random_range(0..5)),
            concurrency: rng.random_range(1..8),
        }
    }

    /// Whether a lease may expire.
    fn lets_leases_expire(&self) -> bool {
        self.second == Some(true) || self.panics > 0
    }
}

fn random_work(rng: &mut SmallRng) -> Work {
    let mut work: Option<Work> = None;
    for _ in 0..rng.random_range(1..4) {
        let wait = millis(*[0, 1, 5, 30, 300, 1_500].choose(rng).unwrap());
        let then = match rng.random_range(0..20) {
            0..9 => Action::Succeed,
            9..12 => Action::FailTemporary,
            12 => Action::FailAskingFor(rng.random_range(0..2_000)),
            13 => Action::FailPermanent,
            14 => Action::FailUnknown,
            15 => Action::Snooze(rng.random_range(0..2_000)),
            16..18 => Action::Panic,
            18 => Action::StopWhenAsked,
            _ => Action::Hang,
        };
        work = Some(match work {
            None => Work::step(wait, then),
            Some(work) => work.and(wait, then),
        });
    }
    // The last step repeats for ever, so it must not be a snooze.
    work.unwrap()
        .and(millis(1), *[Action::Succeed, Action::FailTemporary, Action::Panic, Action::Hang].choose(rng).unwrap())
}

async fn simulate(seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let profile = FaultProfile::draw(&mut rng);
    let build = |seed| {
        Harness::build()
            .concurrency(profile.concurrency)
            .options(|options| {
                options.lease = LEASE;
                options.seed = seed;
                options.shutdown_grace = secs(5);
                options.crashes_max = 100;
                options.root_policy = LARGE_BUDGET;
            })
            .queue(|queue| queue.policy = LARGE_BUDGET)
            .rules(|rules| {
                rules.timeout = Some(secs(2));
                rules.retry = Some(Retry::exponential().base(millis(100)).max_attempts(4).jitter(20));
            })
    };
    let harness = build(seed).start().await;
    harness.store.latency(profile.latency);
    let faults = Mutex::new(SmallRng::seed_from_u64(rng.random()));
    let (per_mille, panics) = (profile.faults, profile.panics);
    harness.store.plan_faults(move |verb, _| draw_fault(&mut faults.lock().unwrap(), verb, per_mille, panics));

    let second = match profile.second {
        Some(_) => Some(build(seed + 1).sharing_store(&harness).start().await),
        None => None,
    };
    let jobs: Vec<(String, Work, RunAt)> = (0..24)
        .map(|n| {
            let run_at =
                if rng.random_bool(0.2) { RunAt::After(millis(rng.random_range(0..5_000))) } else { RunAt::Now };
            (format!("job-{n}"), random_work(&mut rng), run_at)
        })
        .collect();
    let stored: Arc<Mutex<Vec<JobId>>> = Arc::default();
    let producer = async {
        let enqueues = jobs.into_iter().map(|(id, work, run_at)| {
            let after = millis(rng.random_range(0..3_000));
            let (harness, stored) = (&harness, stored.clone());
            async move {
                tokio::time::sleep(after).await;
                if let Ok(receipt) = harness.try_enqueue(&id, work, run_at, secs(30)).await {
                    stored.lock().unwrap().push(receipt.id);
                }
            }
        });
        let enqueues: Vec<_> = enqueues.collect();
        futures_util::future::join_all(enqueues).await;
    };
    let mut chaos = SmallRng::seed_from_u64(seed ^ 0xC4A05);
    let killer = async {
        for _ in 0..profile.kills {
            tokio::time::sleep(millis(chaos.random_range(0..600))).await;
            harness.tree.kill(ACTORS.choose(&mut chaos).unwrap());
        }
        if let Some(outage) = profile.outage {
            harness.store.set_unavailable(true);
            tokio::time::sleep(outage).await;
            harness.store.set_unavailable(false);
        }
        if let (Some(dies), Some(second)) = (profile.second, &second) {
            if dies {
                second.tree.kill("retraced");
                second.tree.wait().await;
            } else {
                second.shut_down().await;
            }
        }
    };
    tokio::join!(producer, killer);

    // Without faults every job reaches a final state soon.
    harness.store.clear_faults();
    let healed = Instant::now();
    harness
        .until_within(secs(300), "every job has ended", || {
            let stats = harness.stats();
            stats.pending + stats.processing + stats.delayed == 0
        })
        .await;
    assert!(healed.elapsed() <= secs(300));
    check(&harness, &profile, &stored.lock().unwrap());
    harness.close().await;
    if let Some(second) = second {
        second.assert_clean();
    }
}

fn draw_fault(rng: &mut SmallRng, verb: Verb, per_mille: u32, panics: u32) -> Option<Fault> {
    if rng.random_range(0..1_000) >= per_mille {
        return None;
    }
    if rng.random_range(0..1_000) < panics && verb != Verb::Probe {
        return Some(Fault::Panic);
    }
    Some(match rng.random_range(0..4) {
        0 => Fault::RequestLost,
        1 => Fault::ReplyLost,
        2 => Fault::RequestDelayed(millis(rng.random_range(0..500))),
        _ => Fault::ReplyDelayed(millis(rng.random_range(0..500))),
    })
}

fn check(harness: &Harness, profile: &FaultProfile, stored: &[JobId]) {
    let (mut failures, mut crashes, mut releases, mut completed, mut expired) = (0, 0, 0, 0, 0);
    for id in stored {
        // Every acknowledged job is kept, in a final state.
        let view = harness.view(id);
        assert!(view.state.is_final(), "{id} is {}", view.state);
        let counters = view.counters;
        let done = view.state == JobState::Completed;
        // Every grant ended in exactly one way, and was counted accordingly.
        let ends = counters.failures + counters.crashes + counters.releases + u32::from(done);
        assert_eq!(counters.attempts, ends, "{id} {}: {counters:?}", view.state);
        let uncounted = view.history.iter().filter(|attempt| matches!(attempt.record, Ok(AttemptRecord::Lost { .. })));
        let leases_expired = counters.crashes + uncounted.count() as u32;
        // Every execution has a grant of its own. A job succeeds a second time only if a lease expired.
        let runs = harness.recorder.of(id);
        assert!(runs.len() <= counters.attempts as usize, "{id} ran {} times, {counters:?}", runs.len());
        let succeeded = runs.iter().filter(|run| matches!(run.ended, Some((_, RunEnd::Succeeded)))).count() as u32;
        assert!(succeeded <= u32::from(done) + leases_expired, "{id} succeeded {succeeded} times, {counters:?}");
        assert!(!done || succeeded >= 1, "{id} is completed and never succeeded");
        // Executions of a job overlap only if a lease expired.
        for (one, next) in runs.iter().zip(runs.iter().skip(1)) {
            let overlap = one.ended.is_none_or(|(ended, _)| ended > next.started);
            assert!(!overlap || leases_expired > 0, "{id} ran twice at once: {one:?} {next:?}");
        }
        failures += u64::from(counters.failures);
        crashes += u64::from(counters.crashes);
        releases += u64::from(counters.releases);
        expired += leases_expired;
        completed += u64::from(done);
    }
    let stats = harness.stats();
    assert!(profile.lets_leases_expire() || expired == 0, "{expired} leases expired in {profile:?}");
    // A job whose enqueue was not acknowledged may be stored or not.
    if stats.enqueued_total == stored.len() as u64 {
        let counted = (stats.completed_total, stats.failures_total, stats.crashes_total, stats.releases_total);
        assert_eq!(counted, (completed, failures, crashes, releases), "{stats:?}");
    }
}
