//! The runtime an application holds: a running supervision tree, with its operator and the ways to enqueue.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use retraced_actors::{ActorRef, Ending, Enqueue, FrontDoorHandle, ShutdownReport, StoreStatus, Tree, TreeNode};
use retraced_jobs::enqueue::{EnqueueError, IntoNewJob, JobHandle, Outcome, OutcomeError, Producers, QueueHandle};
use retraced_jobs::events::SupervisionEvent;
use retraced_jobs::job::{InstanceId, JobId, QueueName};
use tokio::runtime::Handle;
use tokio::sync::broadcast;

use crate::client::Client;
use crate::front_door_producer::FrontDoorProducer;
use crate::operator::Operator;
use crate::outcome_waiter::OutcomeWaiter;
use crate::runtime_error::RuntimeError;
use crate::trace::{Trace, TraceError};
use crate::tree_runtime::TreeRuntime;

/// Runs jobs. Built by [`Runtime::builder`]; hold it as long as jobs should run, and end it with [`shutdown`](Self::shutdown).
///
/// If it is dropped before a shutdown has ended, the supervision tree stops at once, as in a killed process. Async handlers are dropped at their
/// next await, blocking ones finish, and nothing is settled: the jobs run again when their leases have expired.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use retraced::Runtime;
/// let refused = Runtime::builder().start().await.unwrap_err();
/// assert!(refused.to_string().starts_with("no store was given"));
/// # Ok(())
/// # }
/// ```
pub struct Runtime {
    tree: Tree,
    client: Client,
    waiter: OutcomeWaiter,
    operator: Operator,
    threads: TreeRuntime,
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.tree.abort();
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("instance", &self.tree.instance()).finish_non_exhaustive()
    }
}

impl Runtime {
    pub(crate) fn new(tree: Tree, client: Client, threads: TreeRuntime) -> Self {
        let waiter = OutcomeWaiter::new(tree.calls().clone());
        let operator = Operator::with_calls(tree.calls().clone(), waiter.clone());
        Self { tree, client, waiter, operator, threads }
    }

    /// A handle to enqueue to a queue of this runtime. It stays valid when the queue's actors are restarted.
    ///
    /// # Errors
    /// [`EnqueueError::NoSuchQueue`] when this runtime has no queue of this name; the error names the queues it has. [`EnqueueError::InvalidQueue`] when the name is
    /// not allowed.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use retraced::{Context, Failure, Job, MemoryStore, Queue, Runtime};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct SendEmail { to: String }
    /// # impl Job for SendEmail { const KIND: &'static str = "email.send"; }
    /// # async fn send(_: SendEmail, _: Context) -> Result<(), Failure> { Ok(()) }
    /// # let builder = Runtime::builder().store(MemoryStore::new()).queue(Queue::new("email")?.handler(send));
    /// # let runtime = builder.start().await?;
    /// use retraced::EnqueueError;
    /// let Err(EnqueueError::NoSuchQueue { queue, known }) = runtime.queue("emial") else { panic!() };
    /// assert_eq!((queue.as_str(), known[0].as_str()), ("emial", "email"));
    /// assert!(matches!(runtime.queue("e mail"), Err(EnqueueError::InvalidQueue(_))));
    /// # runtime.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn queue(&self, name: impl AsRef<str>) -> Result<QueueHandle, EnqueueError> {
        Ok(self.handle_of(self.front_door(name.as_ref())?))
    }

    /// Enqueues a job to the default queue of its kind ([`JobDefaults::queue`](crate::JobDefaults::queue)), which need not be one of this runtime's, and waits for its
    /// receipt. In a runtime with one queue a kind needs no default. The job is a typed job, or a [`JobRequest`](crate::JobRequest) with options.
    ///
    /// # Errors
    /// [`EnqueueError::NoQueue`] when the kind has no default queue and this runtime has several, and for a sealed job, which does not say its queue; the other errors
    /// are those of [`QueueHandle::enqueue`].
    ///
    /// ```
    /// # use retraced::{Job, JobRequest, MemoryStore, Queue, Runtime};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct SendEmail { to: String }
    /// # impl Job for SendEmail { const KIND: &'static str = "email.send"; }
    /// # async fn send(_: SendEmail) {}
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let runtime = Runtime::builder().store(MemoryStore::new()).queue(Queue::new("email")?.handler(send)).start().await?;
    /// runtime.enqueue(SendEmail { to: "ada@example.com".into() }).await?.outcome().await?;
    /// let welcome = SendEmail { to: "bob@example.com".into() };
    /// runtime.enqueue(JobRequest::new(welcome).id("welcome-bob")).await?;
    /// # runtime.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn enqueue(&self, job: impl IntoNewJob) -> Result<JobHandle, EnqueueError> {
        let queue = match job.default_queue()? {
            Some(default) => default,
            None => self.only_queue()?,
        };
        match self.tree.queue(&queue) {
            Some(handle) => self.handle_of(handle).enqueue(job).await,
            None => QueueHandle::new(self.client.producer(&queue)).enqueue(job).await,
        }
    }

    fn only_queue(&self) -> Result<QueueName, EnqueueError> {
        let known = self.tree.queues();
        match known.as_slice() {
            [only] => Ok(only.clone()),
            _ => Err(EnqueueError::NoQueue { known }),
        }
    }

    /// A client of this runtime's store, for queues that this runtime does not process. Handlers enqueue through a client of their own, which shares its replay slots and
    /// waits while the store takes no new jobs.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    fn handle_of(&self, handle: FrontDoorHandle) -> QueueHandle {
        QueueHandle::new(Arc::new(FrontDoorProducer { handle, waiter: self.waiter.clone() }))
    }

    /// The actor of a queue, for plain [`Enqueue`] messages; `None` while the actor is being restarted, while the whole queue is closed, and after the runtime has
    /// ended. After a restart the reference is dead: call this again rather than keep it. A message without a reply is not acknowledged and may be lost;
    /// [`QueueHandle::enqueue`] is acknowledged.
    ///
    /// # Errors
    /// Those of [`queue`](Self::queue).
    pub fn queue_actor(&self, name: impl AsRef<str>) -> Result<Option<ActorRef<Enqueue>>, EnqueueError> {
        Ok(self.front_door(name.as_ref())?.actor())
    }

    fn front_door(&self, name: &str) -> Result<FrontDoorHandle, EnqueueError> {
        let queue = QueueName::new(name).map_err(EnqueueError::InvalidQueue)?;
        self.tree.queue(&queue).ok_or_else(|| EnqueueError::NoSuchQueue { queue, known: self.tree.queues() })
    }

    /// Waits until a job has ended, for up to `timeout`. For jobs whose [`JobHandle`](crate::JobHandle) is gone.
    ///
    /// # Errors
    /// [`OutcomeError`].
    ///
    /// # Cancel safety
    /// It only reads: it can be dropped and called again.
    pub async fn outcome(&self, queue: &QueueName, id: &JobId, timeout: Duration) -> Result<Outcome, OutcomeError> {
        self.waiter.wait_for_end(queue, id, timeout).await
    }

    /// The queues of this runtime.
    #[cfg(feature = "testing")]
    pub(crate) fn queue_names(&self) -> Vec<QueueName> {
        self.tree.queues()
    }

    /// The supervision events from now on, such as starts, crashes and restarts of actors, outages and zombies. A receiver that falls more than 1,024 events behind
    /// misses the oldest, and learns how many.
    #[must_use]
    pub fn supervision(&self) -> broadcast::Receiver<SupervisionEvent> {
        self.tree.supervision()
    }

    /// The history of a job in one of this runtime's queues, with explanations. If several of its queues keep a job of this id, the first one given to the builder counts.
    ///
    /// # Errors
    /// [`TraceError`] when none of the queues keeps such a job, or the store refuses or does not answer.
    pub async fn trace(&self, id: &JobId) -> Result<Trace, TraceError> {
        let mut missing = TraceError::NotFound { id: id.clone() };
        for queue in self.tree.queues() {
            match self.operator.trace(&queue, id).await {
                Err(TraceError::NotFound { .. }) => {}
                Err(TraceError::Removed(left)) => missing = TraceError::Removed(left),
                found => return found,
            }
        }
        Err(missing)
    }

    /// An operator over this runtime's store.
    #[must_use]
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// A snapshot of the supervision tree, from the root down: every node with its generation, whether its actor is alive, and which job it runs. It takes only
    /// short locks, so it may be called as often as a view is redrawn.
    ///
    /// ```
    /// # use retraced::{Context, Failure, Job, MemoryStore, Queue, Runtime};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Greet;
    /// # impl Job for Greet { const KIND: &'static str = "greet"; }
    /// # async fn greet(_: Greet, _: Context) -> Result<(), Failure> { Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = Runtime::builder()
    /// #     .store(MemoryStore::new())
    /// #     .queue(Queue::new("greetings")?.concurrency(2).handler(greet))
    /// #     .start()
    /// #     .await?;
    /// let tree = runtime.tree();
    /// println!("{tree}"); // drawn as a tree, one line per node
    /// for node in tree.all() {
    ///     if let Some(running) = &node.running {
    ///         println!("{} has run {} for {:?}", node.path, running.job, running.ran);
    ///     }
    /// }
    /// assert_eq!(tree.find("greetings/pool").map(|pool| pool.children.len()), Some(2));
    /// # runtime.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tree(&self) -> TreeNode {
        self.tree.snapshot()
    }

    /// Whether the root of the supervision tree is up, as it also is while a shutdown waits for handlers. For liveness checks: it costs the same in a runtime of any
    /// size, unlike [`tree`](Self::tree).
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.tree.is_up()
    }

    /// How the store is, as the last calls of this process found it: for health checks and dashboards. It makes no call to the store, so it may be called as often as you
    /// like.
    ///
    /// ```
    /// # use retraced::{Context, Failure, Job, MemoryStore, Queue, Runtime};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Greet;
    /// # impl Job for Greet { const KIND: &'static str = "greet"; }
    /// # async fn greet(_: Greet, _: Context) -> Result<(), Failure> { Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let queue = Queue::new("greetings")?.handler(greet);
    /// # let runtime = Runtime::builder().store(MemoryStore::new()).queue(queue).start().await?;
    /// assert_eq!(runtime.store_status(), retraced::StoreStatus::Up);
    /// # runtime.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn store_status(&self) -> StoreStatus {
        self.tree.calls().store_status()
    }

    /// Kills the actor at a path such as `email/fetcher`, for tests and demonstrations. Returns whether there was one.
    pub fn kill(&self, path: &str) -> bool {
        self.tree.kill(path)
    }

    /// The id of this process instance, as leases, attempts and events name it. It changes if a copy of this process is noticed
    /// ([`InstanceReplaced`](crate::supervision::EventKind::InstanceReplaced)).
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.tree.instance()
    }

    /// How many jobs run now, in all queues.
    #[must_use]
    pub fn running(&self) -> usize {
        self.tree.running()
    }

    /// Waits until the runtime has ended, by a [`shutdown`](Self::shutdown) or because of an error. Any number of tasks may wait.
    ///
    /// # Errors
    /// [`RuntimeError::GaveUp`] says why the root supervisor gave up; [`RuntimeError::Lost`] when it was killed or its threads ended.
    pub async fn wait(&self) -> Result<(), RuntimeError> {
        match self.tree.wait().await {
            Ending::Stopped => Ok(()),
            Ending::GaveUp(exhausted) => Err(RuntimeError::GaveUp(exhausted)),
            Ending::Lost => Err(RuntimeError::Lost),
        }
    }

    /// Ends the runtime in order: it stops claiming, lets handlers finish, asks those that still run to stop, kills those that are left and releases their jobs without
    /// counting a failure, settles, and only then stops renewing leases. Usually takes at most the shutdown grace and a few seconds; at worst, if actors do not stop and
    /// the store does not answer, about 47 s more than the grace. Further calls wait for the same end and return the same result.
    ///
    /// # Errors
    /// [`RuntimeError::GaveUp`] or [`RuntimeError::Lost`] when the runtime has ended because of an error.
    ///
    /// # Cancel safety
    /// A shutdown continues when this future is dropped, as long as the runtime is not. Call it again to wait for the end and its report.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use retraced::{Context, Failure, Job, MemoryStore, Queue, Runtime};
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct SendEmail { to: String }
    /// # impl Job for SendEmail { const KIND: &'static str = "email.send"; }
    /// # async fn send(_: SendEmail, _: Context) -> Result<(), Failure> { Ok(()) }
    /// # let builder = Runtime::builder().store(MemoryStore::new()).queue(Queue::new("email")?.handler(send));
    /// # let runtime = builder.start().await?;
    /// let report: retraced::ShutdownReport = runtime.shutdown().await?;
    /// assert_eq!(report.killed, 0);
    /// runtime.wait().await?; // returns at once: the runtime has ended
    /// # Ok(())
    /// # }
    /// ```
    pub async fn shutdown(&self) -> Result<ShutdownReport, RuntimeError> {
        let report = self.tree.shutdown().await;
        self.wait().await?;
        report.ok_or(RuntimeError::Lost)
    }

    /// The tokio runtime the tree runs on.
    #[must_use]
    pub fn tree_runtime(&self) -> &Handle {
        self.threads.handle()
    }
}
