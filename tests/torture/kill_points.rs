//! A worker is killed while the request of one of its calls is in flight, or while the reply is in flight.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use retraced::job::RunAt;

use crate::proxy::Fault;
use crate::scenario::{Scenario, millis, secs, sized};
use crate::support::unix_ms;
use crate::worker::{Then, Work, signal_to};

/// The scripts that write and that a worker calls in its first second; the last two are those of its shutdown. `renew` is also the script of the verbs `begin` and `report`.
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
/// Verbs that are called rarely or once: the worker is killed only at the first call.
const RARE: [&str; 5] = ["probe", "heartbeat", "record", "settle", "forget"];
/// Verbs that only a worker which shuts down calls.
const SHUTDOWN_VERBS: [&str; 2] = ["settle", "forget"];
const LATER: std::time::Duration = millis(150);

/// Goal: no job is lost or miscounted, wherever a worker dies. Method: for each verb, and each of its first few calls, one worker is killed with -9 before the
/// call arrives, and another one after it was applied. The next worker runs the remaining jobs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t02_a_kill_at_any_call_loses_no_job() {
    let mut scenario = Scenario::open("T02", "a worker is killed at every call", secs(400)).await;
    let sample =
        [("claim", true), ("settle_and_claim", false), ("settle_and_claim", true), ("renew", true), ("settle", true)];
    let all = VERBS.iter().flat_map(|verb| [(*verb, false), (*verb, true)]);
    let nths = sized(1..=1, 1..=3);
    let steps: Vec<_> = sized(sample.to_vec(), all.collect());
    let steps = steps.iter().flat_map(|(verb, after)| nths.clone().map(|nth| (*verb, *after, nth)));
    let steps: Vec<_> = steps.filter(|(verb, _, nth)| *nth == 1 || !RARE.contains(verb)).collect();
    for (step, (verb, after, nth)) in steps.iter().copied().enumerate() {
        kill_at_call(&mut scenario, step as u64 * 100, verb, after, nth).await;
    }
    let mut config = scenario.worker_config();
    config.crashes_max = 100;
    let _successor = config.start();
    let verbs: BTreeSet<_> = steps.iter().map(|(verb, _, _)| *verb).collect();
    let verbs: Vec<_> = verbs.into_iter().collect();
    scenario.report.note(format!("{} steps, before and after these calls: {}.", steps.len(), verbs.join(", ")));
    scenario.close(&[]).await;
}

async fn kill_at_call(scenario: &mut Scenario, first: u64, verb: &'static str, after: bool, nth: u64) {
    let works = (first..first + 10).map(|number| {
        let (millis, then) = match number % 10 {
            0 | 1 => (700, Then::Succeed),
            2 => (5, Then::FailOnce),
            3 => (5, Then::FailPermanently),
            _ => (10, Then::Succeed),
        };
        let work = Work::new(number, millis, then);
        let run_at = if number % 10 == 9 { RunAt::After(LATER) } else { RunAt::Now };
        (work.options().run_at(run_at), work)
    });
    scenario.enqueue_with(works.collect::<Vec<_>>()).await;

    let proxy = scenario.proxy();
    let victim = Arc::new(AtomicU64::new(0));
    let kill = {
        let victim = victim.clone();
        move || match victim.load(Ordering::SeqCst) {
            0 => panic!("the worker made the call before its process id was known"),
            pid => signal_to(pid, "-KILL"),
        }
    };
    proxy.once(verb, nth, move || {
        if after {
            return Fault::ReplyHeld(Box::new(kill));
        }
        kill();
        Fault::RequestLostCut
    });
    let mut config = scenario.worker_config_through(&proxy);
    config.lease = millis(1_500);
    config.grace = secs(1);
    config.crashes_max = 100;
    if verb == "enqueue" {
        config.produces = Some((1_000_000 + first, 50, secs(1)));
    }
    let begun_ms = unix_ms();
    let mut worker = config.start();
    victim.store(worker.pid(), Ordering::SeqCst);
    if SHUTDOWN_VERBS.contains(&verb) {
        scenario.until_started(first).await;
        worker.signal("-TERM");
    }
    while worker.ended().is_none() {
        assert!(unix_ms() - begun_ms < 20_000, "the worker did not make call {nth} of {verb}");
        tokio::time::sleep(millis(5)).await;
    }
    assert_eq!(worker.ended().unwrap().code(), None, "the worker ended by itself before call {nth} of {verb}");
    let when = if after { "killed after a call" } else { "killed before a call" };
    scenario.died(when, worker.pid(), unix_ms().saturating_sub(50)).await;
}
