//! Hints, which wake idle workers.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use retraced_jobs::job::{QueueName, RunAt};
use retraced_jobs::store::{Hint, Verdict};

use super::{Harness, LONG, TIMEOUT, Worker, id};

/// Waits for this hint. A store may send other hints before it, and more hints than necessary.
async fn wait_for(hints: &mut BoxStream<'static, Hint>, wanted: &Hint) {
    let receive = async {
        while let Some(hint) = hints.next().await {
            if hint == *wanted {
                return;
            }
        }
        panic!("the subscription ended before {wanted:?}");
    };
    tokio::time::timeout(TIMEOUT, receive).await.unwrap_or_else(|_| panic!("{wanted:?} never arrived"));
}

pub(crate) async fn an_idle_worker_gets_a_hint_when_a_job_becomes_pending(_: &dyn Harness, worker: Worker) {
    let mut hints = worker.store.hints(std::slice::from_ref(&worker.queue)).await.unwrap();
    let pending = Hint::Pending(worker.queue.clone());
    assert_eq!(worker.claim(1).await, []);
    worker.enqueue(&[id("a")]).await;
    wait_for(&mut hints, &pending).await;

    let job = worker.claim(2).await.remove(0);
    worker.settle(&job, Verdict::ReleaseNow).await;
    wait_for(&mut hints, &pending).await;

    let job = worker.claim(2).await.remove(0);
    worker.settle(&job, Verdict::Retry { delay: LONG }).await;
    assert_eq!(worker.claim(1).await, []);
    worker.redrive(&id("a")).await;
    wait_for(&mut hints, &pending).await;
}

pub(crate) async fn no_idle_worker_sleeps_on_when_its_queue_is_resumed(_: &dyn Harness, worker: Worker) {
    worker.enqueue(&[id("a")]).await;
    worker.pause().await;
    let mut hints = worker.store.hints(std::slice::from_ref(&worker.queue)).await.unwrap();
    assert_eq!(worker.claim(1).await, []);
    assert!(worker.resume().await);
    wait_for(&mut hints, &Hint::Pending(worker.queue.clone())).await;
}

pub(crate) async fn a_hint_is_sent_when_another_delayed_job_becomes_the_earliest(_: &dyn Harness, worker: Worker) {
    let mut hints = worker.store.hints(std::slice::from_ref(&worker.queue)).await.unwrap();
    let due = Hint::Due(worker.queue.clone());
    worker.put_at(&id("a"), RunAt::After(LONG * 2)).await;
    wait_for(&mut hints, &due).await;
    worker.put_at(&id("b"), RunAt::After(LONG)).await;
    wait_for(&mut hints, &due).await;
    let job = worker.run(&id("c")).await;
    worker.settle(&job, Verdict::Retry { delay: LONG / 2 }).await;
    wait_for(&mut hints, &due).await;
}

pub(crate) async fn a_requested_cancellation_is_hinted_to_listeners_of_that_queue(_: &dyn Harness, worker: Worker) {
    let other = worker.in_queue("other");
    let both: [QueueName; 2] = [worker.queue.clone(), other.queue.clone()];
    let mut all = worker.store.hints(&both).await.unwrap();
    let mut ours = worker.store.hints(&both[..1]).await.unwrap();
    other.run(&id("a")).await;
    worker.run(&id("b")).await;
    other.cancel(&id("a")).await;
    worker.cancel(&id("b")).await;
    wait_for(&mut all, &Hint::Cancel(other.queue.clone(), id("a"))).await;
    wait_for(&mut all, &Hint::Cancel(worker.queue.clone(), id("b"))).await;
    // Every hint before the cancellation of b must be about our queue.
    loop {
        let hint = tokio::time::timeout(TIMEOUT, ours.next()).await.unwrap().unwrap();
        match hint {
            Hint::Cancel(queue, job) => {
                assert_eq!((queue, job), (worker.queue.clone(), id("b")));
                break;
            }
            Hint::Pending(queue) | Hint::Due(queue) => assert_eq!(queue, worker.queue),
            other => panic!("{other:?}"),
        }
    }
}
