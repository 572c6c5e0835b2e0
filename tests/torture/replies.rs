//! Replies and requests that are lost, cut or late on the way between a worker, or a producer, and its server.

use std::time::Instant;

use rand::RngExt;
use rand::rngs::SmallRng;
use redis::Commands;
use retraced::limits::tree::POLL_MAX;
use retraced::store::BATCH_MAX;
use retraced::store::RedisOptions;
use retraced::{Client, JobState, RedisStore, seal_job};

use crate::proxy::Fault;
use crate::seed::dice;
use crate::stage::{QUEUE, Stage, millis, secs, sized};
use crate::worker::{Then, Work};

/// One of the ways in which a call can go wrong.
fn any_loss(dice: &mut SmallRng) -> Fault {
    match dice.random_range(0..8) {
        0 => Fault::CutBefore,
        1 => Fault::MuteBefore,
        2 => Fault::CutRequest,
        3 => Fault::CutReply,
        4 => Fault::HalfClose,
        5 => Fault::MuteAfter,
        6 => Fault::Delay(millis(dice.random_range(1..300))),
        _ => Fault::CutAfter,
    }
}

fn client(url: &str) -> Client {
    let options = RedisOptions::default().call_timeout(millis(500));
    Client::new(RedisStore::open(url, options).unwrap())
}

/// Goal: a producer whose replies are lost stores each job once, and learns that it did. Method: every reply to an enqueue is lost with a good chance; whoever does not
/// learn the outcome sends the same job again, and in the end everybody is told that it is there already by a producer that knows nothing of the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t01_lost_replies_to_enqueues() {
    let jobs = sized(60, 500);
    let mut stage = Stage::open("T01", "replies to enqueues are lost", secs(120)).await;
    let proxy = stage.proxy();
    let mut chance = dice(stage.seed);
    proxy.plan(move |call| match call.verb {
        "enqueue" if chance.random_bool(0.25) => any_loss(&mut chance),
        _ => Fault::Pass,
    });
    let producer = client(proxy.url()).queue(QUEUE).unwrap();
    let (mut unknown, mut created) = (0, 0);
    for number in 0..jobs {
        let work = Work::new(number, 1, Then::Succeed);
        let receipt = loop {
            match producer
                .job(work.clone())
                .id(crate::worker::id(number).to_string())
                .wait_at_most(millis(600))
                .enqueue()
                .await
            {
                Ok(receipt) => break receipt,
                Err(_) => unknown += 1,
            }
        };
        created += u64::from(receipt.created);
        stage.expect(number, JobState::Completed);
    }
    proxy.heal();
    let other = client(&stage.server.url()).queue(QUEUE).unwrap();
    for number in 0..jobs {
        let work = Work { mark: 1, ..Work::new(number, 1, Then::Succeed) };
        let receipt = other.job(work).id(crate::worker::id(number).to_string()).enqueue().await.unwrap();
        assert!(!receipt.created, "job {number} was stored a second time");
    }
    assert_eq!(stage.stats().await.enqueued_total, jobs);
    let _worker = stage.orders().start();
    stage.until_quiet().await;
    assert!(stage.book.read().all().all(|run| run.mark == 0), "a second enqueue changed the job");
    stage.verdict.note(format!(
        "{created} receipts said that the job was new; {unknown} times the producer did not learn the outcome in time and sent the same job again."
    ));
    stage.close(&[&proxy]).await;
}

/// Goal: a bulk that is cut anywhere can be sent again, and what each receipt says is what the server holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t05_a_bulk_is_cut() {
    let (jobs, rounds) = sized((2_000, 2), (10_000, 6));
    let mut stage = Stage::open("T05", "a bulk of enqueues is cut in the middle", secs(120)).await;
    let proxy = stage.proxy();
    let mut chance = dice(stage.seed);
    let mut told_new = 0;
    for round in 0..rounds {
        let at = chance.random_range(1..=jobs / BATCH_MAX as u64);
        let how = chance.random_range(0..4);
        proxy.once("enqueue", at, move || match how {
            0 => Fault::CutRequest,
            1 => Fault::CutReply,
            2 => Fault::CutAfter,
            _ => Fault::MuteAfter,
        });
        let numbers = round * jobs..(round + 1) * jobs;
        let works = numbers.clone().map(|number| Work::new(number, 0, Then::Succeed));
        let sealed: Vec<_> = works.map(|work| seal_job(&work, &work.options()).unwrap()).collect();
        // A producer that sends a call again by itself, and one that is too impatient for it and sends the whole bulk again.
        let patience = if round % 2 == 0 { secs(5) } else { millis(300) };
        let queue = client(proxy.url()).queue(QUEUE).unwrap();
        let receipts = match queue.wait_at_most(patience).enqueue_all(sealed.clone()).await {
            Ok(receipts) => receipts,
            Err(_) => queue.wait_at_most(secs(5)).enqueue_all(sealed).await.unwrap(),
        };
        assert_eq!(receipts.len() as u64, jobs);
        told_new += receipts.iter().filter(|receipt| receipt.created).count();
        numbers.for_each(|number| stage.expect(number, JobState::Completed));
        assert_eq!(stage.stats().await.enqueued_total, (round + 1) * jobs);
    }
    proxy.heal();
    let _worker = stage.orders().start();
    stage.verdict.note(format!("{told_new} of {} receipts said that the job was new.", jobs * rounds));
    stage.close(&[&proxy]).await;
}

/// Goal: no grant waits for its lease to run out because nobody heard of it. Method: replies to claims, alone and with settlements, are lost at random; how long until
/// the same call is answered is the recovery, and nothing may run twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t07_lost_replies_to_claims() {
    let (jobs, chance) = sized((3_000, 0.04), (100_000, 0.01));
    let mut stage = Stage::open("T07", "replies to claims are lost", secs(240)).await;
    let proxy = stage.proxy();
    let mut dice = dice(stage.seed);
    proxy.plan(move |call| match call.verb {
        "claim" | "settle_and_claim" if dice.random_bool(chance) => match dice.random_range(0..5) {
            0 => Fault::MuteAfter,
            1 => Fault::CutReply,
            2 => Fault::HalfClose,
            _ => Fault::CutAfter,
        },
        _ => Fault::Pass,
    });
    stage.enqueue((0..jobs).map(|number| Work::new(number, 5, Then::Succeed))).await;
    let _worker = stage.orders_through(&proxy).start();
    stage.until_done(jobs * 9 / 10).await;
    proxy.heal();
    stage.until_quiet().await;
    assert!(proxy.faults().values().sum::<u64>() > 0, "no reply was lost");
    assert_eq!(proxy.unanswered(), 0, "a call was never sent again");
    let verdict = stage.close(&[&proxy]).await;
    assert!(verdict.again.is_empty() && verdict.crashes == 0, "a lost reply cost a lease");
}

/// Goal: whatever is lost around a settlement, it counts once. Method: jobs of every end, and all calls that settle meet all faults at random.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t24_lost_replies_to_settlements() {
    let (jobs, chance) = sized((2_000, 0.08), (30_000, 0.05));
    let mut stage = Stage::open("T24", "replies to settlements, and their requests, are lost", secs(300)).await;
    let proxy = stage.proxy();
    let mut dice = dice(stage.seed);
    proxy.plan(move |call| match call.verb {
        "settle" | "settle_and_claim" | "promote" if dice.random_bool(chance) => any_loss(&mut dice),
        _ => Fault::Pass,
    });
    let then = |number| match number % 10 {
        0 => Then::FailOnce,
        1 => Then::FailAlways,
        2 => Then::FailForGood,
        3 if number % 100 == 3 => Then::Panic,
        _ => Then::Succeed,
    };
    stage.enqueue((0..jobs).map(|number| Work::new(number, 2, then(number)))).await;
    let _worker = stage.orders_through(&proxy).start();
    stage.until_done(jobs * 6 / 10).await;
    proxy.heal();
    stage.until_quiet().await;
    assert!(proxy.faults().values().sum::<u64>() > 0, "no reply was lost");
    assert_eq!(proxy.unanswered(), 0, "a call was never sent again");
    let verdict = stage.close(&[&proxy]).await;
    assert!(verdict.again.is_empty(), "a job ran again because its settlement was lost");
}

/// Goal: a lost wake-up costs a poll, not a job. Method: an idle worker; wake-ups are dropped, its subscription is cut, or the mark that somebody sleeps is deleted,
/// just before a job is enqueued.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t09_lost_wake_ups() {
    let rounds = sized(3, 12);
    let mut stage = Stage::open("T09", "wake-ups are lost", secs(240)).await;
    let proxy = stage.proxy();
    let _worker = stage.orders_through(&proxy).start();
    stage.enqueue([Work::new(0, 1, Then::Succeed)]).await;
    stage.until_done(1).await;
    let mut hand = stage.server.connection();
    let mut waited = Vec::new();
    for number in 1..=rounds {
        // Idle long enough for the polls to be as far apart as they get.
        let idle = Instant::now();
        while idle.elapsed() < sized(millis(1_500), secs(4)) {
            tokio::time::sleep(millis(50)).await;
        }
        match number % 3 {
            0 => proxy.cut_hints(),
            1 => proxy.mute_hints(true),
            _ => {
                let _: () = hand.hdel(format!("retraced:{{{QUEUE}}}:stats"), "idle_until").unwrap();
                stage.fault("mark of a sleeper deleted");
            }
        }
        let asked = Instant::now();
        stage.enqueue([Work::new(number, 1, Then::Succeed)]).await;
        stage.until_begun(number).await;
        waited.push(asked.elapsed());
        proxy.mute_hints(false);
    }
    let slowest = waited.iter().max().copied().unwrap_or_default();
    let bound = POLL_MAX + secs(2);
    assert!(slowest <= bound, "a job waited {slowest:?} for a poll");
    stage.verdict.recovered("wake-up lost: the job begins", waited);
    for _ in 0..proxy.hints_dropped() {
        stage.fault("wake-up dropped");
    }
    stage.close(&[&proxy]).await;
}
