#![allow(clippy::unwrap_used)]
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;
use retraced::job::InstanceId;
use retraced::supervision::{EventKind, SupervisionEvent};
use retraced::{Code, JobId, Kind, QueueName};

use super::super::report::{Next, Report};
use super::*;

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn node(path: &str, children: Vec<TreeNode>) -> TreeNode {
    let mut node = TreeNode::new(path, NodeState::Up);
    node.children = children;
    node
}

fn executor(path: &str, runs: Option<(&str, &str, u32, u64)>) -> TreeNode {
    let mut executor = node(path, Vec::new());
    executor.running = runs.map(|(job, kind, attempt, ms)| {
        let mut running = RunningJob::new(JobId::parse(job).unwrap(), attempt, millis(ms));
        running.kind = Kind::new(kind).ok();
        running
    });
    executor
}

fn queue(name: &str, executors: Vec<TreeNode>) -> TreeNode {
    let path = |role: &str| format!("{name}/{role}");
    let actor = |role: &str| node(&path(role), Vec::new());
    let pool = node(&path("pool"), executors);
    let workers = node(&path("workers"), vec![actor("settler"), pool, actor("fetcher")]);
    node(name, vec![actor("queue"), workers])
}

/// A moment of the demo: one executor restarted after a panic, one fetcher down, and six lines in the log.
fn timeline() -> Timeline {
    let mut timeline = Timeline::of(300);
    let job = |id: &str| JobId::parse(id).unwrap();
    let failed =
        |id: &str, code, message: &str, next| Report::Failed { job: job(id), code, message: message.into(), next };
    let mut event = |ms: u64, path: &str, generation, kind| {
        let instance = InstanceId::from(uuid::Uuid::nil());
        timeline.event(millis(ms), &SupervisionEvent::new(ms, instance, path, generation, kind));
    };
    let panicked = EventKind::HandlerPanicked {
        queue: QueueName::new("shop").unwrap(),
        job: job("thumbnail-13"),
        attempt: 1,
        message: "attempt to divide by zero".into(),
        location: Some("cli/demo/handlers.rs:77:30".into()),
    };
    event(1_800, "shop/executor-1", 0, panicked);
    event(1_801, "shop/executor-1", 1, EventKind::Restarted);
    timeline.report(millis(2_500), Report::Later { job: job("invoice-1"), delay: millis(2_500) });
    timeline.report(
        millis(3_900),
        failed(
            "order-1",
            Code::InvalidJobData,
            "order \"???\" has no buyer, and no address to send it to",
            Next::Poisoned,
        ),
    );
    timeline.report(
        millis(4_000),
        failed("email-60", Code::NetworkError, "connection reset", Next::Attempt { n: 2, of: 3 }),
    );
    timeline.caption = "A bug: thumbnail-13's handler panicked. Only shop/executor-1 ended; it was restarted, and the job will be retried.".into();

    let mut mail = queue(
        "mail",
        vec![
            executor("mail/executor-0", Some(("email-61", "email.send", 1, 120))),
            executor("mail/executor-1", Some(("email-60", "email.send", 2, 45))),
            executor("mail/executor-2", None),
            executor("mail/executor-3", Some(("reminder-8", "reminder.send", 1, 0))),
        ],
    );
    let fetcher = &mut mail.children[1].children[2];
    (fetcher.state, fetcher.generation) = (NodeState::Down, 3);
    let mut shop = queue(
        "shop",
        vec![
            executor("shop/executor-0", Some(("report-1", "report.build", 1, 1_940))),
            executor("shop/executor-1", Some(("thumbnail-24", "thumbnail.make", 1, 260))),
            executor("shop/executor-2", Some(("thumbnail-25", "thumbnail.make", 1, 260))),
        ],
    );
    shop.children[1].children[1].children[1].generation = 1;
    let service = |name: &str| node(name, Vec::new());
    let tree = node(
        "retraced",
        vec![
            service("ledger"),
            service("store-link"),
            service("lease-keeper"),
            mail,
            shop,
            service("retry-scheduler"),
            service("reclaimer"),
            service("janitor"),
            service("watchdog"),
        ],
    );
    let stats = |pending, processing, delayed, completed_total, dead, poisoned| {
        let mut stats = QueueStats::default();
        (stats.pending, stats.processing, stats.delayed) = (pending, processing, delayed);
        (stats.completed_total, stats.dead, stats.poisoned) = (completed_total, dead, poisoned);
        stats
    };
    let name = |name: &str| QueueName::new(name).unwrap();
    let queues = vec![(name("mail"), stats(38, 3, 9, 80, 0, 0)), (name("shop"), stats(14, 3, 1, 22, 0, 1))];
    timeline.update(millis(4_200), tree, queues);
    timeline
}

fn drawn(timeline: &Timeline, colour: bool, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(timeline, colour, frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let symbols: Vec<&str> = buffer.content.iter().map(|cell| cell.symbol()).collect();
    symbols.chunks(width).map(|row| row.concat().trim_end().to_owned() + "\n").collect()
}

#[track_caller]
fn looks_like(width: u16, height: u16, expected: &str) {
    let seen = text(&drawn(&timeline(), true, width, height));
    assert!(seen == expected, "it looks like this:\n{seen}");
}

#[test]
fn at_80_by_24() {
    looks_like(
        80,
        24,
        r#"retraced demo  ████████░░░░░░░░░░░░░░░░░░  103 of 300 jobs ended   4.2s  q quits
0s ───────────✗↻───◔────────✗✗─┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈ 11s
A bug: thumbnail-13's handler panicked. Only shop/executor-1 ended; it was
restarted, and the job will be retried.
retraced                 pending  processing  delayed  completed  dead  poisoned
├─ ledger store-link lease-keeper retry-scheduler reclaimer janitor watchdog
├─ mail                       38           3        9         80     0         0
│  ├─ queue workers (settler pool fetcher#3 ✗ down)
│  ├─ executor-0       email-61      email.send      attempt 1   0.1s
│  ├─ executor-1       email-60      email.send      attempt 2   0.0s
│  ├─ executor-2       idle
│  └─ executor-3       reminder-8    reminder.send   attempt 1   0.0s
└─ shop                       14           3        1         22     0         1
   ├─ queue workers (settler pool fetcher)
   ├─ executor-0       report-1      report.build    attempt 1   1.9s
   ├─ executor-1#1 ↻   thumbnail-24  thumbnail.make  attempt 1   0.3s
   └─ executor-2       thumbnail-25  thumbnail.make  attempt 1   0.3s
── ✗ went wrong  ↻ recovered  ◔ delayed  #n restarted n times  ─────────────────
 1.8s ✗ thumbnail-13    PANIC: attempt to divide by zero
 1.8s ✗ shop/executor-1 ended by this panic at cli/demo/handlers.rs:77:30
 1.8s ↻ shop/executor-1 restarted, in 1ms (generation 1)
 2.5s ◔ invoice-1       is not ready yet, asks to run later → in 2.5s
 3.9s ✗ order-1         INVALID_JOB_DATA: order "???" has … → poisoned, no retry
 4.0s ✗ email-60        NETWORK_ERROR: connection reset → attempt 2 of 3
"#,
    );
}

#[test]
fn at_120_by_40() {
    looks_like(
        120,
        40,
        r#"retraced demo  ██████████████████████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░  103 of 300 jobs ended   4.2s  q quits
0s ──────────────────✗↻─────◔──────────────✗✗──┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈┈ 11s
A bug: thumbnail-13's handler panicked. Only shop/executor-1 ended; it was restarted, and the job will be retried.

retraced                    pending  processing  delayed  completed  dead  poisoned
├─ ledger                   writes supervision events to the store
├─ store-link               reports an outage once; every actor then waits for the store
├─ lease-keeper             renews the leases of this worker
├─ mail                          38           3        9         80     0         0
│  ├─ queue                 accepts new jobs
│  └─ workers               restarts what claims, runs and settles jobs
│     ├─ settler            sends outcomes to the store until it confirms them
│     ├─ pool               replaces executors that end
│     │  ├─ executor-0      email-61      email.send      attempt 1   0.1s
│     │  ├─ executor-1      email-60      email.send      attempt 2   0.0s
│     │  ├─ executor-2      idle
│     │  └─ executor-3      reminder-8    reminder.send   attempt 1   0.0s
│     └─ fetcher#3 ✗ down   is being restarted
├─ shop                          14           3        1         22     0         1
│  ├─ queue                 accepts new jobs
│  └─ workers               restarts what claims, runs and settles jobs
│     ├─ settler            sends outcomes to the store until it confirms them
│     ├─ pool               replaces executors that end
│     │  ├─ executor-0      report-1      report.build    attempt 1   1.9s
│     │  ├─ executor-1#1 ↻  thumbnail-24  thumbnail.make  attempt 1   0.3s
│     │  └─ executor-2      thumbnail-25  thumbnail.make  attempt 1   0.3s
│     └─ fetcher            claims jobs for idle executors
├─ retry-scheduler          makes due jobs pending
├─ reclaimer                takes back the jobs of dead workers
├─ janitor                  trims ended jobs and audits the queues
└─ watchdog                 reports handlers that hang, and settles their attempts
── ✗ went wrong  ↻ recovered  ◔ delayed  #n restarted n times  ─────────────────────────────────────────────────────────
 1.8s ✗ thumbnail-13    PANIC: attempt to divide by zero
 1.8s ✗ shop/executor-1 ended by this panic at cli/demo/handlers.rs:77:30
 1.8s ↻ shop/executor-1 restarted, in 1ms (generation 1)
 2.5s ◔ invoice-1       is not ready yet, asks to run later → in 2.5s
 3.9s ✗ order-1         INVALID_JOB_DATA: order "???" has no buyer, and no address to send it to → poisoned, no retry
 4.0s ✗ email-60        NETWORK_ERROR: connection reset → attempt 2 of 3


"#,
    );
}

#[test]
fn at_40_by_10() {
    looks_like(
        40,
        10,
        r#"██░░░░░░  103 of 300 jobs  4.2s  q quits
retraced  pend proc delay done dead pois
mail        38    3     9   80    0    0
shop        14    3     1   22    0    1
── ✗ wrong  ↻ recovered  ◔ later  ──────
✗ shop/executor-1 ended by this panic a…
↻ shop/executor-1 restarted, in 1ms (ge…
◔ invoice-1 is not ready yet,… → in 2.5s
✗ order-1 INVALID_JOB_DATA: order "???"…
✗ email-60 NETWORK_ERR… → attempt 2 of 3
"#,
    );
}

#[test]
fn at_20_by_6() {
    looks_like(
        20,
        6,
        r#"██░░░░  103/300 4.2s
────────────────────
↻ shop/executor-1 r…
◔ invoice-1 is not …
✗ order-1 INVALID_J…
✗ email-60 NETWORK_…
"#,
    );
}

/// At every size the view is drawn without a panic. With 12 columns or more it shows how many jobs have ended.
#[test]
fn the_view_draws_at_any_size() {
    let timeline = timeline();
    for width in (1..=24).chain([39, 40, 59, 60, 63, 64, 79, 80, 100, 120, 200]) {
        for height in [1, 2, 3, 5, 8, 10, 13, 16, 20, 24, 36, 60] {
            let seen = text(&drawn(&timeline, true, width, height));
            let first = seen.lines().next().unwrap();
            assert!(first.contains("103") || width < 12, "no progress at {width}x{height}:\n{seen}");
        }
    }
    let at_the_start = Timeline::of(300);
    text(&drawn(&at_the_start, true, 80, 24));
}

/// A tree that gained actors is still shown whole at 80 columns, on more rows.
#[test]
fn actors_that_do_not_fit_in_one_row_are_not_cut() {
    let mut timeline = timeline();
    let names: Vec<String> = (0..8).map(|n| format!("new-service-{n}")).collect();
    let root = timeline.tree.as_mut().unwrap();
    root.children.extend(names.iter().map(|name| node(name, Vec::new())));
    let seen = text(&drawn(&timeline, true, 80, 30));
    for name in names {
        assert!(seen.contains(&name), "{name} is missing:\n{seen}");
    }
}

#[test]
fn the_newest_line_is_shown_where_there_is_space_for_one() {
    let timeline = timeline();
    for height in [2, 5, 10, 16, 24, 40] {
        let seen = text(&drawn(&timeline, true, 80, height));
        assert!(seen.contains("email-60        NETWORK_ERROR: connection reset → attempt 2 of 3"), "{height}:\n{seen}");
    }
}

#[test]
fn failures_are_red_recoveries_green_and_colour_is_never_the_only_sign() {
    let (coloured, plain) = (drawn(&timeline(), true, 120, 40), drawn(&timeline(), false, 120, 40));
    assert_eq!(text(&coloured), text(&plain));
    let colours = |buffer: &Buffer, glyph: &str| {
        let cells = buffer.content.iter().filter(|cell| cell.symbol() == glyph);
        cells.map(|cell| cell.fg).collect::<Vec<_>>()
    };
    for (mark, colour) in [(Mark::Failed, Color::Red), (Mark::Recovered, Color::Green), (Mark::Later, Color::Yellow)] {
        let seen = colours(&coloured, mark.glyph());
        assert!(!seen.is_empty() && seen.iter().all(|seen| *seen == colour), "{mark:?} {seen:?}");
    }
    assert!(plain.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    assert!(coloured.content.iter().all(|cell| cell.bg == Color::Reset), "the background is the terminal's own");
}
