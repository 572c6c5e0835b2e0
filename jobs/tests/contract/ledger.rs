//! Supervision events, workers and names of queues.

use retraced_jobs::codec::to_payload;
use retraced_jobs::events::{EventKind, Finding, FindingKind, SupervisionEvent};
use retraced_jobs::job::{InstanceId, Kind, QueueName};
use retraced_jobs::store::{BATCH_MAX, LEDGER_BYTES_MAX, LEDGER_EVENTS_MAX, StoreError, WorkerRow};

use super::{Harness, Worker, id};

fn event(worker: &Worker, n: u64) -> SupervisionEvent {
    let kind = match n % 3 {
        0 => EventKind::Started,
        1 => EventKind::QueueRepaired {
            queue: worker.queue.clone(),
            findings: vec![Finding::new(FindingKind::Orphaned, n, vec![id("a"), id(&format!("b-{n}"))])],
        },
        _ => EventKind::Crashed { reason: "it \"fell\" \n over".into(), failures: 2, budget: 20 },
    };
    SupervisionEvent::new(n, worker.instance, format!("email/executor-{n}"), 1, kind)
}

fn row(instance: InstanceId) -> WorkerRow {
    let mut row = WorkerRow::new(instance, 1);
    row.host = "a host".into();
    row.pid = 42;
    row.version = "0.1.0".into();
    row.build = "mailer 1.4.2".into();
    row.kinds = vec![Kind::new("email.send").unwrap()];
    row.kinds_total = 1;
    row.every_kind = true;
    row.queues = vec![QueueName::new("email").unwrap()];
    row.seen_ms = 2;
    row.concurrency = 10;
    row.running = 3;
    row
}

async fn paged(worker: &Worker, limit: usize) -> Vec<SupervisionEvent> {
    let mut events = Vec::new();
    let mut from = None;
    for _ in 0..=LEDGER_EVENTS_MAX / limit + 1 {
        let page = worker.store.events(from, limit).await.unwrap();
        assert!(page.events.len() <= limit.min(BATCH_MAX));
        events.extend(page.events);
        from = page.next;
        if from.is_none() {
            return events;
        }
    }
    panic!("the pages of events never end");
}

pub(crate) async fn events_are_listed_latest_first_page_by_page(_: &dyn Harness, worker: Worker) {
    assert_eq!(paged(&worker, 3).await, []);
    let mut events: Vec<_> = (0..7).map(|n| event(&worker, n)).collect();
    worker.store.record(&events[..2]).await.unwrap();
    worker.store.record(&events[2..]).await.unwrap();
    events.reverse();
    for limit in [1, 2, 3, 6, 7, 8, 600] {
        assert_eq!(paged(&worker, limit).await, events, "in pages of {limit}");
    }
    assert_eq!(worker.store.events(None, 7).await.unwrap().next, None, "no page follows the oldest event");
    let page = worker.store.events(None, 3).await.unwrap();
    worker.store.record(&[event(&worker, 99)]).await.unwrap();
    let rest = worker.store.events(page.next, 9).await.unwrap();
    assert_eq!(rest.events, events[3..], "events that are recorded later move no page");
}

pub(crate) async fn the_ledger_keeps_the_latest_events_up_to_its_bound(_: &dyn Harness, worker: Worker) {
    let total = LEDGER_EVENTS_MAX + 700;
    let numbers: Vec<u64> = (0..total as u64).collect();
    for chunk in numbers.chunks(BATCH_MAX) {
        let events: Vec<_> = chunk.iter().map(|n| event(&worker, *n)).collect();
        worker.store.record(&events).await.unwrap();
    }
    let kept: Vec<u64> = paged(&worker, BATCH_MAX).await.into_iter().map(|event| event.at_ms).collect();
    assert_eq!(kept, numbers[700..].iter().rev().copied().collect::<Vec<_>>());

    // Events dropped during a read do not shift its pages either.
    let page = worker.store.events(None, 2).await.unwrap();
    let more: Vec<_> = (0..BATCH_MAX as u64).map(|n| event(&worker, n)).collect();
    worker.store.record(&more).await.unwrap();
    let rest = worker.store.events(page.next, 2).await.unwrap();
    assert_eq!(rest.events.iter().map(|event| event.at_ms).collect::<Vec<_>>(), kept[2..4]);

    let too_many: Vec<_> = (0..=BATCH_MAX as u64).map(|n| event(&worker, n)).collect();
    let refused = worker.store.record(&too_many).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused { operation: "record", .. }), "{refused:?}");
}

/// Goal: the ledger stays within its bytes, however large the events are. Method: events of all sizes, more than fit. The latest events that fit together are kept.
pub(crate) async fn the_ledger_keeps_no_more_bytes_than_its_bound(_: &dyn Harness, worker: Worker) {
    let large = |n: u64, bytes: usize| {
        let mut event = event(&worker, n);
        event.kind = EventKind::StoreUnreachable { reason: "x".repeat(bytes) };
        event
    };
    let sizes = [300_000, 10, 700_000, 64_000];
    let events: Vec<_> = (0..100).map(|n| large(n, sizes[n as usize % sizes.len()])).collect();
    for events in events.chunks(7) {
        worker.store.record(events).await.unwrap();
    }
    let mut left = LEDGER_BYTES_MAX;
    let fitting = events.iter().rev().take_while(|event| {
        let bytes = to_payload(event).unwrap().len();
        let fits = bytes <= left;
        left = left.saturating_sub(bytes);
        fits
    });
    let expected: Vec<u64> = fitting.map(|event| event.at_ms).collect();
    assert!(expected.len() > 20 && expected.len() < 90, "{}", expected.len());
    let kept = async || paged(&worker, BATCH_MAX).await.into_iter().map(|event| event.at_ms).collect::<Vec<_>>();
    assert_eq!(kept().await, expected);

    worker.store.record(&[large(200, LEDGER_BYTES_MAX + 1)]).await.unwrap();
    assert_eq!(kept().await, [200], "the latest is kept whatever its size");
    worker.store.record(&[event(&worker, 201)]).await.unwrap();
    assert_eq!(kept().await, [201]);
}

pub(crate) async fn a_worker_is_listed_after_its_heartbeat_until_it_is_forgotten(
    harness: &dyn Harness,
    worker: Worker,
) {
    let (first, second) = (row(harness.worker(1).instance), row(harness.worker(2).instance));
    let before = worker.now_ms().await;
    worker.store.heartbeat(&second).await.unwrap();
    worker.store.heartbeat(&first).await.unwrap();
    let seen = worker.store.workers().await.unwrap();
    let after = worker.now_ms().await;
    assert!(
        seen.iter().all(|row| (before..=after).contains(&row.seen_ms)),
        "not stamped by the store's clock: {seen:?}"
    );
    let strip = |mut rows: Vec<WorkerRow>| {
        rows.iter_mut().for_each(|row| row.seen_ms = 2);
        rows
    };
    assert_eq!(strip(seen), [first.clone(), second.clone()], "workers are listed in the order of their instances");

    let mut busier = first.clone();
    busier.running = 9;
    worker.store.heartbeat(&busier).await.unwrap();
    assert_eq!(strip(worker.store.workers().await.unwrap()), [busier.clone(), second.clone()]);
    worker.store.forget(second.instance, &[]).await.unwrap();
    assert_eq!(strip(worker.store.workers().await.unwrap()), [busier]);
}

pub(crate) async fn announced_queues_are_listed_by_name(_: &dyn Harness, worker: Worker) {
    let names = ["sms", "email", "b.2"].map(|name| QueueName::new(name).unwrap());
    worker.store.announce(&names[..2]).await.unwrap();
    worker.store.announce(&names[1..]).await.unwrap();
    let listed: Vec<_> = worker.store.queues().await.unwrap();
    let listed: Vec<_> = listed.iter().filter(|name| names.contains(name)).map(QueueName::as_str).collect();
    assert_eq!(listed, ["b.2", "email", "sms"]);
}
