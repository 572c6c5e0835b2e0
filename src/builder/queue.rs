//! A queue that a runtime processes, as an application describes it.

use std::time::Duration;

use retraced_actors::{QueueOptions, RestartPolicy};
use retraced_jobs::execution::{Layer, Layers, Rules};
use retraced_jobs::handler::{Handlers, IntoBlockingHandler, IntoHandler, IntoRawHandler, InvalidHandler};
use retraced_jobs::job::{InvalidName, QueueName};
use retraced_jobs::retry::{OnUndecodable, OnUnknown, Retry};
use retraced_jobs::store::Retention;

/// A queue that a runtime processes: its handlers and its options.
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
#[must_use = "a queue does nothing until it is given to a RuntimeBuilder"]
pub struct Queue {
    pub(crate) name: QueueName,
    pub(crate) options: QueueOptions,
    pub(crate) rules: Rules,
    pub(crate) handlers: Handlers,
    pub(crate) layers: Layers,
    pub(crate) invalid_handlers: Vec<InvalidHandler>,
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
            invalid_handlers: Vec::new(),
        })
    }

    /// Adds the handler of one kind of job: `async fn(J, E1, …) -> R`, with up to eight extractors: [`Context`](crate::Context), [`State<T>`](crate::State),
    /// [`JobId`](crate::JobId), [`Attempt`](crate::Attempt), [`StopRequest`](crate::StopRequest) or types that implement [`FromContext`](crate::FromContext).
    /// `R` is `()` or `Result<T, E>`: `T` is kept as the job's [output](crate::Output), and [`IntoFailure`](crate::IntoFailure) says what `E` means.
    pub fn handler<M>(mut self, handler: impl IntoHandler<M>) -> Self {
        let added = self.handlers.add(handler);
        self.with_result(added)
    }

    /// Adds a handler of one kind of job, as [`handler`](Self::handler) does, that may block its thread: `fn(J, E1, …) -> R`, run on tokio's threads for blocking work.
    pub fn blocking_handler<M>(mut self, handler: impl IntoBlockingHandler<M>) -> Self {
        let added = self.handlers.add_blocking(handler);
        self.with_result(added)
    }

    /// Adds a handler for all kinds without a handler of their own: `async fn(RawJob, E1, …) -> R`.
    pub fn any_handler<M>(mut self, handler: impl IntoRawHandler<M>) -> Self {
        let added = self.handlers.add_any(handler);
        self.with_result(added)
    }

    /// Keeps the mistake, if there is one: [`RuntimeBuilder::start`](crate::RuntimeBuilder::start) reports all mistakes together.
    fn with_result(mut self, added: Result<(), InvalidHandler>) -> Self {
        self.invalid_handlers.extend(added.err());
        self
    }

    /// Adds a layer around this queue's attempts. The layer added first is the outermost; the layers of the runtime are around those of the queue. Default: none.
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// What happens after a failure of unknown class, such as `?` on any error. Default: [`OnUnknown::Retry`]. With [`OnUnknown::DeadLetter`] a job is
    /// retried only after a temporary failure: a [`Failure::temporary`](crate::Failure::temporary), a failure whose [code](crate::Code::class) is temporary, a panic or a
    /// timeout.
    pub fn on_unknown(mut self, on_unknown: OnUnknown) -> Self {
        self.rules.on_unknown = on_unknown;
        self
    }

    /// What happens to a job whose payload does not fit the type of its handler, or is larger than [allowed](Self::payload_bytes_max). Default:
    /// [`OnUndecodable::PutOff`], because in a rolling deploy a newer worker may read it.
    pub fn on_undecodable(mut self, on_undecodable: OnUndecodable) -> Self {
        self.rules.on_undecodable = on_undecodable;
        self
    }

    /// How many jobs run at a time: 1 to 10,000, default 10.
    pub fn concurrency(mut self, executors: usize) -> Self {
        self.options.concurrency = executors;
        self
    }

    /// How failed jobs are retried, unless the call that enqueued them says otherwise. Replaces the whole retry policy of the kinds' defaults. Default:
    /// what the job's kind says, or exponential with 5 attempts.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.rules.retry = Some(retry);
        self
    }

    /// How long a handler may run, unless the call that enqueued the job says otherwise: 1 ms to 7 days. Default: what the job's kind says, or
    /// 5 min. After that an async handler is dropped at its next await, a blocking one is asked to stop, and the attempt fails with `TIMEOUT`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.rules.timeout = Some(timeout);
        self
    }

    /// How long ended jobs are kept, how many and how many bytes of them; also applies to kinds whose defaults keep no completed jobs. Default: completed and cancelled
    /// jobs for 24 h, at most 10,000 of each; dead and poisoned ones for 90 days, whatever their number; and at most 256 MiB in each of these states. Every worker of a
    /// queue trims by its own retention, so the strictest one counts. Removals of dead and poisoned jobs are reported
    /// ([`EventKind::JobsTrimmed`](crate::supervision::EventKind::JobsTrimmed)).
    pub fn retention(mut self, retention: Retention) -> Self {
        self.rules.retention = Some(retention);
        self
    }

    /// Largest payload a handler is given, in bytes: up to 64 MiB. Default: what the job's kind says, or 1 MiB. A job with a larger one is treated as one that
    /// [cannot be decoded](Self::on_undecodable). Producers have a limit of their own: the kind's
    /// ([`JobDefaults::payload_bytes_max`](crate::JobDefaults::payload_bytes_max)) or the call's.
    pub fn payload_bytes_max(mut self, bytes: usize) -> Self {
        self.rules.payload_bytes_max = Some(bytes);
        self
    }

    /// How the queue's supervisors and its pool restart their actors. Default: one-for-one, 20 restarts in 60 s; past it the queue's workers, or the whole queue,
    /// close and [reopen](Self::reopening) later.
    pub fn restart_policy(mut self, policy: RestartPolicy) -> Self {
        self.options.policy = policy;
        self
    }

    /// How long the queue's workers, or the whole queue, stay closed after their supervisor gave up: `first`, doubling up to `max`. `first` is at least 1 s and at most
    /// `max`; default: 30 s, up to 5 min. Handles of the queue enqueue meanwhile.
    pub fn reopening(mut self, first: Duration, max: Duration) -> Self {
        self.options.reopening = retraced_actors::Reopening::new(first, max);
        self
    }
}
