//! The supervisor on its own, with children that fail and stop on command, and a log of what was started and stopped.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::{Arc, Mutex, OnceLock};

use retraced_jobs::clock::TokioClock;
use retraced_jobs::events::SupervisionEvent;
use retraced_jobs::job::InstanceId;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::observer::GuardedObserver;
use crate::supervision::event::Events;
use crate::supervision::restart::{Budget, RestartDelay, RestartPolicy, Strategy};
use crate::supervision::spec::{ChildSpec, StartChild};

/// A child that fails, panics or stops on command, and logs its start and its stop.
struct TestChild;

#[derive(Debug, Clone, Copy)]
enum Command {
    Fail,
    Panic,
    Stop,
}

struct TestChildState {
    path: String,
    log: Log,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Actor for TestChild {
    type Msg = Command;
    type State = TestChildState;
    type Arguments = (String, u32, Log);

    async fn pre_start(
        &self,
        _: ActorRef<Command>,
        (path, generation, log): Self::Arguments,
    ) -> Result<TestChildState, ActorProcessingErr> {
        log.note(format!("start {path}#{generation}"));
        Ok(TestChildState { path, log })
    }

    async fn handle(
        &self,
        me: ActorRef<Command>,
        command: Command,
        state: &mut TestChildState,
    ) -> Result<(), ActorProcessingErr> {
        match command {
            Command::Fail => Err(format!("{} was asked to fail", state.path).into()),
            Command::Panic => panic!("{} was asked to panic", state.path),
            Command::Stop => {
                me.stop(None);
                Ok(())
            }
        }
    }

    async fn post_stop(&self, _: ActorRef<Command>, state: &mut TestChildState) -> Result<(), ActorProcessingErr> {
        state.log.note(format!("stop {}", state.path));
        Ok(())
    }
}

/// How a start of a child goes.
#[derive(Clone, Copy, PartialEq)]
enum StartKind {
    Succeeds,
    Refused,
    Never,
    /// The child fails as soon as it has started.
    SucceedsThenFails,
    /// Succeeds after this delay.
    Slowly(Duration),
}

struct Fixture {
    log: Log,
    registry: Registry,
    events: Events,
    recorded: Arc<Mutex<Vec<SupervisionEvent>>>,
    gave_up: Arc<OnceLock<Exhausted>>,
    policy: RestartPolicy,
    children: Vec<ChildSpec>,
}

impl Fixture {
    fn new(strategy: Strategy) -> Self {
        let clock = Arc::new(TokioClock::starting_at(0));
        let registry = Registry::default();
        let events = Events::new(InstanceId::from(Uuid::nil()), clock, GuardedObserver::default(), registry.clone());
        let recorded = Arc::<Mutex<Vec<SupervisionEvent>>>::default();
        let (mut heard, recorder) = (events.subscribe(), recorded.clone());
        tokio::spawn(async move {
            while let Ok(event) = heard.recv().await {
                recorder.lock().unwrap().push(event);
            }
        });
        let budget = Budget { restarts: 3, window: Duration::from_secs(60) };
        let delay = RestartDelay { base: Duration::from_secs(1), max: Duration::from_secs(10), jitter_percent: 0 };
        Self {
            log: Log::default(),
            registry,
            events,
            recorded,
            gave_up: Arc::default(),
            policy: RestartPolicy { strategy, budget, delay },
            children: Vec::new(),
        }
    }

    fn child(self, path: &str) -> Self {
        self.child_that(path, |_| StartKind::Succeeds)
    }

    fn child_that(mut self, path: &str, start_kind: fn(u32) -> StartKind) -> Self {
        let (name, log, registry) = (path.to_owned(), self.log.clone(), self.registry.clone());
        let start: StartChild = Arc::new(move |parent| {
            let (name, log, generation) = (name.clone(), log.clone(), registry.generation(&name));
            Box::pin(async move {
                let start = start_kind(generation);
                match start {
                    StartKind::Refused => return Err("refused to start".into()),
                    StartKind::Never => std::future::pending().await,
                    StartKind::Slowly(delay) => tokio::time::sleep(delay).await,
                    StartKind::Succeeds | StartKind::SucceedsThenFails => {}
                }
                let (child, _) = Actor::spawn_linked(None, TestChild, (name, generation, log), parent)
                    .await
                    .map_err(|e| e.to_string())?;
                if start == StartKind::SucceedsThenFails {
                    child.cast(Command::Fail).map_err(|e| e.to_string())?;
                    // The end of the child is reported before its start.
                    let _ = child.wait(None).await;
                }
                Ok(child.get_cell())
            })
        });
        self.children.push(ChildSpec {
            path: path.into(),
            shutdown: Shutdown::Graceful(Duration::from_secs(1)),
            start_timeout: Duration::from_secs(5),
            closing: None,
            start,
        });
        self
    }

    fn spec(&self) -> SupervisorSpec {
        SupervisorSpec {
            path: "top".into(),
            policy: self.policy,
            children: self.children.clone(),
            events: self.events.clone(),
            registry: self.registry.clone(),
            seed: 1,
            gave_up: Some(self.gave_up.clone()),
        }
    }

    /// A second state without an actor; the test calls its methods.
    async fn state(&self, top: &ActorRef<SupervisorMessage>) -> SupervisorState {
        Supervisor.pre_start(top.clone(), self.spec()).await.unwrap()
    }

    async fn spawn(&self) -> (ActorRef<SupervisorMessage>, tokio::task::JoinHandle<()>) {
        Actor::spawn(None, Supervisor, self.spec()).await.unwrap()
    }

    /// Starts the supervisor and waits until its children run.
    async fn running_supervisor(&self) -> (ActorRef<SupervisorMessage>, tokio::task::JoinHandle<()>) {
        let started = self.spawn().await;
        wait_until_ready(&started.0).await.unwrap();
        started
    }

    fn command(&self, path: &str, command: Command) {
        self.registry.find(path).unwrap().send_message(command).unwrap();
    }

    fn generation(&self, path: &str) -> u32 {
        self.registry.all().into_iter().find(|actor| actor.path == path).unwrap().generation
    }

    fn kinds(&self, path: &str) -> Vec<EventKind> {
        self.recorded.lock().unwrap().iter().filter(|e| e.path == path).map(|e| e.kind.clone()).collect()
    }

    async fn wait_briefly(&self) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn with_children_a_b_c(strategy: Strategy) -> Fixture {
    Fixture::new(strategy).child("a").child("b").child("c")
}

#[tokio::test(start_paused = true)]
async fn children_start_in_order_and_stop_in_reverse() {
    let fixture = with_children_a_b_c(Strategy::OneForOne);
    let (top, ended) = fixture.running_supervisor().await;
    assert_eq!(fixture.log.take(), ["start a#0", "start b#0", "start c#0"]);
    top.cast(SupervisorMessage::Shutdown).unwrap();
    ended.await.unwrap();
    assert_eq!(fixture.log.take(), ["stop c", "stop b", "stop a"]);
    assert!(fixture.gave_up.get().is_none() && fixture.registry.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_for_one_restarts_the_child_that_failed_and_no_other() {
    let fixture = with_children_a_b_c(Strategy::OneForOne);
    let (top, _) = fixture.running_supervisor().await;
    fixture.log.take();
    for command in [Command::Fail, Command::Panic] {
        fixture.command("b", command);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(fixture.log.take(), ["start b#1", "start b#2"]);
    let recorded = fixture.kinds("b");
    let crashed = |reason: &str, failures| EventKind::Crashed { reason: reason.into(), failures, budget: 3 };
    assert_eq!(
        recorded,
        [
            EventKind::Started,
            crashed("b was asked to fail", 1),
            EventKind::RestartScheduled { delay_ms: 0 },
            EventKind::Restarted,
            crashed("b was asked to panic", 2),
            EventKind::RestartScheduled { delay_ms: 1000 },
            EventKind::Restarted,
        ]
    );
    top.kill();
}

#[tokio::test(start_paused = true)]
async fn one_for_all_stops_the_others_in_reverse_and_starts_all_in_order() {
    let fixture = with_children_a_b_c(Strategy::OneForAll);
    let (top, _) = fixture.running_supervisor().await;
    fixture.log.take();
    fixture.command("b", Command::Fail);
    fixture.wait_briefly().await;
    assert_eq!(fixture.log.take(), ["stop c", "stop a", "start a#1", "start b#1", "start c#1"]);
    // Only the child that failed is counted.
    assert!(!fixture.kinds("a").iter().any(|kind| matches!(kind, EventKind::Crashed { .. })));
    top.kill();
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_stops_and_starts_those_after_the_one_that_failed() {
    let fixture = with_children_a_b_c(Strategy::RestForOne).child("d");
    let (top, _) = fixture.running_supervisor().await;
    fixture.log.take();
    fixture.command("b", Command::Fail);
    fixture.wait_briefly().await;
    assert_eq!(fixture.log.take(), ["stop d", "stop c", "start b#1", "start c#1", "start d#1"]);
    top.kill();
}

/// While b and c wait for their restart, a fails: all three start in order, once.
#[tokio::test(start_paused = true)]
async fn a_failure_during_the_delay_of_another_restart_keeps_the_start_order() {
    let fixture = with_children_a_b_c(Strategy::RestForOne);
    let (top, _) = fixture.running_supervisor().await;
    fixture.command("c", Command::Fail);
    fixture.wait_briefly().await;
    fixture.log.take();
    fixture.command("b", Command::Fail);
    tokio::time::sleep(Duration::from_millis(500)).await;
    fixture.command("a", Command::Fail);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(fixture.log.take(), ["stop c", "start a#1", "start b#1", "start c#2"]);
    top.kill();
}

/// While b is being restarted, slowly, a fails: the start of b is discarded, and both start again in order.
#[tokio::test(start_paused = true)]
async fn a_failure_during_the_start_of_a_sibling_discards_that_start() {
    let slowly =
        |generation| if generation == 1 { StartKind::Slowly(Duration::from_secs(3)) } else { StartKind::Succeeds };
    let fixture = Fixture::new(Strategy::OneForAll).child("a").child_that("b", slowly);
    let (top, _) = fixture.running_supervisor().await;
    fixture.command("b", Command::Fail);
    tokio::time::sleep(Duration::from_secs(1)).await;
    fixture.log.take();
    fixture.command("a", Command::Fail);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let log = fixture.log.take();
    assert_eq!(log.last().unwrap(), "start b#2", "{log:?}");
    assert_eq!(fixture.registry.all().iter().map(|r| r.generation).collect::<Vec<_>>(), [2, 2], "{log:?}");
    let starts: Vec<_> = log.iter().filter(|line| line.starts_with("start")).collect();
    assert_eq!(starts, ["start b#1", "start a#2", "start b#2"]);
    assert_eq!(top.get_children().len(), 2, "the discarded child is killed");
    top.kill();
}

#[tokio::test(start_paused = true)]
async fn a_child_that_ends_without_an_error_is_restarted_too() {
    let fixture = Fixture::new(Strategy::OneForOne).child("a");
    let (top, _) = fixture.running_supervisor().await;
    fixture.log.take();
    fixture.command("a", Command::Stop);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(fixture.log.take(), ["stop a", "start a#1"]);
    let reason = "its supervisor had not stopped it";
    assert!(matches!(&fixture.kinds("a")[1], EventKind::Crashed { reason: said, .. } if said.contains(reason)));
    top.kill();
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_exceeds_its_budget_gives_up_and_names_the_child_the_count_and_the_reason() {
    let fixture = with_children_a_b_c(Strategy::OneForOne);
    let (_top, ended) = fixture.running_supervisor().await;
    for _ in 0..4 {
        fixture.command("b", Command::Fail);
        tokio::time::sleep(Duration::from_secs(11)).await;
    }
    ended.await.unwrap();
    let exhausted = fixture.gave_up.get().unwrap();
    assert_eq!((exhausted.supervisor.as_str(), exhausted.child.as_str(), exhausted.failures), ("top", "b", 4));
    assert_eq!(
        exhausted.to_string(),
        "supervisor top gave up: b failed, the 4th failure within 60s: b was asked to fail"
    );
    let escalated = fixture.kinds("top");
    assert!(
        matches!(&escalated[..], [EventKind::Escalated { child, failures: 4, .. }] if child == "b"),
        "{escalated:?}"
    );
    let log = fixture.log.take();
    assert_eq!(log[log.len() - 2..], ["stop c", "stop a"], "the others are stopped in order");
    assert!(fixture.registry.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn failures_spread_over_more_than_the_window_never_exhaust_the_budget() {
    let fixture = with_children_a_b_c(Strategy::OneForOne);
    let (top, _) = fixture.running_supervisor().await;
    for _ in 0..20 {
        fixture.command("b", Command::Fail);
        tokio::time::sleep(Duration::from_secs(25)).await;
    }
    assert!(fixture.gave_up.get().is_none());
    top.kill();
}

#[tokio::test(start_paused = true)]
async fn a_failed_first_start_is_reported_and_nothing_is_left_running() {
    for (start_kind, says) in [
        ((|_| StartKind::Refused) as fn(u32) -> StartKind, "b could not be started: refused to start"),
        (|_| StartKind::Never, "b could not be started: it did not start within 5s"),
    ] {
        let fixture = Fixture::new(Strategy::OneForOne).child("a").child_that("b", start_kind).child("c");
        let (top, ended) = fixture.spawn().await;
        assert_eq!(wait_until_ready(&top).await.unwrap_err(), says);
        ended.await.unwrap();
        assert_eq!(fixture.log.take(), ["start a#0", "stop a"]);
        assert!(fixture.registry.all().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_cannot_start_is_counted_and_repeated() {
    let second_fails = |generation| if generation == 1 { StartKind::Refused } else { StartKind::Succeeds };
    let fixture = Fixture::new(Strategy::OneForOne).child_that("a", second_fails);
    let (top, _) = fixture.running_supervisor().await;
    fixture.command("a", Command::Fail);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let recorded = fixture.kinds("a");
    assert!(recorded.contains(&EventKind::StartFailed { reason: "refused to start".into() }), "{recorded:?}");
    assert_eq!(recorded.last(), Some(&EventKind::Restarted));
    assert_eq!(fixture.log.take(), ["start a#0", "start a#2"]);
    top.kill();
}

/// Reports arrive in this order: end of a, end of b, start of a. Both ends are handled.
#[tokio::test(start_paused = true)]
async fn a_child_that_dies_during_its_start_is_restarted() {
    let fixture = Fixture::new(Strategy::OneForOne)
        .child_that("a", |generation| if generation == 1 { StartKind::SucceedsThenFails } else { StartKind::Succeeds })
        .child("b");
    let (top, _) = fixture.running_supervisor().await;
    fixture.command("a", Command::Fail);
    fixture.command("b", Command::Fail);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let live: Vec<_> = fixture.registry.all().into_iter().map(|r| (r.path, r.generation)).collect();
    assert_eq!(live, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    top.kill();
}

/// A late report of the end of an actor that has been replaced changes nothing.
#[tokio::test(start_paused = true)]
async fn a_late_event_of_an_old_generation_is_ignored() {
    let fixture = with_children_a_b_c(Strategy::OneForOne);
    let (top, _) = fixture.running_supervisor().await;
    let old = fixture.registry.find("b").unwrap();
    fixture.command("b", Command::Fail);
    fixture.wait_briefly().await;
    let new = fixture.registry.find("b").unwrap();
    let mut state = fixture.state(&top).await;
    state.children[1].status = Status::Up { actor: new.clone(), since: Instant::now() };
    state.ended(&top, &old, End::Abnormal("late".into()), None);
    assert!(matches!(&state.children[1].status, Status::Up { actor, .. } if *actor == new));
    assert_eq!(state.window.record_failure(Instant::now(), &fixture.policy.budget), 1, "nothing was counted before");
    top.kill();
}

/// Reports arrive in this order: end of b, end of c, start of b. The end of b is not forgotten.
#[tokio::test(start_paused = true)]
async fn an_early_end_is_not_forgotten_when_another_one_follows() {
    let fixture = with_children_a_b_c(Strategy::OneForOne);
    let (top, _) = fixture.running_supervisor().await;
    let (dead, other) = (fixture.registry.find("b").unwrap(), fixture.registry.find("c").unwrap());
    let mut state = fixture.state(&top).await;
    state.starting = Some(AbortOnDropHandle::new(tokio::spawn(std::future::pending())));
    for actor in [&dead, &other] {
        state.ended(&top, actor, End::Abnormal("early".into()), None);
    }
    state.stage = Stage::Running;
    state.start_ended(&top, 1, 1, Ok(dead));
    assert!(matches!(&state.children[1].status, Status::Down), "the child is known to have ended");
    assert!(state.children[1].restart.is_some());
    top.kill();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_during_a_start_stops_all_started_children() {
    let fixture = Fixture::new(Strategy::OneForOne)
        .child("a")
        .child_that("b", |_| StartKind::Slowly(Duration::from_secs(3)))
        .child("c");
    let (top, ended) = fixture.spawn().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    top.cast(SupervisorMessage::Shutdown).unwrap();
    ended.await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(fixture.log.take(), ["start a#0", "stop a"]);
    assert!(fixture.registry.all().is_empty());
    assert!(!fixture.recorded.lock().unwrap().iter().any(|e| matches!(e.kind, EventKind::Crashed { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_stop_in_time_is_killed() {
    struct NeverStops;
    impl Actor for NeverStops {
        type Msg = Command;
        type State = CancellationToken;
        type Arguments = CancellationToken;
        async fn pre_start(
            &self,
            _: ActorRef<Command>,
            gone: CancellationToken,
        ) -> Result<CancellationToken, ActorProcessingErr> {
            Ok(gone)
        }
        async fn handle(
            &self,
            _: ActorRef<Command>,
            _: Command,
            gone: &mut CancellationToken,
        ) -> Result<(), ActorProcessingErr> {
            let _gone = gone.clone().drop_guard();
            std::future::pending().await
        }
    }
    let gone = CancellationToken::new();
    let mut fixture = Fixture::new(Strategy::OneForOne).child("a");
    let token = gone.clone();
    fixture.children[0].start = Arc::new(move |parent| {
        let token = token.clone();
        Box::pin(async move {
            let (child, _) = Actor::spawn_linked(None, NeverStops, token, parent).await.map_err(|e| e.to_string())?;
            // Any message will do: its handler hangs, so the child cannot stop.
            child.cast(Command::Stop).map_err(|e| e.to_string())?;
            Ok(child.get_cell())
        })
    });
    let (top, ended) = fixture.running_supervisor().await;
    let begun = Instant::now();
    top.cast(SupervisorMessage::Shutdown).unwrap();
    ended.await.unwrap();
    assert!(gone.is_cancelled());
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
}

/// The second of three starts of an inner supervisor takes too long: the actors of the second start do not survive beside those of the third.
#[tokio::test(start_paused = true)]
async fn a_supervisor_that_is_not_ready_in_time_is_not_left_behind() {
    let inner = |start: u32| {
        let start_kind =
            if start == 1 { |_| StartKind::Slowly(Duration::from_secs(4)) } else { |_| StartKind::Succeeds };
        Fixture::new(Strategy::OneForOne).child_that("a", start_kind)
    };
    let mut fixture = Fixture::new(Strategy::OneForOne).child("inner");
    fixture.children[0].start_timeout = Duration::from_secs(1);
    let registry = fixture.registry.clone();
    fixture.children[0].start =
        Arc::new(move |parent| Box::pin(start_supervisor(inner(registry.generation("inner")).spec(), parent)));
    let (top, _) = fixture.running_supervisor().await;
    fixture.registry.find("inner").unwrap().kill();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let late = EventKind::StartFailed { reason: "it did not start within 1s".into() };
    assert!(fixture.kinds("inner").contains(&late), "{:?}", fixture.kinds("inner"));
    assert_eq!(fixture.generation("inner"), 2);
    assert_eq!(top.get_children().len(), 1, "the late supervisor is killed");
    top.kill();
}
