#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fmt::Debug;

use retraced_jobs::clock::TokioClock;
use retraced_jobs::events::{DropReason, TrimReason};
use retraced_jobs::failure::{Code, Resource};
use retraced_jobs::job::{InstanceId, JobId, JobState, QueueName};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use uuid::Uuid;

use super::*;

#[tokio::test(start_paused = true)]
async fn an_event_names_the_generation_of_the_actor_that_was_started_last() {
    let (registry, events) = fixture();
    let generation = || {
        events.emit("janitor", EventKind::Started);
        events.take_unstored(1).pop().unwrap().generation
    };
    assert_eq!(generation(), 0, "before the first start");
    registry.next_generation("janitor");
    assert_eq!(generation(), 0);
    registry.next_generation("janitor");
    assert_eq!(generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn events_that_could_not_be_stored_come_first_the_next_time() {
    let (_, events) = fixture();
    for path in ["a", "b", "c"] {
        events.emit(path, EventKind::Started);
    }
    let taken = events.take_unstored(2);
    events.give_back(taken);
    let paths: Vec<String> = events.take_unstored(9).into_iter().map(|event| event.path).collect();
    assert_eq!((paths, events.take_dropped()), (vec!["a".into(), "b".into(), "c".into()], 0));
}

#[tokio::test(start_paused = true)]
async fn events_beyond_the_bound_are_dropped_oldest_first_and_counted() {
    let (_, events) = fixture();
    for n in 0..EVENTS_UNSTORED_MAX + 2 {
        events.emit(&n.to_string(), EventKind::Started);
    }
    let kept = events.take_unstored(usize::MAX);
    assert_eq!((kept.len(), kept[0].path.as_str()), (EVENTS_UNSTORED_MAX, "2"));
    assert_eq!([events.take_dropped(), events.take_dropped()], [2, 0]);
}

fn fixture() -> (Registry, Events) {
    let (registry, clock) = (Registry::default(), Arc::new(TokioClock::starting_at(0)));
    let events = Events::new(InstanceId::from(Uuid::nil()), clock, GuardedObserver::default(), registry.clone());
    (registry, events)
}

/// Keeps the message of the last event that was logged.
#[derive(Clone, Default)]
struct LastMessage(Arc<Mutex<String>>);

impl Visit for LastMessage {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            *self.0.lock().unwrap() = format!("{value:?}");
        }
    }
}

impl Subscriber for LastMessage {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn every_event_is_logged_in_words_of_its_own() {
    let mut messages = HashMap::new();
    for kind in [of_actors(), of_the_store(), of_jobs(), of_queues()].into_iter().flatten() {
        let event = SupervisionEvent::new(0, InstanceId::from(Uuid::nil()), "path", 0, kind.clone());
        let last = LastMessage::default();
        tracing::subscriber::with_default(last.clone(), || log(&event));
        let message = last.0.lock().unwrap().clone();
        assert!(!message.is_empty() && message != "event", "{kind:?} is logged as {message:?}");
        let earlier = messages.insert(message, kind.clone());
        assert_eq!(earlier, None, "{kind:?} is logged in the same words");
    }
}

fn of_actors() -> Vec<EventKind> {
    let reason = || "why".to_owned();
    vec![
        EventKind::Started,
        EventKind::Stopped,
        EventKind::Crashed { reason: reason(), failures: 1, budget: 2 },
        EventKind::StartFailed { reason: reason() },
        EventKind::RestartScheduled { delay_ms: 1 },
        EventKind::Restarted,
        EventKind::Escalated { child: "child".into(), failures: 1, window_ms: 1, reason: reason() },
        EventKind::SupervisorClosed { reopens_in_ms: 1, reason: reason() },
        EventKind::SupervisorReopened,
        EventKind::EnqueuesDropped { dropped: 1, reason: DropReason::Refused },
        EventKind::InstanceReplaced { old: InstanceId::from(Uuid::nil()), reason: reason() },
    ]
}

fn of_the_store() -> Vec<EventKind> {
    let (reason, operation) = (|| "why".to_owned(), || "claim".to_owned());
    vec![
        EventKind::StoreUnreachable { reason: reason() },
        EventKind::StoreReachable { away_ms: 1 },
        EventKind::StoreBlocked { reason: reason() },
        EventKind::StoreUnblocked { blocked_ms: 1 },
        EventKind::StoreCallFailing { operation: operation(), reason: reason() },
        EventKind::StoreCallRecovered { operation: operation(), failed_ms: 1 },
        EventKind::StoreRefused { operation: operation(), reason: reason() },
    ]
}

fn of_jobs() -> Vec<EventKind> {
    let (queue, job) = (QueueName::new("email").unwrap(), JobId::parse("a").unwrap());
    let each: [fn(QueueName, JobId) -> EventKind; 14] = [
        |queue, job| EventKind::HandlerPanicked { queue, job, attempt: 1, message: "boom".into(), location: None },
        |queue, job| EventKind::Zombie { queue, job, attempt: 1, ran_ms: 1 },
        |queue, job| EventKind::Stuck { queue, job, ran_ms: 1 },
        |queue, job| EventKind::LeaseReclaimed {
            queue,
            job,
            held_by: None,
            crashes: 1,
            counted: true,
            poisoned: false,
        },
        |queue, job| EventKind::LeaseReclaimed { queue, job, held_by: None, crashes: 1, counted: true, poisoned: true },
        |queue, _| EventKind::ClaimsLost { queue, claims: 1, released: 1 },
        |queue, job| EventKind::LeaseLost { queue, job, attempt: 1 },
        |queue, job| EventKind::StaleSettlement { queue, job, attempt: 1 },
        |queue, job| EventKind::UnknownKind { queue, job, kind: "kind".into() },
        |queue, job| EventKind::Undecodable { queue, job, error: "why".into() },
        |queue, job| EventKind::JobsPostponed { queue, count: 1, job, delay_ms: 1 },
        |queue, _| EventKind::OutOfResources { queue, resource: Resource::Ports, error: "why".into() },
        |queue, job| EventKind::JobPoisoned { queue, job, code: Code::Timeout },
        |queue, job| EventKind::JobDied { queue, job, code: Code::Timeout },
    ];
    each.into_iter().map(|kind| kind(queue.clone(), job.clone())).collect()
}

fn of_queues() -> Vec<EventKind> {
    let queue = || QueueName::new("email").unwrap();
    vec![
        EventKind::ClaimsStopped { queue: queue(), unsettled: 1, reason: "why".into() },
        EventKind::ClaimsResumed { queue: queue() },
        EventKind::LeaseGraceGiven { queue: queue(), grace_ms: 1 },
        EventKind::LeasesShortened { queue: queue(), leases: 1 },
        EventKind::JobsTrimmed {
            queue: queue(),
            state: JobState::Dead,
            count: 1,
            reason: TrimReason::Age,
            oldest_ms: 1,
        },
        EventKind::AuditFailed { queue: queue(), difference: 1 },
        EventKind::DataLost {
            queue: queue(),
            jobs_before: 1,
            jobs: 0,
            enqueued_before: 1,
            enqueued: 0,
            counted_before_ms: 1,
        },
        EventKind::QueueRepaired { queue: queue(), findings: Vec::new() },
    ]
}
