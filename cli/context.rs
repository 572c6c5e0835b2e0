//! What every command is given.

use std::sync::Arc;

use retraced::store::{RedisOptions, StoreError, StoreFacts};
use retraced::{Operator, QueueName, RedisStore, Store};

use crate::error::CliError;
use crate::output::{Output, one_line};

/// What a command is given: the URL of the server, and where results go.
pub(crate) struct CommandContext {
    /// The URL of the server, as it was given.
    pub(crate) redis: String,
    pub(crate) out: Output,
}

impl CommandContext {
    /// Connects to the store and checks that the server answers and can be used for jobs.
    pub(crate) async fn store(&self) -> Result<Arc<dyn Store>, CliError> {
        let store = match RedisStore::open(&self.redis, RedisOptions::default()) {
            Ok(store) => store,
            Err(StoreError::Refused { reason, .. }) => return Err(CliError::Usage(reason)),
            Err(error) => return Err(CliError::Failed(format!("Redis cannot be used: {}", one_line(&error)))),
        };
        match store.probe().await.and_then(StoreFacts::usable) {
            Ok(_) => Ok(Arc::new(store)),
            Err(StoreError::Unavailable { cause, .. }) => Err(CliError::Failed(format!(
                "Redis cannot be reached: {}; start it, or give its address with --redis URL or RETRACED_REDIS_URL",
                one_line(&cause)
            ))),
            Err(StoreError::Refused { reason, .. }) => {
                Err(CliError::Failed(format!("Redis cannot be used: {}", one_line(&reason))))
            }
            Err(error) => Err(CliError::Failed(format!("Redis cannot be used: {}", one_line(&error)))),
        }
    }

    /// An operator, after a check that this queue exists.
    pub(crate) async fn operator_of(&self, queue: &QueueName) -> Result<Operator, CliError> {
        let operator = self.operator().await?;
        operator.require_queue(queue).await?;
        Ok(operator)
    }

    pub(crate) async fn operator(&self) -> Result<Operator, CliError> {
        Ok(Operator::shared(self.store().await?))
    }
}
