//! A store with faults: it loses replies, refuses, delays, or is away, as a test's plan says for each call.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use retraced_jobs::job::{InstanceId, JobId, JobState, Lease, NewJob, Nonce, QueueName};
use retraced_jobs::store::memory::MemoryStore;
use retraced_jobs::store::{
    Admin, AuditReport, CallId, ClaimRequest, Claims, Cursor, Enqueued, Hint, JobPage, Leases, Ledger, LedgerPage,
    Moved, Promoted, QueueStats, Reclaim, Reclaimed, Reconciled, Renewed, Settled, Settlement, Store, StoreError,
    StoreFacts, StoreFuture, Target, Transitions, TrimPolicy, Trimmed, WorkerRow,
};
use retraced_jobs::trace::{Finding, JobView, SupervisionEvent};

/// What the tree asks of a store; an operator's calls are never disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    Enqueue,
    Claim,
    Settle,
    SettleAndClaim,
    Promote,
    Reclaim,
    Reconcile,
    Renew,
    Begin,
    Trim,
    Audit,
    Inspect,
    Repair,
    Record,
    Heartbeat,
    Forget,
    Probe,
    Hints,
}

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request is lost.
    Before,
    /// The reply is lost.
    After,
    /// The request takes as long as this to arrive.
    Late(Duration),
    /// The reply takes as long as this to arrive.
    Slow(Duration),
    /// The store answers, and will not.
    Refuse,
    /// Applied, and the reply cannot be read.
    Garbled,
    /// Nothing is ever heard of it: applied, and never answered.
    Silence,
    /// A bug: the call panics.
    Panic,
}

/// Where a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// On its way to the store.
    Sent,
    /// Applied, its reply on its way back.
    Applied,
}

type Plan = Box<dyn FnMut(Verb, usize) -> Option<Fault> + Send>;
type Watcher = Arc<dyn Fn(Verb, Moment) + Send + Sync>;

/// Cheap to clone; clones share their faults.
#[derive(Clone)]
pub struct Faulty(Arc<Inner>);

struct Inner {
    memory: MemoryStore,
    plan: Mutex<Option<Plan>>,
    watcher: Mutex<Option<Watcher>>,
    away: AtomicBool,
    calls: Mutex<BTreeMap<Verb, usize>>,
    claims: Mutex<Vec<ClaimRequest>>,
    latency: Mutex<Duration>,
    damage: Mutex<Damage>,
}

/// What audits find, by a test's plan: a memory store cannot be damaged.
#[derive(Debug, Default)]
struct Damage {
    /// Counts that will not add up before it passes by itself.
    passing: usize,
    found: Option<Finding>,
}

impl Faulty {
    pub fn new(memory: MemoryStore) -> Self {
        Self(Arc::new(Inner {
            memory,
            plan: Mutex::default(),
            watcher: Mutex::default(),
            away: AtomicBool::new(false),
            calls: Mutex::default(),
            claims: Mutex::default(),
            latency: Mutex::default(),
            damage: Mutex::default(),
        }))
    }

    /// What is behind the faults.
    pub fn memory(&self) -> &MemoryStore {
        &self.0.memory
    }

    /// From now on this decides on every call, given its verb and its number among the calls of that verb, from 1.
    pub fn plan(&self, plan: impl FnMut(Verb, usize) -> Option<Fault> + Send + 'static) {
        *self.0.plan.lock().unwrap() = Some(Box::new(plan));
    }

    /// The n-th call of this verb from now on meets this fault.
    pub fn once(&self, verb: Verb, nth: usize, fault: Fault) {
        let mut seen = 0;
        self.plan(move |called, _| {
            seen += usize::from(called == verb);
            (called == verb && seen == nth).then_some(fault)
        });
    }

    /// No more faults.
    pub fn heal(&self) {
        *self.0.plan.lock().unwrap() = None;
        *self.0.watcher.lock().unwrap() = None;
        self.0.away.store(false, Ordering::SeqCst);
    }

    /// While away, no call reaches the store.
    pub fn away(&self, away: bool) {
        self.0.away.store(away, Ordering::SeqCst);
    }

    /// Half of this passes before a call is applied, half after.
    pub fn latency(&self, latency: Duration) {
        *self.0.latency.lock().unwrap() = latency;
    }

    /// The queues do not add up from now on, until somebody mends them.
    pub fn damage(&self, found: Finding) {
        self.0.damage.lock().unwrap().found = Some(found);
    }

    /// The next count of a queue does not add up; those after it do.
    pub fn miscount_once(&self) {
        self.0.damage.lock().unwrap().passing = 1;
    }

    /// Is told of every call, twice.
    pub fn watch(&self, watcher: impl Fn(Verb, Moment) + Send + Sync + 'static) {
        *self.0.watcher.lock().unwrap() = Some(Arc::new(watcher));
    }

    pub fn calls(&self, verb: Verb) -> usize {
        self.0.calls.lock().unwrap().get(&verb).copied().unwrap_or(0)
    }

    /// The nonces drawn for claims so far.
    pub fn nonces(&self) -> Vec<Nonce> {
        self.0.claims.lock().unwrap().iter().map(|request| request.nonce).collect()
    }

    fn tell(&self, verb: Verb, moment: Moment) {
        let watcher = self.0.watcher.lock().unwrap().clone();
        if let Some(watcher) = watcher {
            watcher(verb, moment);
        }
    }

    fn fault(&self, verb: Verb) -> Option<Fault> {
        let number = {
            let mut calls = self.0.calls.lock().unwrap();
            let number = calls.entry(verb).or_default();
            *number += 1;
            *number
        };
        if self.0.away.load(Ordering::SeqCst) {
            return Some(Fault::Before);
        }
        self.0.plan.lock().unwrap().as_mut().and_then(|plan| plan(verb, number))
    }

    fn pass<'a, T: Send + 'a>(
        &'a self,
        verb: Verb,
        operation: &'static str,
        call: impl FnOnce(&'a MemoryStore) -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        async move {
            let fault = self.fault(verb);
            let half = *self.0.latency.lock().unwrap() / 2;
            self.tell(verb, Moment::Sent);
            if !half.is_zero() {
                tokio::time::sleep(half).await;
            }
            match fault {
                Some(Fault::Before) => return Err(lost(operation)),
                Some(Fault::Refuse) => return Err(StoreError::Refused { operation, reason: "by plan".into() }),
                Some(Fault::Panic) => panic!("a bug in the store, by plan"),
                Some(Fault::Late(delay)) => tokio::time::sleep(delay).await,
                _ => {}
            }
            let reply = call(&self.0.memory).await;
            self.tell(verb, Moment::Applied);
            if !half.is_zero() {
                tokio::time::sleep(half).await;
            }
            match fault {
                Some(Fault::After) => Err(lost(operation)),
                Some(Fault::Slow(delay)) => {
                    tokio::time::sleep(delay).await;
                    reply
                }
                Some(Fault::Garbled) => Err(StoreError::Corrupt { operation, what: "by plan".into() }),
                Some(Fault::Silence) => std::future::pending().await,
                // What was under way when the store went is lost with it.
                _ if self.0.away.load(Ordering::SeqCst) => Err(lost(operation)),
                _ => reply,
            }
        }
        .boxed()
    }
}

fn lost(operation: &'static str) -> StoreError {
    StoreError::Unavailable { operation, cause: "by plan".into() }
}

impl Store for Faulty {
    fn probe(&self) -> StoreFuture<'_, StoreFacts> {
        self.pass(Verb::Probe, "probe", |store| store.probe())
    }

    fn hints(&self, queues: &[QueueName]) -> StoreFuture<'_, BoxStream<'static, Hint>> {
        let queues = queues.to_vec();
        let heard = self.clone();
        self.pass(Verb::Hints, "hints", move |store| {
            async move {
                let hints = store.hints(&queues).await?;
                // What is said while the store is away is not heard.
                let hints = hints.filter(move |_| std::future::ready(!heard.0.away.load(Ordering::SeqCst)));
                Ok(hints.boxed())
            }
            .boxed()
        })
    }
}

impl Transitions for Faulty {
    fn enqueue<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [NewJob]) -> StoreFuture<'a, Vec<Enqueued>> {
        self.pass(Verb::Enqueue, "enqueue", move |store| store.enqueue(call, queue, jobs))
    }

    fn claim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a ClaimRequest) -> StoreFuture<'a, Claims> {
        self.0.claims.lock().unwrap().push(request.clone());
        self.pass(Verb::Claim, "claim", move |store| store.claim(call, queue, request))
    }

    fn settle<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        settlements: &'a [Settlement],
    ) -> StoreFuture<'a, Vec<Settled>> {
        self.pass(Verb::Settle, "settle", move |store| store.settle(call, queue, settlements))
    }

    fn settle_and_claim<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        settlements: &'a [Settlement],
        request: &'a ClaimRequest,
    ) -> StoreFuture<'a, (Vec<Settled>, Claims)> {
        self.0.claims.lock().unwrap().push(request.clone());
        self.pass(Verb::SettleAndClaim, "settle_and_claim", move |store| {
            store.settle_and_claim(call, queue, settlements, request)
        })
    }

    fn promote<'a>(&'a self, call: CallId, queue: &'a QueueName, limit: usize) -> StoreFuture<'a, Promoted> {
        self.pass(Verb::Promote, "promote", move |store| store.promote(call, queue, limit))
    }

    fn reclaim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a Reclaim) -> StoreFuture<'a, Reclaimed> {
        self.pass(Verb::Reclaim, "reclaim", move |store| store.reclaim(call, queue, request))
    }

    fn reconcile<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        owner: InstanceId,
        lost: &'a [Nonce],
        cursor: Option<Cursor>,
    ) -> StoreFuture<'a, Reconciled> {
        self.pass(Verb::Reconcile, "reconcile", move |store| store.reconcile(call, queue, owner, lost, cursor))
    }
}

impl Leases for Faulty {
    fn begin<'a>(&'a self, queue: &'a QueueName, lease: Duration, held: &'a [Lease]) -> StoreFuture<'a, Renewed> {
        self.pass(Verb::Begin, "begin", move |store| store.begin(queue, lease, held))
    }

    fn renew<'a>(&'a self, queue: &'a QueueName, lease: Duration, held: &'a [Lease]) -> StoreFuture<'a, Renewed> {
        self.pass(Verb::Renew, "renew", move |store| store.renew(queue, lease, held))
    }
}

impl Admin for Faulty {
    fn queues(&self) -> StoreFuture<'_, Vec<QueueName>> {
        self.0.memory.queues()
    }

    fn stats<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, QueueStats> {
        self.0.memory.stats(queue)
    }

    fn jobs<'a>(
        &'a self,
        queue: &'a QueueName,
        state: JobState,
        from: Option<Cursor>,
        limit: usize,
    ) -> StoreFuture<'a, JobPage> {
        self.0.memory.jobs(queue, state, from, limit)
    }

    fn job<'a>(&'a self, queue: &'a QueueName, id: &'a JobId) -> StoreFuture<'a, Option<JobView>> {
        self.0.memory.job(queue, id)
    }

    fn redrive<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [Target]) -> StoreFuture<'a, Vec<Moved>> {
        self.0.memory.redrive(call, queue, jobs)
    }

    fn cancel<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [Target]) -> StoreFuture<'a, Vec<Moved>> {
        self.0.memory.cancel(call, queue, jobs)
    }

    fn discard<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [Target]) -> StoreFuture<'a, Vec<Moved>> {
        self.0.memory.discard(call, queue, jobs)
    }

    fn watch_outcome<'a>(
        &'a self,
        queue: &'a QueueName,
        id: &'a JobId,
        wait: Duration,
    ) -> StoreFuture<'a, Option<JobView>> {
        self.0.memory.watch_outcome(queue, id, wait)
    }

    fn pause<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, bool> {
        self.0.memory.pause(queue)
    }

    fn resume<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, bool> {
        self.0.memory.resume(queue)
    }

    fn trim<'a>(&'a self, call: CallId, queue: &'a QueueName, policy: &'a TrimPolicy) -> StoreFuture<'a, Trimmed> {
        self.pass(Verb::Trim, "trim", move |store| store.trim(call, queue, policy))
    }

    fn audit<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, AuditReport> {
        self.pass(Verb::Audit, "audit", move |store| {
            async move {
                let mut report = store.audit(queue).await?;
                let mut damage = self.0.damage.lock().unwrap();
                let passing = damage.passing as u64;
                damage.passing = damage.passing.saturating_sub(1);
                report.jobs += passing + damage.found.as_ref().map_or(0, |found| found.count);
                Ok(report)
            }
            .boxed()
        })
    }

    fn inspect<'a>(&'a self, _: &'a QueueName) -> StoreFuture<'a, Vec<Finding>> {
        self.pass(Verb::Inspect, "inspect", move |_| {
            let found = self.0.damage.lock().unwrap().found.clone();
            async { Ok(found.into_iter().collect()) }.boxed()
        })
    }

    fn repair<'a>(&'a self, _: &'a QueueName) -> StoreFuture<'a, Vec<Finding>> {
        self.pass(Verb::Repair, "repair", move |_| {
            let found = self.0.damage.lock().unwrap().found.take();
            async { Ok(found.into_iter().collect()) }.boxed()
        })
    }
}

impl Ledger for Faulty {
    fn announce<'a>(&'a self, queues: &'a [QueueName]) -> StoreFuture<'a, ()> {
        self.pass(Verb::Heartbeat, "announce", move |store| store.announce(queues))
    }

    fn record<'a>(&'a self, events: &'a [SupervisionEvent]) -> StoreFuture<'a, ()> {
        self.pass(Verb::Record, "record", move |store| store.record(events))
    }

    fn events<'a>(&'a self, from: Option<Cursor>, limit: usize) -> StoreFuture<'a, LedgerPage> {
        self.0.memory.events(from, limit)
    }

    fn heartbeat<'a>(&'a self, row: &'a WorkerRow) -> StoreFuture<'a, ()> {
        self.pass(Verb::Heartbeat, "heartbeat", move |store| store.heartbeat(row))
    }

    fn workers(&self) -> StoreFuture<'_, Vec<WorkerRow>> {
        self.0.memory.workers()
    }

    fn forget<'a>(&'a self, instance: InstanceId, queues: &'a [QueueName]) -> StoreFuture<'a, ()> {
        self.pass(Verb::Forget, "forget", move |store| store.forget(instance, queues))
    }
}
