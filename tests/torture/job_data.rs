//! Job data: duplicate ids, garbage in the keys, huge payloads, unknown kinds and versions.

use rand::RngExt;
use rand::rngs::SmallRng;
use redis::{Commands, Connection};
use retraced::store::BATCH_MAX;
use retraced::{Client, Code, JobState};

use crate::scenario::{QUEUE, Scenario, millis, secs, sized};
use crate::seed::rng;
use crate::worker::{NewKind, Then, Work, id};

fn key(name: &str) -> String {
    format!("retraced:{{{QUEUE}}}:{name}")
}

/// Goal: enqueuing an existing id changes nothing, whatever the state of its job. Method: the same id, with another payload, is enqueued while its job waits, runs, is delayed, and in each
/// final state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t03_a_duplicate_id_changes_no_job() {
    let mut scenario = Scenario::open("T03", "the same id again, in every state", secs(60)).await;
    let enqueue_again = async |scenario: &mut Scenario, number: u64, expected: JobState| {
        let queue = Client::shared(scenario.store.clone()).queue(QUEUE).unwrap();
        let other = Work { mark: 1, ..Work::new(number, 0, Then::FailPermanently) };
        let receipt = queue.job(other).id(id(number).to_string()).enqueue().await.unwrap();
        assert_eq!((receipt.created, receipt.state), (false, expected));
        scenario.fault("an id enqueued again");
    };
    scenario.enqueue([Work::new(0, 700, Then::Succeed)]).await;
    enqueue_again(&mut scenario, 0, JobState::Pending).await;
    let _worker = scenario.worker_config().start();
    scenario.until_started(0).await;
    enqueue_again(&mut scenario, 0, JobState::Processing).await;
    scenario.enqueue([Work::new(1, 1, Then::FailPermanently), Work::new(2, 1, Then::FailAlways)]).await;
    let slow = Work::new(3, 1, Then::Succeed);
    let later = slow.options().run_at(retraced::job::RunAt::After(secs(2)));
    scenario.enqueue_with([(later, slow)]).await;
    enqueue_again(&mut scenario, 3, JobState::Delayed).await;
    scenario.until_drained().await;
    for (number, state) in
        [(0, JobState::Completed), (1, JobState::Poisoned), (2, JobState::Dead), (3, JobState::Completed)]
    {
        enqueue_again(&mut scenario, number, state).await;
    }
    // A job that was enqueued a second time would run before this one.
    scenario.enqueue([Work::new(4, 1, Then::Succeed)]).await;
    scenario.until_started(4).await;
    scenario.until_drained().await;
    assert!(scenario.log.read().all().all(|run| run.mark == 0), "a payload was changed");
    scenario.close(&[]).await;
}

/// Goal: whatever another program writes into the keys, intact jobs reach their final states. Method: entries ReTraced never writes are added to all keys at random while
/// a worker works; now and then a key has another type for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t33_garbage_in_the_keys_stops_no_intact_job() {
    let (rounds, jobs) = sized((20, 20), (300, 30));
    let mut scenario = Scenario::open("T33", "garbage is written into every key", secs(240)).await;
    let _worker = scenario.worker_config().start();
    let mut redis_connection = scenario.server.connection();
    let mut rng = rng(scenario.seed);
    for round in 0..rounds {
        let then = |number| if number % 7 == 0 { Then::FailOnce } else { Then::Succeed };
        scenario.enqueue((round * jobs..(round + 1) * jobs).map(|number| Work::new(number, 3, then(number)))).await;
        for _ in 0..10 {
            write_garbage(&mut redis_connection, &mut rng);
            scenario.fault("garbage written");
        }
        if round % 10 == 5 {
            // The worker meets a key of a wrong type until it is removed.
            let name = ["poisoned", "dead", "cancelled"][rng.random_range(0..3)];
            if !redis_connection.exists::<_, bool>(key(name)).unwrap() {
                let _: () = redis_connection.set(key(name), "no set").unwrap();
                tokio::time::sleep(millis(200)).await;
                let _: () = redis_connection.del(key(name)).unwrap();
                scenario.fault("key of a wrong type");
            }
        }
        tokio::time::sleep(millis(50)).await;
    }
    let jobs = rounds * jobs;
    scenario.until_done(jobs).await;
    let records = scenario.log.read();
    let stats = scenario.stats().await;
    let report = &mut scenario.report;
    (report.jobs, report.executions) = (jobs, records.all().count() as u64);
    report.lost = (0..jobs).filter(|number| records.of(*number).is_empty()).count() as u64;
    report.unexplained = (0..jobs)
        .filter(|number| records.of(*number).windows(2).any(|pair| pair[1].failures == pair[0].failures))
        .count() as u64;
    report.drift = stats.completed_total.abs_diff(jobs) + stats.failures_total.abs_diff(jobs.div_ceil(7));
    assert!(stats.garbage_total > 0, "{stats:?}");
    report.note(format!(
        "{} entries were found to be garbage and counted; each was deleted or poisoned.",
        stats.garbage_total
    ));
    scenario.finish();
}

/// Writes one random entry that no script of ReTraced writes. The entry never names an intact job.
fn write_garbage(redis_connection: &mut Connection, rng: &mut SmallRng) {
    let garbage: Vec<u8> = (0..rng.random_range(0..40)).map(|_| rng.random()).collect();
    let score = [1.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, 1e15][rng.random_range(0..5)];
    let zsets = ["lease", "delayed", "completed", "dead", "poisoned", "cancelled"];
    let hashes = ["job", "grant", "retry", "history", "replay"];
    let _: () = match rng.random_range(0..5) {
        0 => redis_connection.lpush(key("pending"), garbage).unwrap(),
        1 => redis_connection.rpush(key("pending"), garbage).unwrap(),
        2 | 3 => redis_connection.zadd(key(zsets[rng.random_range(0..6)]), garbage, score).unwrap(),
        _ => {
            let field: Vec<u8> = (0..20).map(|_| rng.random()).collect();
            redis_connection.hset(key(hashes[rng.random_range(0..5)]), field, garbage).unwrap()
        }
    };
}

/// Goal: a job whose payload is not larger than the limit runs. A larger payload is refused when it is enqueued, or poisoned when a worker with a lower limit claims
/// it. The worker's memory stays bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t34_payloads_up_to_the_limit_run_and_larger_ones_do_not() {
    let (large, small) = sized((4, 500), (40, 100_000));
    let mut scenario =
        Scenario::open("T34", "payloads up to the limit and beyond, many small ones, a long error message", secs(240))
            .await;
    // The worker accepts smaller payloads than the producers do.
    let limit = 900 << 10;
    let mut config = scenario.worker_config();
    config.payload_bytes_max = limit;
    let worker = config.start();
    scenario.enqueue([Work::new(0, 1, Then::Succeed)]).await;
    scenario.until_done(1).await;
    let before = worker.memory_kib();
    // The bytes of a payload besides its filling.
    let overhead = encoded(&Work { fill: "o".repeat(1 << 16), ..Work::new(1, 1, Then::Succeed) }) - (1 << 16);
    let sized_work =
        |number, bytes: usize| Work { fill: "o".repeat(bytes - overhead), ..Work::new(number, 1, Then::Succeed) };
    let mut number = 1;
    for _ in 0..large {
        for bytes in [limit - 1, limit] {
            let work = sized_work(number, bytes);
            scenario.enqueue([Work { number, ..work }]).await;
            number += 1;
        }
    }
    let too_large = number;
    let queue = Client::shared(scenario.store.clone()).queue(QUEUE).unwrap();
    let work = sized_work(number, limit + 1);
    queue.job(work).id(id(number).to_string()).enqueue_timeout(secs(5)).enqueue().await.unwrap();
    scenario.expect(number, JobState::Poisoned);
    number += 1;
    for bytes in [(1 << 20) + 1, sized(65 << 20, 512 << 20)] {
        let refused = queue.job(sized_work(number, bytes)).enqueue().await.unwrap_err();
        scenario.report.note(format!("A payload of {bytes} bytes is refused when it is enqueued: \"{refused}\"."));
    }
    scenario.enqueue([Work::new(number, 1, Then::FailWithLongError(4 << 20))]).await;
    number += 1;
    scenario.enqueue((number..number + small).map(|number| Work::new(number, 0, Then::Succeed))).await;
    let mut peak_kib = 0;
    let quiet = || async {
        let stats = scenario.stats().await;
        stats.pending + stats.processing + stats.delayed == 0
    };
    while !quiet().await && !scenario.remaining().is_zero() {
        peak_kib = peak_kib.max(worker.memory_kib());
        tokio::time::sleep(millis(20)).await;
    }
    let view = scenario.admin.job(&scenario.queue, &id(too_large)).await.unwrap().unwrap();
    assert_eq!(view.last_error().unwrap().code, Code::DecodeFailed);
    let grown = peak_kib.saturating_sub(before) / 1024;
    scenario.report.note(format!("The worker's memory grew by {grown} MiB at most."));
    assert!(grown < 128, "memory grew by {grown} MiB");
    scenario.close(&[]).await;
}

fn encoded(work: &Work) -> usize {
    retraced::codec::to_payload(work).unwrap().len()
}

/// Goal: a deploy with new kinds counts no failure while old workers still run, nor after a rollback. Method: jobs of a kind that only new workers know, and
/// other jobs. First an old worker runs alone, then both, then the old one alone again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t35_kinds_that_old_workers_do_not_know_count_no_failure() {
    let jobs = sized(20, 500);
    let mut scenario =
        Scenario::open("T35", "old workers claim jobs of kinds that only new ones know", secs(240)).await;
    let mut old = scenario.worker_config();
    old.knows_new_kind = false;
    let _old = old.start();
    for number in 0..jobs {
        scenario.enqueue_kind(number, NewKind(Work::new(number, 1, Then::Succeed))).await;
    }
    scenario.enqueue((jobs..jobs * 2).map(|number| Work::new(number, 1, Then::Succeed))).await;
    // The jobs of the known kind are completed. The others are delayed, and no failure was counted.
    scenario.until_done(jobs).await;
    scenario
        .until("the postponement of all jobs of the new kind", || async { scenario.stats().await.delayed == jobs })
        .await;
    let delayed = scenario.stats().await;
    assert_eq!((delayed.failures_total, delayed.crashes_total, delayed.releases_total), (0, 0, jobs));
    let mut new = scenario.worker_config().start();
    while scenario.stats().await.completed_total < jobs + jobs / 2 {
        redrive_delayed(&scenario).await;
    }
    // Only the old worker is left: the remaining jobs of the new kind wait, and no failure is counted.
    new.signal("-TERM");
    while new.ended().is_none() {
        assert!(!scenario.remaining().is_zero(), "the new worker did not end");
        tokio::time::sleep(millis(20)).await;
    }
    scenario.fault("new worker shut down");
    redrive_delayed(&scenario).await;
    assert_eq!(scenario.stats().await.failures_total, 0);
    let _new = scenario.worker_config().start();
    while scenario.stats().await.completed_total < jobs * 2 && !scenario.remaining().is_zero() {
        redrive_delayed(&scenario).await;
    }
    let report = scenario.close(&[]).await;
    assert_eq!(report.crashes, 0);
}

/// Moves the delayed jobs to `pending` now instead of after 30 s.
async fn redrive_delayed(scenario: &Scenario) {
    let ids: Vec<_> = scenario.jobs_in(JobState::Delayed).await.into_iter().map(|job| job.id).collect();
    for ids in ids.chunks(BATCH_MAX) {
        scenario.admin.redrive(&scenario.queue, ids).await.unwrap();
    }
    tokio::time::sleep(millis(200)).await;
}
