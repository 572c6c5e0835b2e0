//! The tree as a table: who is whose child, in which order, under which policy. Starts, restarts, the shutdown and [`TreeNode`](super::TreeNode) all read it.
//!
//! ```text
//! retraced                   root supervisor
//! ├─ ledger
//! ├─ store-link
//! ├─ lease-keeper
//! ├─ email                   supervisor of a queue; closes when its children crash too often, and reopens later
//! │  ├─ queue
//! │  └─ workers              supervisor; closes and reopens likewise
//! │     ├─ settler
//! │     ├─ pool              executor-0 … N
//! │     └─ fetcher
//! ├─ retry-scheduler
//! ├─ reclaimer
//! ├─ janitor
//! └─ watchdog
//! ```

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ractor::Actor;

use crate::context::{QueueContext, RuntimeContext};
use crate::front_door::QueueActor;
use crate::limits::{QUEUE_TIMEOUT, START_TIMEOUT, STOP_TIMEOUT, WORKERS_TIMEOUT};
use crate::path;
use crate::services::janitor::Janitor;
use crate::services::lease_keeper::LeaseKeeper;
use crate::services::ledger::LedgerActor;
use crate::services::reclaimer::Reclaimer;
use crate::services::retry_scheduler::RetryScheduler;
use crate::services::store_link::StoreLink;
use crate::services::watchdog::Watchdog;
use crate::supervision::exhausted::Exhausted;
use crate::supervision::restart::RestartPolicy;
use crate::supervision::spec::{ChildSpec, Closing, Shutdown, StartChild, SupervisorSpec};
use crate::supervision::supervisor::start_supervisor;
use crate::workers::fetcher::Fetcher;
use crate::workers::pool::Pool;
use crate::workers::settler::{self, Settler};

/// One row of the table: an actor, or a supervisor with its children.
#[derive(Clone)]
pub(crate) struct Branch {
    pub(crate) path: String,
    pub(crate) role: Role,
}

#[derive(Clone)]
pub(crate) enum Role {
    Actor(StartChild),
    /// A pool: the executors of its queue are the children of its node.
    Pool(StartChild, Arc<QueueContext>),
    Supervisor(Arc<Group>),
}

/// The children of one supervisor, in start order. They are stopped in reverse order.
pub(crate) struct Group {
    pub(crate) children: Vec<Branch>,
    policy: RestartPolicy,
    /// How long the supervisor may take to start, and how long to stop.
    timeout: Duration,
    /// If the supervisor gives up, it closes for a while instead of taking its parent down.
    closing: Option<(Closing, Arc<QueueContext>)>,
}

impl Branch {
    /// The whole tree.
    pub(crate) fn root(runtime: &Arc<RuntimeContext>) -> Branch {
        // What all others need starts first and stops last.
        let mut children = vec![
            service(path::LEDGER, runtime, || LedgerActor),
            service(path::STORE_LINK, runtime, || StoreLink),
            service(path::LEASE_KEEPER, runtime, || LeaseKeeper),
        ];
        children.extend(runtime.queues.iter().map(|queue| queue_branch(runtime, queue)));
        children.extend([
            service(path::RETRY_SCHEDULER, runtime, || RetryScheduler),
            service(path::RECLAIMER, runtime, || Reclaimer),
            service(path::JANITOR, runtime, || Janitor),
            service(path::WATCHDOG, runtime, || Watchdog),
        ]);
        let policy = runtime.options.root_policy;
        let group = Group { children, policy, timeout: QUEUE_TIMEOUT, closing: None };
        Branch { path: path::ROOT.into(), role: Role::Supervisor(Arc::new(group)) }
    }

    /// The queue whose workers are closed when this supervisor gives up, if it is one that closes.
    pub(crate) fn closes(&self) -> Option<&QueueContext> {
        match &self.role {
            Role::Supervisor(group) => group.closing.as_ref().map(|(_, queue)| &**queue),
            Role::Actor(_) | Role::Pool(..) => None,
        }
    }

    /// How many of its children have no branch below them in this table: for the root, the actors of `services/`.
    pub(crate) fn services(&self) -> u32 {
        let Role::Supervisor(group) = &self.role else { return 0 };
        let actors = group.children.iter().filter(|child| matches!(child.role, Role::Actor(_) | Role::Pool(..)));
        u32::try_from(actors.count()).unwrap_or(u32::MAX)
    }

    fn child_spec(&self, runtime: &Arc<RuntimeContext>) -> ChildSpec {
        let (shutdown, start_timeout, closing, start) = match &self.role {
            Role::Actor(start) | Role::Pool(start, _) => {
                (Shutdown::Graceful(STOP_TIMEOUT), START_TIMEOUT, None, start.clone())
            }
            Role::Supervisor(group) => {
                let closing = group.closing.as_ref().map(|(closing, _)| closing.clone());
                let start = starts_group(runtime, &self.path, group);
                (Shutdown::ChildrenFirst(group.timeout), group.timeout, closing, start)
            }
        };
        ChildSpec { path: self.path.clone(), shutdown, start_timeout, closing, start }
    }
}

/// How the root supervisor is started. If it gives up it leaves the reason in `gave_up`.
pub(crate) fn root_spec(
    runtime: &Arc<RuntimeContext>,
    root: &Branch,
    gave_up: Arc<OnceLock<Exhausted>>,
) -> Option<SupervisorSpec> {
    match &root.role {
        Role::Supervisor(group) => Some(group_spec(runtime, &root.path, group, Some(gave_up))),
        Role::Actor(_) | Role::Pool(..) => None,
    }
}

/// The branch of one queue.
fn queue_branch(runtime: &Arc<RuntimeContext>, queue: &Arc<QueueContext>) -> Branch {
    let name = &queue.name;
    let contexts = || (runtime.clone(), queue.clone());
    let group = |children, timeout| {
        let closing = Closing { reopening: queue.options.reopening, on_close: releases_everything(runtime, queue) };
        let closing = Some((closing, queue.clone()));
        Role::Supervisor(Arc::new(Group { children, policy: queue.options.policy, timeout, closing }))
    };
    let workers = vec![
        Branch { path: path::settler(name), role: Role::Actor(starts(contexts(), || Settler)) },
        Branch { path: path::pool(name), role: Role::Pool(starts(contexts(), || Pool), queue.clone()) },
        Branch { path: path::fetcher(name), role: Role::Actor(starts(contexts(), || Fetcher)) },
    ];
    let children = vec![
        Branch { path: path::queue(name), role: Role::Actor(starts(queue.front_door.clone(), || QueueActor)) },
        Branch { path: path::workers(name), role: group(workers, WORKERS_TIMEOUT) },
    ];
    Branch { path: path::supervisor(name), role: group(children, QUEUE_TIMEOUT) }
}

fn service<A>(path: &str, runtime: &Arc<RuntimeContext>, actor: fn() -> A) -> Branch
where
    A: Actor<Arguments = Arc<RuntimeContext>> + Send + 'static,
{
    Branch { path: path.into(), role: Role::Actor(starts(runtime.clone(), actor)) }
}

/// How an actor is started. It has no name: ractor's names are global to the process, and two runtimes must not collide.
fn starts<A>(arguments: A::Arguments, actor: fn() -> A) -> StartChild
where
    A: Actor + Send + 'static,
    A::Arguments: Clone + Send + Sync + 'static,
{
    Arc::new(move |parent| {
        let arguments = arguments.clone();
        Box::pin(async move {
            let started = Actor::spawn_linked(None, actor(), arguments, parent).await;
            started.map(|(actor, _)| actor.get_cell()).map_err(|error| error.to_string())
        })
    })
}

fn starts_group(runtime: &Arc<RuntimeContext>, path: &str, group: &Arc<Group>) -> StartChild {
    let (runtime, path, group) = (runtime.clone(), path.to_owned(), group.clone());
    Arc::new(move |parent| Box::pin(start_supervisor(group_spec(&runtime, &path, &group, None), parent)))
}

fn group_spec(
    runtime: &Arc<RuntimeContext>,
    path: &str,
    group: &Group,
    gave_up: Option<Arc<OnceLock<Exhausted>>>,
) -> SupervisorSpec {
    SupervisorSpec {
        path: path.to_owned(),
        policy: group.policy,
        children: group.children.iter().map(|child| child.child_spec(runtime)).collect(),
        events: runtime.events.clone(),
        registry: runtime.registry.clone(),
        seed: runtime.random.seed(),
        gave_up,
    }
}

/// Makes the function that is called when workers, or their whole queue, close. It settles outcomes and releases all other jobs, so that other processes can run
/// them.
fn releases_everything(runtime: &Arc<RuntimeContext>, queue: &Arc<QueueContext>) -> Arc<dyn Fn() + Send + Sync> {
    let (runtime, queue) = (runtime.clone(), queue.clone());
    Arc::new(move || {
        queue.inflight.close();
        let (runtime, queue) = (runtime.clone(), queue.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = runtime.ended.cancelled() => {}
                () = settler::settle_what_is_left(&runtime, &queue) => {}
            }
        });
    })
}
