//! Writes the results of `make torture` into `docs/torture.md`. Everything between the two markers of the page is generated from the reports of one run.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::Command;

use crate::report::{Report, Spread};

const BEGIN: &str = "<!-- written by make torture: begin -->";
const END: &str = "<!-- written by make torture: end -->";
/// Names the file with the reports of a run, one line each.
const REPORTS: &str = "RETRACED_TORTURE_REPORTS";
/// Names the file with the output of the tests of [`ELSEWHERE`] in the same run.
const TESTS: &str = "RETRACED_TORTURE_TESTS";
/// Names the page to write.
const PAGE: &str = "RETRACED_TORTURE_PAGE";

/// Scenarios, or parts of them, that other tests cover: in paused time, on both stores, or in one process. `make torture` runs these tests too. Each entry has the
/// scenario, what is covered, and a part of the name of each test.
const ELSEWHERE: [(&str, &str, &[&str]); 17] = [
    ("T01", "a lost reply to an enqueue", &["lost_enqueue_is_sent_again", "enqueue_sent_again_enqueues_once"]),
    (
        "T02",
        "every actor is killed at every store call; a script that fails changes nothing; both stores behave alike in random histories",
        &["kills::", "simulation::", "nothing_is_half_done", "a_call_sent_again_gives_the_same_reply", "differential"],
    ),
    ("T03", "a duplicate id, in every state", &["enqueuing_a_kept_id_changes_nothing", "an_id_twice_in_one_batch"]),
    ("T04", "an enqueue during an outage", &["an_enqueue_in_an_outage", "an_enqueue_that_waits_through"]),
    ("T06", "one worker, killed every 3 s", &["a_worker_that_is_killed_again_and_again"]),
    (
        "T07",
        "a lost reply to a claim",
        &["a_lost_claim_is_sent_again", "claim_sent_again", "a_lost_settle_and_claim_is_sent_again"],
    ),
    (
        "T08",
        "a settlement of a former holder",
        &["a_stale_token_changes_nothing", "a_stale_renewal", "a_handler_that_lost_its_lease"],
    ),
    ("T09", "no hints at all", &["without_hints_jobs_are_found_by_polls"]),
    ("T10", "concurrent reclaimers and promoters", &["a_lease_is_reclaimed_once_and_a_due_job_promoted_once"]),
    (
        "T12",
        "jobs start in order, and delayed jobs on time",
        &["jobs_start_in_the_order", "delayed_jobs_start_on_time"],
    ),
    ("T16", "nothing is prefetched for slow handlers", &["backpressure::"]),
    ("T17", "handlers that block every thread", &["handlers_that_block_every_thread", "callers_only_thread"]),
    ("T18", "handlers that ignore their timeout", &["zombies::"]),
    (
        "T22",
        "an outage longer than leases, with 1,000 jobs running",
        &["a_store_outage_of_three_leases", "an_outage_of_three_leases"],
    ),
    ("T23", "a graceful shutdown", &["shutdown::", "a_worker_that_receives_sigterm"]),
    (
        "T24",
        "a lost reply to a settlement",
        &["a_lost_settlement_is_sent_again", "settle_sent_again", "settle_and_claim_sent_again"],
    ),
    (
        "T36",
        "actors that always fail; a store that panics",
        &["closing::", "a_panic_inside_the_store", "many_panics_in_a_row"],
    ),
];

/// Appends a report to the file of reports, if `make torture` is running.
pub(crate) fn append(report: &Report) {
    let Ok(path) = std::env::var(REPORTS) else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(format!("{}\n", serde_json::to_string(report).unwrap()).as_bytes()).unwrap();
}

/// Not a test: `make torture` runs it after all scenarios to write the page. Otherwise it does nothing.
#[test]
fn role_of_the_page_writer() {
    let Ok(page) = std::env::var(PAGE) else { return };
    let lines = std::fs::read_to_string(std::env::var(REPORTS).unwrap()).unwrap();
    let mut reports: Vec<Report> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    reports.sort_by(|one, other| one.id.cmp(&other.id));
    let tests = std::fs::read_to_string(std::env::var(TESTS).unwrap()).unwrap();
    let text = std::fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the page has its first marker");
    let (_, after) = rest.split_once(END).expect("the page has its last marker");
    let written = format!("{before}{BEGIN}\n\n{}\n{END}{after}", written(&reports, &tests));
    std::fs::write(page, written).unwrap();
}

fn written(reports: &[Report], tests: &str) -> String {
    let mut text = format!("{}\n\n", circumstances(reports));
    totals(&mut text, reports);
    table(&mut text, reports);
    for report in reports {
        details(&mut text, report);
    }
    elsewhere(&mut text, tests);
    text
}

fn circumstances(reports: &[Report]) -> String {
    let version = Command::new("redis-server").arg("--version").output().map(|out| out.stdout).unwrap_or_default();
    let version = String::from_utf8_lossy(&version);
    let version = version.split_whitespace().find_map(|word| word.strip_prefix("v=")).unwrap_or("unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let seconds: f64 = reports.iter().map(|report| report.seconds).sum();
    format!(
        "{date}, {} build, {} cores shared by workers, server, proxy and test, Redis {version}, {seconds:.0} s.",
        build, cores
    )
}

fn totals(text: &mut String, reports: &[Report]) {
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let faults = sum(|report| report.faults.values().sum());
    let repeated = sum(|report| report.repeated.values().sum());
    let _ = writeln!(
        text,
        "**{} scenarios, {} jobs, {} executions, {faults} faults: lost {}, stuck {}, in a wrong final state {}, executed again without a reason {}, attempts miscounted {}, counters off {}.** \
         Executed again because of a fault in the worker that held the job: {repeated}.\n",
        reports.len(),
        sum(|report| report.jobs),
        sum(|report| report.executions),
        sum(|report| report.lost),
        sum(|report| report.stuck),
        sum(|report| report.wrong_state),
        sum(|report| report.unexplained),
        sum(|report| report.miscounted),
        sum(|report| report.drift),
    );
}

fn table(text: &mut String, reports: &[Report]) {
    text.push_str("| | scenario | jobs | executions | faults | lost | stuck | repeated, explained | unexplained | miscounted | counters off | s | seed |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for report in reports {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.0} | {} |",
            report.id,
            report.about,
            report.jobs,
            report.executions,
            report.faults.values().sum::<u64>(),
            report.lost,
            report.stuck + report.wrong_state,
            report.repeated.values().sum::<u64>(),
            report.unexplained,
            report.miscounted,
            report.drift,
            report.seconds,
            report.seed,
        );
    }
}

fn details(text: &mut String, report: &Report) {
    let _ = writeln!(text, "\n### {}: {}\n", report.id, report.about);
    let list = |by: &std::collections::BTreeMap<String, u64>| {
        by.iter().map(|(what, count)| format!("{what} {count}×")).collect::<Vec<_>>().join(", ")
    };
    if !report.faults.is_empty() {
        let _ = writeln!(text, "- Faults: {}.", list(&report.faults));
    }
    if !report.repeated.is_empty() {
        let _ = writeln!(
            text,
            "- Executed again because of a fault in their worker: {}; longest overlap {} ms.",
            list(&report.repeated),
            report.overlap_ms
        );
    }
    if report.crashes + report.releases + report.stale > 0 {
        let _ = writeln!(
            text,
            "- Counted {} crashes and {} releases; refused {} settlements of former owners.",
            report.crashes, report.releases, report.stale
        );
    }
    for (what, Spread { count, p50, p99, max }) in &report.recovery {
        let _ = writeln!(text, "- {what}: {count} times, p50 {p50} ms, p99 {p99} ms, max {max} ms.");
    }
    for note in &report.notes {
        let _ = writeln!(text, "- {note}");
    }
}

fn elsewhere(text: &mut String, tests: &str) {
    let passed: Vec<&str> = tests.lines().filter(|line| line.contains(" PASS ")).collect();
    text.push_str("\n### Covered by other tests\n\n| | what | tests passed |\n|---|---|---|\n");
    for (scenario, what, names) in ELSEWHERE {
        let count = |name: &&str| passed.iter().filter(|line| line.contains(*name)).count();
        for name in names {
            assert!(count(name) > 0, "no test passed whose name contains {name}");
        }
        let tests: Vec<String> = names.iter().map(|name| format!("`{name}` {}", count(name))).collect();
        let _ = writeln!(text, "| {scenario} | {what} | {} |", tests.join(", "));
    }
}
