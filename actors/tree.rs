//! The whole tree: what the root supervises, in which order, and the handle that starts and ends it.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ractor::{Actor, ActorCell};
use retraced_jobs::job::{InstanceId, QueueName};
use retraced_jobs::store::{ReplaySlots, Store};
use retraced_jobs::trace::SupervisionEvent;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::event::Events;
use crate::fetcher::Fetcher;
use crate::front_door::FrontDoor;
use crate::health::Health;
use crate::house::{House, REPLAY_SLOTS_MAX, Room};
use crate::lease_keeper::LeaseKeeper;
use crate::ledger::LedgerActor;
use crate::node::{self, TreeNode};
use crate::options::{InvalidOption, QueueSpec, TreeOptions, check};
use crate::pool::Pool;
use crate::queue::{Queue, QueueHandle};
use crate::restart::ChildKind;
use crate::retry_scheduler::RetryScheduler;
use crate::roster::LiveActor;
use crate::settler::{self, Settler};
use crate::shutdown::{self, Drained};
use crate::store_link::StoreLink;
use crate::supervisor::{
    ChildSpec, Closing, Exhausted, Shutdown, StartChild, Supervisor, SupervisorMessage, SupervisorSpec,
    start_supervisor, wait_until_ready,
};
use crate::watchdog::Watchdog;

/// How long an actor may take to start; none of ours does I/O in its start.
pub const START_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an actor may take to end once asked. What is in flight was settled before, so nothing is lost when it is killed instead.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a queue's supervisor may take to start or stop all its children.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(15);

/// Path of the root supervisor.
pub(crate) const ROOT_PATH: &str = "retraced";

/// A running tree. Dropping it leaves the tree running; [`shutdown`](Self::shutdown) ends it.
#[derive(Clone)]
pub struct Tree {
    house: Arc<House>,
    runtime: Handle,
    root: ActorCell,
    end: watch::Receiver<Option<Ending>>,
}

/// How a tree ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// As asked.
    Stopped,
    /// The root supervisor gave up.
    GaveUp(Exhausted),
    /// The root supervisor was killed, or its runtime has ended.
    Lost,
}

/// Why a tree did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// An option is out of its bounds.
    Option(InvalidOption),
    /// An actor did not start.
    Actor(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Option(invalid) => invalid.fmt(f),
            StartError::Actor(reason) => write!(f, "the supervision tree did not start: {reason}"),
        }
    }
}

impl std::error::Error for StartError {}

/// What a tree is started with.
pub struct TreeSpec {
    /// Where jobs are kept.
    pub store: Arc<dyn Store>,
    /// This life of this process.
    pub instance: InstanceId,
    /// The queues to work.
    pub queues: Vec<QueueSpec>,
    /// Options of the whole.
    pub options: TreeOptions,
    /// Where the tree and the store's connections run.
    pub tree: Handle,
    /// Where executors, and so the user's code, run.
    pub users: Handle,
}

impl Tree {
    /// Starts a tree, and waits until all its actors run.
    ///
    /// # Errors
    /// [`StartError`] names the option or the actor; nothing runs then.
    pub async fn start(spec: TreeSpec) -> Result<Self, StartError> {
        check(&spec.options, &spec.queues).map_err(StartError::Option)?;
        let runtime = spec.tree.clone();
        let started = runtime.clone().spawn(async move {
            let house = Arc::new(build(spec));
            let verdict = Arc::new(OnceLock::new());
            let root_spec = root_spec(&house, verdict.clone());
            let (root, ended) = Actor::spawn(None, Supervisor, root_spec)
                .await
                .map_err(|refused| StartError::Actor(refused.to_string()))?;
            house.root.fill(&root);
            house.roster.enter(ROOT_PATH, 0, root.get_cell());
            let (end, ending) = watch::channel(None);
            tokio::spawn({
                let house = house.clone();
                async move {
                    let joined = ended.await;
                    house.ended.cancel();
                    let how = match (verdict.get(), joined) {
                        (Some(exhausted), _) => Ending::GaveUp(exhausted.clone()),
                        (None, Ok(())) if house.stop_asked.is_cancelled() => Ending::Stopped,
                        (None, _) => Ending::Lost,
                    };
                    // Only now does nobody write to the store any more.
                    shutdown::leave(&house).await;
                    let _ = end.send(Some(how));
                }
            });
            let (mut failed, started) = (ending.clone(), wait_until_ready(&root).await);
            if let Err(reason) = started {
                // What had started is stopped before the caller is told.
                let _ = tokio::time::timeout(QUEUE_TIMEOUT, failed.wait_for(Option::is_some)).await;
                return Err(StartError::Actor(reason));
            }
            Ok((house, root.get_cell(), ending))
        });
        let (house, root, end) = started.await.map_err(|gone| StartError::Actor(gone.to_string()))??;
        Ok(Self { house, runtime, root, end })
    }

    /// The handle of a queue; `None` when this tree does not work it.
    #[must_use]
    pub fn queue(&self, name: &QueueName) -> Option<QueueHandle> {
        self.house.room(name).map(|room| QueueHandle::new(self.house.clone(), room.clone()))
    }

    /// The queues this tree works, in the order they were given.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueName> {
        self.house.rooms.iter().map(|room| room.name.clone()).collect()
    }

    /// Every supervision event from now on. A listener that falls behind by more than [`EVENTS_BROADCAST_MAX`](crate::bounds::EVENTS_BROADCAST_MAX) is told
    /// how many it missed.
    #[must_use]
    pub fn supervision(&self) -> broadcast::Receiver<SupervisionEvent> {
        self.house.events.subscribe()
    }

    /// Who lives in the tree now, by path.
    #[must_use]
    pub fn residents(&self) -> Vec<LiveActor> {
        self.house.roster.all()
    }

    /// The whole tree as it is now: its places, their generations, and what each executor runs.
    #[must_use]
    pub fn look(&self) -> TreeNode {
        node::look(&self.house)
    }

    /// Kills the actor at this path, to see what happens. Gives whether there was one.
    pub fn kill(&self, path: &str) -> bool {
        let actor = self.house.roster.find(path);
        actor.inspect(ActorCell::kill).is_some()
    }

    /// This life of this process.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.house.instance
    }

    /// The replay slots of this process, for callers beside the tree.
    #[must_use]
    pub fn replay_slots(&self) -> &ReplaySlots {
        &self.house.replay_slots
    }

    /// Jobs that run now, in all queues.
    #[must_use]
    pub fn running(&self) -> usize {
        self.house.rooms.iter().map(|room| room.inflight.running()).sum()
    }

    /// Waits until the tree has ended, however.
    pub async fn wait(&self) -> Ending {
        let mut end = self.end.clone();
        let ended = end.wait_for(Option::is_some).await.map(|ending| ending.clone());
        ended.ok().flatten().unwrap_or(Ending::Lost)
    }

    /// Ends the tree in order: claims, handlers, settlements, actors. Lasts at most the grace and a few seconds. Further calls wait for the same end.
    pub async fn shutdown(&self) -> Drained {
        let (house, root) = (self.house.clone(), self.root.clone());
        let already = house.stop_asked.is_cancelled();
        house.stop_asked.cancel();
        if already {
            self.wait().await;
            return Drained::default();
        }
        let done = self.runtime.spawn(async move {
            let drained = tokio::select! {
                drained = shutdown::drain(&house, house.options.grace) => drained,
                // The root has ended by itself: there is nobody left to wait for.
                () = house.ended.cancelled() => return Drained::default(),
            };
            let told = root.send_message(SupervisorMessage::Shutdown).is_ok();
            let stop_by = QUEUE_TIMEOUT + STOP_TIMEOUT * 5;
            if !(told && root.wait(Some(stop_by)).await.is_ok()) {
                root.kill();
            }
            drained
        });
        let drained = done.await.unwrap_or_default();
        self.wait().await;
        drained
    }
}

fn build(spec: TreeSpec) -> House {
    let TreeSpec { store, instance, queues, options, users, .. } = spec;
    let ended = CancellationToken::new();
    let events = Events::new(instance, options.clock.clone());
    let health = Health::new(events.clone(), ended.clone());
    let replay_slots = ReplaySlots::new(instance, REPLAY_SLOTS_MAX);
    let rooms = queues
        .into_iter()
        .map(|queue| {
            let door =
                FrontDoor::new(queue.name.clone(), store.clone(), replay_slots.clone(), health.clone(), events.clone());
            Arc::new(Room::new(queue, options.crashes_max, door))
        })
        .collect();
    House::new(store, instance, options, replay_slots, events, health, users, rooms, ended)
}

/// In start order; stopped in reverse. What everybody needs starts first and stops last.
fn root_spec(house: &Arc<House>, verdict: Arc<OnceLock<Exhausted>>) -> SupervisorSpec {
    let mut children = vec![
        child("ledger", Shutdown::Graceful(STOP_TIMEOUT), None, START_TIMEOUT, {
            let house = house.clone();
            starts(move || (LedgerActor, house.clone()))
        }),
        child("store-link", Shutdown::Graceful(STOP_TIMEOUT), None, START_TIMEOUT, {
            let house = house.clone();
            starts(move || (StoreLink, house.clone()))
        }),
        child("lease-keeper", Shutdown::Graceful(STOP_TIMEOUT), None, START_TIMEOUT, {
            let house = house.clone();
            starts(move || (LeaseKeeper, house.clone()))
        }),
    ];
    for room in &house.rooms {
        let closing = Closing { reopening: room.options.reopening, closed: hand_back(house, room) };
        let path = room.name.to_string();
        let (house, room) = (house.clone(), room.clone());
        let start: StartChild =
            Arc::new(move |parent, _| Box::pin(start_supervisor(queue_spec(&house, &room), parent)));
        children.push(child(&path, Shutdown::Ordered(QUEUE_TIMEOUT), Some(closing), QUEUE_TIMEOUT, start));
    }
    children.push(child("retry-scheduler", Shutdown::Graceful(STOP_TIMEOUT), None, START_TIMEOUT, {
        let house = house.clone();
        starts(move || (RetryScheduler, house.clone()))
    }));
    children.push(child("watchdog", Shutdown::Graceful(STOP_TIMEOUT), None, START_TIMEOUT, {
        let house = house.clone();
        starts(move || (Watchdog, house.clone()))
    }));
    SupervisorSpec {
        path: ROOT_PATH.into(),
        policy: house.options.root_policy,
        children,
        events: house.events.clone(),
        roster: house.roster.clone(),
        seed: house.dice.seed(),
        verdict: Some(verdict),
    }
}

/// One queue's actors, in start order. One_for_one, because what they share outlives each of them.
fn queue_spec(house: &Arc<House>, room: &Arc<Room>) -> SupervisorSpec {
    let both = || (house.clone(), room.clone());
    let path = |role: &str| format!("{}/{role}", room.name);
    let graceful = Shutdown::Graceful(STOP_TIMEOUT);
    let children = vec![
        child(&path("settler"), graceful, None, START_TIMEOUT, {
            let both = both();
            starts(move || (Settler, both.clone()))
        }),
        child(&path("queue"), graceful, None, START_TIMEOUT, {
            let room = room.clone();
            starts(move || (Queue, room.clone()))
        }),
        child(&path("pool"), graceful, None, START_TIMEOUT, {
            let both = both();
            starts(move || (Pool, both.clone()))
        }),
        child(&path("fetcher"), graceful, None, START_TIMEOUT, {
            let both = both();
            starts(move || (Fetcher, both.clone()))
        }),
    ];
    SupervisorSpec {
        path: room.name.to_string(),
        policy: room.options.policy,
        children,
        events: house.events.clone(),
        roster: house.roster.clone(),
        seed: house.dice.seed(),
        verdict: None,
    }
}

fn child(
    path: &str,
    shutdown: Shutdown,
    closing: Option<Closing>,
    start_timeout: Duration,
    start: StartChild,
) -> ChildSpec {
    ChildSpec { path: path.to_owned(), kind: ChildKind::Permanent, shutdown, start_timeout, closing, start }
}

/// A closed queue holds nothing: what had returned is settled, and what it had not done others may do.
fn hand_back(house: &Arc<House>, room: &Arc<Room>) -> Arc<dyn Fn() + Send + Sync> {
    let (house, room) = (house.clone(), room.clone());
    Arc::new(move || {
        room.inflight.abandon();
        let (house, room) = (house.clone(), room.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = house.ended.cancelled() => {}
                () = settler::settle_what_is_left(&house, &room) => {}
            }
        });
    })
}

/// How an actor is started: unnamed, because ractor's names are global to the process and two runtimes must not collide.
fn starts<A>(make: impl Fn() -> (A, A::Arguments) + Send + Sync + 'static) -> StartChild
where
    A: Actor + Send + 'static,
    A::Arguments: Send + 'static,
{
    Arc::new(move |parent, _| {
        let (actor, args) = make();
        Box::pin(async move {
            let (started, _) = Actor::spawn_linked(None, actor, args, parent).await.map_err(|e| e.to_string())?;
            Ok(started.get_cell())
        })
    })
}
