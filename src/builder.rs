//! The builder of a runtime: queues, handlers, state, store and options, all checked before anything starts.

mod check;
mod queue;

pub use queue::Queue;

use std::sync::Arc;
use std::time::Duration;

use retraced_actors::{Observer, QueueSpec, RestartPolicy, Tree, TreeOptions, TreeSpec, new_instance};
use retraced_jobs::context::States;
use retraced_jobs::execution::{AttemptSpan, Layer, Layers, Runner};
use retraced_jobs::job::CurrentInstance;
use retraced_jobs::store::{Store, StoreFacts};
use tokio::runtime::Handle;

use crate::build_error::{BuildError, Mistake};
use crate::client::Client;
use crate::limits::FIRST_PROBE_TIMEOUT;
use crate::runtime::Runtime;
use crate::tree_runtime::TreeRuntime;

/// Builds a [`Runtime`]. Mistakes are collected and reported together by [`start`](Self::start), before anything runs.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use retraced::{Failure, Job, MemoryStore, Queue, Runtime, State};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct SendEmail { to: String }
/// # impl Job for SendEmail { const KIND: &'static str = "email.send"; }
/// struct Mailer { from: &'static str }
///
/// async fn send(job: SendEmail, mailer: State<Mailer>) -> Result<(), Failure> {
///     println!("from {} to {}", mailer.from, job.to);
///     Ok(())
/// }
///
/// let runtime = Runtime::builder()
///     .store(MemoryStore::new())
///     .state(Mailer { from: "hello@example.com" })
///     .queue(Queue::new("email")?.concurrency(50).handler(send))
///     .lease(Duration::from_secs(60))
///     .shutdown_grace(Duration::from_secs(10))
///     .start()
///     .await?;
/// # runtime.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct RuntimeBuilder {
    store: Option<Arc<dyn Store>>,
    queues: Vec<Queue>,
    states: States,
    options: TreeOptions,
    mistakes: Vec<Mistake>,
    layers: Layers,
    /// The tokio runtime of the tree; `None`: the tree gets threads of its own.
    tree: Option<Handle>,
}

impl Runtime {
    /// Starts to build a runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::new()
    }
}

impl RuntimeBuilder {
    fn new() -> Self {
        let mut layers = Layers::default();
        layers.push(AttemptSpan);
        Self {
            store: None,
            queues: Vec::new(),
            states: States::default(),
            options: TreeOptions::default(),
            mistakes: Vec::new(),
            layers,
            tree: None,
        }
    }

    /// The store that keeps the jobs.
    pub fn store(self, store: impl Store) -> Self {
        self.shared_store(Arc::new(store))
    }

    /// The store that keeps the jobs, when other parts of the program use the same store.
    pub fn shared_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Adds a queue that this runtime processes.
    pub fn queue(mut self, queue: Queue) -> Self {
        self.queues.push(queue);
        self
    }

    /// Shares a value with all handlers, which take it as an argument [`State<T>`](crate::State) or ask their [`Context`](crate::Context) for it.
    /// One value per type.
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        if let Err(mistake) = self.states.insert(value) {
            self.mistakes.push(Mistake::State(mistake));
        }
        self
    }

    /// Adds a layer around the attempts of all queues. The layer added first is the outermost; the layers of a queue are inside those of the runtime. Around all
    /// of them is [`AttemptSpan`](crate::layer::AttemptSpan), which runs each attempt in a `tracing` span.
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// How long a lease lasts unless it is renewed: 300 ms to 1 h, default 30 s. Leases are renewed every third of this time. When a worker dies, its jobs run
    /// again when their leases have expired, or one lease after the next worker starts if no other worker was running.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.options.lease = lease;
        self
    }

    /// The shutdown grace: how long a shutdown waits for handlers before it kills them, up to 1 h, default 25 s. After four fifths of it they are asked to stop.
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.options.shutdown_grace = grace;
        self
    }

    /// How many counted crashes poison a job: 1 to 1000, default 3. Up to one more worker may die of the job: the store records the start of a handler only for jobs that
    /// were released or reclaimed before, so for any other job the first crash is not counted.
    pub fn crashes_max(mut self, crashes: u32) -> Self {
        self.options.crashes_max = crashes;
        self
    }

    /// Which build of your application this is, for example `mailer 1.4.2 (9c27f9b)`. [`Operator::workers`](crate::Operator::workers) shows it, so that a failure
    /// can be traced to the deploy that caused it. At most 200 bytes. Default: the name of the running program.
    pub fn build_label(mut self, label: impl Into<String>) -> Self {
        self.options.build = label.into();
        self
    }

    /// The runtime ends with an error when this many handlers still run 10 s after their timeout (zombies). At least 1, default: the sum of all concurrencies.
    pub fn zombies_max(mut self, zombies: usize) -> Self {
        self.options.zombies_max = Some(zombies);
        self
    }

    /// The root supervisor's restart policy. Default: one-for-one, 10 restarts in 60 s; past it the runtime ends with an error.
    pub fn restart_policy(mut self, policy: RestartPolicy) -> Self {
        self.options.root_policy = policy;
        self
    }

    /// Sets the observer, which is called for claims, attempts, settlements, renewals and supervision events as they happen. Default: none, which costs one branch per
    /// event.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.options.observer = Some(Arc::new(observer));
        self
    }

    /// Seed of the jitter of retries, polls and restarts. Default: random.
    pub fn seed(mut self, seed: u64) -> Self {
        self.options.seed = seed;
        self
    }

    /// The wall clock that stamps supervision events and the start of the worker.
    #[cfg(feature = "testing")]
    pub(crate) fn clock(mut self, clock: Arc<dyn retraced_jobs::clock::Clock>) -> Self {
        self.options.wall_clock = clock;
        self
    }

    /// The tokio runtime the supervision tree runs on. Default: a separate one with two threads, so that handlers that block all threads of the application's runtime
    /// stop neither renewals nor the tree. A test in paused time passes the handle of its own current-thread runtime.
    pub fn tree_runtime(mut self, handle: Handle) -> Self {
        self.tree = Some(handle);
        self
    }

    /// Checks everything, asks the store whether it is usable, and starts the supervision tree. Handlers run on the tokio runtime that this function is called
    /// on.
    ///
    /// # Errors
    /// [`BuildError`] names all mistakes at once, or says why the store or the tree did not start. After an error nothing runs.
    ///
    /// # Cancel safety
    /// When this future is dropped, what it has started ends: it leaves no tree running.
    pub async fn start(self) -> Result<Runtime, BuildError> {
        let checked = check::check(self.mistakes, self.store, &self.queues, &self.states, &self.options);
        let store = checked.map_err(BuildError::Mistakes)?;
        let handlers = Handle::try_current().map_err(|_| BuildError::NoTokio)?;
        let instance = CurrentInstance::from(new_instance());
        let tree = match self.tree {
            Some(handle) => TreeRuntime::given(handle),
            None => TreeRuntime::own().map_err(BuildError::Threads)?,
        };
        probe(&store, tree.handle()).await?;
        let client = Client::running_on(store.clone(), tree.handle().clone());
        let queues =
            queue_specs(self.queues, &self.layers, Arc::new(self.states), &instance, &Arc::new(client.for_handlers()));
        let spec = TreeSpec { store, instance, queues, options: self.options, tree: tree.handle().clone(), handlers };
        let started = Tree::start(spec).await.map_err(BuildError::Tree)?;
        Ok(Runtime::new(started, client, tree))
    }
}

/// Handlers enqueue through a client, not through the front doors, so that they depend on no actor. The client has its own replay slots, so
/// that handlers that enqueue many jobs do not use up those that the tree needs for settlements.
fn queue_specs(
    queues: Vec<Queue>,
    layers: &Layers,
    states: Arc<States>,
    instance: &CurrentInstance,
    producers: &Arc<Client>,
) -> Vec<QueueSpec> {
    let spec = |queue: Queue| {
        let Queue { name, mut options, rules, handlers, layers: own, invalid_handlers: _ } = queue;
        // The janitor learns from the options which ended jobs are kept. The runner learns it from `rules`.
        options.retention = rules.retention.unwrap_or_default();
        let runner = Runner::new(name.clone(), Arc::new(handlers), states.clone(), rules, instance.clone())
            .layers(layers.clone().around(&own))
            .with_producers(producers.clone());
        QueueSpec { name, options, runner: Arc::new(runner) }
    };
    queues.into_iter().map(spec).collect()
}

/// Asks the store whether it is usable, and logs its warnings. Runs on the tree's tokio runtime, because a store opens its connections on the runtime of their first call.
async fn probe(store: &Arc<dyn Store>, tree: &Handle) -> Result<(), BuildError> {
    let probe = {
        let store = store.clone();
        tree.spawn(async move { store.probe().await })
    };
    let answer = tokio::time::timeout(FIRST_PROBE_TIMEOUT, probe).await;
    let answer = answer.map_err(|_| BuildError::StoreSilent(FIRST_PROBE_TIMEOUT))?;
    let facts =
        answer.map_err(|_| BuildError::StorePanicked)?.and_then(StoreFacts::usable).map_err(BuildError::Store)?;
    for warning in &facts.warnings {
        tracing::warn!(target: "retraced", store = %facts.name, "{warning}");
    }
    if let Some(blocked) = &facts.blocked {
        tracing::warn!(target: "retraced", store = %facts.name, "the store is blocked: {blocked}");
    }
    Ok(())
}
