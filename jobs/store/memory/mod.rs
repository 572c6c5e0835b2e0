//! The store in memory, for a first run and for tests: it needs no server, and its jobs are lost when the process ends. It is also the executable specification
//! of a store: `jobs/tests/differential.rs` compares the Redis store with it.
//!
//! | file | duty |
//! | --- | --- |
//! | `store` | the store itself: the lock and the data behind it |
//! | `queue` | one queue: its jobs, its containers, and the one function that moves a job between them |
//! | `stored_job` | a job with everything kept about it, and the container it is in |
//! | `transitions` `leases` `admin` `ledger` | the other traits of a store, one file each |
//! | `cursor` | reading the cursors that callers pass |
//! | `records` | supervision events, worker rows and the names of queues |
//! | `timeline` | jobs ordered by an instant |
//! | `history` | the attempts kept of a job |
//! | `acts` | what operators did to a job |
//! | `tombstones` | what is left of removed jobs |
//! | `lease_lengths` | how long leases are, and what follows for reclaim gaps and for a clock that was set back |
//! | `replay` | the last call of each replay slot, and its reply |
//! | `hints` | sending hints to listeners |
//! | `waits` | the jobs whose outcome clients wait for |

mod acts;
mod admin;
mod cursor;
mod hints;
mod history;
mod lease_lengths;
mod leases;
mod ledger;
mod pause;
mod queue;
mod records;
mod replay;
mod store;
mod stored_job;
mod timeline;
mod tombstones;
mod transitions;
mod waits;

pub use store::MemoryStore;
