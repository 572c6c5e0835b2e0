//! Death at every step: a worker is killed at the very moment one of its calls is on its way, or was applied and its reply is on its way back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use retraced::job::RunAt;

use crate::proxy::Fault;
use crate::stage::{Stage, millis, secs, sized};
use crate::support::unix_ms;
use crate::worker::{Then, Work, signal_to};

/// The calls a worker makes in its first second, those of its end last.
const VERBS: [&str; 12] = [
    "probe",
    "heartbeat",
    "record",
    "enqueue",
    "claim",
    "settle_and_claim",
    "renew",
    "promote",
    "reclaim",
    "trim",
    "settle",
    "forget",
];
/// Made once in a while, or once.
const SELDOM: [&str; 5] = ["probe", "heartbeat", "record", "settle", "forget"];
/// Made only by a worker that was asked to end.
const LAST_VERBS: [&str; 2] = ["settle", "forget"];
const LATER: std::time::Duration = millis(150);

/// Goal: a worker may die between any two instructions as far as its store can tell. Method: for each call, and each of its first few, a worker is killed with -9 before
/// the call arrives, and one after it was applied; the next worker inherits what is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t02_kills_at_every_call() {
    let mut stage = Stage::open("T02", "a worker dies at every step", secs(400)).await;
    let sample =
        [("claim", true), ("settle_and_claim", false), ("settle_and_claim", true), ("renew", true), ("settle", true)];
    let all = VERBS.iter().flat_map(|verb| [(*verb, false), (*verb, true)]);
    let nths = sized(1..=1, 1..=3);
    let steps: Vec<_> = sized(sample.to_vec(), all.collect());
    let steps = steps.iter().flat_map(|(verb, after)| nths.clone().map(|nth| (*verb, *after, nth)));
    let steps: Vec<_> = steps.filter(|(verb, _, nth)| *nth == 1 || !SELDOM.contains(verb)).collect();
    for (step, (verb, after, nth)) in steps.iter().copied().enumerate() {
        play(&mut stage, step as u64 * 100, verb, after, nth).await;
    }
    let mut orders = stage.orders();
    orders.crashes_max = 100;
    let _heir = orders.start();
    let verbs: BTreeSet<_> = steps.iter().map(|(verb, _, _)| *verb).collect();
    let verbs: Vec<_> = verbs.into_iter().collect();
    stage.verdict.note(format!("{} steps, before and after these calls: {}.", steps.len(), verbs.join(", ")));
    stage.close(&[]).await;
}

async fn play(stage: &mut Stage, first: u64, verb: &'static str, after: bool, nth: u64) {
    let works = (first..first + 10).map(|number| {
        let (millis, then) = match number % 10 {
            0 | 1 => (700, Then::Succeed),
            2 => (5, Then::FailOnce),
            3 => (5, Then::FailForGood),
            _ => (10, Then::Succeed),
        };
        let work = Work::new(number, millis, then);
        let run_at = if number % 10 == 9 { RunAt::After(LATER) } else { RunAt::Now };
        (retraced::JobOptions { run_at, ..work.options() }, work)
    });
    stage.enqueue_with(works.collect::<Vec<_>>()).await;

    let proxy = stage.proxy();
    let victim = Arc::new(AtomicU64::new(0));
    let kill = {
        let victim = victim.clone();
        move || match victim.load(Ordering::SeqCst) {
            0 => panic!("it called before its process id was known"),
            pid => signal_to(pid, "-KILL"),
        }
    };
    proxy.once(verb, nth, move || {
        if after {
            return Fault::Then(Box::new(kill));
        }
        kill();
        Fault::CutBefore
    });
    let mut orders = stage.orders_through(&proxy);
    orders.lease = millis(1_500);
    orders.grace = secs(1);
    orders.crashes_max = 100;
    if verb == "enqueue" {
        orders.produces = Some((1_000_000 + first, 50, secs(1)));
    }
    let begun_ms = unix_ms();
    let mut worker = orders.start();
    victim.store(worker.pid(), Ordering::SeqCst);
    if LAST_VERBS.contains(&verb) {
        stage.until_begun(first).await;
        worker.signal("-TERM");
    }
    while worker.ended().is_none() {
        assert!(unix_ms() - begun_ms < 20_000, "no worker came to {verb} number {nth}");
        tokio::time::sleep(millis(5)).await;
    }
    assert_eq!(worker.ended().unwrap().code(), None, "it ended before {verb} number {nth}");
    let when = if after { "killed after a call" } else { "killed before a call" };
    stage.dead(when, worker.pid(), unix_ms().saturating_sub(50)).await;
}
