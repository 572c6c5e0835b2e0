//! What the actors of one runtime share, and what outlives them: the store, the tables, and where to find each other.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use retraced_jobs::execution::Runner;
use retraced_jobs::job::{InstanceId, Nonce, QueueName};
use retraced_jobs::store::{Claims, ReplaySlots, Store};
use retraced_jobs::trace::ExecutorId;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agenda::Agenda;
use crate::event::Events;
use crate::fetcher::FetcherMessage;
use crate::front_door::FrontDoor;
use crate::health::Health;
use crate::inflight::{Granted, Inflight, OpenClaim};
use crate::options::{QueueOptions, QueueSpec, TreeOptions};
use crate::pool::PoolMessage;
use crate::queue::Enqueue;
use crate::retry_scheduler::{LOOK_MIN, LOOK_QUIET_MAX, RetrySchedulerMessage};
use crate::roster::Roster;
use crate::settler::SettlerMessage;
use crate::slot::Slot;
use crate::supervisor::SupervisorMessage;

/// Calls a process may have open with the store at a time; further callers wait for a replay slot.
pub const REPLAY_SLOTS_MAX: u16 = 256;

/// One runtime's house.
pub(crate) struct House {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) instance: InstanceId,
    pub(crate) options: TreeOptions,
    pub(crate) replay_slots: ReplaySlots,
    pub(crate) events: Events,
    pub(crate) roster: Roster,
    pub(crate) health: Health,
    pub(crate) clock: StoreClock,
    pub(crate) dice: Dice,
    /// Where executors, and so the user's code, run.
    pub(crate) users: Handle,
    pub(crate) rooms: Vec<Arc<Room>>,
    pub(crate) root: Slot<SupervisorMessage>,
    pub(crate) scheduler: Slot<RetrySchedulerMessage>,
    /// Fired at the very end: open calls are given up.
    pub(crate) ended: CancellationToken,
    /// Fired when a shutdown is asked for.
    pub(crate) stop_asked: CancellationToken,
    /// When this life began, in ms since the Unix epoch.
    pub(crate) started_ms: u64,
    hints: AtomicBool,
}

/// What belongs to one queue.
pub(crate) struct Room {
    pub(crate) name: QueueName,
    pub(crate) options: QueueOptions,
    pub(crate) inflight: Arc<Inflight>,
    pub(crate) door: Arc<FrontDoor>,
    pub(crate) queue: Slot<Enqueue>,
    pub(crate) fetcher: Slot<FetcherMessage>,
    pub(crate) settler: Slot<SettlerMessage>,
    pub(crate) pool: Slot<PoolMessage>,
    /// Settlements under way: [`SETTLE_CYCLES_MAX`](crate::settler::SETTLE_CYCLES_MAX) permits.
    pub(crate) settle_cycles: Arc<Semaphore>,
    /// Claims under way that are not part of a settlement.
    pub(crate) claim_cycles: Arc<Semaphore>,
    pub(crate) runner: Arc<Runner>,
    /// When the retry scheduler looks at the delayed jobs, and the watchdog at the leases and at what retention no longer keeps.
    pub(crate) looks: Agenda,
    pub(crate) watches: Agenda,
    pub(crate) trims: Agenda,
    /// Starts so far of each executor's place, across pools: the next generation.
    generations: Mutex<Vec<u32>>,
    /// Set while the settler has been told to flush and has not looked yet.
    flush_told: AtomicBool,
    /// Until when, by our clock, leases have grace as far as it was told.
    grace_until: Mutex<Option<Instant>>,
    /// The last claim gave less than was asked for, and nothing has hinted at more since.
    dry: AtomicBool,
}

impl House {
    #[expect(clippy::too_many_arguments, reason = "built in one place, from what was checked")]
    pub(crate) fn new(
        store: Arc<dyn Store>,
        instance: InstanceId,
        options: TreeOptions,
        replay_slots: ReplaySlots,
        events: Events,
        health: Health,
        users: Handle,
        rooms: Vec<Arc<Room>>,
        ended: CancellationToken,
    ) -> Self {
        Self {
            store,
            instance,
            replay_slots,
            events,
            roster: Roster::default(),
            health,
            clock: StoreClock::starting_at(options.clock.now_ms()),
            dice: Dice::new(options.seed),
            started_ms: options.clock.now_ms(),
            options,
            users,
            rooms,
            root: Slot::default(),
            scheduler: Slot::default(),
            ended,
            stop_asked: CancellationToken::new(),
            hints: AtomicBool::new(false),
        }
    }

    pub(crate) fn room(&self, queue: &QueueName) -> Option<&Arc<Room>> {
        self.rooms.iter().find(|room| room.name == *queue)
    }

    pub(crate) fn hints_arrive(&self, alive: bool) {
        self.hints.store(alive, Ordering::Relaxed);
    }

    pub(crate) fn hints_alive(&self) -> bool {
        self.hints.load(Ordering::Relaxed)
    }

    pub(crate) fn scheduler_look(&self) {
        self.scheduler.tell(RetrySchedulerMessage::Look);
    }

    /// A claim sent at that instant found nothing pending, and saw when the next delayed job is due: the retry scheduler need not ask the
    /// same. While no hints arrive it asks all the same, since nobody would tell of a job that comes between.
    pub(crate) fn seen_delayed(&self, room: &Room, sent: Instant, next_due: Option<Duration>) {
        let wait = next_due.unwrap_or(LOOK_QUIET_MAX).clamp(LOOK_MIN, LOOK_QUIET_MAX);
        let sooner = if self.hints_alive() {
            room.looks.seen(sent, wait)
        } else {
            let sooner = wait < room.looks.remaining();
            room.looks.within(wait);
            sooner
        };
        if sooner {
            self.scheduler_look();
        }
    }
}

impl Room {
    pub(crate) fn new(spec: QueueSpec, crashes_max: u32, door: Arc<FrontDoor>) -> Self {
        let QueueSpec { name, options, runner } = spec;
        Self {
            inflight: Arc::new(Inflight::new(runner.clone(), options.concurrency, crashes_max)),
            generations: Mutex::new(vec![0; options.concurrency]),
            name,
            options,
            runner,
            door,
            queue: Slot::default(),
            fetcher: Slot::default(),
            settler: Slot::default(),
            pool: Slot::default(),
            settle_cycles: Arc::new(Semaphore::new(crate::settler::SETTLE_CYCLES_MAX)),
            claim_cycles: Arc::new(Semaphore::new(crate::fetcher::CLAIM_CYCLES_MAX)),
            looks: Agenda::default(),
            watches: Agenda::default(),
            trims: Agenda::default(),
            grace_until: Mutex::new(None),
            flush_told: AtomicBool::new(false),
            dry: AtomicBool::new(false),
        }
    }

    /// The next generation of each executor's place.
    pub(crate) fn generations(&self) -> Vec<u32> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The latest executor of each place.
    pub(crate) fn executors(&self) -> Vec<ExecutorId> {
        let latest = |(slot, next): (u32, u32)| ExecutorId::new(slot, next.saturating_sub(1));
        (0..).zip(self.generations()).map(latest).collect()
    }

    /// An executor is about to start: the generation is used, whatever becomes of the pool.
    pub(crate) fn starts(&self, id: ExecutorId) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(next) = generations.get_mut(id.slot as usize) {
            *next = id.generation + 1;
        }
    }

    /// Something is finished: the settler looks, once for however many.
    pub(crate) fn flush(&self) {
        if !self.flush_told.swap(true, Ordering::AcqRel) {
            self.settler.tell(SettlerMessage::Flush);
        }
    }

    /// The settler looks now: whatever finishes from here on must be told again.
    pub(crate) fn flush_seen(&self) {
        self.flush_told.store(false, Ordering::Release);
    }

    /// The queue may have something to claim.
    pub(crate) fn work_may_wait(&self) {
        self.inflight.hint();
        self.dry.store(false, Ordering::Release);
        self.fetcher.tell(FetcherMessage::Poll);
    }

    /// A claim was answered: its jobs enter the table.
    pub(crate) fn granted(&self, open: OpenClaim, claims: Claims, expires: Instant) -> Granted {
        let granted = open.grant(claims, expires);
        self.dry.store(granted.dry, Ordering::Release);
        if granted.hinted {
            self.fetcher.tell(FetcherMessage::Poll);
        }
        if self.inflight.is_closed() {
            // Nobody will run them: they are on their way back already.
            self.flush();
        }
        granted
    }

    /// Whether this grace has not been told yet.
    pub(crate) fn grace_is_new(&self, grace: Duration) -> bool {
        let mut until = self.grace_until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let new = until.is_none_or(|told| told <= now);
        if new {
            *until = Some(now + grace);
        }
        new
    }

    /// An executor is idle: ask, unless the queue is known to be empty.
    pub(crate) fn credit(&self) {
        if !self.dry.load(Ordering::Acquire) {
            self.fetcher.tell(FetcherMessage::Poll);
        }
    }
}

/// The store's clock, as well as it is known here: its last word, carried on by our monotonic clock.
pub(crate) struct StoreClock {
    origin: Instant,
    offset_ms: AtomicI64,
}

impl StoreClock {
    fn starting_at(now_ms: u64) -> Self {
        Self { origin: Instant::now(), offset_ms: AtomicI64::new(signed(now_ms)) }
    }

    pub(crate) fn observe(&self, now_ms: u64) {
        self.offset_ms.store(signed(now_ms) - self.since_origin_ms(Instant::now()), Ordering::Relaxed);
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.at(Instant::now())
    }

    /// What it shows at an instant of ours.
    pub(crate) fn at(&self, now: Instant) -> u64 {
        u64::try_from(self.offset_ms.load(Ordering::Relaxed).saturating_add(self.since_origin_ms(now))).unwrap_or(0)
    }

    fn since_origin_ms(&self, now: Instant) -> i64 {
        i64::try_from(now.saturating_duration_since(self.origin).as_millis()).unwrap_or(i64::MAX)
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// The runtime's randomness, seeded once.
pub(crate) struct Dice(Mutex<SmallRng>);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(Mutex::new(SmallRng::seed_from_u64(seed)))
    }

    fn with<T>(&self, draw: impl FnOnce(&mut SmallRng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn seed(&self) -> u64 {
        self.with(|rng| rng.random())
    }

    /// Part of a token: an identity, so never from the seed. Two workers of one seed must not draw the same.
    pub(crate) fn nonce() -> Nonce {
        rand::random()
    }

    /// −1000 to 1000.
    pub(crate) fn jitter(&self) -> i16 {
        self.with(|rng| rng.random_range(-1000..=1000))
    }

    /// The duration, less up to a fifth of it.
    pub(crate) fn spread(&self, duration: Duration) -> Duration {
        duration.mul_f64(self.with(|rng| rng.random_range(0.8..=1.0)))
    }
}
