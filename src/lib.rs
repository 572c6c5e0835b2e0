//! Background jobs on a supervision tree, with jobs stored in Redis or in memory: **every failure explains itself**.
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
//! let receipt = runtime.enqueue(Greet { name: "world".into() }).await?;
//! assert!(receipt.created);
//! runtime.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! An application holds a [`Runtime`], which runs jobs, a [`Client`], which only enqueues, or an [`Operator`], which shows queues and jobs and acts on them. A
//! runtime, a client and the [`Context`] of a handler all return the same type to enqueue with: a [`QueueHandle`].
//!
//! # Handlers
//!
//! A handler is an `async fn` on a [`Queue`]. Its first argument is the job; up to eight more are *extractors*, in any order: [`Context`], [`State<T>`], [`JobId`],
//! [`Attempt`], [`StopRequest`], or a type of your own that implements [`FromContext`]. It returns `()` or a `Result`. `Ok(value)` completes the job with the value as
//! its [`Output`]; an error becomes a [`Failure`], as its [`IntoFailure`] decides. The failure's class and the job's [`Retry`] policy decide what happens next:
//!
//! | class | what the handler says | what happens |
//! | --- | --- | --- |
//! | temporary | [`Failure::temporary`] | retried by policy; to the dead letter queue when its retries are exhausted |
//! | permanent | [`Failure::permanent`] | poisoned at once |
//! | unknown | `?` on any type that implements [`Error`](std::error::Error) | like temporary; with [`OnUnknown::DeadLetter`] to the dead letter queue at once |
//!
//! [`Job::defaults`] sets retries and timeout for a kind; a queue overrides them, and the call that enqueues overrides both: [`JobDefaults`] has the table.
//! [`Queue::layer`] puts code around every attempt. Each attempt runs in a `tracing` span with its job, queue, kind and number. [`Runtime::supervision`]
//! returns a stream of supervision events: starts, crashes and restarts of actors, outages of the store.

// On docs.rs, items that need a feature are marked.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod batcher;
mod build_error;
mod builder;
mod chunks;
mod client;
pub mod find;
mod front_door_producer;
pub mod limits;
mod operator;
mod outcome_waiter;
mod runtime;
mod runtime_error;
#[cfg(feature = "testing")]
pub mod testing;
mod trace;
mod tree_runtime;
pub mod view;

pub use build_error::BuildError;
pub use builder::{Queue, RuntimeBuilder};
pub use client::Client;
pub use operator::{Audit, Operator, OperatorError};
pub use runtime::Runtime;
pub use runtime_error::RuntimeError;
pub use trace::{Trace, TraceError, TraceEvent, TraceStep};

#[doc(no_inline)]
pub use ractor::ActorRef;
pub use retraced_actors::{
    AttemptEnded, AttemptStarted, Enqueue, NodeState, Observer, RunningJob, ShutdownReport, StoreStatus, TreeNode,
};
pub use retraced_jobs::context::{Context, Stop};
pub use retraced_jobs::enqueue::{
    EnqueueAllError, EnqueueError, IntoNewJob, JobHandle, JobRequest, Outcome, OutcomeError, QueueHandle, Receipt,
};
pub use retraced_jobs::failure::{Class, Code, Failure, FailureError, Resource};
pub use retraced_jobs::handler::{Attempt, FromContext, IntoFailure, Needs, Output, RawJob, State, StopRequest};
pub use retraced_jobs::job::{JobId, JobState, Kind, QueueName};
pub use retraced_jobs::retry::{OnUndecodable, OnUnknown, Retry};
pub use retraced_jobs::store::memory::MemoryStore;
#[cfg(feature = "redis")]
pub use retraced_jobs::store::redis::RedisStore;
pub use retraced_jobs::store::{Retention, RetentionRule, Store};
pub use retraced_jobs::typed_job::{Job, JobDefaults, JobOptions, seal_job};

/// The mistakes a [`BuildError`] can hold.
pub mod build {
    pub use crate::build_error::{Mistake, Mistakes};
    pub use retraced_jobs::context::DuplicateState;
    pub use retraced_jobs::handler::{InvalidHandler, MissingState};
    pub use retraced_jobs::typed_job::InvalidDefaults;
}

/// Layers: code around every attempt.
pub mod layer {
    pub use retraced_jobs::execution::{AttemptSpan, Layer, Next};
}

/// The traits a store implements and the types of their methods, to write a store or wrap one.
pub mod store {
    pub use retraced_jobs::events::Finding;
    pub use retraced_jobs::events::FindingKind;
    pub use retraced_jobs::store::Admin;
    pub use retraced_jobs::store::BATCH_MAX;
    pub use retraced_jobs::store::Block;
    pub use retraced_jobs::store::BlockedStore;
    pub use retraced_jobs::store::CallId;
    pub use retraced_jobs::store::ClaimRequest;
    pub use retraced_jobs::store::ClaimedJob;
    pub use retraced_jobs::store::Claims;
    pub use retraced_jobs::store::CountCheck;
    pub use retraced_jobs::store::Cursor;
    pub use retraced_jobs::store::Decorator;
    pub use retraced_jobs::store::Enqueued;
    pub use retraced_jobs::store::HEADER_BYTES;
    pub use retraced_jobs::store::Hint;
    pub use retraced_jobs::store::JobPage;
    pub use retraced_jobs::store::LEDGER_BYTES_MAX;
    pub use retraced_jobs::store::LEDGER_EVENTS_MAX;
    pub use retraced_jobs::store::Leases;
    pub use retraced_jobs::store::Ledger;
    pub use retraced_jobs::store::LedgerPage;
    pub use retraced_jobs::store::Moved;
    pub use retraced_jobs::store::Promoted;
    pub use retraced_jobs::store::QueueDeletion;
    pub use retraced_jobs::store::QueueEmpty;
    pub use retraced_jobs::store::QueueStats;
    pub use retraced_jobs::store::Reclaim;
    pub use retraced_jobs::store::Reclaimed;
    pub use retraced_jobs::store::ReclaimedJob;
    pub use retraced_jobs::store::Reconciled;
    pub use retraced_jobs::store::Removal;
    pub use retraced_jobs::store::Renewal;
    pub use retraced_jobs::store::Renewed;
    pub use retraced_jobs::store::ReplaySlot;
    pub use retraced_jobs::store::ReplaySlots;
    pub use retraced_jobs::store::Report;
    pub use retraced_jobs::store::Seen;
    pub use retraced_jobs::store::Settled;
    pub use retraced_jobs::store::Settlement;
    pub use retraced_jobs::store::StoreError;
    pub use retraced_jobs::store::StoreFacts;
    pub use retraced_jobs::store::StoreFuture;
    pub use retraced_jobs::store::Target;
    pub use retraced_jobs::store::Tombstone;
    pub use retraced_jobs::store::Transitions;
    pub use retraced_jobs::store::TrimPolicy;
    pub use retraced_jobs::store::Trimmed;
    pub use retraced_jobs::store::TrimmedJobs;
    pub use retraced_jobs::store::UnfinishedJobs;
    pub use retraced_jobs::store::Verdict;
    pub use retraced_jobs::store::WORKER_ROW_AGE_MAX;
    pub use retraced_jobs::store::WORKER_ROW_KINDS_MAX;
    pub use retraced_jobs::store::WorkerRow;
    #[cfg(feature = "redis")]
    pub use retraced_jobs::store::redis::{KeyPrefix, RedisOptions, TlsOptions};
}

/// Jobs and their history, as a store returns them.
pub mod job {
    pub use retraced_jobs::job::Counters;
    pub use retraced_jobs::job::InstanceId;
    pub use retraced_jobs::job::InvalidName;
    pub use retraced_jobs::job::Lease;
    pub use retraced_jobs::job::NewJob;
    pub use retraced_jobs::job::Nonce;
    pub use retraced_jobs::job::RunAt;
    pub use retraced_jobs::job::Token;
    pub use retraced_jobs::job::UnknownState;
    pub use retraced_jobs::store::JobSummary;
    pub use retraced_jobs::store::JobView;
    pub use retraced_jobs::store::LeaseHolder;
    pub use retraced_jobs::trace::Act;
    pub use retraced_jobs::trace::ActKind;
    pub use retraced_jobs::trace::AttemptLog;
    pub use retraced_jobs::trace::AttemptRecord;
    pub use retraced_jobs::trace::Ended;
    pub use retraced_jobs::trace::ExecutorId;
    pub use retraced_jobs::trace::LastError;
    pub use retraced_jobs::trace::LogLine;
    pub use retraced_jobs::trace::OperatorName;
    pub use retraced_jobs::trace::Progress;
    pub use retraced_jobs::trace::Released;
    pub use retraced_jobs::trace::StoredAttempt;
    pub use retraced_jobs::trace::StoredProgress;
    pub use retraced_jobs::trace::UnreadableAttempt;
}

/// Retry policies and the decisions recorded with each failed attempt.
pub mod retry {
    pub use retraced_jobs::retry::Decision;
    pub use retraced_jobs::retry::InvalidRetry;
    pub use retraced_jobs::retry::RetryOutcome;
    pub use retraced_jobs::retry::RetryOverrides;
    pub use retraced_jobs::retry::Strategy;
    pub use retraced_jobs::retry::Why;
    pub use retraced_jobs::retry::decide;
}

/// Restart policies, the actors of the supervision tree, its events, and the name of the host in them.
pub mod supervision {
    pub use retraced_actors::{Budget, Exhausted, InvalidPolicy, Reopening, RestartDelay, RestartPolicy, Strategy};
    pub use retraced_actors::{InvalidOption, StartError, host_name};
    pub use retraced_jobs::events::{DropReason, EventKind, SupervisionEvent, TrimReason};
}

/// How envelopes, payloads and records of attempts are encoded, to write a store, or a producer that does not use a [`Client`].
pub mod codec {
    pub use retraced_jobs::codec::CodecError;
    pub use retraced_jobs::codec::Envelope;
    pub use retraced_jobs::codec::JsonText;
    pub use retraced_jobs::codec::decode_attempt;
    pub use retraced_jobs::codec::encode_attempt;
    pub use retraced_jobs::codec::from_json;
    pub use retraced_jobs::codec::from_json_text;
    pub use retraced_jobs::codec::from_payload;
    pub use retraced_jobs::codec::open;
    pub use retraced_jobs::codec::seal;
    pub use retraced_jobs::codec::to_json;
    pub use retraced_jobs::codec::to_json_text;
    pub use retraced_jobs::codec::to_payload;
}

/// Clocks of a [`MemoryStore`]: the system's, tokio's (which a test can pause), or one of your own.
pub mod clock {
    pub use retraced_jobs::clock::Clock;
    pub use retraced_jobs::clock::SystemClock;
    pub use retraced_jobs::clock::TokioClock;
}

/// Runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../docs/testing.md")]
struct TestingPage;
