//! A running supervision tree, as applications hold it.

use std::fmt;
use std::sync::Arc;

use retraced_actors::{Drained, Ending, Exhausted, LiveActor, Tree, TreeNode};
use retraced_jobs::job::{InstanceId, JobId, QueueName};
use retraced_jobs::store::Store;
use retraced_jobs::trace::SupervisionEvent;
use tokio::runtime::Handle;
use tokio::sync::broadcast;

use crate::builder::RuntimeBuilder;
use crate::operator::Operator;
use crate::queue::QueueHandle;
use crate::trace::{Trace, TraceError};

/// Threads of a tree's own runtime: one would do, two let the store's connections read while an actor works.
const TREE_THREADS: usize = 2;

/// Runs jobs. Built by [`Runtime::builder`]; hold it as long as jobs are to run, and end it with [`shutdown`](Self::shutdown).
///
/// Dropped without a shutdown it stops at once, like a process that is killed: what ran is run again when its leases run out.
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
    operator: Operator,
    threads: TreeRuntime,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("instance", &self.tree.instance()).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Begins to put a runtime together.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::new()
    }

    pub(crate) fn new(tree: Tree, store: Arc<dyn Store>, threads: TreeRuntime) -> Self {
        let operator = Operator::beside(store, tree.replay_slots().clone(), threads.handle().clone());
        Self { tree, operator, threads }
    }

    /// The handle of a queue this runtime works.
    ///
    /// # Errors
    /// [`RuntimeError::NoSuchQueue`] when it works none of this name, and names those it does.
    pub fn queue(&self, name: &str) -> Result<QueueHandle, RuntimeError> {
        let found = QueueName::new(name).ok().and_then(|name| self.tree.queue(&name));
        found.map(QueueHandle::new).ok_or_else(|| RuntimeError::NoSuchQueue {
            name: name.escape_debug().take(80).collect(),
            known: self.tree.queues(),
        })
    }

    /// The queues it works.
    #[cfg(feature = "testing")]
    pub(crate) fn worked(&self) -> Vec<QueueName> {
        self.tree.queues()
    }

    /// Every supervision event from now on: starts, crashes, restarts, escalations, outages, zombies.
    #[must_use]
    pub fn supervision(&self) -> broadcast::Receiver<SupervisionEvent> {
        self.tree.supervision()
    }

    /// The story of a job of one of this runtime's queues.
    ///
    /// # Errors
    /// [`TraceError`] when no such job is kept, or the store does not answer.
    pub async fn trace(&self, id: JobId) -> Result<Trace, TraceError> {
        for queue in self.tree.queues() {
            if let Some(view) = self.operator.job(&queue, &id).await.map_err(TraceError::Store)? {
                return Ok(Trace::new(view));
            }
        }
        Err(TraceError::NotFound { id })
    }

    /// What an operator can look at and do, through this runtime's store.
    #[must_use]
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// The supervision tree as it is now, from the root down: every place, its generation, whether somebody is there, and which job runs there. A snapshot: it costs
    /// one short lock a queue, so it may be taken as often as a view is drawn.
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
    /// println!("{tree}"); // drawn, a line for each place
    /// for place in tree.all() {
    ///     if let Some(running) = &place.running {
    ///         println!("{} has run {} for {:?}", place.path, running.job, running.ran);
    ///     }
    /// }
    /// assert_eq!(tree.find("greetings/pool").map(|pool| pool.children.len()), Some(2));
    /// # runtime.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tree(&self) -> TreeNode {
        self.tree.look()
    }

    /// Who lives in the tree now.
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
    /// let paths: Vec<String> = runtime.residents().into_iter().map(|resident| resident.path).collect();
    /// assert!(paths.contains(&"email/fetcher".into()), "{paths:?}");
    /// # runtime.shutdown().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn residents(&self) -> Vec<LiveActor> {
        self.tree.residents()
    }

    /// Kills the actor at a path such as `email/fetcher`, to see what happens. Gives whether there was one.
    pub fn kill(&self, path: &str) -> bool {
        self.tree.kill(path)
    }

    /// This life of this process, as it stands in leases, attempts and events.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.tree.instance()
    }

    /// Jobs that run now.
    #[must_use]
    pub fn running(&self) -> usize {
        self.tree.running()
    }

    /// Waits until the runtime has ended.
    ///
    /// # Errors
    /// [`RuntimeError::GaveUp`] says which child of the root failed, how often and why.
    pub async fn wait(&self) -> Result<Ended, RuntimeError> {
        match self.tree.wait().await {
            Ending::Stopped => Ok(Ended),
            Ending::GaveUp(exhausted) => Err(RuntimeError::GaveUp(exhausted)),
            Ending::Lost => Err(RuntimeError::Lost),
        }
    }

    /// Ends the runtime in order: stops claiming, lets handlers finish, asks them to stop, kills what is left and hands it back at no cost, settles, and only then
    /// stops renewing. Lasts at most the grace and a few seconds.
    ///
    /// # Errors
    /// [`RuntimeError::GaveUp`] when it had ended with an error before.
    pub async fn shutdown(self) -> Result<Drained, RuntimeError> {
        let drained = self.tree.shutdown().await;
        self.wait().await.map(|Ended| drained)
    }

    /// The tokio runtime the tree runs on.
    #[must_use]
    pub fn tree_handle(&self) -> &Handle {
        self.threads.handle()
    }

    /// Ends the runtime as [`shutdown`](Self::shutdown) does, while others still hold it.
    pub async fn drain(&self) -> Drained {
        self.tree.shutdown().await
    }
}

/// A runtime has ended as asked.
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
/// let drained: retraced::Drained = runtime.drain().await;
/// assert_eq!(drained.killed, 0);
/// let retraced::Ended = runtime.wait().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

/// What can go wrong with a runtime as a whole.
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
/// use retraced::RuntimeError;
/// let Err(RuntimeError::NoSuchQueue { name, known }) = runtime.queue("emial") else { panic!() };
/// assert_eq!((name.as_str(), known[0].as_str()), ("emial", "email"));
/// # runtime.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuntimeError {
    /// It works no queue of this name.
    NoSuchQueue {
        /// The name asked for.
        name: String,
        /// Those it works.
        known: Vec<QueueName>,
    },
    /// Its root supervisor gave up.
    GaveUp(Exhausted),
    /// Its root supervisor was killed, or its threads ended.
    Lost,
}

impl fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuntimeError::NoSuchQueue { name, known } => {
                let known: Vec<_> = known.iter().map(QueueName::as_str).collect();
                write!(f, "this runtime works no queue \"{name}\"; it works {}", known.join(", "))
            }
            RuntimeError::GaveUp(exhausted) => exhausted.fmt(f),
            RuntimeError::Lost => {
                f.write_str("the supervision tree ended without a word: its root was killed or its threads ended")
            }
        }
    }
}

impl std::error::Error for RuntimeError {}

/// The threads the tree runs on: its own, or somebody else's.
pub(crate) struct TreeRuntime {
    handle: Handle,
    own: Option<tokio::runtime::Runtime>,
}

impl TreeRuntime {
    pub(crate) fn own() -> std::io::Result<Self> {
        let own = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(TREE_THREADS)
            .thread_name("retraced-tree")
            .enable_all()
            .build()?;
        Ok(Self { handle: own.handle().clone(), own: Some(own) })
    }

    pub(crate) fn given(handle: Handle) -> Self {
        Self { handle, own: None }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for TreeRuntime {
    fn drop(&mut self) {
        // A runtime must not be dropped where async code runs; this does not wait.
        if let Some(own) = self.own.take() {
            own.shutdown_background();
        }
    }
}
