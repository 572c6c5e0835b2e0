//! Background jobs on a supervision tree, over Redis or in memory: **every failure explains itself**.
//!
//! ```
//! use retraced::{Context, Failure, Job, MemoryStore, Queue, Runtime};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Greet { name: String }
//! impl Job for Greet { const KIND: &'static str = "greet"; }
//!
//! async fn greet(job: Greet, _: Context) -> Result<(), Failure> {
//!     println!("hello {}", job.name);
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::builder()
//!     .store(MemoryStore::new())
//!     .queue(Queue::new("greetings")?)
//!     .handler("greetings", greet)
//!     .start()
//!     .await?;
//! let receipt = runtime.queue("greetings")?.enqueue(Greet { name: "world".into() }).await?;
//! assert!(receipt.created);
//! runtime.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! An application holds a [`Runtime`] (it runs jobs), a [`Client`] (it only enqueues) or an [`Operator`] (it looks and acts). What happens to a job when
//! its handler fails is decided by the [`Failure`]'s class and the queue's [`Retry`] policy; what happens around it is told by [`Runtime::supervision`].

// What a feature adds is marked as such on docs.rs.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod batcher;
mod builder;
mod client;
mod operator;
mod producer;
mod queue;
mod runtime;
mod trace;

#[cfg(feature = "cli")]
pub mod cli;

pub use builder::{BuildError, Queue, RuntimeBuilder};
pub use client::{Client, ClientQueue};
pub use operator::{AUDIT_TIMEOUT, Audit, Operator, OperatorError};
pub use producer::JobRequest;
pub use queue::QueueHandle;
pub use runtime::{Ended, Runtime, RuntimeError};
pub use trace::{Trace, TraceError};

pub use ractor;
pub use retraced_actors::bounds;
pub use retraced_actors::{
    Budget, Drained, Enqueue, NodeState, Reopening, RestartDelay, RestartPolicy, RunningJob, TreeNode,
};
pub use retraced_jobs::context::{Context, Stop};
pub use retraced_jobs::enqueue::{EnqueueError, Receipt};
pub use retraced_jobs::failure::{Class, Code, Failure};
pub use retraced_jobs::handler::{Job, JobOptions, RawJob, State, seal_job};
pub use retraced_jobs::job::{JobId, JobState, Kind, QueueName};
pub use retraced_jobs::retry::Retry;
pub use retraced_jobs::store::memory::MemoryStore;
#[cfg(feature = "redis")]
pub use retraced_jobs::store::redis::RedisStore;
pub use retraced_jobs::store::{Retention, RetentionRule, Store};
pub use retraced_jobs::trace::{EventKind, SupervisionEvent};

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
