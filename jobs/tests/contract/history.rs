//! The records of a job's attempts.

use std::time::Duration;

use retraced_jobs::codec::encode_attempt;
use retraced_jobs::job::{Counters, JobState};
use retraced_jobs::store::{Settlement, Verdict};

use super::{Harness, Worker, id, log};

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
