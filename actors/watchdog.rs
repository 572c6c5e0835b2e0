//! The watchdog: takes back leases nobody renews, hands back what lost claims were granted, names stuck handlers, settles the attempts of zombies, sends back what waits too long, trims what
//! retention no longer keeps, and audits that no job is orphaned.
//!
//! It looks at a queue when its next lease runs out, [`WATCH_MIN`] to [`WATCH_MAX`]; one without leases is left alone for longer. Bounds: one round under way; reclaims and trims go in slices of
//! [`SLICE_MAX`], at most [`SLICES_MAX`] a queue and round. One audit under way, apart from the rounds, with a repair of at most [`REPAIR_MAX`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use retraced_jobs::store::{Reclaim, Reclaimed, TrimPolicy};
use retraced_jobs::trace::EventKind;
use tokio::time::Instant;

use crate::errand::{self, Errand};
use crate::executor;
use crate::house::{House, Room};
use crate::pool::PoolMessage;
use crate::supervisor::{SupervisorMessage, millis};

/// Shortest sleep between two rounds.
pub const WATCH_MIN: Duration = Duration::from_millis(100);
/// Longest time between two looks at a queue where there are leases, and no longer than a third of a lease. Where there are none it is that third: nothing can run out before, but for leases of workers
/// that take shorter ones, and a queue not looked after for half a lease counts as one nobody could look after.
pub const WATCH_MAX: Duration = Duration::from_secs(1);
/// Leases taken back, or jobs trimmed, in one call.
pub const SLICE_MAX: usize = 200;
/// Calls a queue may take of each kind in one round; the rest waits for the next.
pub const SLICES_MAX: usize = 20;
/// How long past its timeout a handler may run before its attempt is settled without it.
pub const ZOMBIE_AFTER: Duration = Duration::from_secs(10);
/// How long a handler may go without yielding before it is named as stuck.
pub const STUCK_AFTER: Duration = Duration::from_secs(1);
/// How often in a row a job may lose its worker before its handler has begun; then it is poisoned, for it may be what kills those who fetch it.
pub const LOSSES_MAX: u32 = 20;
/// How often what retention no longer keeps is looked for where nothing was settled here.
pub const TRIM_QUIET_EVERY: Duration = Duration::from_secs(60);
/// How often a queue is audited.
pub const AUDIT_EVERY: Duration = Duration::from_secs(60);
/// Longest time one repair of a queue may take; what it has mended until then stays so, and the next one goes on.
pub const REPAIR_MAX: Duration = Duration::from_secs(15 * 60);

/// What the watchdog is told.
#[derive(Debug)]
pub(crate) enum WatchdogMessage {
    /// It is time.
    Watch,
    /// A round has ended; the next comes after this.
    Watched { next: Duration },
    /// It is time to look at our own handlers.
    LookAround,
    /// It is time to audit.
    Audit,
}

/// The actor.
pub(crate) struct Watchdog;

pub(crate) struct WatchdogState {
    house: Arc<House>,
    round: Option<Errand>,
    timer: Option<Errand>,
    looks: Option<Errand>,
    audits: Option<Errand>,
    zombies_max: usize,
}

impl Actor for Watchdog {
    type Msg = WatchdogMessage;
    type State = WatchdogState;
    type Arguments = Arc<House>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        house: Arc<House>,
    ) -> Result<WatchdogState, ActorProcessingErr> {
        myself.cast(WatchdogMessage::Watch)?;
        let executors = house.rooms.iter().map(|room| room.options.concurrency).sum();
        let zombies_max = house.options.zombies_max.unwrap_or(executors);
        // Apart from the rounds with the store: our own handlers are watched in an outage too.
        myself.cast(WatchdogMessage::LookAround)?;
        let mut state = WatchdogState { house, round: None, timer: None, looks: None, audits: None, zombies_max };
        state.audit_later(&myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: WatchdogMessage,
        state: &mut WatchdogState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WatchdogMessage::Watch => state.watch(&myself),
            WatchdogMessage::Watched { next } => state.watched(&myself, next),
            WatchdogMessage::LookAround => state.look_around(&myself),
            WatchdogMessage::Audit => state.audit_later(&myself),
        }
        Ok(())
    }
}

impl WatchdogState {
    fn watch(&mut self, myself: &ActorRef<WatchdogMessage>) {
        let house = self.house.clone();
        self.round = Some(errand::send_out(myself, async move {
            join_all(house.rooms.iter().map(|room| look_after(&house, room))).await;
            let nexts = house.rooms.iter().map(|room| room.watches.remaining().min(room.trims.remaining()));
            WatchdogMessage::Watched { next: nexts.min().unwrap_or(WATCH_MAX) }
        }));
    }

    /// Apart from the rounds: a repair takes as long as its queue is large, and leases must be looked after meanwhile.
    fn audit_later(&mut self, myself: &ActorRef<WatchdogMessage>) {
        let house = self.house.clone();
        self.audits = Some(errand::send_out(myself, async move {
            tokio::time::sleep(AUDIT_EVERY).await;
            for room in &house.rooms {
                audit(&house, room).await;
            }
            WatchdogMessage::Audit
        }));
    }

    fn watched(&mut self, myself: &ActorRef<WatchdogMessage>, next: Duration) {
        self.round = None;
        let longest = WATCH_MAX.min(self.house.options.lease / 3);
        self.timer = Some(errand::send_out(myself, async move {
            tokio::time::sleep(next.max(WATCH_MIN).min(longest)).await;
            WatchdogMessage::Watch
        }));
    }

    fn look_around(&mut self, myself: &ActorRef<WatchdogMessage>) {
        self.looks = Some(errand::send_out(myself, async {
            tokio::time::sleep(WATCH_MIN).await;
            WatchdogMessage::LookAround
        }));
        let now = Instant::now();
        for room in &self.house.rooms {
            let overdue = room.inflight.overdue(now, ZOMBIE_AFTER, STUCK_AFTER, self.house.dice.jitter());
            for (job, ran) in overdue.stuck {
                let (queue, ran_ms) = (room.name.clone(), millis(ran));
                self.house.events.emit("watchdog", 0, EventKind::Stuck { queue, job: job.id, ran_ms });
            }
            for zombie in overdue.zombies {
                let path = executor::path(room, zombie.executor.slot);
                let (queue, job, attempt) = (room.name.clone(), zombie.job.id, zombie.job.token.attempt);
                let kind = EventKind::Zombie { queue, job, attempt, ran_ms: millis(zombie.ran) };
                self.house.events.emit(&path, zombie.executor.generation, kind);
                room.pool.tell(PoolMessage::Start { slot: zombie.executor.slot });
                room.flush();
            }
            room.inflight.return_unstarted(now);
            // Also what went back to the table because its call came to a bad end.
            if room.inflight.has_finished() {
                room.flush();
            }
        }
        self.end_if_haunted();
    }

    fn end_if_haunted(&self) {
        let zombies: usize = self.house.rooms.iter().map(|room| room.inflight.zombies()).sum();
        if zombies >= self.zombies_max {
            let reason = format!(
                "{zombies} handlers ignore their timeout and {} may; end the process, a new one runs their jobs again",
                self.zombies_max
            );
            self.house.root.tell(SupervisorMessage::GiveUp { child: "watchdog".into(), reason });
        }
    }
}

/// Does what is due on one queue.
async fn look_after(house: &House, room: &Room) {
    reconcile(house, room).await;
    if room.watches.is_due() {
        room.watches.look();
        let next = reclaim(house, room).await;
        room.watches.again_in(next);
    }
    if room.trims.is_due() {
        room.trims.look();
        let is_more = trim(house, room).await;
        room.trims.again_in(if is_more { WATCH_MIN } else { TRIM_QUIET_EVERY });
    }
}

/// Hands back what claims of ours were granted that came to a bad end: a reply that cannot be read, a bug that ended whoever waited for it.
async fn reconcile(house: &House, room: &Room) {
    let lost = room.inflight.lost_claims();
    if lost.is_empty() {
        return;
    }
    let (mut released, mut from) = (0, None);
    loop {
        let mut replay_slot = house.replay_slots.take().await;
        let call = replay_slot.next_call();
        let reconcile = || house.store.reconcile(call, &room.name, house.instance, &lost, from.clone());
        let Some(Ok(slice)) = house.health.until_known("reconcile", reconcile).await else { break };
        released += slice.released.len();
        from = slice.next;
        if from.is_none() {
            break;
        }
    }
    if released > 0 {
        let kind = EventKind::ClaimsLost { queue: room.name.clone(), claims: lost.len(), released };
        house.events.emit("watchdog", 0, kind);
        room.work_may_wait();
    }
}

/// Takes back what ran out in one queue. Gives when to look again.
async fn reclaim(house: &House, room: &Room) -> Duration {
    let lease = house.options.lease;
    let crashes_max = house.options.crashes_max;
    let request = Reclaim { limit: SLICE_MAX, lease, crashes_max, losses_max: LOSSES_MAX };
    for _ in 0..SLICES_MAX {
        let mut replay_slot = house.replay_slots.take().await;
        let call = replay_slot.next_call();
        let reclaimed = house.health.until_known("reclaim", || house.store.reclaim(call, &room.name, &request)).await;
        let Some(Ok(reclaimed)) = reclaimed else { return WATCH_MAX };
        tell(house, room, &reclaimed);
        if reclaimed.jobs.iter().any(|job| !job.poisoned) {
            room.work_may_wait();
        }
        if reclaimed.jobs.len() < SLICE_MAX {
            let longest = lease / 3;
            return reclaimed.next_expiry.map_or(longest, |next| next.min(WATCH_MAX).min(longest));
        }
    }
    WATCH_MIN
}

fn tell(house: &House, room: &Room, reclaimed: &Reclaimed) {
    // A grace that nothing needs, as on a queue that was never looked after before, is no news.
    if let Some(grace) = reclaimed.grace
        && reclaimed.next_expiry == Some(Duration::ZERO)
        && room.grace_is_new(grace)
    {
        let kind = EventKind::GraceGiven { queue: room.name.clone(), grace_ms: millis(grace) };
        house.events.emit("watchdog", 0, kind);
    }
    for job in &reclaimed.jobs {
        let kind = EventKind::LeaseReclaimed {
            queue: room.name.clone(),
            job: job.id.clone(),
            owner: job.owner,
            crashes: job.crashes,
            charged: job.charged,
            poisoned: job.poisoned,
        };
        house.events.emit("watchdog", 0, kind);
    }
}

/// Gives whether there is more to trim.
async fn trim(house: &House, room: &Room) -> bool {
    let policy = TrimPolicy { retention: room.options.retention, limit: SLICE_MAX };
    for _ in 0..SLICES_MAX {
        let mut replay_slot = house.replay_slots.take().await;
        let call = replay_slot.next_call();
        let trimmed = house.health.until_known("trim", || house.store.trim(call, &room.name, &policy)).await;
        if !matches!(trimmed, Some(Ok(trimmed)) if trimmed.more) {
            return false;
        }
    }
    true
}

/// A store may read its counts one after another while jobs move, so only what shows twice is told, and mended.
async fn audit(house: &House, room: &Room) {
    let count = || house.health.attempt("audit", house.store.audit(&room.name));
    let Ok(first) = count().await else { return };
    if first.adds_up() {
        return;
    }
    let Ok(second) = count().await else { return };
    if second.adds_up() {
        return;
    }
    let (queue, difference) = (room.name.clone(), second.difference());
    house.events.emit("watchdog", 0, EventKind::AuditFailed { queue, difference });
    let repair = house.health.attempt_within(REPAIR_MAX, "repair", house.store.repair(&room.name));
    if let Ok(findings) = repair.await
        && !findings.is_empty()
    {
        house.events.emit("watchdog", 0, EventKind::QueueRepaired { queue: room.name.clone(), findings });
    }
}
