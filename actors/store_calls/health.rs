//! Whether the store answers and takes writes, as all callers in one process see it. A change is reported once. While the store is unreachable or blocked no actor
//! crashes; callers wait a while before they send their call again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use retraced_jobs::events::EventKind;
use retraced_jobs::job::InstanceId;
use retraced_jobs::store::{Block, BlockedStore, StoreError};
use retraced_jobs::units::millis;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::StoreStatus;
use super::failing::{FailingVerbs, Streak};
use crate::address::Address;
use crate::limits::{
    OUTAGE_REPORTED_AFTER, OUTAGE_WAIT_MAX, REFUSALS_REMEMBERED_MAX, REFUSED_DELAY, REFUSED_REPORT_INTERVAL,
    RESEND_DELAY,
};
use crate::messages::StoreLinkMessage;
use crate::path;
use crate::supervision::event::Events;

#[derive(Debug, Clone, PartialEq, Eq)]
enum StoreState {
    Up,
    /// Calls get no answer. The next answer ends it, unless it is a refusal: a proxy or a server that is still starting may refuse everything. If that answer
    /// comes before the outage was reported, the state is again what it was before.
    Unreachable {
        since: Instant,
        reason: Arc<str>,
        reported: bool,
        before: Box<StoreState>,
    },
    /// Calls get answers, but some or all writes are refused. Only a probe or an outage ends it, because the success of one call does not show that others are no longer
    /// refused. After an outage the next refused write finds it again.
    Blocked {
        since: Instant,
        by: Block,
        said: Arc<str>,
        /// Whether this cause was reported since it began.
        reported: bool,
        /// Whether this cause or one before it was reported, so that the end is to be reported too.
        reports_end: bool,
    },
}

impl StoreState {
    fn status(&self) -> StoreStatus {
        match self {
            Self::Up => StoreStatus::Up,
            Self::Unreachable { .. } => StoreStatus::Unreachable,
            Self::Blocked { by, .. } => StoreStatus::Blocked(*by),
        }
    }
}

/// The health of the store. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct Health(Arc<Inner>);

struct Inner {
    state: watch::Sender<StoreState>,
    /// Held while the state changes and the change is reported, so that changes are reported in their order. The value: when each block was reported last.
    changing: Mutex<HashMap<Block, Instant>>,
    /// Where outages and refusals are reported; a process without a tree does not report them.
    events: Option<Events>,
    link: Address<StoreLinkMessage>,
    /// The refusals that were reported last, and when. At most [`REFUSALS_REMEMBERED_MAX`].
    refused: Mutex<HashMap<String, Instant>>,
    /// Calls that fail although others are answered. The lock is held while that is reported, so that reports keep their order.
    failing: Mutex<FailingVerbs>,
    /// The calls that are sent once, by their verb.
    streaks: Mutex<HashMap<&'static str, Streak>>,
    /// Cancelled when the tree has ended. After that no call of an actor is sent again.
    ended: CancellationToken,
    /// How long a caller waits for the end of an outage before it sends its call anyway.
    wait_max: Duration,
}

impl Health {
    pub(crate) fn new(events: Events, ended: CancellationToken) -> Self {
        Self::with(Some(events), ended, OUTAGE_WAIT_MAX)
    }

    /// For a process without a tree: outages are not reported, and no store link checks whether the store is back.
    pub(super) fn unreported() -> Self {
        Self::with(None, CancellationToken::new(), RESEND_DELAY)
    }

    fn with(events: Option<Events>, ended: CancellationToken, wait_max: Duration) -> Self {
        let (state, link) = (watch::Sender::new(StoreState::Up), Address::default());
        Self(Arc::new(Inner {
            state,
            changing: Mutex::default(),
            events,
            link,
            refused: Mutex::default(),
            failing: Mutex::default(),
            streaks: Mutex::default(),
            ended,
            wait_max,
        }))
    }

    /// The address of the store link, which checks whether the store is back.
    pub(crate) fn link(&self) -> &Address<StoreLinkMessage> {
        &self.0.link
    }

    pub(crate) fn is_up(&self) -> bool {
        *self.0.state.borrow() == StoreState::Up
    }

    pub(super) fn status(&self) -> StoreStatus {
        match &*self.0.state.borrow() {
            // Perhaps only a connection broke.
            StoreState::Unreachable { reported: false, before, .. } => before.status(),
            state => state.status(),
        }
    }

    /// Whether calls get answers, although some may be refused.
    pub(crate) fn is_reachable(&self) -> bool {
        !matches!(*self.0.state.borrow(), StoreState::Unreachable { .. })
    }

    /// Learns from the result of a call whether the store answers and takes writes.
    pub(super) fn observe<T>(&self, sent: Instant, result: &Result<T, StoreError>) {
        match result {
            Ok(_) => self.answered(),
            Err(StoreError::Blocked { by, said, .. }) => self.blocked(*by, said),
            Err(error) if error.is_retryable() => self.unanswered(sent, &error.to_string()),
            Err(_) => {}
        }
    }

    /// A call that was sent at `since` got no answer.
    fn unanswered(&self, since: Instant, reason: &str) {
        self.change(|state, _| match state {
            StoreState::Unreachable { .. } => None,
            StoreState::Up | StoreState::Blocked { .. } => {
                let before = Box::new(state.clone());
                let reason = reason.into();
                Some((StoreState::Unreachable { since, reason, reported: false, before }, Vec::new()))
            }
        });
        self.report_outage();
        self.0.link.send(StoreLinkMessage::NotUp);
    }

    /// When the outage began; `None` if there is none or it was reported.
    pub(crate) fn unreported_outage(&self) -> Option<Instant> {
        match &*self.0.state.borrow() {
            StoreState::Unreachable { since, reported: false, .. } => Some(*since),
            _ => None,
        }
    }

    /// Reports the outage if it has lasted for [`OUTAGE_REPORTED_AFTER`], once.
    pub(crate) fn report_outage(&self) {
        self.change(|state, _| match state {
            StoreState::Unreachable { since, reason, reported: false, before }
                if since.elapsed() >= OUTAGE_REPORTED_AFTER =>
            {
                Some((
                    StoreState::Unreachable {
                        since: *since,
                        reason: reason.clone(),
                        reported: true,
                        before: before.clone(),
                    },
                    vec![EventKind::StoreUnreachable { reason: reason.as_ref().to_owned() }],
                ))
            }
            _ => None,
        });
    }

    fn answered(&self) {
        if self.is_reachable() {
            return;
        }
        self.change(|state, _| match state {
            StoreState::Unreachable { since, reported: true, .. } => Some((StoreState::Up, vec![reachable(*since)])),
            StoreState::Unreachable { before, .. } => Some((before.as_ref().clone(), Vec::new())),
            StoreState::Up | StoreState::Blocked { .. } => None,
        });
    }

    /// The store refuses writes. Without a tree nobody probes it, so each call finds out by itself. The same cause is reported once per [`REFUSED_REPORT_INTERVAL`]: a
    /// server that is nearly full may take small writes and refuse large ones in turn.
    pub(crate) fn blocked(&self, by: Block, said: &str) {
        if self.0.events.is_none() {
            return self.answered();
        }
        self.change(|state, last| {
            let known = match state {
                StoreState::Unreachable { reported: false, before, .. } => before,
                state => state,
            };
            let due = last.get(&by).is_none_or(|at| at.elapsed() >= REFUSED_REPORT_INTERVAL);
            let (since, reports_end, end_of_outage) = match known {
                StoreState::Blocked { by: known_by, reported, .. } if *known_by == by && (*reported || !due) => {
                    return (known != state).then(|| (known.clone(), Vec::new()));
                }
                StoreState::Blocked { since, reports_end, .. } => (*since, *reports_end, None),
                StoreState::Unreachable { since, .. } => (Instant::now(), false, Some(reachable(*since))),
                StoreState::Up => (Instant::now(), false, None),
            };
            let mut events: Vec<EventKind> = end_of_outage.into_iter().collect();
            if due {
                last.insert(by, Instant::now());
                events.push(EventKind::StoreBlocked { reason: BlockedStore::new(by, said).to_string() });
            }
            let reports_end = due || reports_end;
            Some((StoreState::Blocked { since, by, said: said.into(), reported: due, reports_end }, events))
        });
        self.0.link.send(StoreLinkMessage::NotUp);
    }

    /// A probe has shown that the store takes writes.
    pub(crate) fn unblocked(&self) {
        self.change(|state, _| match state {
            StoreState::Blocked { since, reports_end, .. } => {
                let event = EventKind::StoreUnblocked { blocked_ms: millis(since.elapsed()) };
                Some((StoreState::Up, reports_end.then_some(event).into_iter().collect()))
            }
            StoreState::Up | StoreState::Unreachable { .. } => None,
        });
    }

    fn change(
        &self,
        next: impl FnOnce(&StoreState, &mut HashMap<Block, Instant>) -> Option<(StoreState, Vec<EventKind>)>,
    ) {
        let mut last_block = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = next(&self.0.state.borrow(), &mut last_block);
        let Some((state, events)) = changed else { return };
        self.0.state.send_replace(state);
        events.into_iter().for_each(|event| self.report(event));
    }

    /// Reports a refusal, which only operators can do something about. The same one is reported once per [`REFUSED_REPORT_INTERVAL`], whatever else is refused meanwhile.
    pub(super) fn report_refused(&self, error: &StoreError) {
        let reason = error.to_string();
        let mut reported = self.0.refused.lock().unwrap_or_else(PoisonError::into_inner);
        reported.retain(|_, at| at.elapsed() < REFUSED_REPORT_INTERVAL);
        if reported.contains_key(&reason) {
            return;
        }
        if reported.len() == REFUSALS_REMEMBERED_MAX
            && let Some(oldest) = reported.iter().min_by_key(|(_, at)| **at).map(|(reason, _)| reason.clone())
        {
            reported.remove(&oldest);
        }
        reported.insert(reason.clone(), Instant::now());
        drop(reported);
        self.report(EventKind::StoreRefused { operation: error.operation().into(), reason });
    }

    /// Reports that this process goes on as another process instance. Without a tree it is logged only.
    pub(super) fn report_replaced(&self, old: InstanceId, new: InstanceId, conflict: &StoreError) {
        let reason = conflict.to_string();
        if self.0.events.is_none() {
            tracing::warn!(target: "retraced", %old, %new, reason, "another process uses the process instance of this one, which takes a new one");
        }
        self.report(EventKind::InstanceReplaced { old, reason });
    }

    /// Notes the result of a call that is sent once: whoever sends it does so at intervals, and this is the only place that sees all of them.
    pub(super) fn watch_verb<T>(&self, verb: &'static str, sent: Instant, result: &Result<T, StoreError>) {
        let mut streaks = self.0.streaks.lock().unwrap_or_else(PoisonError::into_inner);
        self.watch(streaks.entry(verb).or_default(), verb, sent, result);
    }

    /// Notes the result of a sending, and reports calls that fail for long although others are answered.
    pub(super) fn watch<T>(
        &self,
        streak: &mut Streak,
        verb: &'static str,
        sent: Instant,
        result: &Result<T, StoreError>,
    ) {
        match result {
            Err(error @ StoreError::Unavailable { .. }) => self.call_failed(streak, verb, sent, || error.to_string()),
            _ => self.call_works(streak, verb),
        }
    }

    pub(super) fn call_failed(
        &self,
        streak: &mut Streak,
        verb: &'static str,
        began: Instant,
        reason: impl FnOnce() -> String,
    ) {
        let outage_reported = matches!(*self.0.state.borrow(), StoreState::Unreachable { reported: true, .. });
        let Some(long) = streak.failed(began, outage_reported) else { return };
        let mut verbs = self.failing_verbs();
        if verbs.fails(verb, long) {
            self.report(EventKind::StoreCallFailing { operation: verb.into(), reason: reason() });
        }
    }

    pub(super) fn call_works(&self, streak: &mut Streak, verb: &'static str) {
        if !streak.end() {
            return;
        }
        let mut verbs = self.failing_verbs();
        if let Some(failed) = verbs.recovers(verb)
            && !self.has_ended()
        {
            self.report(EventKind::StoreCallRecovered { operation: verb.into(), failed_ms: millis(failed) });
        }
    }

    fn failing_verbs(&self) -> MutexGuard<'_, FailingVerbs> {
        self.0.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, kind: EventKind) {
        if let Some(events) = &self.0.events {
            events.emit(path::STORE_LINK, kind);
        }
    }

    /// Waits until the store is reachable and not blocked, for at most [`OUTAGE_WAIT_MAX`], or [`RESEND_DELAY`] without a tree. Returns at once if it is.
    pub(crate) async fn wait_until_up(&self) {
        let mut state = self.0.state.subscribe();
        let _ = tokio::time::timeout(self.0.wait_max, state.wait_for(|s| *s == StoreState::Up)).await;
    }

    /// Waits for the end of the tree.
    pub(crate) async fn ended(&self) {
        self.0.ended.cancelled().await;
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.ended.is_cancelled()
    }

    /// Waits for [`REFUSED_DELAY`]. Returns `false` at once when the tree ends.
    pub(crate) async fn wait_after_refusal(&self) -> bool {
        self.wait(REFUSED_DELAY).await
    }

    async fn wait(&self, delay: Duration) -> bool {
        tokio::select! {
            () = self.0.ended.cancelled() => false,
            () = tokio::time::sleep(delay) => true,
        }
    }
}

fn reachable(since: Instant) -> EventKind {
    EventKind::StoreReachable { away_ms: millis(since.elapsed()) }
}
