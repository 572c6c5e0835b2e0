//! Two processes that go on from one memory (a fork, a restored snapshot): they call under the same process instance, and their replay slots count from the same number.

use futures_util::FutureExt;
use retraced_jobs::job::{JobId, JobState, NewJob, QueueName, RunAt};
use retraced_jobs::store::Enqueued;

use super::*;
use crate::limits::CALL_IDS_MAX;

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

fn job(name: &str) -> [NewJob; 1] {
    [NewJob { id: JobId::parse(name).unwrap(), run_at: RunAt::Now, envelope: "sealed".into() }]
}

impl World {
    /// Enqueues a job as the tree does.
    async fn enqueue(&self, name: &str) -> Result<Vec<Enqueued>, StoreError> {
        let (queue, job) = (queue(), job(name));
        self.calls.until_known("enqueue", |store, call| store.enqueue(call, &queue, &job)).await.unwrap()
    }

    /// Enqueues a job as clients and operators call.
    async fn enqueue_by_deadline(&self, name: &'static str) -> Result<Vec<Enqueued>, CallError> {
        let enqueue = move |store: Arc<dyn Store>, call| async move { store.enqueue(call, &queue(), &job(name)).await };
        self.calls.until_known_by(TIMEOUT, enqueue).await
    }

    async fn stored(&self) -> usize {
        self.calls.store().jobs(&queue(), JobState::Pending, None, 100).await.unwrap().jobs.len()
    }

    fn replacements(&self) -> usize {
        self.reported().iter().filter(|kind| matches!(kind, EventKind::InstanceReplaced { .. })).count()
    }
}

fn worlds<const N: usize>() -> [World; N] {
    let store = MemoryStore::new();
    std::array::from_fn(|_| World::on(store.clone(), 2))
}

fn created(result: Vec<Enqueued>) -> bool {
    matches!(result[..], [Enqueued::Created { .. }])
}

#[tokio::test(start_paused = true)]
async fn no_copy_of_a_process_loses_a_job_and_each_reports_once_that_it_is_one() {
    let [one, two, three] = worlds();
    assert!(created(one.enqueue("a").await.unwrap()));
    for (world, names) in [(&two, ["b", "c"]), (&three, ["d", "e"]), (&one, ["f", "g"])] {
        for name in names {
            assert!(created(world.enqueue(name).await.unwrap()), "{name}");
        }
    }
    assert_eq!(one.stored().await, 7);
    assert_eq!([&one, &two, &three].map(World::replacements), [0, 1, 1]);
    let [one, two, three] = [one, two, three].map(|world| world.calls.slots.instance());
    assert!(one == instance() && two != instance() && three != instance() && two != three);
}

#[tokio::test(start_paused = true)]
async fn no_copy_of_a_client_or_operator_loses_a_call() {
    let [one, two] = worlds();
    for (world, name) in [(&one, "a"), (&two, "b"), (&one, "c"), (&two, "d")] {
        assert!(created(world.enqueue_by_deadline(name).await.unwrap()), "{name}");
    }
    assert_eq!(one.stored().await, 4);
    assert_eq!([&one, &two].map(World::replacements), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_makes_the_same_call_never_gets_the_reply_of_the_other() {
    let [one, two] = worlds();
    assert!(created(one.enqueue("a").await.unwrap()));
    assert!(!created(two.enqueue("a").await.unwrap()), "the other copy created it");
    assert_eq!(two.replacements(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_behind_the_other_one_goes_on() {
    let [ahead, behind] = worlds();
    for name in ["a", "b", "c"] {
        ahead.enqueue(name).await.unwrap();
    }
    assert!(created(behind.enqueue("d").await.unwrap()));
    assert!(created(behind.enqueue_by_deadline("e").await.unwrap()));
    assert_eq!((behind.stored().await, behind.replacements()), (5, 1));
}

/// Calls that were under way when a copy was noticed do not each replace the instance.
#[tokio::test(start_paused = true)]
async fn calls_at_the_same_time_replace_the_instance_once() {
    let [one, two] = worlds();
    let (_, _) = (one.enqueue("a").await, tokio::join!(one.enqueue("b"), one.enqueue("c")));
    let (first, second) = tokio::join!(two.enqueue("d"), two.enqueue("e"));
    assert!(created(first.unwrap()) && created(second.unwrap()));
    assert_eq!((two.replacements(), two.stored().await), (1, 5));
}

/// Goal: a call is sent under another id only if it is certain that it was not applied. Method: the answer to the first sending is lost, and before the second one a copy makes
/// the next call of the slot, or a call under the same id.
#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_been_applied_is_not_made_again() {
    for conflict in [|| StoreError::Superseded { operation: "test" }, || StoreError::CallIdTaken { operation: "test" }]
    {
        let world = World::new(1);
        let sent = Arc::new(Mutex::new(Vec::new()));
        let send = {
            let sent = sent.clone();
            move |call: CallId| {
                let mut sent = sent.lock().unwrap();
                sent.push(call);
                let answer = if sent.len() == 1 { unavailable::<()>() } else { Err(conflict()) };
                async { answer }
            }
        };
        let told = world.calls.until_known("test", |_, call| send(call).boxed()).await.unwrap();
        assert!(told.unwrap_err().is_call_id_conflict());
        assert!(matches!(sent.lock().unwrap()[..], [first, second] if first == second));
        sent.lock().unwrap().clear();
        let told = world.calls.until_known_by(TIMEOUT * 5, move |_, call| send(call)).await;
        let Err(CallError::OutcomeUnknown(Some(error))) = told else { panic!("{told:?}") };
        assert!(error.is_call_id_conflict(), "{error}");
        assert!(matches!(sent.lock().unwrap()[..], [first, second] if first == second && first.instance != instance()));
        assert_eq!(world.replacements(), 2);
        assert_ne!(world.calls.slots.instance(), instance());
    }
}

/// A store that was blocked has not applied the call either.
#[tokio::test(start_paused = true)]
async fn a_call_that_was_only_refused_so_far_is_made_again() {
    let world = World::new(1);
    let sent = Mutex::new(0);
    let told = world.calls.until_known("test", |_, call| {
        let mut sent = sent.lock().unwrap();
        *sent += 1;
        let answer = match *sent {
            1 => blocked(),
            _ if call.instance == instance() => Err(StoreError::Superseded { operation: "test" }),
            _ => Ok(()),
        };
        Box::pin(async { answer })
    });
    told.await.unwrap().unwrap();
    assert_eq!((*sent.lock().unwrap(), world.replacements()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_every_call_for_another_one_is_not_called_for_ever() {
    let world = World::new(1);
    let sent = Mutex::new(0);
    let told = world.calls.until_known("test", |_, _| {
        *sent.lock().unwrap() += 1;
        Box::pin(async { Err::<(), _>(StoreError::CallIdTaken { operation: "test" }) })
    });
    assert!(told.await.unwrap().unwrap_err().is_call_id_conflict());
    assert_eq!(*sent.lock().unwrap(), CALL_IDS_MAX);
}
