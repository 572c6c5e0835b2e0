//! The actors that serve all queues of a runtime. Each has one duty.

pub(crate) mod janitor;
pub(crate) mod lease_keeper;
pub(crate) mod ledger;
pub(crate) mod reclaimer;
pub(crate) mod retry_scheduler;
pub(crate) mod store_link;
pub(crate) mod watchdog;
