//! What every command is given.

use std::sync::Arc;

use retraced::store::{KeyPrefix, RedisOptions, StoreError, StoreFacts};
use retraced::view::QueueRow;
use retraced::{Operator, OperatorError, QueueName, RedisStore, Store};

use crate::advice::with_flags;
use crate::error::CliError;
use crate::live_workers::{note_if_unprocessed, workers_of};
use crate::output::{Output, arguments, note, one_line, warn};
use crate::paused::paused;
use crate::tls::TlsArgs;

/// What a command is given: the server, the prefix of its keys, and where results go.
pub(crate) struct CommandContext {
    /// The URL of the server, as it was given.
    pub(crate) redis: String,
    /// Whether it comes from the environment variable `RETRACED_REDIS_URL`.
    pub(crate) redis_from_environment: bool,
    /// What the names of all keys and channels begin with.
    pub(crate) prefix: KeyPrefix,
    pub(crate) tls: TlsArgs,
    /// Whether a server may be used that drops jobs when its memory is full.
    pub(crate) allow_eviction: bool,
    pub(crate) out: Output,
}

impl CommandContext {
    /// Connects to the store and checks that the server answers and can be used for jobs.
    pub(crate) async fn store(&self) -> Result<Arc<dyn Store>, CliError> {
        let options = RedisOptions::default().prefix(self.prefix.clone()).tls(self.tls.options()?);
        let options = if self.allow_eviction { options.allow_eviction() } else { options };
        let store = match RedisStore::open(&self.redis, options) {
            Ok(store) => store,
            Err(StoreError::Refused { reason, .. }) => {
                let source =
                    if self.redis_from_environment { " (the value comes from RETRACED_REDIS_URL)" } else { "" };
                return Err(CliError::Usage(self.tls.fault(&reason).unwrap_or_else(|| reason + source)));
            }
            Err(error) => return Err(CliError::Failed(format!("Redis cannot be used: {}", one_line(&error)))),
        };
        // Not with `probe`: it would open the connection that workers use, and here that would be on the tokio runtime of the handlers.
        match store.check().await.and_then(StoreFacts::usable) {
            Ok(_) => Ok(Arc::new(store)),
            Err(StoreError::Unavailable { cause, .. }) => Err(CliError::Failed(format!(
                "Redis cannot be reached: {}; its address is given with --redis URL or RETRACED_REDIS_URL",
                with_flags(&one_line(&cause))
            ))),
            Err(StoreError::Refused { reason, .. }) => {
                Err(CliError::Failed(format!("Redis cannot be used: {}", with_flags(&one_line(&reason)))))
            }
            Err(error) => Err(CliError::Failed(format!("Redis cannot be used: {}", one_line(&error)))),
        }
    }

    /// An operator, after a check that this queue exists.
    pub(crate) async fn operator_of(&self, queue: &QueueName) -> Result<Operator, CliError> {
        self.operator_of_with_advice(queue, "").await
    }

    /// As [`operator_of`](Self::operator_of); the error for a queue that resembles none ends with this advice.
    pub(crate) async fn operator_of_with_advice(&self, queue: &QueueName, advice: &str) -> Result<Operator, CliError> {
        let operator = self.operator().await?;
        operator.require_queue(queue).await.map_err(|error| match &error {
            OperatorError::UnknownQueue { nearest: None, .. } => CliError::Failed(format!(
                "there is no queue {queue}: nobody has used it on this server, database and prefix, or it was deleted; `retraced queues` lists them{advice}"
            )),
            _ => CliError::from(error),
        })?;
        Ok(operator)
    }

    /// Says that the queue is paused, if it is: then its waiting jobs do not run.
    pub(crate) async fn note_if_paused(&self, operator: &Operator, queue: &QueueName) -> Result<(), CliError> {
        let row = QueueRow::new(queue, &operator.stats(queue).await?);
        if let Some(paused) = paused(&row) {
            note(format_args!(
                "queue {queue} is {paused}: its jobs wait until `retraced queue resume {}`",
                arguments(&[queue])
            ));
        }
        Ok(())
    }

    /// Says why jobs that were made pending do not run: their queue is paused, or no live worker processes it. They are pending whether the store answers this or not, so an
    /// error is dropped.
    pub(crate) async fn note_why_jobs_wait(&self, operator: &Operator, queue: &QueueName) {
        note_if_unprocessed(queue, workers_of(operator, queue).await);
        drop(self.note_if_paused(operator, queue).await);
    }

    /// Says before an enqueue that the queue is paused, or that there is none of this name but one of a similar name. A producer may lack the rights to ask, and can do
    /// without an answer.
    pub(crate) async fn note_before_enqueue(&self, operator: &Operator, queue: &QueueName) {
        match operator.require_queue(queue).await {
            Ok(()) => drop(self.note_if_paused(operator, queue).await),
            Err(OperatorError::UnknownQueue { nearest: Some(nearest), .. }) => {
                note(format_args!(
                    "queue {queue} is new; if {nearest} was meant, cancel its jobs and delete it: `retraced job cancel --all {0}`, `retraced queue delete {0}`",
                    arguments(&[queue])
                ));
            }
            Err(_) => {}
        }
    }

    /// Says before a worker makes these queues which of them there is none of, but one of a similar name. A store that does not answer is asked once only.
    pub(crate) async fn note_mistyped(&self, operator: &Operator, queues: impl Iterator<Item = &QueueName>) {
        for queue in queues {
            match operator.require_queue(queue).await {
                Ok(()) | Err(OperatorError::UnknownQueue { nearest: None, .. }) => {}
                Err(OperatorError::UnknownQueue { nearest: Some(nearest), .. }) => {
                    warn(format_args!("queue {queue} is new; {nearest} may be meant"));
                }
                Err(_) => return,
            }
        }
    }

    pub(crate) async fn operator(&self) -> Result<Operator, CliError> {
        Ok(Operator::shared(self.store().await?))
    }
}
