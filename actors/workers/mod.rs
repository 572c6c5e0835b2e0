//! The actors that claim, run and settle the jobs of one queue: fetcher, pool, executors and settler. If they crash too often, their supervisor stops them all (it
//! *closes*), and starts them again later.

pub(crate) mod executor;
pub(crate) mod fetcher;
pub(crate) mod pool;
pub(crate) mod settler;
