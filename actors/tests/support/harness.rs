//! The harness of a test: a memory store with injected faults, a tree, and a check at the end that nothing was left behind.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use retraced_actors::{FrontDoorHandle, QueueOptions, QueueSpec, ShutdownReport, StartError, Tree};
use retraced_actors::{TreeOptions, TreeSpec};
use retraced_jobs::clock::TokioClock;
use retraced_jobs::context::Context;
use retraced_jobs::context::States;
use retraced_jobs::enqueue::{EnqueueError, Receipt};
use retraced_jobs::events::{EventKind, SupervisionEvent};
use retraced_jobs::execution::{Rules, Runner};
use retraced_jobs::failure::{Code, Failure};
use retraced_jobs::handler::Handlers;
use retraced_jobs::job::{CurrentInstance, InstanceId, JobId, JobState, QueueName, RunAt};
use retraced_jobs::retry::Retry;
use retraced_jobs::store::memory::MemoryStore;
use retraced_jobs::store::{Admin, BATCH_MAX, CallId, JobView, QueueStats, ReplaySlots, UnfinishedJobs};
use retraced_jobs::typed_job::{JobOptions, seal_job};
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Action, FaultyStore, Recorder, RunEnd, Work};

/// How long a test waits for a condition before it fails, in the test's paused time.
const WAIT_TIMEOUT: Duration = Duration::from_secs(300);
/// Start of the harness's wall clock.
const BEGIN_MS: u64 = 1_700_000_000_000;

pub fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// The options of a harness.
pub struct HarnessBuilder {
    queues: Vec<QueueName>,
    options: TreeOptions,
    queue: QueueOptions,
    rules: Rules,
    store: Option<FaultyStore>,
    recorder: Recorder,
    handler_runtime: Handle,
    gate: Option<Arc<AtomicBool>>,
    instance: CurrentInstance,
}

impl HarnessBuilder {
    /// Runs handlers on threads for blocking work. Handlers that [block](Action::Block) do so until the gate is open.
    pub fn blocking(mut self, gate: Arc<AtomicBool>) -> Self {
        self.gate = Some(gate);
        self
    }

    pub fn queues(mut self, names: &[&str]) -> Self {
        self.queues = names.iter().map(|name| QueueName::new(name).unwrap()).collect();
        self
    }

    pub fn concurrency(mut self, executors: usize) -> Self {
        self.queue.concurrency = executors;
        self
    }

    pub fn options(mut self, change: impl FnOnce(&mut TreeOptions)) -> Self {
        change(&mut self.options);
        self
    }

    pub fn queue(mut self, change: impl FnOnce(&mut QueueOptions)) -> Self {
        change(&mut self.queue);
        self
    }

    pub fn rules(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(&mut self.rules);
        self
    }

    /// Uses the store and the recorder of another harness.
    pub fn sharing_store(mut self, other: &Harness) -> Self {
        self.store = Some(other.store.clone());
        self.recorder = other.recorder.clone();
        self
    }

    /// Uses the store, the recorder and the process instance of another harness, as a copy of its process would.
    pub fn copying(mut self, original: &Harness) -> Self {
        self.instance = original.tree.instance().into();
        self.sharing_store(original)
    }

    pub fn handler_runtime(mut self, runtime: Handle) -> Self {
        self.handler_runtime = runtime;
        self
    }

    pub async fn start(self) -> Harness {
        self.try_start().await.unwrap()
    }

    pub async fn try_start(self) -> Result<Harness, StartError> {
        let Self { queues, options, queue, rules, store, recorder, handler_runtime, gate, instance } = self;
        let clock = options.wall_clock.clone();
        let store = store.unwrap_or_else(|| FaultyStore::new(MemoryStore::with_clock(clock)));
        let specs = queues.iter().map(|name| {
            let mut handlers = Handlers::default();
            let recorder = recorder.clone();
            match gate.clone() {
                None => handlers.add(move |work: Work, ctx: Context| perform(work, ctx, recorder.clone())).unwrap(),
                Some(gate) => handlers
                    .add_blocking(move |work: Work, ctx: Context| perform_blocking(&work, &ctx, &recorder, &gate))
                    .unwrap(),
            }
            let (handlers, states) = (Arc::new(handlers), Arc::new(States::default()));
            QueueSpec {
                name: name.clone(),
                options: queue.clone(),
                runner: Arc::new(Runner::new(name.clone(), handlers, states, rules.clone(), instance.clone())),
            }
        });
        let tree = Tree::start(TreeSpec {
            store: Arc::new(store.clone()),
            instance: instance.clone(),
            queues: specs.collect(),
            options,
            tree: Handle::current(),
            handlers: handler_runtime,
        })
        .await?;
        let events = Arc::new(Mutex::new(Vec::new()));
        collect(&tree, events.clone());
        Ok(Harness {
            store,
            recorder,
            tree,
            queue: queues[0].clone(),
            events,
            admin: ReplaySlots::new(InstanceId::from(Uuid::new_v4()), 4),
            enqueued: Mutex::default(),
            closed: false,
        })
    }
}

fn collect(tree: &Tree, events: Arc<Mutex<Vec<SupervisionEvent>>>) {
    let mut supervision = tree.supervision();
    tokio::spawn(async move {
        loop {
            match supervision.recv().await {
                Ok(event) => events.lock().unwrap().push(event),
                Err(RecvError::Lagged(missed)) => panic!("the test missed {missed} events"),
                Err(RecvError::Closed) => return,
            }
        }
    });
}

async fn perform(work: Work, ctx: Context, recorder: Recorder) -> Result<(), Failure> {
    let run = recorder.start(&ctx);
    let step = work.steps[run.earlier.min(work.steps.len() - 1)];
    if step.wait_ms > 0 {
        tokio::time::sleep(millis(step.wait_ms)).await;
    }
    let result = match step.then {
        Action::Succeed => Ok(()),
        Action::FailTemporary => Err(Failure::temporary(Code::NetworkError, "connection reset")),
        Action::ReportAndFail(times) => {
            report(&ctx, times).await;
            Err(Failure::temporary(Code::NetworkError, "connection reset"))
        }
        Action::ReportAndHang(times) => {
            report(&ctx, times).await;
            std::future::pending().await
        }
        Action::FailAskingFor(ms) => {
            Err(Failure::temporary(Code::RateLimitExceeded, "too many requests").retry_after(millis(ms)))
        }
        Action::FailPermanent => Err(Failure::permanent(Code::InvalidJobData, "no such address")),
        Action::FailUnknown => Err(Failure::new(Code::JobExecutionFailed, "unclassified")),
        Action::FailWithoutFiles => Err(Failure::temporary(Code::NetworkError, std::io::Error::from_raw_os_error(24))),
        Action::Snooze(ms) => Err(Failure::snooze(millis(ms))),
        Action::Panic => panic!("boom {}", ctx.id()),
        Action::StopWhenAsked => {
            ctx.cancellation().cancelled().await;
            Err(Failure::temporary(Code::Interrupted, "asked to stop"))
        }
        Action::SucceedWhenAsked => {
            ctx.cancellation().cancelled().await;
            Ok(())
        }
        Action::Hang => std::future::pending().await,
        Action::BlockFor(ms) => {
            std::thread::sleep(millis(ms));
            Ok(())
        }
        Action::Block => unreachable!("only blocking handlers may block"),
    };
    run.finish(if result.is_ok() { RunEnd::Succeeded } else { RunEnd::Failed });
    result
}

async fn report(ctx: &Context, times: u32) {
    for n in 1..=times {
        ctx.progress((n * 100 / times) as u8, format!("{n} of {times}"));
        tokio::time::sleep(millis(1)).await;
    }
}

/// The actions a blocking handler supports.
fn perform_blocking(work: &Work, ctx: &Context, recorder: &Recorder, gate: &AtomicBool) -> Result<(), Failure> {
    let run = recorder.start(ctx);
    let step = work.steps[run.earlier.min(work.steps.len() - 1)];
    let deadline = Instant::now() + millis(step.wait_ms);
    let blocked = || match step.then {
        Action::Block => !gate.load(Ordering::SeqCst),
        _ => Instant::now() < deadline,
    };
    while blocked() {
        std::thread::sleep(Duration::from_micros(200));
    }
    run.finish(RunEnd::Succeeded);
    Ok(())
}

/// A tree with its store and the records of a test.
pub struct Harness {
    pub store: FaultyStore,
    pub recorder: Recorder,
    pub tree: Tree,
    pub queue: QueueName,
    events: Arc<Mutex<Vec<SupervisionEvent>>>,
    admin: ReplaySlots,
    enqueued: Mutex<BTreeSet<(QueueName, JobId)>>,
    closed: bool,
}

impl Harness {
    /// A queue `email` with 4 executors, leases of 30 s, retries after exactly 1 s.
    pub fn build() -> HarnessBuilder {
        HarnessBuilder {
            queues: vec![QueueName::new("email").unwrap()],
            options: TreeOptions {
                seed: 1,
                wall_clock: Arc::new(TokioClock::starting_at(BEGIN_MS)),
                ..TreeOptions::default()
            },
            queue: QueueOptions { concurrency: 4, ..QueueOptions::default() },
            rules: Rules { retry: Some(Retry::fixed().base(secs(1)).jitter(0)), ..Rules::default() },
            store: None,
            recorder: Recorder::default(),
            handler_runtime: Handle::current(),
            gate: None,
            instance: InstanceId::from(Uuid::new_v4()).into(),
        }
    }

    pub async fn start() -> Self {
        Self::build().start().await
    }

    pub fn handle(&self) -> FrontDoorHandle {
        self.tree.queue(&self.queue).unwrap()
    }

    // --- jobs

    pub async fn enqueue(&self, id: &str, work: Work) -> JobId {
        self.enqueue_at(id, work, RunAt::Now).await
    }

    pub async fn enqueue_at(&self, id: &str, work: Work, run_at: RunAt) -> JobId {
        self.try_enqueue(id, work, run_at, WAIT_TIMEOUT).await.unwrap().id
    }

    pub async fn try_enqueue(
        &self,
        id: &str,
        work: Work,
        run_at: RunAt,
        timeout: Duration,
    ) -> Result<Receipt, EnqueueError> {
        let id = JobId::parse(id).unwrap();
        let options = JobOptions::default().id(id.clone()).run_at(run_at);
        let job = seal_job(&work, &options).unwrap();
        let receipt = self.handle().enqueue(job, timeout).await?;
        self.enqueued.lock().unwrap().insert((self.queue.clone(), id));
        Ok(receipt)
    }

    /// Enqueues this many jobs of the same work, named `prefix-0` and so on.
    pub async fn enqueue_many(&self, prefix: &str, count: usize, work: &Work) -> Vec<JobId> {
        let names: Vec<String> = (0..count).map(|n| format!("{prefix}-{n}")).collect();
        let all = names.iter().map(|name| self.enqueue(name, work.clone()));
        futures_util::future::join_all(all).await
    }

    /// Runs fast jobs, so that the next ones are claimed before an executor is free.
    pub async fn measure_fast_handlers(&self) {
        let quick = self.enqueue_many("quick", 30, &Work::lasting(millis(1))).await;
        self.until_all(&quick, JobState::Completed).await;
    }

    pub fn view(&self, id: &JobId) -> JobView {
        let view = self.store.job(&self.queue, id).now_or_never().unwrap().unwrap();
        view.unwrap_or_else(|| panic!("job {id} is not kept"))
    }

    pub fn state(&self, id: &JobId) -> JobState {
        self.view(id).state
    }

    pub fn stats(&self) -> QueueStats {
        self.store.stats(&self.queue).now_or_never().unwrap().unwrap()
    }

    /// The pending jobs from the front of the queue, at most one page.
    pub fn pending(&self) -> Vec<JobId> {
        let page = self.store.jobs(&self.queue, JobState::Pending, None, BATCH_MAX).now_or_never().unwrap().unwrap();
        page.jobs.into_iter().map(|job| job.id).collect()
    }

    pub async fn cancel(&self, id: &JobId) {
        let call = self.admin_call().await;
        self.store.cancel(call, &self.queue, &"ada".into(), &[id.into()]).await.unwrap();
    }

    pub async fn pause(&self) {
        self.store.pause(self.admin_call().await, &self.queue, &"ada".into()).await.unwrap();
    }

    pub async fn resume(&self) {
        self.store.resume(self.admin_call().await, &self.queue).await.unwrap();
    }

    pub async fn admin_call(&self) -> CallId {
        self.admin.take().await.next_call()
    }

    // --- events

    pub fn events(&self) -> Vec<SupervisionEvent> {
        self.events.lock().unwrap().clone()
    }

    pub fn count(&self, is: impl Fn(&EventKind) -> bool) -> usize {
        self.events().iter().filter(|event| is(&event.kind)).count()
    }

    pub async fn until_event(&self, what: &str, is: impl Fn(&SupervisionEvent) -> bool) -> SupervisionEvent {
        self.until(what, || self.events().iter().any(&is)).await;
        self.events().into_iter().find(|event| is(event)).unwrap()
    }

    // --- waiting

    /// Waits until the condition holds.
    pub async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        self.until_within(WAIT_TIMEOUT, what, holds).await;
    }

    /// Waits until the condition holds, at most for `timeout`.
    pub async fn until_within(&self, timeout: Duration, what: &str, holds: impl Fn() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() <= timeout, "timed out waiting for: {what}\n{}", self.report());
            // Checking every millisecond is too slow where minutes pass.
            tokio::time::sleep(if begun.elapsed() < secs(2) { millis(1) } else { millis(20) }).await;
        }
    }

    /// Waits until the condition holds while threads are blocked. Blocked threads keep paused time from advancing by itself, so this advances it.
    pub async fn until_advancing(&self, what: &str, holds: impl Fn() -> bool) {
        for _ in 0..20_000 {
            if holds() {
                return;
            }
            self.advance_time().await;
        }
        panic!("timed out waiting for: {what}\n{}", self.report());
    }

    /// Awaits a future while advancing paused time.
    pub async fn advancing<T>(&self, what: impl Future<Output = T>) -> T {
        tokio::pin!(what);
        for _ in 0..20_000 {
            tokio::select! {
                biased;
                result = &mut what => return result,
                () = self.advance_time() => {}
            }
        }
        panic!("timed out waiting\n{}", self.report());
    }

    async fn advance_time(&self) {
        tokio::time::advance(millis(10)).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        // Blocked threads need real time.
        std::thread::sleep(Duration::from_micros(100));
    }

    pub async fn until_state(&self, id: &JobId, state: JobState) {
        self.until(&format!("{id} {state}"), || self.state(id) == state).await;
    }

    pub async fn until_all(&self, ids: &[JobId], state: JobState) {
        self.until(&format!("all {state}"), || ids.iter().all(|id| self.state(id) == state)).await;
    }

    fn report(&self) -> String {
        let events: Vec<String> = self
            .events()
            .iter()
            .map(|e| format!("{} {}#{} {:?}", e.at_ms - BEGIN_MS, e.path, e.generation, e.kind))
            .collect();
        let runs: Vec<String> = self
            .recorder
            .all()
            .iter()
            .map(|run| format!("{} grant {} {:?} stopped {:?}", run.id, run.grant, run.ended, run.stopped))
            .collect();
        let tail = |lines: &[String]| lines[lines.len().saturating_sub(60)..].join("\n  ");
        format!("stats {:?}\nevents\n  {}\nruns\n  {}", self.stats(), tail(&events), tail(&runs))
    }

    // --- the actors

    /// Kills the actor at this path and waits until it has been restarted.
    pub async fn kill_and_await_restart(&self, path: &str) {
        let before = self.generation(path).unwrap_or_else(|| panic!("no actor at {path}"));
        assert!(self.tree.kill(path));
        self.until(&format!("the restart of {path}"), || self.generation(path).is_some_and(|now| now > before)).await;
    }

    pub fn generation(&self, path: &str) -> Option<u32> {
        self.tree.actors().into_iter().find(|actor| actor.path == path).map(|actor| actor.generation)
    }

    // --- the end

    /// Shuts the tree down and checks that nothing was left behind.
    pub async fn close(self) -> ShutdownReport {
        let report = self.shut_down().await;
        assert_eq!(report.unsettled, 0, "outcomes were not settled\n{}", self.report());
        assert_eq!(self.stats().processing, 0, "jobs are still leased\n{}", self.report());
        self.assert_clean();
        report
    }

    /// Removes the queue from the store, as a server that lost its data would.
    pub async fn lose_data(&self) {
        self.store.memory().delete_queue(&self.queue, UnfinishedJobs::Delete).await.unwrap();
        self.enqueued.lock().unwrap().clear();
    }

    /// Shuts the tree down, whatever becomes of its jobs.
    pub async fn shut_down(&self) -> ShutdownReport {
        let begun = Instant::now();
        let report = self.tree.shutdown().await.expect("the tree ended by itself");
        assert!(begun.elapsed() < secs(90), "the shutdown took {:?}", begun.elapsed());
        report
    }

    /// For a tree that has ended: checks that no actor is left, that every queue is consistent, and that no grant was run twice.
    pub fn assert_clean(mut self) {
        self.closed = true;
        let actors = self.tree.actors();
        assert!(actors.is_empty(), "actors outlive their tree: {actors:?}");
        let report = || self.report();
        for (queue, id) in self.enqueued.lock().unwrap().iter() {
            let kept = self.store.job(queue, id).now_or_never().unwrap().unwrap();
            assert!(kept.is_some(), "job {id} was lost\n{}", report());
        }
        for queue in self.tree.queues() {
            let counts = self.store.memory().check_counts(&queue).now_or_never().unwrap().unwrap();
            assert_eq!(counts.difference(), 0, "queue {queue} is inconsistent: {counts:?}\n{}", report());
            assert_eq!(counts.grant_difference, 0, "{counts:?}");
        }
        for (id, runs) in self.recorder.by_job() {
            let grants: BTreeSet<u32> = runs.iter().map(|run| run.grant).collect();
            assert_eq!(grants.len(), runs.len(), "a grant of {id} was run twice\n{}", report());
        }
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if !self.closed && !std::thread::panicking() {
            panic!("this harness was not closed: end it with close() or assert_clean()");
        }
    }
}
