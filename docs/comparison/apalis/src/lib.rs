//! What all ten programs share: the job, and where Redis is.

use std::time::Duration;

use apalis_redis::{Config, ConnectionManager, RedisStorage};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SendEmail {
    pub to: String,
}

pub fn to(name: &str) -> SendEmail {
    SendEmail { to: name.into() }
}

pub async fn redis() -> Result<ConnectionManager, apalis_redis::RedisError> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
    apalis_redis::connect(url).await
}

pub async fn emails() -> Result<RedisStorage<SendEmail>, apalis_redis::RedisError> {
    // With the default heartbeat of 30 s an idle worker finds delayed and retried jobs up to 30 s late.
    let config = Config::default().queue("emails").heartbeat_interval(Duration::from_secs(1));
    Ok(RedisStorage::new(redis().await?).with_config(config))
}
