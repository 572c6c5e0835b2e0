//! The store on Redis. Each transition of a job happens inside one Lua script, and so in one atomic step.
//!
//! Works on Redis 6.2 or newer and on Valkey. A server that may evict keys without an expiry (`maxmemory-policy allkeys-…`) is refused unless the options allow it, because
//! with an evicted key jobs are lost.

mod acts;
mod admin;
mod connection;
mod endpoint;
mod hints;
mod keys;
mod ledger;
mod login;
mod options;
mod prefix;
mod progress;
mod reply;
mod rights;
mod scan;
mod script;
mod scripts;
mod server_check;
mod server_error;
mod store;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_failure;
mod tls_options;
mod transitions;
mod transport;
mod url;

pub use options::RedisOptions;
pub use prefix::KeyPrefix;
pub use store::RedisStore;
pub use tls_options::TlsOptions;
