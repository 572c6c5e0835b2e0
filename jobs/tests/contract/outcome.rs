//! Waiting for the outcomes of jobs.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use retraced_jobs::codec::{encode_attempt, from_payload, to_output};
use retraced_jobs::job::{JobId, JobState, RunAt};
use retraced_jobs::store::{ClaimedJob, Hint, JobView, Settlement, Verdict};
use retraced_jobs::trace::Ended;

use super::{Harness, LONG, SHORT, TIMEOUT, Worker, id, log};

async fn hints(worker: &Worker) -> BoxStream<'static, Hint> {
    worker.store.hints(std::slice::from_ref(&worker.queue)).await.unwrap()
}

async fn watch(worker: &Worker, id: &JobId, wait: Duration) -> Option<JobState> {
    worker.store.watch_outcome(&worker.queue, id, wait).await.unwrap().map(|view| view.state)
}

/// Waits for the next hint that a job has ended.
async fn next_end(hints: &mut BoxStream<'static, Hint>) -> (JobId, Option<JobState>) {
    let receive = async {
        loop {
            match hints.next().await {
                Some(Hint::Ended { id, state, .. }) => return (id, state),
                Some(_) => {}
                None => panic!("the subscription ended"),
            }
        }
    };
    tokio::time::timeout(TIMEOUT, receive).await.expect("no hint of the end arrived")
}

/// The jobs for which hints of their ends arrive before that of `last`. This function enqueues `last`, waits for its outcome and cancels it.
async fn ends_until(worker: &Worker, hints: &mut BoxStream<'static, Hint>, last: &JobId) -> Vec<JobId> {
    worker.put_at(last, RunAt::After(LONG)).await;
    assert_eq!(watch(worker, last, LONG).await, Some(JobState::Delayed));
    worker.cancel(last).await;
    let mut ended = Vec::new();
    loop {
        let (id, _) = next_end(hints).await;
        if id == *last {
            return ended;
        }
        ended.push(id);
    }
}

/// Goal: a waiter gets a hint for every final state. Method: a job for each of them, watched before it ends.
pub(crate) async fn a_waiter_gets_a_hint_for_every_final_state(_: &dyn Harness, worker: Worker) {
    worker.stamp().await;
    let mut hints = hints(&worker).await;
    let verdicts = [
        ("kept", Verdict::Complete { keep: true }, JobState::Completed),
        ("gone", Verdict::Complete { keep: false }, JobState::Completed),
        ("dead", Verdict::DeadLetter, JobState::Dead),
        ("rejected", Verdict::Reject, JobState::Dead),
        ("poisoned", Verdict::Poison, JobState::Poisoned),
        ("cancelled", Verdict::Cancel, JobState::Cancelled),
    ];
    for (name, verdict, state) in verdicts {
        let job = worker.run(&id(name)).await;
        assert_eq!(watch(&worker, &job.id, LONG).await, Some(JobState::Processing));
        worker.settle(&job, verdict).await;
        assert_eq!(next_end(&mut hints).await, (id(name), Some(state)), "settled as {verdict:?}");
    }

    // `settle_and_claim`, with two jobs that end in the same call and one that is retried.
    let jobs = [worker.run(&id("a")).await, worker.run(&id("b")).await, worker.run(&id("c")).await];
    let ends = [Verdict::DeadLetter, Verdict::Retry { delay: LONG }, Verdict::Complete { keep: false }];
    let settlements: Vec<_> = jobs.iter().zip(ends).map(|(job, end)| worker.settlement(job, end)).collect();
    assert_eq!(watch(&worker, &id("c"), LONG).await, Some(JobState::Processing));
    let request = worker.request(1, LONG);
    worker.store.settle_and_claim(worker.call(), &worker.queue, &settlements, &request).await.unwrap();
    assert_eq!(next_end(&mut hints).await, (id("a"), Some(JobState::Dead)));
    assert_eq!(next_end(&mut hints).await, (id("c"), Some(JobState::Completed)));

    worker.cancel(&id("b")).await;
    assert_eq!(next_end(&mut hints).await, (id("b"), Some(JobState::Cancelled)), "a delayed job was cancelled");
    worker.discard(&id("b")).await;
    assert_eq!(next_end(&mut hints).await, (id("b"), None), "a delayed job was discarded");

    for (name, asked, state) in [("crashed", false, JobState::Poisoned), ("lost", true, JobState::Cancelled)] {
        worker.put_at(&id(name), RunAt::Now).await;
        let held = worker.claim_for(1, Duration::ZERO).await;
        if asked {
            worker.cancel(&id(name)).await;
        } else {
            worker.begin(Duration::ZERO, &held).await;
        }
        assert_eq!(watch(&worker, &id(name), LONG).await, Some(JobState::Processing));
        assert_eq!(worker.reclaim(1).await.jobs.len(), 1);
        assert_eq!(next_end(&mut hints).await, (id(name), Some(state)));
    }

    let (request, unclaimed) = (worker.request(1, LONG), id("unclaimed"));
    worker.put_at(&unclaimed, RunAt::Now).await;
    worker.claims(&request).await;
    worker.cancel(&unclaimed).await;
    let (instance, lost) = (worker.instance, [request.nonce]);
    worker.store.reconcile(worker.call(), &worker.queue, instance, &lost, None).await.unwrap();
    assert_eq!(next_end(&mut hints).await, (unclaimed, Some(JobState::Cancelled)));
}

pub(crate) async fn no_outcome_hint_is_sent_without_a_waiter(_: &dyn Harness, worker: Worker) {
    let mut hints = hints(&worker).await;
    let job = worker.run(&id("unwatched")).await;
    worker.settle(&job, Verdict::Complete { keep: false }).await;
    worker.put_at(&id("waits"), RunAt::Now).await;
    worker.cancel(&id("waits")).await;
    worker.discard(&id("waits")).await;
    assert_eq!(ends_until(&worker, &mut hints, &id("last")).await, []);
}

pub(crate) async fn a_wait_is_over_when_its_time_is_up(harness: &dyn Harness, worker: Worker) {
    let mut hints = hints(&worker).await;
    let job = worker.run(&id("slow")).await;
    assert_eq!(watch(&worker, &job.id, SHORT).await, Some(JobState::Processing));
    harness.pass_short().await;
    worker.settle(&job, Verdict::DeadLetter).await;
    assert_eq!(ends_until(&worker, &mut hints, &id("last")).await, []);

    // A shorter wait does not end a longer one.
    let job = worker.run(&id("slower")).await;
    watch(&worker, &job.id, LONG).await;
    watch(&worker, &job.id, SHORT).await;
    harness.pass_short().await;
    worker.settle(&job, Verdict::DeadLetter).await;
    assert_eq!(next_end(&mut hints).await, (id("slower"), Some(JobState::Dead)));
}

pub(crate) async fn a_job_that_ended_or_is_not_kept_is_not_waited_for(_: &dyn Harness, worker: Worker) {
    let mut hints = hints(&worker).await;
    assert_eq!(watch(&worker, &id("never-enqueued"), LONG).await, None);
    let job = worker.run(&id("dead")).await;
    worker.settle(&job, Verdict::DeadLetter).await;
    assert_eq!(watch(&worker, &job.id, LONG).await, Some(JobState::Dead));
    let job = worker.run(&id("gone")).await;
    worker.settle(&job, Verdict::Complete { keep: false }).await;
    assert_eq!(watch(&worker, &job.id, LONG).await, None);
    let job = worker.run(&id("other")).await;
    worker.settle(&job, Verdict::DeadLetter).await;
    assert_eq!(ends_until(&worker, &mut hints, &id("last")).await, [], "there was no waiter");
}

/// Goal: a waiter learns that its job completed although the job is not kept and no hint arrives. Method: no subscription; the job completes in every way there is.
pub(crate) async fn a_waiter_is_shown_a_completion_that_is_not_kept(harness: &dyn Harness, worker: Worker) {
    let gone = Verdict::Complete { keep: false };
    // A first attempt settled alone, a first attempt settled together with one that is retried, and a later attempt.
    for name in ["first", "beside", "later"] {
        let mut job = worker.run(&id(name)).await;
        let mut others = Vec::new();
        match name {
            "beside" => others.push(worker.run(&id("other")).await),
            "later" => {
                worker.settle(&job, Verdict::ReleaseNow).await;
                job = worker.claim(1).await.remove(0);
            }
            _ => {}
        }
        assert_eq!(watch(&worker, &job.id, LONG).await, Some(JobState::Processing));
        let others = others.iter().map(|other| worker.settlement(other, Verdict::Retry { delay: LONG }));
        worker.settle_all(&[worker.settlement(&job, gone)].into_iter().chain(others).collect::<Vec<_>>()).await;
        assert_eq!(watch(&worker, &job.id, LONG).await, Some(JobState::Completed), "{name}");
        assert_eq!(watch(&worker, &job.id, LONG).await, Some(JobState::Completed), "every waiter sees the completion");
    }

    // Nobody waited for this job, only for others of its queue.
    let job = worker.run(&id("unwatched")).await;
    worker.settle(&job, gone).await;
    assert_eq!(watch(&worker, &job.id, LONG).await, None);

    // A later job with the same id has an outcome of its own.
    worker.put_at(&id("first"), RunAt::After(LONG)).await;
    assert_eq!(watch(&worker, &id("first"), LONG).await, Some(JobState::Delayed));
    worker.discard(&id("first")).await;
    assert_eq!(watch(&worker, &id("first"), LONG).await, None);

    let job = worker.run(&id("short")).await;
    assert_eq!(watch(&worker, &job.id, SHORT).await, Some(JobState::Processing));
    worker.settle(&job, gone).await;
    harness.pass_short().await;
    assert_eq!(watch(&worker, &job.id, LONG).await, None, "the wait is over");
}

/// Goal: waiting is cheap. Method: until a job has ended, `watch_outcome` returns its state and nothing else.
pub(crate) async fn a_waiter_reads_only_the_state_of_a_job_that_has_not_ended(_: &dyn Harness, worker: Worker) {
    let job = worker.run(&id("large")).await;
    let view = worker.store.watch_outcome(&worker.queue, &job.id, LONG).await.unwrap().unwrap();
    assert_eq!(view, JobView::new(worker.queue.clone(), job.id.clone(), JobState::Processing));
    worker.settle(&job, Verdict::DeadLetter).await;
    let view = worker.store.watch_outcome(&worker.queue, &job.id, LONG).await.unwrap().unwrap();
    assert_eq!((view.state, view.envelope.is_empty(), view.counters.attempts), (JobState::Dead, false, 1));
}

pub(crate) async fn a_completed_job_shows_what_its_handler_returned(_: &dyn Harness, worker: Worker) {
    let settlement = |job: &ClaimedJob, output| {
        let mut log = log(worker.instance, None);
        log.ended = Ended::Completed { output };
        let verdict = Verdict::Complete { keep: true };
        Settlement { id: job.id.clone(), token: job.token, verdict, record: encode_attempt(&log) }
    };
    let output = to_output(&("invoice", 42)).unwrap();
    let job = worker.run(&id("returns")).await;
    assert_eq!(worker.view(&job.id).await.output(), None, "the job still runs");
    worker.settle_all(&[settlement(&job, Some(output))]).await;
    let view = worker.store.watch_outcome(&worker.queue, &job.id, LONG).await.unwrap().unwrap();
    assert_eq!(from_payload::<(String, u32)>(&view.output().unwrap()).unwrap(), ("invoice".into(), 42));
    let job = worker.run(&id("returns-nothing")).await;
    worker.settle_all(&[settlement(&job, None)]).await;
    from_payload::<()>(&worker.view(&job.id).await.output().unwrap()).unwrap();
}
