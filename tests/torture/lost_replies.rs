//! Requests and replies that are lost, truncated or delayed between a worker, or a producer, and its server.

use std::time::Instant;

use rand::RngExt;
use rand::rngs::SmallRng;
use redis::Commands;
use retraced::limits::POLL_MAX;
use retraced::store::BATCH_MAX;
use retraced::store::RedisOptions;
use retraced::{Client, JobState, RedisStore, seal_job};

use crate::proxy::Fault;
use crate::scenario::{QUEUE, Scenario, millis, secs, sized};
use crate::seed::rng;
use crate::worker::{Then, Work};

/// A random fault of a call.
fn random_fault(rng: &mut SmallRng) -> Fault {
    match rng.random_range(0..8) {
        0 => Fault::RequestLostCut,
        1 => Fault::RequestLostSilent,
        2 => Fault::RequestTruncated,
        3 => Fault::ReplyTruncated,
        4 => Fault::ReplyLostHalfClosed,
        5 => Fault::ReplyLostSilent,
        6 => Fault::ReplyDelayed(millis(rng.random_range(1..300))),
        _ => Fault::ReplyLostCut,
    }
}

fn client(url: &str) -> Client {
    let options = RedisOptions::default().call_timeout(millis(500));
    Client::new(RedisStore::open(url, options).unwrap())
}

/// Goal: a producer whose replies are lost stores each job once and gets its receipt. Method: replies to enqueues are lost at random; a producer that does not
/// learn the outcome sends the same job again. In the end another producer enqueues every job once more, and each receipt says that the job exists already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t01_a_lost_reply_never_enqueues_a_job_twice() {
    let jobs = sized(60, 500);
    let mut scenario = Scenario::open("T01", "replies to enqueues are lost", secs(120)).await;
    let proxy = scenario.proxy();
    let mut rng = rng(scenario.seed);
    proxy.plan(move |call| match call.verb {
        "enqueue" if rng.random_bool(0.25) => random_fault(&mut rng),
        _ => Fault::Pass,
    });
    let producer = client(proxy.url()).queue(QUEUE).unwrap();
    let (mut resent, mut created) = (0, 0);
    for number in 0..jobs {
        let work = Work::new(number, 1, Then::Succeed);
        let receipt = loop {
            match producer
                .job(work.clone())
                .id(crate::worker::id(number).to_string())
                .enqueue_timeout(millis(600))
                .enqueue()
                .await
            {
                Ok(receipt) => break receipt,
                Err(_) => resent += 1,
            }
        };
        created += u64::from(receipt.created);
        scenario.expect(number, JobState::Completed);
    }
    proxy.clear_faults();
    let other = client(&scenario.server.url()).queue(QUEUE).unwrap();
    for number in 0..jobs {
        let work = Work { mark: 1, ..Work::new(number, 1, Then::Succeed) };
        let receipt = other.job(work).id(crate::worker::id(number).to_string()).enqueue().await.unwrap();
        assert!(!receipt.created, "job {number} was stored a second time");
    }
    assert_eq!(scenario.stats().await.enqueued_total, jobs);
    let _worker = scenario.worker_config().start();
    scenario.until_drained().await;
    assert!(scenario.log.read().all().all(|run| run.mark == 0), "a second enqueue changed the job");
    scenario.report.note(format!(
        "{created} receipts said that the job was created; {resent} times the producer did not learn the outcome in time and sent the same job again."
    ));
    scenario.close(&[&proxy]).await;
}

/// Goal: a bulk enqueue that is interrupted anywhere can be sent again, and each receipt agrees with the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t05_an_interrupted_bulk_can_be_sent_again() {
    let (jobs, rounds) = sized((2_000, 2), (10_000, 6));
    let mut scenario = Scenario::open("T05", "a bulk enqueue is interrupted", secs(120)).await;
    let proxy = scenario.proxy();
    let mut rng = rng(scenario.seed);
    let mut created = 0;
    for round in 0..rounds {
        let at = rng.random_range(1..=jobs / BATCH_MAX as u64);
        let how = rng.random_range(0..4);
        proxy.once("enqueue", at, move || match how {
            0 => Fault::RequestTruncated,
            1 => Fault::ReplyTruncated,
            2 => Fault::ReplyLostCut,
            _ => Fault::ReplyLostSilent,
        });
        let numbers = round * jobs..(round + 1) * jobs;
        let works = numbers.clone().map(|number| Work::new(number, 0, Then::Succeed));
        let sealed: Vec<_> = works.map(|work| seal_job(&work, &work.options()).unwrap()).collect();
        // With the longer timeout the producer resends the call by itself. The shorter one is over before, and the test sends the whole bulk again.
        let timeout = if round % 2 == 0 { secs(5) } else { millis(300) };
        let queue = client(proxy.url()).queue(QUEUE).unwrap();
        let receipts = match queue.enqueue_timeout(timeout).enqueue_all(sealed.clone()).await {
            Ok(receipts) => receipts,
            Err(_) => queue.enqueue_timeout(secs(5)).enqueue_all(sealed).await.unwrap(),
        };
        assert_eq!(receipts.len() as u64, jobs);
        created += receipts.iter().filter(|receipt| receipt.created).count();
        numbers.for_each(|number| scenario.expect(number, JobState::Completed));
        assert_eq!(scenario.stats().await.enqueued_total, (round + 1) * jobs);
    }
    proxy.clear_faults();
    let _worker = scenario.worker_config().start();
    scenario.report.note(format!("{created} of {} receipts said that the job was created.", jobs * rounds));
    scenario.close(&[&proxy]).await;
}

/// Goal: no grant waits for its lease to expire because its reply was lost. Method: replies to claims, alone and with settlements, are lost at random; the recovery is
/// the time until the same call is answered. No job may run twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t07_a_lost_reply_to_a_claim_costs_no_lease() {
    let (jobs, probability) = sized((3_000, 0.04), (100_000, 0.01));
    let mut scenario = Scenario::open("T07", "replies to claims are lost", secs(240)).await;
    let proxy = scenario.proxy();
    let mut rng = rng(scenario.seed);
    proxy.plan(move |call| match call.verb {
        "claim" | "settle_and_claim" if rng.random_bool(probability) => match rng.random_range(0..5) {
            0 => Fault::ReplyLostSilent,
            1 => Fault::ReplyTruncated,
            2 => Fault::ReplyLostHalfClosed,
            _ => Fault::ReplyLostCut,
        },
        _ => Fault::Pass,
    });
    scenario.enqueue((0..jobs).map(|number| Work::new(number, 5, Then::Succeed))).await;
    let _worker = scenario.worker_config_through(&proxy).start();
    scenario.until_done(jobs * 9 / 10).await;
    proxy.clear_faults();
    scenario.until_drained().await;
    assert!(proxy.faults().values().sum::<u64>() > 0, "no reply was lost");
    assert_eq!(proxy.unanswered(), 0, "a call was never sent again");
    let report = scenario.close(&[&proxy]).await;
    assert!(report.repeated.is_empty() && report.crashes == 0, "a lost reply cost a lease");
}

/// Goal: a settlement counts once, whichever of its requests and replies are lost. Method: jobs with every outcome; every kind of fault is injected at random into
/// the calls that settle or promote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t24_a_settlement_counts_once_although_its_reply_is_lost() {
    let (jobs, probability) = sized((2_000, 0.08), (30_000, 0.05));
    let mut scenario = Scenario::open("T24", "replies to settlements, and their requests, are lost", secs(300)).await;
    let proxy = scenario.proxy();
    let mut rng = rng(scenario.seed);
    proxy.plan(move |call| match call.verb {
        "settle" | "settle_and_claim" | "promote" if rng.random_bool(probability) => random_fault(&mut rng),
        _ => Fault::Pass,
    });
    let then = |number| match number % 10 {
        0 => Then::FailOnce,
        1 => Then::FailAlways,
        2 => Then::FailPermanently,
        3 if number % 100 == 3 => Then::Panic,
        _ => Then::Succeed,
    };
    scenario.enqueue((0..jobs).map(|number| Work::new(number, 2, then(number)))).await;
    let _worker = scenario.worker_config_through(&proxy).start();
    scenario.until_done(jobs * 6 / 10).await;
    proxy.clear_faults();
    scenario.until_drained().await;
    assert!(proxy.faults().values().sum::<u64>() > 0, "no reply was lost");
    assert_eq!(proxy.unanswered(), 0, "a call was never sent again");
    let report = scenario.close(&[&proxy]).await;
    assert!(report.repeated.is_empty(), "a job ran again because its settlement was lost");
}

/// Goal: after a lost hint a poll finds the job. Method: just before a job is enqueued for an idle worker, its hints are dropped, its
/// subscription is cut, or the field of `stats` that says that a fetcher is idle is deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t09_a_job_starts_although_its_hint_was_lost() {
    let rounds = sized(3, 12);
    let mut scenario = Scenario::open("T09", "hints are lost", secs(240)).await;
    let proxy = scenario.proxy();
    let _worker = scenario.worker_config_through(&proxy).start();
    scenario.enqueue([Work::new(0, 1, Then::Succeed)]).await;
    scenario.until_done(1).await;
    let mut redis_connection = scenario.server.connection();
    let mut waited = Vec::new();
    for number in 1..=rounds {
        // The worker is idle long enough for its polls to reach their longest interval.
        let idle_since = Instant::now();
        while idle_since.elapsed() < sized(millis(1_500), secs(4)) {
            tokio::time::sleep(millis(50)).await;
        }
        match number % 3 {
            0 => proxy.cut_subscriptions(),
            1 => proxy.drop_hints(true),
            _ => {
                let _: () = redis_connection.hdel(format!("retraced:{{{QUEUE}}}:stats"), "idle_until").unwrap();
                scenario.fault("field of idle fetchers deleted");
            }
        }
        let enqueued = Instant::now();
        scenario.enqueue([Work::new(number, 1, Then::Succeed)]).await;
        scenario.until_started(number).await;
        waited.push(enqueued.elapsed());
        proxy.drop_hints(false);
    }
    let slowest = waited.iter().max().copied().unwrap_or_default();
    let bound = POLL_MAX + secs(2);
    assert!(slowest <= bound, "a job waited {slowest:?} for a poll");
    scenario.report.recovered("hint lost: the job starts", waited);
    for _ in 0..proxy.hints_dropped() {
        scenario.fault("hint dropped");
    }
    scenario.close(&[&proxy]).await;
}
