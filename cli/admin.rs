//! What every command is given: the store it acts on, and where results go.

use std::sync::Arc;

use retraced::store::RedisOptions;
use retraced::store::{Store, StoreError};
use retraced::{Operator, RedisStore};

use crate::error::CliError;
use crate::output::{Output, one_line};

/// What every command is given.
pub(crate) struct Admin {
    pub(crate) redis: String,
    pub(crate) out: Output,
}

impl Admin {
    /// The store, once it has answered and its server is known to be usable for jobs.
    pub(crate) async fn store(&self) -> Result<Arc<dyn Store>, CliError> {
        let store = match RedisStore::open(&self.redis, RedisOptions::default()) {
            Ok(store) => store,
            Err(StoreError::Refused { reason, .. }) => return Err(CliError::Usage(reason)),
            Err(error) => return Err(CliError::Failed(format!("Redis cannot be used: {}", one_line(&error)))),
        };
        match store.probe().await {
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

    pub(crate) async fn operator(&self) -> Result<Operator, CliError> {
        Ok(Operator::new(self.store().await?))
    }
}
