//! The workers of one queue: the fetcher claims its jobs, a pool of executors runs them, and the settler settles their outcomes. They close together when they
//! crash too often, and reopen later.

pub(crate) mod executor;
pub(crate) mod fetcher;
pub(crate) mod pool;
pub(crate) mod settler;
