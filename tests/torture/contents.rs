//! What jobs and keys are made of: ids that are taken, garbage, huge payloads, kinds and versions nobody knows.

use rand::RngExt;
use rand::rngs::SmallRng;
use redis::{Commands, Connection};
use retraced::store::BATCH_MAX;
use retraced::{Client, Code, JobState};

use crate::seed::dice;
use crate::stage::{QUEUE, Stage, millis, secs, sized};
use crate::worker::{Novel, Then, Work, id};

fn key(name: &str) -> String {
    format!("retraced:{{{QUEUE}}}:{name}")
}

/// Goal: an id that is taken is left alone, wherever its job is. Method: the same id, with another payload, is enqueued while its job waits, runs, is delayed and is at each
/// end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t03_duplicate_ids() {
    let mut stage = Stage::open("T03", "the same id again, in every state", secs(60)).await;
    let again = async |stage: &mut Stage, number: u64, expected: JobState| {
        let queue = Client::shared(stage.store.clone()).queue(QUEUE).unwrap();
        let other = Work { mark: 1, ..Work::new(number, 0, Then::FailForGood) };
        let receipt = queue.job(other).id(id(number).to_string()).enqueue().await.unwrap();
        assert_eq!((receipt.created, receipt.state), (false, expected));
        stage.fault("an id enqueued again");
    };
    stage.enqueue([Work::new(0, 700, Then::Succeed)]).await;
    again(&mut stage, 0, JobState::Pending).await;
    let _worker = stage.orders().start();
    stage.until_begun(0).await;
    again(&mut stage, 0, JobState::Processing).await;
    stage.enqueue([Work::new(1, 1, Then::FailForGood), Work::new(2, 1, Then::FailAlways)]).await;
    let slow = Work::new(3, 1, Then::Succeed);
    let later = retraced::JobOptions { run_at: retraced::job::RunAt::After(secs(2)), ..slow.options() };
    stage.enqueue_with([(later, slow)]).await;
    again(&mut stage, 3, JobState::Delayed).await;
    stage.until_quiet().await;
    for (number, state) in
        [(0, JobState::Completed), (1, JobState::Poisoned), (2, JobState::Dead), (3, JobState::Completed)]
    {
        again(&mut stage, number, state).await;
    }
    tokio::time::sleep(millis(300)).await;
    assert!(stage.book.read().all().all(|run| run.mark == 0), "a payload was changed");
    stage.close(&[]).await;
}

/// Goal: whatever a foreign hand writes into the keys, jobs that are whole come to their ends. Method: entries nobody could have written are added to all keys at random while
/// a worker works; now and then a key has another type for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t33_garbage_in_the_keys() {
    let (rounds, jobs) = sized((20, 20), (300, 30));
    let mut stage = Stage::open("T33", "garbage is written into every key", secs(240)).await;
    let _worker = stage.orders().start();
    let mut hand = stage.server.connection();
    let mut chance = dice(stage.seed);
    for round in 0..rounds {
        let then = |number| if number % 7 == 0 { Then::FailOnce } else { Then::Succeed };
        stage.enqueue((round * jobs..(round + 1) * jobs).map(|number| Work::new(number, 3, then(number)))).await;
        for _ in 0..10 {
            litter(&mut hand, &mut chance);
            stage.fault("garbage written");
        }
        if round % 10 == 5 {
            // Wherever the worker is, it meets a key of a wrong type, until somebody takes it away.
            let name = ["poisoned", "dead", "cancelled"][chance.random_range(0..3)];
            if !hand.exists::<_, bool>(key(name)).unwrap() {
                let _: () = hand.set(key(name), "no set").unwrap();
                tokio::time::sleep(millis(200)).await;
                let _: () = hand.del(key(name)).unwrap();
                stage.fault("key of a wrong type");
            }
        }
        tokio::time::sleep(millis(50)).await;
    }
    let jobs = rounds * jobs;
    stage.until_done(jobs).await;
    let pages = stage.book.read();
    let stats = stage.stats().await;
    let verdict = &mut stage.verdict;
    (verdict.jobs, verdict.executions) = (jobs, pages.all().count() as u64);
    verdict.lost = (0..jobs).filter(|number| pages.of(*number).is_empty()).count() as u64;
    verdict.unexplained = (0..jobs)
        .filter(|number| pages.of(*number).windows(2).any(|pair| pair[1].failures == pair[0].failures))
        .count() as u64;
    verdict.drift = stats.completed_total.abs_diff(jobs) + stats.failures_total.abs_diff(jobs.div_ceil(7));
    assert!(stats.garbage_total > 0, "{stats:?}");
    verdict
        .note(format!("{} entries were found to be garbage, dropped or set aside, and counted.", stats.garbage_total));
    stage.tell();
}

/// One entry somewhere that nobody of us writes. It never names a job that is whole.
fn litter(hand: &mut Connection, chance: &mut SmallRng) {
    let junk: Vec<u8> = (0..chance.random_range(0..40)).map(|_| chance.random()).collect();
    let score = [1.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, 1e15][chance.random_range(0..5)];
    let zsets = ["lease", "delayed", "completed", "dead", "poisoned", "cancelled"];
    let hashes = ["job", "grant", "retry", "history", "replay"];
    let _: () = match chance.random_range(0..5) {
        0 => hand.lpush(key("pending"), junk).unwrap(),
        1 => hand.rpush(key("pending"), junk).unwrap(),
        2 | 3 => hand.zadd(key(zsets[chance.random_range(0..6)]), junk, score).unwrap(),
        _ => {
            let field: Vec<u8> = (0..20).map(|_| chance.random()).collect();
            hand.hset(key(hashes[chance.random_range(0..5)]), field, junk).unwrap()
        }
    };
}

/// Goal: a payload up to its bound is taken and run, one above it is refused where it is made or set aside where it would run, and memory stays bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t34_huge_payloads() {
    let (large, small) = sized((4, 500), (40, 100_000));
    let mut stage =
        Stage::open("T34", "payloads at their bound and beyond, many small ones, a long lament", secs(240)).await;
    // What the worker takes is less than what producers may send.
    let limit = 900 << 10;
    let mut orders = stage.orders();
    orders.payload_bytes_max = limit;
    let worker = orders.start();
    stage.enqueue([Work::new(0, 1, Then::Succeed)]).await;
    stage.until_done(1).await;
    let before = worker.memory_kib();
    // What else is in such a payload, in bytes.
    let rest = encoded(&Work { fill: "o".repeat(1 << 16), ..Work::new(1, 1, Then::Succeed) }) - (1 << 16);
    let sized_work =
        |number, bytes: usize| Work { fill: "o".repeat(bytes - rest), ..Work::new(number, 1, Then::Succeed) };
    let mut number = 1;
    for _ in 0..large {
        for bytes in [limit - 1, limit] {
            let work = sized_work(number, bytes);
            stage.enqueue([Work { number, ..work }]).await;
            number += 1;
        }
    }
    let beyond = number;
    let queue = Client::shared(stage.store.clone()).queue(QUEUE).unwrap();
    let work = sized_work(number, limit + 1);
    queue.job(work).id(id(number).to_string()).wait_at_most(secs(5)).enqueue().await.unwrap();
    stage.expect(number, JobState::Poisoned);
    number += 1;
    for bytes in [(1 << 20) + 1, sized(65 << 20, 512 << 20)] {
        let refused = queue.job(sized_work(number, bytes)).enqueue().await.unwrap_err();
        stage.verdict.note(format!("A payload of {bytes} bytes is refused where it is made: \"{refused}\"."));
    }
    stage.enqueue([Work::new(number, 1, Then::Lament(4 << 20))]).await;
    number += 1;
    stage.enqueue((number..number + small).map(|number| Work::new(number, 0, Then::Succeed))).await;
    let mut most = 0;
    let quiet = || async {
        let stats = stage.stats().await;
        stats.pending + stats.processing + stats.delayed == 0
    };
    while !quiet().await && !stage.remaining().is_zero() {
        most = most.max(worker.memory_kib());
        tokio::time::sleep(millis(20)).await;
    }
    let view = stage.admin.job(&stage.queue, &id(beyond)).await.unwrap().unwrap();
    assert_eq!(view.last_error().unwrap().code, Code::DecodeFailed);
    let grown = most.saturating_sub(before) / 1024;
    stage.verdict.note(format!("The worker's memory grew by {grown} MiB at most."));
    assert!(grown < 128, "memory grew by {grown} MiB");
    stage.close(&[]).await;
}

fn encoded(work: &Work) -> usize {
    retraced::codec::to_payload(work).unwrap().len()
}

/// Goal: a deploy that brings new kinds costs no attempt while old workers are still there, nor when they come back. Method: jobs of a kind that only new workers know, and
/// envelopes of a version nobody knows yet; first old workers alone, then both, then the old again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t35_kinds_that_old_workers_do_not_know() {
    let jobs = sized(20, 500);
    let mut stage = Stage::open("T35", "old workers meet kinds that only new ones know", secs(240)).await;
    let mut old = stage.orders();
    old.knows_novelties = false;
    let _old = old.start();
    for number in 0..jobs {
        stage.enqueue_kind(number, Novel(Work::new(number, 1, Then::Succeed))).await;
    }
    stage.enqueue((jobs..jobs * 2).map(|number| Work::new(number, 1, Then::Succeed))).await;
    // Those it knows are done, the others put off and not charged.
    stage.until_done(jobs).await;
    stage.until("all put off", || async { stage.stats().await.delayed == jobs }).await;
    let put_off = stage.stats().await;
    assert_eq!((put_off.failures_total, put_off.crashes_total, put_off.releases_total), (0, 0, jobs));
    let mut new = stage.orders().start();
    while stage.stats().await.completed_total < jobs + jobs / 2 {
        hurry(&stage).await;
    }
    // Back to the old: what is left waits, and nothing is charged.
    new.signal("-TERM");
    while new.ended().is_none() {
        assert!(!stage.remaining().is_zero(), "it did not end");
        tokio::time::sleep(millis(20)).await;
    }
    stage.fault("new worker gone again");
    hurry(&stage).await;
    assert_eq!(stage.stats().await.failures_total, 0);
    let _new = stage.orders().start();
    while stage.stats().await.completed_total < jobs * 2 && !stage.remaining().is_zero() {
        hurry(&stage).await;
    }
    let verdict = stage.close(&[]).await;
    assert_eq!(verdict.crashes, 0);
}

/// Those that were put off have their turn now instead of after half a minute.
async fn hurry(stage: &Stage) {
    let ids: Vec<_> = stage.jobs_in(JobState::Delayed).await.into_iter().map(|job| job.id).collect();
    for ids in ids.chunks(BATCH_MAX) {
        stage.admin.redrive(&stage.queue, ids).await.unwrap();
    }
    tokio::time::sleep(millis(200)).await;
}
