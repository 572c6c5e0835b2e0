//! A store that injects faults: it loses replies, refuses, delays or is unavailable, as the test's plan decides for each call.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use retraced_jobs::events::{Finding, SupervisionEvent};
use retraced_jobs::job::{InstanceId, JobId, JobState, Lease, NewJob, Nonce, QueueName};
use retraced_jobs::store::memory::MemoryStore;
use retraced_jobs::store::{
    Admin, Block, CallId, ClaimRequest, Claims, CountCheck, Cursor, Enqueued, Hint, JobPage, JobView, Leases, Ledger,
    LedgerPage, Moved, Promoted, QueueStats, Reclaim, Reclaimed, Reconciled, Renewed, Report, Settled, Settlement,
    Store, StoreError, StoreFacts, StoreFuture, Target, Transitions, TrimPolicy, Trimmed, WorkerRow,
};
use retraced_jobs::trace::OperatorName;

/// The calls a tree makes. Calls of an operator get no faults.
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
    Report,
    Trim,
    CheckCounts,
    Scan,
    Repair,
    Record,
    Heartbeat,
    Forget,
    Probe,
    Hints,
}

/// The fault injected into one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request is lost.
    RequestLost,
    /// The reply is lost.
    ReplyLost,
    /// The request arrives after this delay.
    RequestDelayed(Duration),
    /// The reply arrives after this delay.
    ReplyDelayed(Duration),
    /// The store refuses the call.
    Refused,
    /// The store answers that the replay slot has seen a later call, which a copy of this process made.
    Superseded,
    /// The store answers that its memory is full. The probe says the same.
    Blocked,
    /// Applied, and the reply cannot be read.
    UnreadableReply,
    /// Applied, and never answered.
    NeverAnswered,
    /// A bug: the call panics.
    Panic,
}

/// The stage of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// On its way to the store.
    Sent,
    /// Applied, its reply on its way back.
    Applied,
}

type Plan = Box<dyn FnMut(Verb, usize) -> Option<Fault> + Send>;
type Watcher = Arc<dyn Fn(Verb, Moment) + Send + Sync>;

/// A memory store with injected faults. Cheap to clone; clones share the store and the faults.
#[derive(Clone)]
pub struct FaultyStore(Arc<Inner>);

struct Inner {
    memory: MemoryStore,
    plan: Mutex<Option<Plan>>,
    watcher: Mutex<Option<Watcher>>,
    unavailable: AtomicBool,
    calls: Mutex<BTreeMap<Verb, usize>>,
    claims: Mutex<Vec<ClaimRequest>>,
    latency: Mutex<Duration>,
    subscriptions_end_after: Mutex<Option<Duration>>,
    damage: Mutex<Damage>,
}

/// What audits find, as the test sets it: a memory store cannot be damaged.
#[derive(Debug, Default)]
struct Damage {
    /// Number of audits that report a wrong count before the counts are right again.
    transient: usize,
    /// The only queue that is damaged; `None` for all.
    queue: Option<QueueName>,
    found: Option<Finding>,
}

impl FaultyStore {
    pub fn new(memory: MemoryStore) -> Self {
        Self(Arc::new(Inner {
            memory,
            plan: Mutex::default(),
            watcher: Mutex::default(),
            unavailable: AtomicBool::new(false),
            calls: Mutex::default(),
            claims: Mutex::default(),
            latency: Mutex::default(),
            subscriptions_end_after: Mutex::default(),
            damage: Mutex::default(),
        }))
    }

    /// The store behind the faults.
    pub fn memory(&self) -> &MemoryStore {
        &self.0.memory
    }

    /// From now on `plan` decides about every call, given its verb and its number among the calls of that verb, from 1.
    pub fn plan_faults(&self, plan: impl FnMut(Verb, usize) -> Option<Fault> + Send + 'static) {
        *self.0.plan.lock().unwrap() = Some(Box::new(plan));
    }

    /// Injects this fault into the n-th call of this verb from now on.
    pub fn fault_on_call(&self, verb: Verb, nth: usize, fault: Fault) {
        let mut seen = 0;
        self.plan_faults(move |called, _| {
            seen += usize::from(called == verb);
            (called == verb && seen == nth).then_some(fault)
        });
    }

    /// From now on delays the reply of every other call that claims, by a pseudo-random time below `most`.
    pub fn delay_every_other_claim(&self, seed: u64, most: Duration) {
        let (mut rng, mut claims) = (SmallRng::seed_from_u64(seed), 0_usize);
        self.plan_faults(move |verb, _| {
            claims += usize::from(matches!(verb, Verb::Claim | Verb::SettleAndClaim));
            let delayed = matches!(verb, Verb::Claim | Verb::SettleAndClaim) && claims % 2 == 1;
            delayed.then(|| Fault::ReplyDelayed(most.mul_f64(rng.random())))
        });
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        *self.0.plan.lock().unwrap() = None;
        *self.0.watcher.lock().unwrap() = None;
        self.0.unavailable.store(false, Ordering::SeqCst);
    }

    /// While unavailable, no call reaches the store.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.0.unavailable.store(unavailable, Ordering::SeqCst);
    }

    /// Sets the latency of calls: half before a call is applied, half after.
    pub fn latency(&self, latency: Duration) {
        *self.0.latency.lock().unwrap() = latency;
    }

    /// From now on subscriptions for hints end after this time.
    pub fn end_subscriptions_after(&self, lasts: Option<Duration>) {
        *self.0.subscriptions_end_after.lock().unwrap() = lasts;
    }

    /// Makes audits find this damage from now on, until it is repaired.
    pub fn damage(&self, found: Finding) {
        self.0.damage.lock().unwrap().found = Some(found);
    }

    /// The same for one of several queues.
    pub fn damage_only(&self, queue: &QueueName, found: Finding) {
        *self.0.damage.lock().unwrap() = Damage { transient: 0, queue: Some(queue.clone()), found: Some(found) };
    }

    /// Makes the next check of the counts report a wrong count; later ones are right.
    pub fn miscount_once(&self) {
        self.0.damage.lock().unwrap().transient = 1;
    }

    /// Calls `watcher` for every call, when it is sent and when it is applied.
    pub fn observe(&self, watcher: impl Fn(Verb, Moment) + Send + Sync + 'static) {
        *self.0.watcher.lock().unwrap() = Some(Arc::new(watcher));
    }

    pub fn calls(&self, verb: Verb) -> usize {
        self.0.calls.lock().unwrap().get(&verb).copied().unwrap_or(0)
    }

    /// The nonces drawn for claims so far.
    pub fn nonces(&self) -> Vec<Nonce> {
        self.0.claims.lock().unwrap().iter().map(|request| request.nonce).collect()
    }

    fn notify(&self, verb: Verb, moment: Moment) {
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
        if self.0.unavailable.load(Ordering::SeqCst) {
            return Some(Fault::RequestLost);
        }
        self.0.plan.lock().unwrap().as_mut().and_then(|plan| plan(verb, number))
    }

    fn call<'a, T: Send + 'a>(
        &'a self,
        verb: Verb,
        operation: &'static str,
        call: impl FnOnce(&'a MemoryStore) -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        async move {
            let fault = self.fault(verb);
            let half = *self.0.latency.lock().unwrap() / 2;
            self.notify(verb, Moment::Sent);
            if !half.is_zero() {
                tokio::time::sleep(half).await;
            }
            match fault {
                Some(Fault::RequestLost) => return Err(unavailable(operation)),
                Some(Fault::Refused) => return Err(StoreError::Refused { operation, reason: "by plan".into() }),
                Some(Fault::Superseded) => return Err(StoreError::Superseded { operation }),
                Some(Fault::Blocked) => {
                    return Err(StoreError::Blocked { operation, by: Block::Memory, said: "by plan".into() });
                }
                Some(Fault::Panic) => panic!("a bug in the store, by plan"),
                Some(Fault::RequestDelayed(delay)) => tokio::time::sleep(delay).await,
                _ => {}
            }
            let reply = call(&self.0.memory).await;
            self.notify(verb, Moment::Applied);
            if !half.is_zero() {
                tokio::time::sleep(half).await;
            }
            match fault {
                Some(Fault::ReplyLost) => Err(unavailable(operation)),
                Some(Fault::ReplyDelayed(delay)) => {
                    tokio::time::sleep(delay).await;
                    reply
                }
                Some(Fault::UnreadableReply) => Err(StoreError::Corrupt { operation, what: "by plan".into() }),
                Some(Fault::NeverAnswered) => std::future::pending().await,
                // Calls in flight when the outage began are lost.
                _ if self.0.unavailable.load(Ordering::SeqCst) => Err(unavailable(operation)),
                _ => reply,
            }
        }
        .boxed()
    }
}

fn unavailable(operation: &'static str) -> StoreError {
    StoreError::Unavailable { operation, cause: "by plan".into() }
}

impl Store for FaultyStore {
    fn probe(&self) -> StoreFuture<'_, StoreFacts> {
        self.call(Verb::Probe, "probe", |store| store.probe())
    }

    fn hints(&self, queues: &[QueueName]) -> StoreFuture<'_, BoxStream<'static, Hint>> {
        let queues = queues.to_vec();
        let faulty = self.clone();
        self.call(Verb::Hints, "hints", move |store| {
            async move {
                let hints = store.hints(&queues).await?;
                // Hints sent during an outage are lost.
                let ends_after = *faulty.0.subscriptions_end_after.lock().unwrap();
                let hints = hints.filter(move |_| std::future::ready(!faulty.0.unavailable.load(Ordering::SeqCst)));
                Ok(match ends_after {
                    Some(lasts) => hints.take_until(Box::pin(tokio::time::sleep(lasts))).boxed(),
                    None => hints.boxed(),
                })
            }
            .boxed()
        })
    }
}

impl Transitions for FaultyStore {
    fn enqueue<'a>(&'a self, call: CallId, queue: &'a QueueName, jobs: &'a [NewJob]) -> StoreFuture<'a, Vec<Enqueued>> {
        self.call(Verb::Enqueue, "enqueue", move |store| store.enqueue(call, queue, jobs))
    }

    fn claim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a ClaimRequest) -> StoreFuture<'a, Claims> {
        self.0.claims.lock().unwrap().push(request.clone());
        self.call(Verb::Claim, "claim", move |store| store.claim(call, queue, request))
    }

    fn settle<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        settlements: &'a [Settlement],
    ) -> StoreFuture<'a, Vec<Settled>> {
        self.call(Verb::Settle, "settle", move |store| store.settle(call, queue, settlements))
    }

    fn settle_and_claim<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        settlements: &'a [Settlement],
        request: &'a ClaimRequest,
    ) -> StoreFuture<'a, (Vec<Settled>, Claims)> {
        self.0.claims.lock().unwrap().push(request.clone());
        self.call(Verb::SettleAndClaim, "settle_and_claim", move |store| {
            store.settle_and_claim(call, queue, settlements, request)
        })
    }

    fn promote<'a>(&'a self, call: CallId, queue: &'a QueueName, limit: usize) -> StoreFuture<'a, Promoted> {
        self.call(Verb::Promote, "promote", move |store| store.promote(call, queue, limit))
    }

    fn reclaim<'a>(&'a self, call: CallId, queue: &'a QueueName, request: &'a Reclaim) -> StoreFuture<'a, Reclaimed> {
        self.call(Verb::Reclaim, "reclaim", move |store| store.reclaim(call, queue, request))
    }

    fn reconcile<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        instance: InstanceId,
        lost: &'a [Nonce],
        cursor: Option<Cursor>,
    ) -> StoreFuture<'a, Reconciled> {
        self.call(Verb::Reconcile, "reconcile", move |store| store.reconcile(call, queue, instance, lost, cursor))
    }
}

impl Leases for FaultyStore {
    fn begin<'a>(&'a self, queue: &'a QueueName, lease: Duration, held: &'a [Lease]) -> StoreFuture<'a, Renewed> {
        self.call(Verb::Begin, "begin", move |store| store.begin(queue, lease, held))
    }

    fn renew<'a>(&'a self, queue: &'a QueueName, lease: Duration, held: &'a [Lease]) -> StoreFuture<'a, Renewed> {
        self.call(Verb::Renew, "renew", move |store| store.renew(queue, lease, held))
    }

    fn report<'a>(&'a self, queue: &'a QueueName, lease: Duration, reports: &'a [Report]) -> StoreFuture<'a, Renewed> {
        self.call(Verb::Report, "report", move |store| store.report(queue, lease, reports))
    }
}

impl Admin for FaultyStore {
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

    fn redrive<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        by: &'a OperatorName,
        jobs: &'a [Target],
    ) -> StoreFuture<'a, Vec<Moved>> {
        self.0.memory.redrive(call, queue, by, jobs)
    }

    fn cancel<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        by: &'a OperatorName,
        jobs: &'a [Target],
    ) -> StoreFuture<'a, Vec<Moved>> {
        self.0.memory.cancel(call, queue, by, jobs)
    }

    fn discard<'a>(
        &'a self,
        call: CallId,
        queue: &'a QueueName,
        by: &'a OperatorName,
        jobs: &'a [Target],
    ) -> StoreFuture<'a, Vec<Moved>> {
        self.0.memory.discard(call, queue, by, jobs)
    }

    fn watch_outcome<'a>(
        &'a self,
        queue: &'a QueueName,
        id: &'a JobId,
        wait: Duration,
    ) -> StoreFuture<'a, Option<JobView>> {
        self.0.memory.watch_outcome(queue, id, wait)
    }

    fn pause<'a>(&'a self, call: CallId, queue: &'a QueueName, by: &'a OperatorName) -> StoreFuture<'a, bool> {
        self.0.memory.pause(call, queue, by)
    }

    fn resume<'a>(&'a self, call: CallId, queue: &'a QueueName) -> StoreFuture<'a, bool> {
        self.0.memory.resume(call, queue)
    }

    fn trim<'a>(&'a self, call: CallId, queue: &'a QueueName, policy: &'a TrimPolicy) -> StoreFuture<'a, Trimmed> {
        self.call(Verb::Trim, "trim", move |store| store.trim(call, queue, policy))
    }

    fn check_counts<'a>(&'a self, queue: &'a QueueName) -> StoreFuture<'a, CountCheck> {
        self.call(Verb::CheckCounts, "check_counts", move |store| {
            async move {
                let mut report = store.check_counts(queue).await?;
                let mut damage = self.0.damage.lock().unwrap();
                let transient = damage.transient as u64;
                damage.transient = damage.transient.saturating_sub(1);
                let found = damage.found.as_ref().filter(|_| damage.queue.as_ref().is_none_or(|only| only == queue));
                report.jobs += transient + found.map_or(0, |found| found.count);
                Ok(report)
            }
            .boxed()
        })
    }

    fn scan<'a>(&'a self, _: &'a QueueName) -> StoreFuture<'a, Vec<Finding>> {
        self.call(Verb::Scan, "scan", move |_| {
            let found = self.0.damage.lock().unwrap().found.clone();
            async { Ok(found.into_iter().collect()) }.boxed()
        })
    }

    fn repair<'a>(&'a self, _: &'a QueueName) -> StoreFuture<'a, Vec<Finding>> {
        self.call(Verb::Repair, "repair", move |_| {
            let found = self.0.damage.lock().unwrap().found.take();
            async { Ok(found.into_iter().collect()) }.boxed()
        })
    }
}

impl Ledger for FaultyStore {
    fn announce<'a>(&'a self, queues: &'a [QueueName]) -> StoreFuture<'a, ()> {
        self.call(Verb::Heartbeat, "announce", move |store| store.announce(queues))
    }

    fn record<'a>(&'a self, events: &'a [SupervisionEvent]) -> StoreFuture<'a, ()> {
        self.call(Verb::Record, "record", move |store| store.record(events))
    }

    fn events<'a>(&'a self, from: Option<Cursor>, limit: usize) -> StoreFuture<'a, LedgerPage> {
        self.0.memory.events(from, limit)
    }

    fn heartbeat<'a>(&'a self, row: &'a WorkerRow) -> StoreFuture<'a, ()> {
        self.call(Verb::Heartbeat, "heartbeat", move |store| store.heartbeat(row))
    }

    fn workers(&self) -> StoreFuture<'_, Vec<WorkerRow>> {
        self.0.memory.workers()
    }

    fn forget<'a>(&'a self, instance: InstanceId, queues: &'a [QueueName]) -> StoreFuture<'a, ()> {
        self.call(Verb::Forget, "forget", move |store| store.forget(instance, queues))
    }
}
