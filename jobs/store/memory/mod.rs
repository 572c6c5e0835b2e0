//! The store in memory. It needs no server, and its jobs are lost when the process ends. It is for a first run and for tests, and it is the executable
//! specification that the Redis store is compared with.
//!
//! | file | duty |
//! | --- | --- |
//! | `store` | the store itself: the lock and the data behind it |
//! | `queue` | one queue: its jobs, its containers, and the one function that moves a job between them |
//! | `transitions` `leases` `admin` `ledger` | the traits, one file each |
//! | `arguments` | reading the arguments of calls |
//! | `records` | supervision events, worker rows and the names of queues |
//! | `timeline` | jobs ordered by an instant |
//! | `history` | the attempts kept of a job |
//! | `replay` | the last call of each replay slot, and its reply |
//! | `hints` | sending hints to listeners |
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
