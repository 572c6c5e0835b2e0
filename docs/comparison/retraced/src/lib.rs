//! What all ten programs share: the job, and where Redis is.

use retraced::{Job, RedisStore};
use serde::{Deserialize, Serialize};

pub type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Serialize, Deserialize)]
pub struct SendEmail {
    pub to: String,
}

impl Job for SendEmail {
    const KIND: &'static str = "email.send";
}

pub fn to(name: &str) -> SendEmail {
    SendEmail { to: name.into() }
}

pub async fn redis() -> Result<RedisStore, Error> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
    Ok(RedisStore::connect(&url).await?)
}
