//! Why a runtime did not start.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use retraced_actors::{InvalidOption, StartError};
use retraced_jobs::codec::PAYLOAD_BYTES_CEILING;
use retraced_jobs::context::DuplicateState;
use retraced_jobs::handler::{HANDLER_TIMEOUT_MAX, HANDLER_TIMEOUT_MIN, InvalidHandler, MissingState};
use retraced_jobs::job::QueueName;
use retraced_jobs::retry::InvalidRetry;
use retraced_jobs::store::StoreError;

/// Why a runtime did not start.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use retraced::build::{Mistake, Mistakes};
/// use retraced::supervision::{InvalidOption, StartError};
/// use retraced::{BuildError, Queue, Runtime};
/// // All mistakes are reported at once, one per line.
/// let builder = Runtime::builder().queue(Queue::new("email")?).lease(Duration::ZERO);
/// let Err(BuildError::Mistakes(mistakes)) = builder.start().await else { panic!() };
/// assert!(matches!(mistakes.all(), [Mistake::NoHandler(_), Mistake::NoStore, Mistake::Option(_)]));
/// let text = Mistakes::to_string(&mistakes);
/// assert!(text.starts_with("queue \"email\" has no handler; add one with .handler(…)\n"), "{text}");
/// let Some(Mistake::Option(lease)) = mistakes.all().last() else { panic!() };
/// assert_eq!(InvalidOption::to_string(lease), "lease is 0ns, allowed are 300ms to 3600s");
///
/// /// Whether the same builder may start later.
/// fn may_start_later(error: &BuildError) -> bool {
///     match error {
///         BuildError::Store(store) => store.is_retryable(),
///         BuildError::StoreSilent(_) | BuildError::Tree(StartError::Actor(_)) => true,
///         _ => false,
///     }
/// }
/// assert!(!may_start_later(&BuildError::Mistakes(mistakes)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The builder was used wrongly: change the code.
    Mistakes(Mistakes),
    /// `start()` was called outside a tokio runtime. Call it in an `async` function that tokio runs.
    NoTokio,
    /// The store refused the first call or cannot be reached; the text says what to change.
    Store(StoreError),
    /// The store did not answer for this long.
    StoreSilent(Duration),
    /// The first call to the store panicked.
    StorePanicked,
    /// The threads of the supervision tree could not be started.
    Threads(std::io::Error),
    /// The supervision tree did not start.
    Tree(StartError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Mistakes(mistakes) => mistakes.fmt(f),
            BuildError::NoTokio => f.write_str(
                "start() was called outside a tokio runtime; call it in an async function under #[tokio::main]",
            ),
            BuildError::Store(error) => write!(f, "the store is not usable: {error}"),
            BuildError::StoreSilent(timeout) => {
                write!(f, "the store is not usable: it did not answer within {timeout:?}")
            }
            BuildError::StorePanicked => f.write_str(
                "the store is not usable: its first call panicked; the panic's message is on standard error",
            ),
            BuildError::Threads(error) => {
                write!(f, "the threads of the supervision tree could not be started: {error}")
            }
            BuildError::Tree(error) => error.fmt(f),
        }
    }
}

impl StdError for BuildError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            BuildError::Mistakes(mistakes) => mistakes.source(),
            BuildError::Store(error) => error.source(),
            BuildError::Threads(error) => error.source(),
            BuildError::Tree(error) => error.source(),
            BuildError::NoTokio | BuildError::StoreSilent(_) | BuildError::StorePanicked => None,
        }
    }
}

/// All mistakes in the use of a [`RuntimeBuilder`](crate::RuntimeBuilder); shown one per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub(crate) Vec<Mistake>);

impl Mistakes {
    /// The mistakes, at least one.
    #[must_use]
    pub fn all(&self) -> &[Mistake] {
        &self.0
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Mistake::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl StdError for Mistakes {
    /// The source of the first mistake; the others are in [`all`](Self::all).
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.first().and_then(StdError::source)
    }
}

/// One mistake in the use of a [`RuntimeBuilder`](crate::RuntimeBuilder).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mistake {
    /// The program is built with `panic = "abort"`, so that a panicking handler would end it. Build it with `panic = "unwind"`.
    PanicAbort,
    /// No store was given.
    NoStore,
    /// This queue has no handler.
    NoHandler(QueueName),
    /// This handler cannot be added to its queue.
    Handler(QueueName, InvalidHandler),
    /// Two shared values have the same type.
    State(DuplicateState),
    /// A handler of this queue needs a shared value that was not given to the builder.
    MissingState(QueueName, MissingState),
    /// A number of this queue's retry policy is out of bounds.
    Retry(QueueName, InvalidRetry),
    /// This queue's timeout is out of bounds.
    Timeout(QueueName, Duration),
    /// This queue's largest payload, in bytes, is out of bounds.
    PayloadBytes(QueueName, usize),
    /// An option of the runtime or of a queue is out of bounds.
    Option(InvalidOption),
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mistake::PanicAbort => f.write_str(
                "this binary is built with panic = \"abort\", so a panicking handler would end the process; set panic = \"unwind\"",
            ),
            Mistake::NoStore => f.write_str(
                "no store was given; add .store(MemoryStore::new()) or .store(RedisStore::connect(url).await?)",
            ),
            Mistake::NoHandler(queue) => write!(f, "queue \"{queue}\" has no handler; add one with .handler(…)"),
            Mistake::Handler(queue, invalid) => write!(f, "queue \"{queue}\": {invalid}"),
            Mistake::State(duplicate) => duplicate.fmt(f),
            Mistake::MissingState(queue, missing) => write!(f, "queue \"{queue}\": {missing}"),
            Mistake::Retry(queue, invalid) => write!(f, "queue \"{queue}\": {invalid}"),
            Mistake::Timeout(queue, timeout) => write!(
                f,
                "timeout of queue \"{queue}\" is {timeout:?}, allowed are {HANDLER_TIMEOUT_MIN:?} to {HANDLER_TIMEOUT_MAX:?}"
            ),
            Mistake::PayloadBytes(queue, bytes) => write!(
                f,
                "largest payload of queue \"{queue}\" is {bytes} bytes, allowed are up to {PAYLOAD_BYTES_CEILING}"
            ),
            Mistake::Option(invalid) => invalid.fmt(f),
        }
    }
}

impl StdError for Mistake {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Mistake::Handler(_, invalid) => invalid.source(),
            Mistake::State(duplicate) => duplicate.source(),
            Mistake::MissingState(_, missing) => missing.source(),
            Mistake::Retry(_, invalid) => invalid.source(),
            Mistake::Option(invalid) => invalid.source(),
            Mistake::PanicAbort
            | Mistake::NoStore
            | Mistake::NoHandler(_)
            | Mistake::Timeout(..)
            | Mistake::PayloadBytes(..) => None,
        }
    }
}
