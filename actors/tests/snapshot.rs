//! The snapshot of the tree: a node for every actor, and what runs where.

use std::collections::BTreeSet;

use retraced_actors::{NodeState, Tree};
use retraced_jobs::events::EventKind;

use crate::support::{Action, Harness, Work, millis, secs};

fn paths(tree: &Tree) -> BTreeSet<String> {
    tree.snapshot().all().into_iter().map(|node| node.path.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn every_actor_of_the_tree_has_a_node_and_a_generation() {
    let harness = Harness::build().queues(&["email", "sms"]).start().await;
    harness.until("all executors are up", || harness.tree.actors().len() == paths(&harness.tree).len()).await;
    harness.kill_and_await_restart("watchdog").await;
    harness.kill_and_await_restart("email").await;
    harness.kill_and_await_restart("sms/executor-2").await;
    harness
        .until("all are back", || harness.tree.snapshot().all().iter().all(|node| node.state == NodeState::Up))
        .await;
    let tree = harness.tree.snapshot();
    for actor in harness.tree.actors() {
        let node = tree.find(&actor.path).unwrap_or_else(|| panic!("no node for {}", actor.path));
        assert_eq!(node.generation, actor.generation, "{}", node.path);
    }
    assert_eq!(tree.all().len(), harness.tree.actors().len());
    assert_eq!(tree.find("email/pool").unwrap().children.len(), 4);
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_executor_node_shows_its_job_attempt_and_running_time() {
    let harness = Harness::build().concurrency(2).start().await;
    let id = harness.enqueue("one", Work::then(Action::FailTemporary).and(secs(5), Action::Succeed)).await;
    harness.until("its second attempt runs", || harness.recorder.of(&id).len() == 2).await;
    tokio::time::sleep(secs(2)).await;
    let tree = harness.tree.snapshot();
    let running: Vec<_> = tree.all().into_iter().filter_map(|node| node.running.as_ref()).collect();
    let [running] = running[..] else { panic!("{running:?}") };
    assert_eq!((&running.job, running.attempt), (&id, 2));
    assert_eq!(running.kind.as_ref().unwrap().as_str(), "work");
    assert!(running.ran >= secs(2) && running.ran < secs(3), "{:?}", running.ran);
    harness.until("it is done", || harness.tree.running() == 0).await;
    assert!(harness.tree.snapshot().all().iter().all(|node| node.running.is_none()));
    harness.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_without_an_actor_is_down_and_a_queue_that_gave_up_is_closed() {
    let harness = Harness::start().await;
    let closed = |kind: &EventKind| matches!(kind, EventKind::SupervisorClosed { .. });
    let fetcher = || harness.tree.snapshot().find("email/fetcher").map(|node| node.state);
    // The first restart is immediate, later ones are delayed: the node is down meanwhile.
    let mut seen_down = false;
    for _ in 0..1_000 {
        harness.tree.kill("email/fetcher");
        tokio::time::sleep(millis(100)).await;
        if harness.count(closed) > 0 {
            break;
        }
        seen_down |= fetcher() == Some(NodeState::Down);
    }
    assert!(seen_down);
    let tree = harness.tree.snapshot();
    assert_eq!(tree.find("email/workers").unwrap().state, NodeState::Closed);
    assert_eq!(tree.find("email/queue").unwrap().state, NodeState::Up, "producers are not affected");
    assert_eq!(tree.find("email/pool").unwrap().state, NodeState::Down);
    assert_eq!(tree.find("watchdog").unwrap().state, NodeState::Up);
    harness
        .until("it works again", || harness.tree.snapshot().find("email/workers").unwrap().state == NodeState::Up)
        .await;
    harness.close().await;
}
