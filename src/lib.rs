//! Background jobs on a supervision tree, over Redis or in memory: **every failure explains itself**.
//!
//! ```
//! use retraced::{Failure, Job, MemoryStore, Queue, Runtime};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Greet { name: String }
//! impl Job for Greet { const KIND: &'static str = "greet"; }
//!
//! async fn greet(job: Greet) -> Result<(), Failure> {
//!     println!("hello {}", job.name);
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::builder()
//!     .store(MemoryStore::new())
//!     .queue(Queue::new("greetings")?.handler(greet))
//!     .start()
//!     .await?;
//! let receipt = runtime.queue("greetings")?.enqueue(Greet { name: "world".into() }).await?;
//! assert!(receipt.created);
//! runtime.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! An application holds a [`Runtime`] (it runs jobs), a [`Client`] (it only enqueues) or an [`Operator`] (it inspects and acts).
//!
//! # Handlers
//!
//! A handler is an `async fn` on a [`Queue`]. Its first argument is the job; up to eight more are *extractors*, in any order: [`Context`], [`State<T>`], [`JobId`],
//! [`Attempt`], [`Cancelled`], or a type of your own that implements [`FromContext`]. It returns `()` or a `Result`. `Ok(value)` keeps the value as the job's
//! [`Output`]; an error becomes a [`Failure`], and [`IntoFailure`] says how. The failure's class and the queue's [`Retry`] policy decide what happens next:
//!
//! | class | what the handler says | what happens |
//! | --- | --- | --- |
//! | temporary | [`Failure::temporary`] | retried by policy, then the dead letter queue |
//! | permanent | [`Failure::permanent`] | poisoned at once |
//! | unknown | `?` on any error | retried by policy; the dead letter queue at once with [`OnUnknown::DeadLetter`] |
//!
//! [`Job::defaults`] sets retries and timeout for a kind; a queue overrides them, and the call that enqueues overrides both: [`JobDefaults`] has the table.
//! [`Queue::layer`] puts code around every attempt. Each attempt runs in a `tracing` span with its job, queue, kind and number.
//! What happens around jobs is reported by [`Runtime::supervision`].

// What a feature adds is marked as such on docs.rs.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod batcher;
mod build_error;
mod builder;
mod check;
mod client;
mod limits;
mod operator;
mod producer;
mod queue;
mod runtime;
#[cfg(feature = "testing")]
pub mod testing;
mod trace;

#[cfg(feature = "cli")]
pub mod cli;

pub use build_error::BuildError;
pub use builder::{Queue, RuntimeBuilder};
pub use client::{Client, ClientQueue};
pub use operator::{AUDIT_TIMEOUT, Audit, Operator, OperatorError};
pub use producer::{JobRequest, ProduceError};
pub use queue::QueueHandle;
pub use runtime::{Ended, Runtime, RuntimeError};
pub use trace::{Trace, TraceError};

pub use ractor;
pub use retraced_actors::bounds;
pub use retraced_actors::{
    Budget, Drained, Enqueue, EnqueueError, NodeState, Receipt, Refusal, Reopening, RestartDelay, RestartPolicy,
    RunningJob, TreeNode,
};
pub use retraced_jobs::context::{Context, Stop};
pub use retraced_jobs::failure::{Class, Code, Failure, FailureError};
pub use retraced_jobs::handler::{
    Attempt, Cancelled, FromContext, IntoFailure, Job, JobDefaults, JobOptions, Needs, Output, RawJob, State, seal_job,
};
pub use retraced_jobs::job::{JobId, JobState, Kind, QueueName};
pub use retraced_jobs::retry::{OnUnknown, Retry};
pub use retraced_jobs::store::memory::MemoryStore;
pub use retraced_jobs::store::redis::RedisStore;
pub use retraced_jobs::store::{Retention, RetentionRule, Store};
pub use retraced_jobs::trace::{EventKind, SupervisionEvent};

/// What can be wrong with what a [`RuntimeBuilder`] is given, for those who look into a [`BuildError`].
pub mod build {
    pub use crate::build_error::{Mistake, Mistakes};
    pub use retraced_jobs::handler::{DuplicateState, InvalidDefaults, InvalidHandler, MissingState};
}

/// Code around every attempt, for those who write or add layers.
pub mod layer {
    pub use retraced_jobs::execution::{AttemptSpan, Layer, Next};
}

/// The store as a port, for those who write or wrap one.
pub mod store {
    pub use retraced_jobs::store::*;
}

/// Jobs and what is known of them, for those who read them.
pub mod job {
    pub use retraced_jobs::job::*;
    pub use retraced_jobs::trace::*;
}

/// Retry policies and what they decided, for those who read the decisions.
pub mod retry {
    pub use retraced_jobs::retry::*;
}

/// Restart policies and the tree, for those who change the ones or look into the other.
pub mod supervision {
    /// Used in the example of [`Runtime`](crate::Runtime): see its `residents`.
    pub use retraced_actors::LiveActor;
    pub use retraced_actors::{Budget, Exhausted, InvalidPolicy, Reopening, RestartDelay, RestartPolicy, Strategy};
    /// Used in the example of [`BuildError`](crate::BuildError).
    pub use retraced_actors::{InvalidOption, StartError};
}

/// Envelopes and payloads, for those who write producers of their own.
pub mod codec {
    pub use retraced_jobs::codec::*;
}

/// Clocks, for a [`MemoryStore`] that does not live by the system's.
pub mod clock {
    pub use retraced_jobs::clock::*;
}

/// The README's examples, run as the README has them.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../docs/testing.md")]
struct TestingPage;
