//! The whole tree: the handle that starts it, inspects it and shuts it down.

mod node;
mod shutdown;
mod table;

pub use node::{NodeState, RunningJob, TreeNode};
pub use shutdown::ShutdownReport;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use ractor::{Actor, ActorCell, ActorRef, ActorStatus};
use retraced_jobs::events::SupervisionEvent;
use retraced_jobs::job::{CurrentInstance, InstanceId, QueueName};
use retraced_jobs::store::{ReplaySlots, Store};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::context::{QueueContext, RuntimeContext, RuntimeParts};
use crate::front_door::{FrontDoor, FrontDoorHandle};
use crate::limits::{DEREGISTER_TIMEOUT, QUEUE_TIMEOUT, STOP_TIMEOUT, TREE_CALLS_MAX};
use crate::observer::GuardedObserver;
use crate::options::{InvalidOption, QueueSpec, TreeOptions, check};
use crate::path;
use crate::services::janitor;
use crate::store_calls::{Health, StoreCalls};
use crate::supervision::event::Events;
use crate::supervision::exhausted::Exhausted;
use crate::supervision::messages::SupervisorMessage;
use crate::supervision::registry::{LiveActor, Registry};
use crate::supervision::supervisor::{KilledOnDrop, Supervisor, wait_until_ready};
use table::Branch;

/// A running tree. Dropping it leaves the tree running; [`shutdown`](Self::shutdown) ends it in order, [`abort`](Self::abort) at once.
#[derive(Clone)]
pub struct Tree {
    context: Arc<RuntimeContext>,
    table: Arc<Branch>,
    tokio: Handle,
    root: ActorCell,
    end: watch::Receiver<Option<Ending>>,
    shutdown: Arc<Shutdown>,
}

/// The one shutdown of a tree.
#[derive(Default)]
struct Shutdown {
    begun: AtomicBool,
    report: OnceLock<ShutdownReport>,
}

/// How a tree ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// A shutdown was requested.
    Stopped,
    /// The root supervisor gave up.
    GaveUp(Exhausted),
    /// The root supervisor was killed, or the tokio runtime it ran on has ended.
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
    /// The process instance. It is replaced if another process is found to use the same one.
    pub instance: CurrentInstance,
    /// The queues to process.
    pub queues: Vec<QueueSpec>,
    /// Options of the whole tree.
    pub options: TreeOptions,
    /// Where the tree and the store's connections run.
    pub tree: Handle,
    /// Where executors, and so the handlers, run.
    pub handlers: Handle,
}

impl Tree {
    /// Starts a tree, and waits until all its actors run, except for executors, which may still be starting.
    ///
    /// # Errors
    /// [`StartError`] names the option or the actor; the actors that had started are stopped before.
    ///
    /// # Cancel safety
    /// When this future is dropped, the tree is aborted.
    pub async fn start(spec: TreeSpec) -> Result<Self, StartError> {
        check(&spec.options, &spec.queues).map_err(StartError::Option)?;
        let started = AbortOnDropHandle::new(spec.tree.clone().spawn(start(spec))).await;
        let (tree, unclaimed) = started.map_err(|gone| StartError::Actor(gone.to_string()))??;
        unclaimed.release();
        Ok(tree)
    }

    /// The handle of a queue; `None` if this tree does not process it.
    #[must_use]
    pub fn queue(&self, name: &QueueName) -> Option<FrontDoorHandle> {
        self.context.queue(name).map(|queue| FrontDoorHandle::new(queue.front_door.clone()))
    }

    /// The queues this tree processes, in the order they were given.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueName> {
        self.context.queues.iter().map(|queue| queue.name.clone()).collect()
    }

    /// Every supervision event from now on. A subscriber that falls behind by more than [`EVENTS_BROADCAST_MAX`](crate::limits::EVENTS_BROADCAST_MAX)
    /// learns how many it missed.
    #[must_use]
    pub fn supervision(&self) -> broadcast::Receiver<SupervisionEvent> {
        self.context.events.subscribe()
    }

    /// The live actors of the tree, by path.
    #[must_use]
    pub fn actors(&self) -> Vec<LiveActor> {
        self.context.registry.all()
    }

    /// The whole tree as it is now: its nodes, whether they are up, their generations, and what each executor runs.
    #[must_use]
    pub fn snapshot(&self) -> TreeNode {
        node::snapshot(&self.context, &self.table)
    }

    /// Whether the root supervisor is up. Unlike [`snapshot`](Self::snapshot) it looks at no other actor.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.root.get_status() != ActorStatus::Stopped
    }

    /// Kills the actor at this path, for tests and demonstrations. Returns whether there was one.
    pub fn kill(&self, path: &str) -> bool {
        let live = self.context.registry.find(path).filter(|actor| actor.get_status() != ActorStatus::Stopped);
        live.inspect(ActorCell::kill).is_some()
    }

    /// The process instance at present.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.context.instance.get()
    }

    /// The calls of this process to the store.
    #[must_use]
    pub fn calls(&self) -> &StoreCalls {
        &self.context.calls
    }

    /// How many jobs run now, in all queues.
    #[must_use]
    pub fn running(&self) -> usize {
        self.context.queues.iter().map(|queue| queue.inflight.busy()).sum()
    }

    /// Ends the tree at once, as the end of its process would: nothing is settled, and handlers are dropped at their next await. The jobs run again when their leases have
    /// expired. Does nothing if the tree has ended.
    pub fn abort(&self) {
        self.root.kill();
    }

    /// Waits until the tree has ended, and returns how it ended.
    pub async fn wait(&self) -> Ending {
        let mut end = self.end.clone();
        let ended = end.wait_for(Option::is_some).await.map(|ending| ending.clone());
        ended.ok().flatten().unwrap_or(Ending::Lost)
    }

    /// Shuts the tree down: claims end first, then handlers, settlements and actors. Usually takes at most the shutdown grace and a few seconds; at worst, if
    /// actors do not stop and the store does not answer, about 47 s more than the grace. Further calls wait for the same end and return the same report. `None` if
    /// the tree ended by itself: then it is not known what became of its jobs.
    ///
    /// # Cancel safety
    /// The shutdown goes on when this future is dropped.
    pub async fn shutdown(&self) -> Option<ShutdownReport> {
        self.context.shutdown_requested.cancel();
        if self.shutdown.begun.swap(true, Ordering::AcqRel) {
            self.wait().await;
            return self.shutdown.report.get().copied();
        }
        let (context, table, root, shutdown) =
            (self.context.clone(), self.table.clone(), self.root.clone(), self.shutdown.clone());
        // If the task below panics, as an observer may, or the runtime of the tree has ended, nobody else stops the actors. It may outlive this future.
        let unstopped = KilledOnDrop::new(root.clone());
        let done = self.tokio.spawn(async move {
            let report = tokio::select! {
                report = shutdown::drain(&context, context.options.shutdown_grace) => report,
                // The root has ended by itself: there is nothing left to wait for.
                () = context.ended.cancelled() => return,
            };
            // Only the first call of `shutdown` comes here, so nothing is set yet.
            let _ = shutdown.report.set(report);
            let asked = root.send_message(SupervisorMessage::Shutdown).is_ok();
            let stop_within = QUEUE_TIMEOUT + STOP_TIMEOUT * table.services();
            if asked && root.wait(Some(stop_within)).await.is_ok() {
                unstopped.release();
            }
        });
        let _ = done.await;
        self.wait().await;
        self.shutdown.report.get().copied()
    }
}

/// Starts a tree. It must be called on the tokio runtime of the tree. The tree is killed unless the guard is released: nobody may be left to take it.
async fn start(spec: TreeSpec) -> Result<(Tree, KilledOnDrop), StartError> {
    let tokio = spec.tree.clone();
    let context = Arc::new(build(spec));
    let table = Arc::new(Branch::root(&context));
    let gave_up = Arc::new(OnceLock::new());
    let (root, root_task) = start_root(&context, &table, gave_up.clone()).await?;
    let unclaimed = KilledOnDrop::new(root.get_cell());
    let (report, mut end) = watch::channel(None);
    tokio::spawn(finish(context.clone(), root_task, gave_up, report));
    if let Err(reason) = wait_until_ready(&root).await {
        // The actors that have started are stopped before the caller gets the error. What does not stop in time is killed.
        let _ = tokio::time::timeout(QUEUE_TIMEOUT, end.wait_for(Option::is_some)).await;
        return Err(StartError::Actor(reason));
    }
    Ok((Tree { context, table, tokio, root: root.get_cell(), end, shutdown: Arc::default() }, unclaimed))
}

/// Waits for the end of the root supervisor, ends what is left of the tree, and reports how it ended.
async fn finish(
    context: Arc<RuntimeContext>,
    root_task: JoinHandle<()>,
    gave_up: Arc<OnceLock<Exhausted>>,
    report: watch::Sender<Option<Ending>>,
) {
    // Dropping the guard cancels `ended`, even if this task is dropped with its tokio runtime. Open calls and enqueues are then given up.
    let cancels_ended = context.ended.clone().drop_guard();
    let joined = root_task.await;
    for queue in &context.queues {
        queue.front_door.close();
    }
    drop(cancels_ended);
    let ending = match (gave_up.get(), joined) {
        (Some(exhausted), _) => Ending::GaveUp(exhausted.clone()),
        (None, Ok(())) if context.shutdown_requested.is_cancelled() => Ending::Stopped,
        (None, _) => Ending::Lost,
    };
    // Flushes and trims under way end first, so that all trims are reported and removing the worker's row is the last write.
    let ended_by = Instant::now() + DEREGISTER_TIMEOUT;
    for queue in &context.queues {
        queue.front_door.wait_until_empty(ended_by).await;
    }
    janitor::wait_for_trims(&context, ended_by).await;
    shutdown::deregister(&context).await;
    let _ = report.send(Some(ending));
}

fn build(spec: TreeSpec) -> RuntimeContext {
    let TreeSpec { store, instance, queues, options, tree, handlers } = spec;
    let ended = CancellationToken::new();
    let observer = GuardedObserver::new(options.observer.clone());
    let registry = Registry::default();
    let events = Events::new(instance.clone(), options.wall_clock.clone(), observer.clone(), registry.clone());
    let health = Health::new(events.clone(), ended.clone());
    let calls = StoreCalls::of_tree(store, ReplaySlots::new(instance.clone(), TREE_CALLS_MAX), health, tree.clone());
    let queues = queues
        .into_iter()
        .map(|queue| {
            let front_door = FrontDoor::new(queue.name.clone(), calls.clone(), events.clone(), tree.clone());
            let threads = handlers.metrics().num_workers();
            Arc::new(QueueContext::new(queue, threads, options.crashes_max, front_door))
        })
        .collect();
    RuntimeContext::new(RuntimeParts { instance, options, calls, queues, events, observer, registry, handlers, ended })
}

async fn start_root(
    context: &Arc<RuntimeContext>,
    table: &Branch,
    gave_up: Arc<OnceLock<Exhausted>>,
) -> Result<(ActorRef<SupervisorMessage>, JoinHandle<()>), StartError> {
    let refuse = |reason: String| StartError::Actor(reason);
    let spec = table::root_spec(context, table, gave_up).ok_or_else(|| refuse("it has no root".into()))?;
    let (root, ended) = Actor::spawn(None, Supervisor, spec).await.map_err(|error| refuse(error.to_string()))?;
    context.root.set(&root);
    context.registry.add(path::ROOT, 0, root.get_cell());
    Ok((root, ended))
}

#[cfg(test)]
mod tests;
