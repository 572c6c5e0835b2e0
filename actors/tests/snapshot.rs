//! The snapshot of the tree: a node for every actor, and what runs where.

use std::collections::BTreeSet;

use retraced_actors::{NodeState, Tree};
use retraced_jobs::trace::EventKind;

use crate::support::{Do, Work, World, millis, secs};

fn paths(tree: &Tree) -> BTreeSet<String> {
    tree.snapshot().all().into_iter().map(|node| node.path.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn everybody_who_lives_in_the_tree_has_a_node_in_it_and_a_generation() {
    let world = World::build().queues(&["email", "sms"]).start().await;
    world.until("all executors are up", || world.tree.actors().len() == paths(&world.tree).len()).await;
    world.kill_and_await_successor("watchdog").await;
    world.kill_and_await_successor("email").await;
    world.kill_and_await_successor("sms/executor-2").await;
    world.until("all are back", || world.tree.snapshot().all().iter().all(|node| node.state == NodeState::Up)).await;
    let tree = world.tree.snapshot();
    for actor in world.tree.actors() {
        let node = tree.find(&actor.path).unwrap_or_else(|| panic!("no node for {}", actor.path));
        assert_eq!(node.generation, actor.generation, "{}", node.path);
    }
    assert_eq!(tree.all().len(), world.tree.actors().len());
    assert_eq!(tree.find("email/pool").unwrap().children.len(), 4);
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_executor_tells_what_it_runs_since_when_and_which_try() {
    let world = World::build().concurrency(2).start().await;
    let id = world.enqueue("one", Work::then(Do::FailTemporary).and(secs(5), Do::Succeed)).await;
    world.until("its second try runs", || world.book.of(&id).len() == 2).await;
    tokio::time::sleep(secs(2)).await;
    let tree = world.tree.snapshot();
    let running: Vec<_> = tree.all().into_iter().filter_map(|node| node.running.as_ref()).collect();
    let [running] = running[..] else { panic!("{running:?}") };
    assert_eq!((&running.job, running.attempt), (&id, 2));
    assert_eq!(running.kind.as_ref().unwrap().as_str(), "work");
    assert!(running.ran >= secs(2) && running.ran < secs(3), "{:?}", running.ran);
    world.until("it is done", || world.tree.running() == 0).await;
    assert!(world.tree.snapshot().all().iter().all(|node| node.running.is_none()));
    world.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_nobody_is_at_is_down_and_a_queue_that_gave_up_is_closed() {
    let world = World::start().await;
    let closed = |kind: &EventKind| matches!(kind, EventKind::QueueClosed { .. });
    let fetcher = || world.tree.snapshot().find("email/fetcher").map(|node| node.state);
    // The first restart comes at once, later ones after delays: the node stays empty meanwhile.
    let mut seen_down = false;
    for _ in 0..1_000 {
        world.tree.kill("email/fetcher");
        tokio::time::sleep(millis(100)).await;
        if world.count(closed) > 0 {
            break;
        }
        seen_down |= fetcher() == Some(NodeState::Down);
    }
    assert!(seen_down);
    let tree = world.tree.snapshot();
    assert_eq!(tree.find("email/workers").unwrap().state, NodeState::Closed);
    assert_eq!(tree.find("email/queue").unwrap().state, NodeState::Up, "producers are not affected");
    assert_eq!(tree.find("email/pool").unwrap().state, NodeState::Down);
    assert_eq!(tree.find("watchdog").unwrap().state, NodeState::Up);
    world.until("it works again", || world.tree.snapshot().find("email/workers").unwrap().state == NodeState::Up).await;
    world.close().await;
}
