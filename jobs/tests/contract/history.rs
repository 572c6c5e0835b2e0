//! The records of a job's attempts, and of what operators did to it.

use std::time::Duration;

use retraced_jobs::codec::encode_attempt;
use retraced_jobs::job::{Counters, JobState, RunAt};
use retraced_jobs::store::{JobView, Retention, RetentionRule, Settled, Settlement, TrimPolicy, Verdict};
use retraced_jobs::trace::{ActKind, OperatorName};

use super::{Harness, LONG, Worker, id, log};

pub(crate) async fn the_first_three_and_the_last_seven_attempts_are_kept(_: &dyn Harness, worker: Worker) {
    worker.enqueue(&[id("a")]).await;
    let mut before = Vec::new();
    for n in 1..=14_u32 {
        let job = worker.claim_one().await;
        assert_eq!(
            worker.view(&id("a")).await.history,
            before,
            "a running attempt hides no earlier one, before attempt {n}"
        );
        let record = encode_attempt(&log(worker.instance, Some(&format!("failure {n}"))));
        let verdict = if n == 14 { Verdict::DeadLetter } else { Verdict::Retry { delay: Duration::ZERO } };
        worker.settle_all(&[Settlement { id: id("a"), token: job.token, verdict, record }]).await;

        let view = worker.view(&id("a")).await;
        let kept: Vec<u32> = view.history.iter().map(|stored| stored.attempt).collect();
        let expected: Vec<u32> = (1..=n).filter(|attempt| *attempt <= 3 || *attempt + 7 > n).collect();
        assert_eq!(kept, expected, "after attempt {n}");
        assert_eq!(view.collapsed, n - u32::try_from(kept.len()).unwrap());
        assert_eq!(view.last_error().unwrap().message, format!("failure {n}"));
        before = view.history;
    }
    let page = worker.store.jobs(&worker.queue, JobState::Dead, None, 1).await.unwrap();
    assert_eq!(page.jobs[0].last_error.as_ref().unwrap().message, "failure 14");
    assert_eq!(page.jobs[0].counters, Counters { attempts: 14, failures: 14, ..Counters::default() });
}

pub(crate) async fn a_history_survives_a_redrive_and_is_deleted_with_its_job(_: &dyn Harness, worker: Worker) {
    worker.enqueue(&[id("a")]).await;
    for _ in 0..12 {
        let job = worker.claim_one().await;
        worker.settle(&job, Verdict::DeadLetter).await;
        worker.redrive(&id("a")).await;
    }
    let view = worker.view(&id("a")).await;
    assert_eq!((view.history.len(), view.collapsed), (10, 2));
    assert_eq!(view.counters, Counters { attempts: 12, ..Counters::default() });

    worker.discard(&id("a")).await;
    worker.enqueue(&[id("a")]).await;
    let job = worker.claim_one().await;
    worker.settle(&job, Verdict::DeadLetter).await;
    let view = worker.view(&id("a")).await;
    assert_eq!((view.history.len(), view.collapsed, view.counters.attempts), (1, 0, 1));
}

/// Who did what to a job, from which state, and after how many attempts.
fn acts(view: &JobView) -> Vec<(ActKind, JobState, u32, &str)> {
    view.acts.iter().map(|act| (act.kind, act.from, act.attempts, act.by.as_str())).collect()
}

pub(crate) async fn no_act_of_an_operator_is_missing_from_its_job(harness: &dyn Harness, worker: Worker) {
    let (store, queue, target) = (worker.store.clone(), worker.queue.clone(), [id("a").into()]);
    let as_named = |name: &str| OperatorName::new(name);
    let before_ms = worker.now_ms().await;
    worker.put_at(&id("a"), RunAt::After(LONG)).await;
    let call = worker.call();
    store.redrive(call, &queue, &as_named("ada"), &target).await.unwrap();
    store.redrive(call, &queue, &as_named("ada"), &target).await.unwrap(); // sent again
    store.redrive(worker.call(), &queue, &as_named("ada"), &target).await.unwrap(); // refused: it is pending
    store.cancel(worker.call(), &queue, &as_named("bob\n"), &target).await.unwrap();
    store.redrive(worker.call(), &queue, &as_named(&"é".repeat(99)), &target).await.unwrap();
    let job = worker.claim_one().await;
    for _ in 0..2 {
        harness.pass_short().await;
        // The second request changes nothing.
        store.cancel(worker.call(), &queue, &as_named("cyd"), &target).await.unwrap();
    }
    assert_eq!(worker.settle(&job, Verdict::ReleaseNow).await, Settled::Done { state: JobState::Cancelled });
    store.redrive(worker.call(), &queue, &as_named("dan"), &target).await.unwrap();

    let view = worker.view(&id("a")).await;
    let cut = as_named(&"é".repeat(99));
    assert_eq!(
        acts(&view),
        [
            (ActKind::Redrive, JobState::Delayed, 0, "ada"),
            (ActKind::Cancel, JobState::Pending, 0, "bob\n"),
            (ActKind::Redrive, JobState::Cancelled, 0, cut.as_str()),
            (ActKind::Cancel, JobState::Processing, 1, "cyd"),
            (ActKind::Redrive, JobState::Cancelled, 1, "dan"),
        ]
    );
    assert_eq!(view.acts_dropped, 0);
    let times: Vec<u64> = view.acts.iter().map(|act| act.at_ms).collect();
    assert!(times.is_sorted() && times[0] >= before_ms && times[4] <= worker.now_ms().await, "{times:?}");
    assert!(times[4] > times[0], "each act has its own time: {times:?}");
}

pub(crate) async fn acts_of_operators_never_outgrow_their_bound_nor_outlive_their_job(_: &dyn Harness, worker: Worker) {
    let name = |n: u32| OperatorName::new(format!("operator {n}"));
    let target = [id("a").into()];
    worker.enqueue(&[id("a")]).await;
    for n in 0..6 {
        worker.store.cancel(worker.call(), &worker.queue, &name(2 * n), &target).await.unwrap();
        worker.store.redrive(worker.call(), &worker.queue, &name(2 * n + 1), &target).await.unwrap();
    }
    let view = worker.view(&id("a")).await;
    let names: Vec<&str> = view.acts.iter().map(|act| act.by.as_str()).collect();
    assert_eq!(names, (7..12).map(|n| name(n).as_str().to_owned()).collect::<Vec<_>>());
    assert_eq!(view.acts_dropped, 7);

    // The three ways in which a job is deleted. The scan after each test finds what they leave behind.
    for deletion in ["discard", "completion", "trim"] {
        match deletion {
            "discard" => drop(worker.discard(&id("a")).await),
            "completion" => {
                let job = worker.claim_one().await;
                worker.settle(&job, Verdict::Complete { keep: false }).await;
            }
            _ => {
                worker.cancel(&id("a")).await;
                let none = RetentionRule::new(Duration::ZERO, 0);
                let retention = Retention::default().cancelled(none);
                assert_eq!(worker.trim(&TrimPolicy { retention, limit: 10 }).await.removed, 1);
            }
        }
        worker.enqueue(&[id("a")]).await;
        let view = worker.view(&id("a")).await;
        assert_eq!((view.acts.len(), view.acts_dropped), (0, 0), "after a {deletion}");
        worker.cancel(&id("a")).await;
        worker.redrive(&id("a")).await;
    }
}
