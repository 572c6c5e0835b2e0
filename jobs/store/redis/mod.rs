//! The store on Redis: one Lua file per verb, one typed function per file.
//!
//! Works on Redis 6.2 or newer and on Valkey. The server must not evict keys: an evicted job is a lost job.

mod admin;
mod audit;
mod connection;
mod facts;
mod hints;
mod keys;
mod ledger;
mod options;
mod reply;
mod scripts;
mod store;
mod tls;
mod transitions;

pub use keys::QUEUES_KEY;
pub use options::RedisOptions;
pub use store::RedisStore;
