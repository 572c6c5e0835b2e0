//! Tries every transition from every state: one that is in the table leads to the state it names, and any other changes nothing.

use retraced_jobs::job::{JobId, JobState, Token, Transition};
use retraced_jobs::store::{ClaimedJob, Settled, Settlement, Verdict};

use super::{Harness, LONG, Worker, id};

const TRANSITIONS: [Transition; 9] = [
    Transition::Claim,
    Transition::Complete,
    Transition::Delay,
    Transition::Requeue,
    Transition::DeadLetter,
    Transition::Poison,
    Transition::Promote,
    Transition::Cancel,
    Transition::Redrive,
];

/// Every state with every transition, each in a queue of its own, through the store verb that performs the transition.
pub(crate) async fn every_transition_leads_where_the_table_says_and_nowhere_else(
    harness: &dyn Harness,
    worker: Worker,
) {
    for from in JobState::ALL {
        for transition in TRANSITIONS {
            if (from, transition) == (JobState::Delayed, Transition::Redrive) {
                // Redriving a delayed job promotes it.
                continue;
            }
            let worker = worker.in_queue(&format!("{from}-{transition:?}"));
            let job = id("walker");
            let held = worker.bring(harness, &job, from).await;
            assert_eq!(worker.state(&job).await, Some(from), "brought to {from}");
            let before = worker.snapshot().await;

            apply(&worker, transition, &job, held.as_ref()).await;

            match from.after(transition) {
                Ok(to) => assert_eq!(worker.state(&job).await, Some(to), "{from} {transition:?}"),
                Err(_) => {
                    let mut after = worker.snapshot().await;
                    after.stats.stale_settlements_total = before.stats.stale_settlements_total;
                    assert_eq!(after, before, "{from} {transition:?} is not in the table");
                }
            }
            assert_eq!(worker.check_counts().await.difference(), 0, "{from} {transition:?}");
        }
    }
}

async fn apply(worker: &Worker, transition: Transition, job: &JobId, held: Option<&ClaimedJob>) {
    let token = held.map_or(Token { attempt: 1, nonce: [0; 8] }, |held| held.token);
    let settle = async |verdict| {
        let settlement = Settlement { id: job.clone(), token, verdict, record: "".into() };
        worker.settle_all(&[settlement]).await[0]
    };
    match transition {
        Transition::Claim => drop(worker.claim(1).await),
        Transition::Complete => drop(settle(Verdict::Complete { keep: true }).await),
        Transition::Delay => drop(settle(Verdict::Retry { delay: LONG }).await),
        Transition::Requeue => drop(settle(Verdict::ReleaseNow).await),
        Transition::DeadLetter => drop(settle(Verdict::DeadLetter).await),
        Transition::Poison => drop(settle(Verdict::Poison).await),
        Transition::Promote => drop(worker.promote(1).await),
        Transition::Redrive => drop(worker.redrive(job).await),
        Transition::Cancel => {
            if settle(Verdict::Cancel).await == Settled::Stale {
                worker.cancel(job).await;
            }
        }
    }
}
