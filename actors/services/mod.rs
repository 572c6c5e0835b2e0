//! The actors that serve all queues of a runtime. The ledger stores supervision events. The store link checks the health of the store, subscribes to hints, and
//! asks the store whether hinted cancellations are true. The lease keeper renews leases, and the reclaimer reclaims expired ones. The retry scheduler promotes delayed jobs.
//! The janitor trims ended jobs, and audits and repairs queues. The watchdog inspects running handlers.

mod cancellations;
pub(crate) mod janitor;
pub(crate) mod lease_keeper;
pub(crate) mod ledger;
pub(crate) mod reclaimer;
pub(crate) mod retry_scheduler;
pub(crate) mod store_link;
pub(crate) mod watchdog;
