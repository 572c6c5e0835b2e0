//! Putting a runtime together: queues, handlers, state, store and options, all checked before anything starts.

use std::sync::Arc;
use std::time::Duration;

use retraced_actors::{Observer, QueueOptions, QueueSpec, RestartPolicy, Tree, TreeOptions, TreeSpec};
use retraced_jobs::execution::{AttemptSpan, Layer, Layers, Rules, Runner};
use retraced_jobs::handler::{Handlers, IntoBlockingHandler, IntoHandler, IntoRawHandler, InvalidHandler, States};
use retraced_jobs::job::{InstanceId, InvalidName, QueueName};
use retraced_jobs::retry::{OnUnknown, Retry};
use retraced_jobs::store::{Retention, Store};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::build_error::{BuildError, Mistake, Mistakes};
use crate::check::check;
use crate::client::Client;
use crate::limits::FIRST_PROBE_TIMEOUT;
use crate::runtime::{Runtime, TreeRuntime};

/// A queue to be worked: its handlers and its options.
///
/// ```
/// use std::time::Duration;
/// use retraced::{Failure, Job, Queue, Retry};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct SendEmail { to: String }
/// # impl Job for SendEmail { const KIND: &'static str = "email.send"; }
/// async fn send(job: SendEmail) -> Result<(), Failure> { Ok(()) }
///
/// let email = Queue::new("email")?
///     .handler(send)
///     .concurrency(50)
///     .timeout(Duration::from_secs(60))
///     .retry(Retry::three_tier());
/// assert!(Queue::new("no spaces").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "a queue is worked once it is given to a RuntimeBuilder"]
pub struct Queue {
    pub(crate) name: QueueName,
    pub(crate) options: QueueOptions,
    pub(crate) rules: Rules,
    pub(crate) handlers: Handlers,
    pub(crate) layers: Layers,
    pub(crate) invalid: Vec<InvalidHandler>,
}

impl Queue {
    /// A queue with the default options.
    ///
    /// # Errors
    /// [`InvalidName`] unless the name is 1 to 128 of `A-Z a-z 0-9 . _ -`.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidName> {
        Ok(Self {
            name: QueueName::new(name)?,
            options: QueueOptions::default(),
            rules: Rules::default(),
            handlers: Handlers::default(),
            layers: Layers::default(),
            invalid: Vec::new(),
        })
    }

    /// Adds the handler of one kind of job: `async fn(J, E1, …) -> R`, with up to eight extractors: [`Context`](crate::Context), [`State<T>`](crate::State),
    /// [`JobId`](crate::JobId), [`Attempt`](crate::Attempt), [`Cancelled`](crate::Cancelled) or types that implement [`FromContext`](crate::FromContext).
    /// R is `()` or `Result<T, E>`: `T` is kept as the job's [output](crate::Output), [`IntoFailure`](crate::IntoFailure) says what `E` means.
    pub fn handler<M>(mut self, handler: impl IntoHandler<M>) -> Self {
        let added = self.handlers.add(handler);
        self.note(added)
    }

    /// Adds the handler of one kind of job that blocks its thread: `fn(J, E1, …) -> R`, run on tokio's threads for blocking work.
    pub fn blocking_handler<M>(mut self, handler: impl IntoBlockingHandler<M>) -> Self {
        let added = self.handlers.add_blocking(handler);
        self.note(added)
    }

    /// Adds the handler of every kind that has none of its own: `async fn(RawJob, E1, …) -> R`.
    pub fn any_handler<M>(mut self, handler: impl IntoRawHandler<M>) -> Self {
        let added = self.handlers.add_any(handler);
        self.note(added)
    }

    /// Mistakes are reported by [`RuntimeBuilder::start`], with all others.
    fn note(mut self, added: Result<(), InvalidHandler>) -> Self {
        self.invalid.extend(added.err());
        self
    }

    /// Adds a layer around this queue's attempts, inside those of the runtime and those that were added before. Default: none.
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// What becomes of failures of unknown class, as `?` on any error makes them. Default: [`OnUnknown::Retry`]. With [`OnUnknown::DeadLetter`] a handler never
    /// runs again unless it asked for that with [`Failure::temporary`](crate::Failure::temporary).
    pub fn on_unknown(mut self, on_unknown: OnUnknown) -> Self {
        self.rules.on_unknown = on_unknown;
        self
    }

    /// How many jobs run at a time: 1 to 10,000, default 10.
    pub fn concurrency(mut self, executors: usize) -> Self {
        self.options.concurrency = executors;
        self
    }

    /// How failed jobs are retried, unless the call that enqueued them says otherwise. Replaces the defaults of their kinds as a whole. Default: exponential,
    /// 5 attempts.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.rules.retry = retry;
        self.rules.explicit.retry = true;
        self
    }

    /// How long a handler may run: 1 ms to 7 days, default 5 min. Then it is dropped, and the attempt failed with `TIMEOUT`. Replaces the defaults of kinds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.rules.timeout = timeout;
        self.rules.explicit.timeout = true;
        self
    }

    /// What is kept of jobs that have ended, also of kinds that would be discarded. Default: completed 24 h or 10,000, dead and poisoned 30 days or 10,000.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.rules.keep_completed = retention.completed.is_some();
        self.rules.explicit.keep_completed = true;
        self.options.retention = retention;
        self
    }

    /// Largest payload a handler is given, in bytes: up to 64 MiB, default 1 MiB. A larger one is poisoned as `DECODE_FAILED`.
    pub fn payload_bytes_max(mut self, bytes: usize) -> Self {
        self.rules.payload_bytes_max = bytes;
        self
    }

    /// How the queue's supervisor restarts its actors. Default: one_for_one, 20 restarts in 60 s; past it the queue closes for a while.
    pub fn restart_policy(mut self, policy: RestartPolicy) -> Self {
        self.options.policy = policy;
        self
    }

    /// How long the queue stays closed after its supervisor gave up: `first`, doubling up to `max`. Default 30 s, up to 5 min.
    pub fn reopening(mut self, first: Duration, max: Duration) -> Self {
        self.options.reopening = retraced_actors::Reopening { first, max };
        self
    }
}

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
///     .grace(Duration::from_secs(10))
///     .start()
///     .await?;
/// # runtime.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct RuntimeBuilder {
    pub(crate) store: Option<Arc<dyn Store>>,
    pub(crate) queues: Vec<Queue>,
    pub(crate) states: States,
    pub(crate) options: TreeOptions,
    pub(crate) mistakes: Vec<Mistake>,
    layers: Layers,
    tree: Option<Handle>,
}

impl RuntimeBuilder {
    pub(crate) fn new() -> Self {
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

    /// Where jobs are kept.
    pub fn store(self, store: impl Store) -> Self {
        self.shared_store(Arc::new(store))
    }

    /// Where jobs are kept, when others hold the store too.
    pub fn shared_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Adds a queue to be worked.
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

    /// Adds a layer around the attempts of all queues, inside those that were added before and outside those of the queues. Outermost is always the layer that
    /// runs each attempt in a `tracing` span, [`AttemptSpan`](crate::layer::AttemptSpan).
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// How long a lease lasts unless renewed, at a third of it: 300 ms to 1 h, default 30 s. The jobs of a worker that died run again after this.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.options.lease = lease;
        self
    }

    /// How long a shutdown lets handlers finish before they are killed: up to 1 h, default 25 s. For the last fifth they are asked to stop.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.options.grace = grace;
        self
    }

    /// How many workers may die while they run a job before it is poisoned as a crash loop: 1 to 1000, default 3. A job's first worker to die is not counted:
    /// whether the handler had begun is only written down for jobs that came back before.
    pub fn crashes_max(mut self, crashes: u32) -> Self {
        self.options.crashes_max = crashes;
        self
    }

    /// Which build of your application this is, as in `mailer 1.4.2 (9c27f9b)`: shown in [`Operator::workers`](crate::Operator::workers), so that a failure can be
    /// traced to the deploy that brought it. At most 200 bytes. Default: the name of the running program.
    pub fn build_label(mut self, label: impl Into<String>) -> Self {
        self.options.build = label.into();
        self
    }

    /// How many handlers may ignore their timeout before the runtime ends with an error. Default: the sum of all concurrencies.
    pub fn zombies_max(mut self, zombies: usize) -> Self {
        self.options.zombies_max = Some(zombies);
        self
    }

    /// The root supervisor's restart policy. Default: one_for_one, 10 restarts in 60 s; past it the runtime ends with an error.
    pub fn restart_policy(mut self, policy: RestartPolicy) -> Self {
        self.options.root_policy = policy;
        self
    }

    /// Sees what the runtime does: claims, attempts, settlements, renewals and supervision events, as they happen. Default: none, which costs one branch per
    /// event.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.options.observer = Some(Arc::new(observer));
        self
    }

    /// Seed of all jitter. Default: random.
    pub fn seed(mut self, seed: u64) -> Self {
        self.options.seed = seed;
        self
    }

    /// The clock that stamps supervision events.
    #[cfg(feature = "testing")]
    pub(crate) fn clock(mut self, clock: Arc<dyn retraced_jobs::clock::Clock>) -> Self {
        self.options.clock = clock;
        self
    }

    /// The tokio runtime the tree runs on. Default: a small one of its own, so that handlers that block every thread of theirs stop neither renewals nor the
    /// tree. A simulation passes one paused current-thread handle, the one it runs on.
    pub fn tree_runtime(mut self, handle: Handle) -> Self {
        self.tree = Some(handle);
        self
    }

    /// Checks everything, asks the store whether it is usable, and starts the tree. Handlers run on the tokio runtime this is called on.
    ///
    /// # Errors
    /// [`BuildError`] names every mistake of the builder at once, or why the store or the tree did not start. Nothing runs then.
    pub async fn start(self) -> Result<Runtime, BuildError> {
        let checked = check(&self).and_then(|()| self.store.clone().ok_or(Mistakes(vec![Mistake::NoStore])));
        let store = checked.map_err(BuildError::Mistakes)?;
        let users = Handle::try_current().map_err(|_| BuildError::NoTokio)?;
        let instance = InstanceId::from(Uuid::new_v4());
        let tree = match self.tree {
            Some(handle) => TreeRuntime::given(handle),
            None => TreeRuntime::own().map_err(BuildError::Threads)?,
        };
        probe(&store, tree.handle()).await?;
        let producers = Arc::new(Client::running_on(store.clone(), Some(tree.handle().clone())));
        let queues = specs(self.queues, &self.layers, Arc::new(self.states), instance, &producers);
        let spec = TreeSpec {
            store: store.clone(),
            instance,
            queues,
            options: self.options,
            tree: tree.handle().clone(),
            handlers: users,
        };
        let started = Tree::start(spec).await.map_err(BuildError::Tree)?;
        Ok(Runtime::new(started, store, tree))
    }
}

/// Handlers enqueue through a client, not through the front doors of this runtime, which a shutdown closes before the handlers have finished.
fn specs(
    queues: Vec<Queue>,
    layers: &Layers,
    states: Arc<States>,
    instance: InstanceId,
    producers: &Arc<Client>,
) -> Vec<QueueSpec> {
    let spec = |queue: Queue| {
        let Queue { name, options, rules, handlers, layers: own, invalid: _ } = queue;
        let runner = Runner::new(name.clone(), Arc::new(handlers), states.clone(), rules, instance)
            .layers(layers.clone().around(&own))
            .with_producers(producers.clone());
        QueueSpec { name, options, runner: Arc::new(runner) }
    };
    queues.into_iter().map(spec).collect()
}

/// Asks the store for its facts, on the tree's runtime: its connections live there.
async fn probe(store: &Arc<dyn Store>, tree: &Handle) -> Result<(), BuildError> {
    let probe = {
        let store = store.clone();
        tree.spawn(async move { store.probe().await })
    };
    let answer = tokio::time::timeout(FIRST_PROBE_TIMEOUT, probe).await;
    let answer = answer.map_err(|_| BuildError::StoreSilent(FIRST_PROBE_TIMEOUT))?;
    let facts = answer.map_err(|gone| BuildError::Threads(gone.into()))?.map_err(BuildError::Store)?;
    for warning in &facts.warnings {
        tracing::warn!(target: "retraced", store = %facts.name, "{warning}");
    }
    Ok(())
}
