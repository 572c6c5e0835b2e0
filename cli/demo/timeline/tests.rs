#![allow(clippy::unwrap_used)]
use retraced::job::InstanceId;
use retraced::{Code, NodeState, RunningJob};

use super::*;

fn job(id: &str) -> JobId {
    JobId::parse(id).unwrap()
}

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn event(at_ms: u64, path: &str, generation: u32, kind: EventKind) -> SupervisionEvent {
    SupervisionEvent::new(1_000_000 + at_ms, InstanceId::from(uuid::Uuid::nil()), path, generation, kind)
}

/// Passes an event to the timeline at the time it happens.
fn happens(timeline: &mut Timeline, at_ms: u64, path: &str, generation: u32, kind: EventKind) {
    timeline.event(at(at_ms), &event(at_ms, path, generation, kind));
}

fn lines(timeline: &Timeline) -> Vec<String> {
    timeline.lines.iter().map(Line::plain).collect()
}

fn killed() -> EventKind {
    EventKind::Crashed { reason: "killed".into(), failures: 1, budget: 20 }
}

fn panicked(id: &str) -> EventKind {
    EventKind::HandlerPanicked {
        queue: QueueName::new("shop").unwrap(),
        job: job(id),
        attempt: 1,
        message: "boom\u{1b}[2J".into(),
        location: Some("src/shop.rs:7:1".into()),
    }
}

fn tree() -> TreeNode {
    let node = |path: &str, children: Vec<TreeNode>| {
        let mut node = TreeNode::new(path, NodeState::Up);
        node.children = children;
        node
    };
    let mut executor = node("shop/executor-0", Vec::new());
    executor.running = Some(RunningJob::new(job("thumbnail-1"), 1, Duration::from_millis(30)));
    let pool = node("shop/pool", vec![executor]);
    node("retraced", vec![node("shop", vec![pool, node("shop/fetcher", Vec::new())])])
}

#[test]
fn failures_are_shown_with_what_follows_from_them() {
    let mut timeline = Timeline::of(3);
    let failed =
        |id: &str, next| Report::Failed { job: job(id), code: Code::NetworkError, message: "reset".into(), next };
    timeline.report(at(100), failed("a", Next::Attempt { n: 2, of: 3 }));
    timeline.report(at(200), failed("b", Next::Dead { attempts: 3 }));
    timeline.report(at(300), Report::TimedOut { job: job("c"), next: Next::Attempt { n: 2, of: 3 } });
    timeline.report(at(400), Report::Later { job: job("d"), delay: at(1_500) });
    assert_eq!(
        lines(&timeline),
        [
            " 0.1s ✗ a               NETWORK_ERROR: reset → attempt 2 of 3",
            " 0.2s ✗ b               NETWORK_ERROR: reset → dead after 3 attempts",
            " 0.3s ✗ c               TIMEOUT: it hung and was stopped → attempt 2 of 3",
            " 0.4s ◔ d               is not ready yet, asks to run later → in 1.5s",
        ]
    );
    assert_eq!(timeline.retried.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a"]);
    assert_eq!(timeline.incidents, [Incident { kind: IncidentKind::Hung { job: job("c") }, recovered_ms: None }]);
}

#[test]
fn a_panic_has_recovered_when_its_executor_is_restarted_and_cannot_move_the_cursor() {
    let mut timeline = Timeline::of(1);
    happens(&mut timeline, 1_000, "shop/executor-0", 0, panicked("a"));
    assert_eq!(timeline.incidents[0].recovered_ms, None);
    happens(&mut timeline, 1_004, "shop/executor-0", 1, EventKind::Restarted);
    assert_eq!(
        lines(&timeline),
        [
            " 1.0s ✗ a               PANIC: boom\\u{1b}[2J",
            " 1.0s ✗ shop/executor-0 ended by this panic at src/shop.rs:7:1",
            " 1.0s ↻ shop/executor-0 restarted, in 4ms (generation 1)",
        ]
    );
    assert_eq!(timeline.incidents[0].recovered_ms, Some(4));
    assert!(
        timeline.caption.starts_with("A bug: a's handler panicked. Only shop/executor-0 ended"),
        "{}",
        timeline.caption
    );
    timeline.update(at(1_504), tree(), Vec::new());
    assert_eq!(timeline.restarted_ago("shop/executor-0"), Some(at(500)));
    assert_eq!(timeline.restarted_ago("shop/fetcher"), None);
}

#[test]
fn a_killed_actor_is_shown_with_what_it_was_doing() {
    let mut timeline = Timeline::of(1);
    timeline.record_kill(at(0), "shop/fetcher", &tree());
    timeline.record_kill(at(0), "shop/executor-0", &tree());
    timeline.record_kill(at(0), "shop", &tree());
    timeline.record_kill(at(0), "nobody", &tree());
    let shown: Vec<_> = timeline.lines.iter().map(|line| format!("{} {}", line.who, line.what)).collect();
    assert_eq!(
        shown,
        [
            "shop/fetcher is killed by this demo",
            "shop/executor-0 is killed by this demo in the middle of thumbnail-1",
            "shop is killed by this demo, 1 job running below it",
        ]
    );
}

#[test]
fn the_restart_of_a_queue_is_shown_once_and_not_for_each_actor_below_it() {
    let mut timeline = Timeline::of(1);
    timeline.record_kill(at(0), "shop", &tree());
    happens(&mut timeline, 0, "shop", 0, killed());
    for path in ["shop/pool", "shop/fetcher"] {
        happens(&mut timeline, 1, path, 1, EventKind::Restarted);
    }
    happens(&mut timeline, 2, "shop", 1, EventKind::Restarted);
    happens(&mut timeline, 3, "shop/executor-0", 1, EventKind::Restarted);
    assert_eq!(
        lines(&timeline)[1..],
        [
            " 0.0s ✗ shop            crashed: killed → restart 1 of 20",
            " 0.0s ↻ shop            restarted with all 3 below it, in 2ms (generation 1)",
        ]
    );
    let [Incident { kind: IncidentKind::Killed { running, below: 3, .. }, recovered_ms: Some(2) }] =
        &timeline.incidents[..]
    else {
        panic!("{:?}", timeline.incidents)
    };
    assert_eq!(running, &[job("thumbnail-1")]);
    assert!(timeline.restarted_ago("shop/executor-0").is_some(), "it is shown as new all the same");
}

#[test]
fn a_crash_the_demo_did_not_cause_is_an_incident_of_its_own() {
    let mut timeline = Timeline::of(1);
    timeline.record_kill(at(0), "shop/fetcher", &tree());
    happens(&mut timeline, 1, "watchdog", 0, EventKind::Crashed { reason: "boom".into(), failures: 1, budget: 10 });
    let crashed = IncidentKind::Crashed { path: "watchdog".into(), reason: "boom".into() };
    assert_eq!(timeline.incidents[1], Incident { kind: crashed, recovered_ms: None });
}

#[test]
fn jobs_are_counted_as_the_store_has_them() {
    let mut timeline = Timeline::of(10);
    let stats = |completed_total, dead, pending| {
        let mut stats = QueueStats::default();
        (stats.completed_total, stats.dead, stats.pending) = (completed_total, dead, pending);
        stats
    };
    let queue = |name: &str| QueueName::new(name).unwrap();
    timeline.update(at(0), tree(), vec![(queue("mail"), stats(3, 1, 2)), (queue("shop"), stats(2, 0, 1))]);
    assert_eq!((timeline.ended(), timeline.open()), (6, 3));
}
