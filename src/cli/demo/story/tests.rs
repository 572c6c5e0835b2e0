#![allow(clippy::unwrap_used)]
use retraced_jobs::job::InstanceId;

use super::*;
use crate::{Code, NodeState, RunningJob};

fn job(id: &str) -> JobId {
    JobId::parse(id).unwrap()
}

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn event(at_ms: u64, path: &str, generation: u32, kind: EventKind) -> SupervisionEvent {
    SupervisionEvent::new(1_000_000 + at_ms, InstanceId::from(uuid::Uuid::nil()), path, generation, kind)
}

/// Tells an event when it happens.
fn happens(story: &mut Story, at_ms: u64, path: &str, generation: u32, kind: EventKind) {
    story.event(at(at_ms), &event(at_ms, path, generation, kind));
}

fn lines(story: &Story) -> Vec<String> {
    story.lines.iter().map(Line::plain).collect()
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
        place: Some("src/shop.rs:7:1".into()),
    }
}

fn tree() -> TreeNode {
    let place = |path: &str, children: Vec<TreeNode>| TreeNode {
        path: path.into(),
        generation: 0,
        state: NodeState::Up,
        running: None,
        children,
    };
    let mut executor = place("shop/executor-0", Vec::new());
    executor.running =
        Some(RunningJob { job: job("thumbnail-1"), kind: None, attempt: 1, ran: Duration::from_millis(30) });
    let pool = place("shop/pool", vec![executor]);
    place("retraced", vec![place("shop", vec![pool, place("shop/fetcher", Vec::new())])])
}

#[test]
fn failures_are_told_with_what_follows_from_them() {
    let mut story = Story::of(3);
    let failed =
        |id: &str, next| Word::Failed { job: job(id), code: Code::NetworkError, message: "reset".into(), next };
    story.word(at(100), failed("a", Next::Try { n: 2, of: 3 }));
    story.word(at(200), failed("b", Next::Dead { tries: 3 }));
    story.word(at(300), Word::TimedOut { job: job("c"), next: Next::Try { n: 2, of: 3 } });
    story.word(at(400), Word::Later { job: job("d"), delay: at(1_500) });
    assert_eq!(
        lines(&story),
        [
            " 0.1s ✗ a               NETWORK_ERROR: reset → try 2 of 3",
            " 0.2s ✗ b               NETWORK_ERROR: reset → dead after 3 tries",
            " 0.3s ✗ c               TIMEOUT: it hung and was stopped → try 2 of 3",
            " 0.4s ◔ d               is not ready yet, asks for later → in 1.5s",
        ]
    );
    assert_eq!(story.retried.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a"]);
    assert_eq!(story.mishaps, [Mishap { trouble: Trouble::Hung { job: job("c") }, mended_ms: None }]);
}

#[test]
fn a_panic_is_mended_when_its_executor_has_a_successor_and_cannot_move_the_cursor() {
    let mut story = Story::of(1);
    happens(&mut story, 1_000, "shop/executor-0", 0, panicked("a"));
    assert_eq!(story.mishaps[0].mended_ms, None);
    happens(&mut story, 1_004, "shop/executor-0", 1, EventKind::Restarted);
    assert_eq!(
        lines(&story),
        [
            " 1.0s ✗ a               PANIC: boom\\u{1b}[2J",
            " 1.0s ✗ shop/executor-0 ended by this panic at src/shop.rs:7:1",
            " 1.0s ↻ shop/executor-0 started again, in 4ms (generation 1)",
        ]
    );
    assert_eq!(story.mishaps[0].mended_ms, Some(4));
    assert!(story.caption.starts_with("A bug: a's handler panicked. Only shop/executor-0 ended"), "{}", story.caption);
    story.look(at(1_504), tree(), Vec::new());
    assert_eq!(story.restarted_ago("shop/executor-0"), Some(at(500)));
    assert_eq!(story.restarted_ago("shop/fetcher"), None);
}

#[test]
fn what_the_demo_kills_is_told_with_what_it_was_doing() {
    let mut story = Story::of(1);
    story.kills(at(0), "shop/fetcher", &tree());
    story.kills(at(0), "shop/executor-0", &tree());
    story.kills(at(0), "shop", &tree());
    story.kills(at(0), "nobody", &tree());
    let told: Vec<_> = story.lines.iter().map(|line| format!("{} {}", line.who, line.what)).collect();
    assert_eq!(
        told,
        [
            "shop/fetcher is killed by this demo",
            "shop/executor-0 is killed by this demo in the middle of thumbnail-1",
            "shop is killed by this demo, 1 job running below it",
        ]
    );
}

#[test]
fn the_return_of_a_queue_is_told_once_and_not_for_each_actor_below_it() {
    let mut story = Story::of(1);
    story.kills(at(0), "shop", &tree());
    happens(&mut story, 0, "shop", 0, killed());
    for path in ["shop/pool", "shop/fetcher"] {
        happens(&mut story, 1, path, 1, EventKind::Restarted);
    }
    happens(&mut story, 2, "shop", 1, EventKind::Restarted);
    happens(&mut story, 3, "shop/executor-0", 1, EventKind::Restarted);
    assert_eq!(
        lines(&story)[1..],
        [
            " 0.0s ✗ shop            crashed: killed → restart 1 of 20",
            " 0.0s ↻ shop            started again with all 3 below it, in 2ms (generation 1)",
        ]
    );
    let [Mishap { trouble: Trouble::Killed { running, below: 3, .. }, mended_ms: Some(2) }] = &story.mishaps[..] else {
        panic!("{:?}", story.mishaps)
    };
    assert_eq!(running, &[job("thumbnail-1")]);
    assert!(story.restarted_ago("shop/executor-0").is_some(), "it is shown as new all the same");
}

#[test]
fn a_crash_nobody_asked_for_is_a_mishap_of_its_own() {
    let mut story = Story::of(1);
    story.kills(at(0), "shop/fetcher", &tree());
    happens(&mut story, 1, "watchdog", 0, EventKind::Crashed { reason: "boom".into(), failures: 1, budget: 10 });
    let crashed = Trouble::Crashed { path: "watchdog".into(), reason: "boom".into() };
    assert_eq!(story.mishaps[1], Mishap { trouble: crashed, mended_ms: None });
}

#[test]
fn jobs_are_counted_as_the_store_has_them() {
    let mut story = Story::of(10);
    let stats = |completed_total, dead, pending| {
        let mut stats = QueueStats::default();
        (stats.completed_total, stats.dead, stats.pending) = (completed_total, dead, pending);
        stats
    };
    let queue = |name: &str| QueueName::new(name).unwrap();
    story.look(at(0), tree(), vec![(queue("mail"), stats(3, 1, 2)), (queue("shop"), stats(2, 0, 1))]);
    assert_eq!((story.ended(), story.open()), (6, 3));
}
