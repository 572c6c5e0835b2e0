//! Putting a runtime together: queues, handlers, state, store and options, all checked before anything starts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use retraced_actors::{QueueOptions, QueueSpec, RestartPolicy, StartError, Tree, TreeOptions, TreeSpec};
use retraced_jobs::codec::PAYLOAD_BYTES_CEILING;
use retraced_jobs::execution::{Rules, Runner};
use retraced_jobs::handler::{Handlers, IntoBlockingHandler, IntoHandler, IntoRawHandler, States};
use retraced_jobs::job::{InstanceId, InvalidName, QueueName};
use retraced_jobs::retry::Retry;
use retraced_jobs::store::{Retention, Store};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::client::Client;
use crate::runtime::{Runtime, TreeRuntime};

/// How long a store may take to give its first sign of life; then the start is refused.
const FIRST_PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Shortest and longest timeout a job may have.
const TIMEOUT_BOUNDS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(7 * 24 * 60 * 60));

/// A queue to be worked, with its options.
///
/// ```
/// use std::time::Duration;
/// use retraced::{Queue, Retry};
/// let email = Queue::new("email")?.concurrency(50).timeout(Duration::from_secs(60)).retry(Retry::three_tier());
/// assert!(Queue::new("no spaces").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Queue {
    name: QueueName,
    options: QueueOptions,
    rules: Rules,
}

impl Queue {
    /// A queue with the default options.
    ///
    /// # Errors
    /// [`InvalidName`] unless the name is 1 to 128 of `A-Z a-z 0-9 . _ -`.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidName> {
        Ok(Self { name: QueueName::new(name)?, options: QueueOptions::default(), rules: Rules::default() })
    }

    /// How many jobs run at a time: 1 to 10,000, default 10.
    #[must_use]
    pub fn concurrency(mut self, executors: usize) -> Self {
        self.options.concurrency = executors;
        self
    }

    /// How failed jobs are retried, unless they say otherwise themselves. Default: exponential, 5 attempts.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.rules.retry = retry;
        self
    }

    /// How long a handler may run: 1 ms to 7 days, default 5 min. Then it is dropped, and the attempt failed with `TIMEOUT`.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.rules.timeout = timeout;
        self
    }

    /// What is kept of jobs that have ended. Default: completed 24 h or 10,000, dead and poisoned 30 days or 10,000.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.rules.keep_completed = retention.completed.is_some();
        self.options.retention = retention;
        self
    }

    /// Largest payload a handler is given, in bytes: up to 64 MiB, default 1 MiB. A larger one is poisoned as `DECODE_FAILED`.
    #[must_use]
    pub fn payload_bytes_max(mut self, bytes: usize) -> Self {
        self.rules.payload_bytes_max = bytes;
        self
    }

    /// How the queue's supervisor restarts its actors. Default: one_for_one, 20 restarts in 60 s; past it the queue closes for a while.
    #[must_use]
    pub fn restart_policy(mut self, policy: RestartPolicy) -> Self {
        self.options.policy = policy;
        self
    }

    /// How long the queue stays closed after its supervisor gave up: `first`, doubling up to `max`. Default 30 s, up to 5 min.
    #[must_use]
    pub fn reopening(mut self, first: Duration, max: Duration) -> Self {
        self.options.reopening = retraced_actors::Reopening { first, max };
        self
    }
}

/// Builds a [`Runtime`]. Mistakes are collected and told by [`start`](Self::start), before anything runs.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use retraced::{Context, Failure, Job, MemoryStore, Queue, Runtime, State};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct SendEmail { to: String }
/// # impl Job for SendEmail { const KIND: &'static str = "email.send"; }
/// struct Mailer { from: &'static str }
///
/// async fn send(job: SendEmail, _: Context, mailer: State<Mailer>) -> Result<(), Failure> {
///     println!("from {} to {}", mailer.from, job.to);
///     Ok(())
/// }
///
/// let runtime = Runtime::builder()
///     .store(MemoryStore::new())
///     .state(Mailer { from: "hello@example.com" })
///     .queue(Queue::new("email")?.concurrency(50))
///     .handler("email", send)
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
    store: Option<Arc<dyn Store>>,
    queues: Vec<Queue>,
    handlers: BTreeMap<String, Handlers>,
    states: States,
    options: TreeOptions,
    tree: Option<Handle>,
    mistakes: Vec<String>,
}

impl RuntimeBuilder {
    pub(crate) fn new() -> Self {
        Self {
            store: None,
            queues: Vec::new(),
            handlers: BTreeMap::new(),
            states: States::default(),
            options: TreeOptions::default(),
            tree: None,
            mistakes: Vec::new(),
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
    /// One value a type.
    pub fn state<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        if let Err(mistake) = self.states.insert(value) {
            self.mistakes.push(mistake.to_string());
        }
        self
    }

    /// The handler of one kind of job: `async fn(J, Context, …) -> Result<(), Failure>`, with up to two [`State`](crate::State) arguments.
    pub fn handler<M>(mut self, queue: &str, handler: impl IntoHandler<M>) -> Self {
        let added = self.handlers.entry(queue.to_owned()).or_default().add(handler);
        self.note(queue, added)
    }

    /// The handler of one kind of job that blocks its thread: `fn(J, Context, …) -> Result<(), Failure>`, run on tokio's threads for blocking work.
    pub fn blocking_handler<M>(mut self, queue: &str, handler: impl IntoBlockingHandler<M>) -> Self {
        let added = self.handlers.entry(queue.to_owned()).or_default().add_blocking(handler);
        self.note(queue, added)
    }

    /// The handler of every kind that has none of its own: `async fn(RawJob, Context) -> Result<(), Failure>`.
    pub fn any_handler<M>(mut self, queue: &str, handler: impl IntoRawHandler<M>) -> Self {
        let added = self.handlers.entry(queue.to_owned()).or_default().add_any(handler);
        self.note(queue, added)
    }

    fn note<E: fmt::Display>(mut self, queue: &str, added: Result<(), E>) -> Self {
        if let Err(mistake) = added {
            self.mistakes.push(format!("queue \"{}\": {mistake}", queue.escape_debug()));
        }
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
    /// told from the deploy that brought it. At most 200 bytes. Default: the name of the running program.
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

    /// Seed of all jitter. Default: random.
    pub fn seed(mut self, seed: u64) -> Self {
        self.options.seed = seed;
        self
    }

    /// The tokio runtime the tree runs on. Default: a small one of its own, so that handlers that block every thread of theirs stop neither renewals nor the
    /// tree. A simulation passes one paused current-thread handle, the one it runs on.
    pub fn tree_runtime(mut self, handle: Handle) -> Self {
        self.tree = Some(handle);
        self
    }

    /// Checks everything, asks the store for a sign of life, and starts the tree. Handlers run on the tokio runtime this is called on.
    ///
    /// # Errors
    /// [`BuildError`] names every mistake of the builder at once, or why the store or the tree did not start. Nothing runs then.
    pub async fn start(self) -> Result<Runtime, BuildError> {
        if cfg!(panic = "abort") {
            let text = "this binary is built with panic = \"abort\", so a panicking handler would end the process; set panic = \"unwind\"";
            return Err(BuildError::Mistakes(vec![text.into()]));
        }
        let users = Handle::current();
        let instance = InstanceId::from(Uuid::new_v4());
        let tree = match &self.tree {
            Some(handle) => TreeRuntime::given(handle.clone()),
            None => TreeRuntime::own().map_err(BuildError::Threads)?,
        };
        let (store, queues) = check(&self, instance, tree.handle()).map_err(BuildError::Mistakes)?;
        let facts = {
            let store = store.clone();
            let probe = tree.handle().spawn(async move { store.probe().await });
            let answer = tokio::time::timeout(FIRST_PROBE_TIMEOUT, probe).await;
            let waited = |_| BuildError::Store(format!("it gave no sign of life within {FIRST_PROBE_TIMEOUT:?}"));
            let answer = answer.map_err(waited)?.map_err(|gone| BuildError::Store(gone.to_string()))?;
            answer.map_err(|error| BuildError::Store(error.to_string()))?
        };
        for warning in &facts.warnings {
            tracing::warn!(target: "retraced", store = %facts.name, "{warning}");
        }
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

type Checked = (Arc<dyn Store>, Vec<QueueSpec>);

fn check(builder: &RuntimeBuilder, instance: InstanceId, tree: &Handle) -> Result<Checked, Vec<String>> {
    let mut mistakes = builder.mistakes.clone();
    for queue in builder.handlers.keys() {
        if !builder.queues.iter().any(|q| q.name.as_str() == queue) {
            mistakes.push(format!(
                "a handler was given for queue \"{0}\", which is not there; add .queue(Queue::new(\"{0}\")?)",
                queue.escape_debug()
            ));
        }
    }
    let states = Arc::new(builder.states.clone());
    // What handlers enqueue through: not the front doors of this runtime, which a shutdown closes before the handlers have finished.
    let producers = builder.store.as_ref().map(|store| Arc::new(Client::running_on(store.clone(), Some(tree.clone()))));
    let mut specs = Vec::new();
    for queue in &builder.queues {
        let name = &queue.name;
        let handlers = builder.handlers.get(name.as_str()).cloned().unwrap_or_default();
        if handlers.is_empty() {
            mistakes.push(format!("queue \"{name}\" has no handler; add .handler(\"{name}\", …)"));
        }
        for missing in handlers.missing_states(&builder.states) {
            mistakes.push(format!("queue \"{name}\": {missing}"));
        }
        if let Err(invalid) = queue.rules.retry.validate() {
            mistakes.push(format!("queue \"{name}\": {invalid}"));
        }
        if queue.rules.payload_bytes_max > PAYLOAD_BYTES_CEILING {
            let bytes = queue.rules.payload_bytes_max;
            mistakes.push(format!(
                "largest payload of queue \"{name}\" is {bytes} bytes, allowed are up to {PAYLOAD_BYTES_CEILING}"
            ));
        }
        let (least, most) = TIMEOUT_BOUNDS;
        if !(least..=most).contains(&queue.rules.timeout) {
            mistakes.push(format!(
                "timeout of queue \"{name}\" is {:?}, allowed are {least:?} to {most:?}",
                queue.rules.timeout
            ));
        }
        let mut runner = Runner::new(name.clone(), Arc::new(handlers), states.clone(), queue.rules.clone(), instance);
        if let Some(producers) = &producers {
            runner = runner.with_producers(producers.clone());
        }
        specs.push(QueueSpec { name: name.clone(), options: queue.options.clone(), runner: Arc::new(runner) });
    }
    if builder.store.is_none() {
        mistakes.push(
            "no store was given; add .store(MemoryStore::new()) or .store(RedisStore::connect(url).await?)".into(),
        );
    }
    match &builder.store {
        Some(store) if mistakes.is_empty() => Ok((store.clone(), specs)),
        _ => Err(mistakes),
    }
}

/// Why a runtime did not start.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use retraced::{BuildError, Context, Failure, Job, MemoryStore, Queue, Runtime, supervision::StartError};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct SendEmail { to: String }
/// # impl Job for SendEmail { const KIND: &'static str = "email.send"; }
/// # async fn send(_: SendEmail, _: Context) -> Result<(), Failure> { Ok(()) }
/// // Everything that is missing is told at once.
/// let Err(BuildError::Mistakes(mistakes)) = Runtime::builder().queue(Queue::new("email")?).start().await else { panic!() };
/// assert_eq!(mistakes.len(), 2);
/// assert_eq!(mistakes[0], "queue \"email\" has no handler; add .handler(\"email\", …)");
///
/// let builder = Runtime::builder().store(MemoryStore::new()).queue(Queue::new("email")?).handler("email", send);
/// let Err(BuildError::Tree(refused)) = builder.lease(Duration::ZERO).start().await else { panic!() };
/// assert!(matches!(&refused, StartError::Option(_)), "an InvalidOption");
/// assert_eq!(refused.to_string(), "lease is 0ns, allowed are 300ms to 3600s");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// What was given to the builder does not fit together; every mistake, one a line.
    Mistakes(Vec<String>),
    /// The store gave no sign of life, or will not work for us.
    Store(String),
    /// The tree's threads could not be started.
    Threads(std::io::Error),
    /// The tree did not start.
    Tree(StartError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Mistakes(mistakes) => f.write_str(&mistakes.join("\n")),
            BuildError::Store(reason) => write!(f, "the store is not usable: {reason}"),
            BuildError::Threads(error) => write!(f, "the tree's threads could not be started: {error}"),
            BuildError::Tree(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BuildError {}
