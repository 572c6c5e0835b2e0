//! The store in this process: it needs no server, and nothing survives the process. It is the default for a first run, the store of most tests, and the
//! executable specification that the Redis store is compared with.
//!
//! | file | duty |
//! | --- | --- |
//! | `store` | the lock, and what it guards |
//! | `queue` | one queue: its jobs, its containers, and the one function that moves a job between them |
//! | `transitions` `leases` `admin` `ledger` | the traits, one file each |
//! | `arguments` | the checks of what a call brings |
//! | `records` | events, workers and the names of queues |
//! | `timeline` | jobs in order of an instant |
//! | `history` | the attempts kept of a job |
//! | `replay` | the last call of each replay slot, and its reply |
//! | `hints` | wake-ups for listeners |
//! | `waits` | which jobs clients wait for |

mod admin;
mod arguments;
mod hints;
mod history;
mod leases;
mod ledger;
mod queue;
mod records;
mod replay;
mod store;
mod timeline;
mod transitions;
mod waits;

pub use store::MemoryStore;
