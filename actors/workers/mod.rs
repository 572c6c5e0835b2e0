//! The actors that claim, run and settle the jobs of one queue: fetcher, settler, and the pool, which supervises the executors. If executors crash too often, the pool
//! gives up, which counts as its crash. If fetcher, settler or pool crash too often, their supervisor `workers` *closes*: it stops them all, and starts them again later.

pub(crate) mod executor;
pub(crate) mod fetcher;
pub(crate) mod pool;
pub(crate) mod settler;
