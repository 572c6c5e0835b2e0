//! `docs/torture.md`: what `make torture` found. Everything between the page's marks is written here, from the verdicts of one run; nobody types a figure.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::Command;

use crate::verdict::{Spread, Verdict};

const BEGIN: &str = "<!-- written by make torture: begin -->";
const END: &str = "<!-- written by make torture: end -->";
/// Where the verdicts of a run are gathered, one line each.
const VERDICTS: &str = "RETRACED_TORTURE_VERDICTS";
/// What the tests of `ELSEWHERE` said when they were run with it.
const TESTS: &str = "RETRACED_TORTURE_TESTS";
const PAGE: &str = "RETRACED_TORTURE_PAGE";

/// Scenarios, or parts of them, that are played by other tests: in paused time, against both stores, or by one process. `make torture` runs them too.
const ELSEWHERE: [(&str, &str, &[&str]); 17] = [
    ("T01", "a lost reply to an enqueue", &["lost_enqueue_is_sent_again", "enqueue_sent_again_enqueues_once"]),
    (
        "T02",
        "every actor killed at every call to the store; scripts that fail change nothing; random histories of everything at once",
        &["kills::", "simulation::", "nothing_is_half_done", "a_call_sent_again_gives_the_same_reply", "differential"],
    ),
    (
        "T03",
        "an id that is taken, in every state",
        &["an_id_that_is_kept_is_left_as_it_is", "an_id_twice_in_one_batch"],
    ),
    ("T04", "an enqueue while the store is away", &["an_enqueue_in_an_outage", "an_enqueue_that_waits_through"]),
    ("T06", "one worker, killed every three seconds", &["a_worker_that_is_killed_again_and_again"]),
    (
        "T07",
        "a lost reply to a claim",
        &["a_lost_claim_is_sent_again", "claim_sent_again", "a_lost_turn_is_sent_again"],
    ),
    (
        "T08",
        "a former owner's word",
        &["a_stale_token_changes_nothing", "a_stale_renewal", "a_handler_whose_lease_was_taken"],
    ),
    ("T09", "no wake-ups at all", &["without_hints_work_is_found_by_polls"]),
    ("T10", "many who take back and promote", &["a_lease_is_reclaimed_once_and_a_due_job_promoted_once"]),
    ("T12", "order, and delayed jobs on time", &["jobs_start_in_the_order", "delayed_jobs_start_on_time"]),
    ("T16", "nothing is fetched ahead of slow handlers", &["backpressure::"]),
    ("T17", "handlers that block every thread", &["handlers_that_block_every_thread", "callers_only_thread"]),
    ("T18", "handlers that ignore their timeout", &["zombies::"]),
    (
        "T22",
        "an outage longer than leases, with 1,000 jobs running",
        &["a_store_that_is_away", "an_outage_of_three_leases"],
    ),
    ("T23", "an end in order", &["shutdown::", "a_worker_that_is_asked_to_end"]),
    (
        "T24",
        "a lost reply to a settlement",
        &["a_lost_settlement_is_sent_again", "settle_sent_again", "turn_sent_again"],
    ),
    (
        "T36",
        "actors that always fail; a store that panics",
        &["closing::", "a_panic_inside_the_store", "many_panics_in_a_row"],
    ),
];

/// Writes a verdict down for the page, when one is to be written.
pub(crate) fn enter(verdict: &Verdict) {
    let Ok(path) = std::env::var(VERDICTS) else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(format!("{}\n", serde_json::to_string(verdict).unwrap()).as_bytes()).unwrap();
}

/// Not a test: how `make torture` writes the page when all scenarios are over. Does nothing otherwise.
#[test]
fn role_of_the_one_who_writes_the_page() {
    let Ok(page) = std::env::var(PAGE) else { return };
    let lines = std::fs::read_to_string(std::env::var(VERDICTS).unwrap()).unwrap();
    let mut verdicts: Vec<Verdict> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    verdicts.sort_by(|one, other| one.scenario.cmp(&other.scenario));
    let tests = std::fs::read_to_string(std::env::var(TESTS).unwrap()).unwrap();
    let text = std::fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the page has its first mark");
    let (_, after) = rest.split_once(END).expect("the page has its last mark");
    let written = format!("{before}{BEGIN}\n\n{}\n{END}{after}", written(&verdicts, &tests));
    std::fs::write(page, written).unwrap();
}

fn written(verdicts: &[Verdict], tests: &str) -> String {
    let mut text = format!("{}\n\n", circumstances(verdicts));
    totals(&mut text, verdicts);
    table(&mut text, verdicts);
    for verdict in verdicts {
        details(&mut text, verdict);
    }
    elsewhere(&mut text, tests);
    text
}

fn circumstances(verdicts: &[Verdict]) -> String {
    let version = Command::new("redis-server").arg("--version").output().map(|out| out.stdout).unwrap_or_default();
    let version = String::from_utf8_lossy(&version);
    let version = version.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let seconds: f64 = verdicts.iter().map(|verdict| verdict.seconds).sum();
    format!(
        "{date}, {} build, {} cores shared by workers, server, proxy and judge, Redis {version}, {seconds:.0} s.",
        build, cores
    )
}

fn totals(text: &mut String, verdicts: &[Verdict]) {
    let sum = |of: fn(&Verdict) -> u64| verdicts.iter().map(of).sum::<u64>();
    let faults = sum(|verdict| verdict.faults.values().sum());
    let again = sum(|verdict| verdict.again.values().sum());
    let _ = writeln!(
        text,
        "**{} scenarios, {} jobs, {} executions, {faults} faults: lost {}, stuck {}, at a wrong end {}, executed again without a reason {}, attempts miscounted {}, counters off {}.** \
         Executed again because of a fault that touched job and worker: {again}.\n",
        verdicts.len(),
        sum(|verdict| verdict.jobs),
        sum(|verdict| verdict.executions),
        sum(|verdict| verdict.lost),
        sum(|verdict| verdict.stuck),
        sum(|verdict| verdict.astray),
        sum(|verdict| verdict.unexplained),
        sum(|verdict| verdict.miscounted),
        sum(|verdict| verdict.drift),
    );
}

fn table(text: &mut String, verdicts: &[Verdict]) {
    text.push_str("| | scenario | jobs | executions | faults | lost | stuck | again, explained | unexplained | miscounted | counters off | s | seed |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for v in verdicts {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.0} | {} |",
            v.scenario,
            v.about,
            v.jobs,
            v.executions,
            v.faults.values().sum::<u64>(),
            v.lost,
            v.stuck + v.astray,
            v.again.values().sum::<u64>(),
            v.unexplained,
            v.miscounted,
            v.drift,
            v.seconds,
            v.seed,
        );
    }
}

fn details(text: &mut String, v: &Verdict) {
    let _ = writeln!(text, "\n### {}: {}\n", v.scenario, v.about);
    let list = |by: &std::collections::BTreeMap<String, u64>| {
        by.iter().map(|(what, count)| format!("{what} {count}×")).collect::<Vec<_>>().join(", ")
    };
    if !v.faults.is_empty() {
        let _ = writeln!(text, "- Faults: {}.", list(&v.faults));
    }
    if !v.again.is_empty() {
        let _ = writeln!(
            text,
            "- Executed again because its worker was: {}; longest overlap {} ms.",
            list(&v.again),
            v.overlap_ms
        );
    }
    if v.crashes + v.releases + v.stale > 0 {
        let _ = writeln!(
            text,
            "- Charged {} crashes and {} releases; refused {} settlements of former owners.",
            v.crashes, v.releases, v.stale
        );
    }
    for (what, Spread { count, p50, p99, max }) in &v.recovery {
        let _ = writeln!(text, "- {what}: {count} times, p50 {p50} ms, p99 {p99} ms, max {max} ms.");
    }
    for note in &v.notes {
        let _ = writeln!(text, "- {note}");
    }
}

fn elsewhere(text: &mut String, tests: &str) {
    let passed: Vec<&str> = tests.lines().filter(|line| line.contains(" PASS ")).collect();
    text.push_str("\n### Played by other tests\n\n| | what | tests passed |\n|---|---|---|\n");
    for (scenario, what, names) in ELSEWHERE {
        let count = |name: &&str| passed.iter().filter(|line| line.contains(*name)).count();
        for name in names {
            assert!(count(name) > 0, "no test passed whose name contains {name}");
        }
        let tests: Vec<String> = names.iter().map(|name| format!("`{name}` {}", count(name))).collect();
        let _ = writeln!(text, "| {scenario} | {what} | {} |", tests.join(", "));
    }
}
