//! The actors that serve all queues of a runtime: the store link checks the health of the store, the lease keeper renews leases, the reclaimer takes back expired
//! ones, the retry scheduler moves due jobs to their queues, the janitor trims and audits, the ledger stores events, and the watchdog inspects running handlers.

pub(crate) mod janitor;
pub(crate) mod lease_keeper;
pub(crate) mod ledger;
pub(crate) mod reclaimer;
pub(crate) mod retry_scheduler;
pub(crate) mod store_link;
pub(crate) mod watchdog;
