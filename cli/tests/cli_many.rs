//! Finding jobs, and acting on many: filters, pages, redrive and discard.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/failures.rs"]
mod failures;
#[path = "support/harness.rs"]
mod harness;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;

use failures::run_jobs;
use harness::{Harness, objects};
use serde_json::{Value, json};
use support::Finished;

fn ids(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(|job| job["id"].as_str().unwrap()).collect()
}

/// The cursor a list ended with.
fn cursor(finished: &Finished) -> Option<String> {
    let (_, cursor) = finished.stderr.split_once("--cursor ")?;
    Some(cursor.trim().to_owned())
}

#[test]
fn jobs_are_found_by_code_by_kind_and_by_time() {
    let harness = Harness::new();
    run_jobs(&harness, &[("a", "bad.data"), ("b", "mail.down"), ("c", "panics"), ("d", "mail.down"), ("e", "fine")]);
    let found = |arguments: &[&str]| -> Vec<String> {
        let listed = harness.json(arguments);
        assert!(listed.is_sorted_by(|one, next| one["ended_at"].as_str() >= next["ended_at"].as_str()), "{listed:?}");
        let mut ids: Vec<_> = ids(&listed).into_iter().map(ToOwned::to_owned).collect();
        ids.sort();
        ids
    };
    assert_eq!(found(&["dead", "list", "q"]), ["a", "b", "c", "d"]);
    assert_eq!(found(&["dead", "list", "q", "--code", "NETWORK_ERROR"]), ["b", "d"]);
    assert_eq!(found(&["dead", "list", "q", "--kind", "panics"]), ["c"]);
    assert_eq!(found(&["dead", "list", "q", "--code", "NETWORK_ERROR", "--kind", "panics"]), [""; 0]);
    assert_eq!(found(&["dead", "list", "q", "--since", "1h", "--kind", "mail.down"]), ["b", "d"]);
    assert_eq!(found(&["dead", "list", "q", "--since", "2099-01-01T00:00:00Z"]), [""; 0]);
    let all = harness.json(&["dead", "list", "q"]);
    let ended = harness.one(&["job", "show", "q", "c"])["ended_at"].as_str().unwrap().to_owned();
    let since_then = all.iter().filter(|job| job["ended_at"].as_str() >= Some(ended.as_str())).count();
    assert_eq!(found(&["dead", "list", "q", "--since", &ended]).len(), since_then);
    assert_eq!(found(&["jobs", "q", "--state", "completed", "--kind", "fine"]), ["e"]);
    assert_eq!(found(&["jobs", "q", "--state", "dead", "--code", "PANIC"]), ["c"]);
    assert_eq!(found(&["dead", "show", "q", "--code", "INVALID_JOB_DATA"]), ["a"]);
    let none = harness.run(&["dead", "list", "q", "--kind", "other"]);
    assert_eq!((none.status, none.stdout.as_str()), (Some(0), ""));
    assert_eq!(none.stderr, "no dead or poisoned jobs that match in queue q\n");
}

#[test]
fn pages_of_dead_jobs_have_no_gap_while_other_jobs_become_dead_or_are_discarded() {
    let harness = Harness::new();
    let names: Vec<String> = (0..40).map(|n| format!("j-{n:02}")).collect();
    let kinds = ["bad.data", "mail.down"].into_iter().cycle();
    let jobs: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(kinds).collect();
    run_jobs(&harness, &jobs);
    let (mut seen, mut from) = (Vec::new(), None::<String>);
    let (mut pages, mut last_ended) = (0, "9999".to_owned());
    loop {
        let base = ["dead", "list", "q", "--json", "--limit", "7"];
        let more = from.as_ref().map_or(vec![], |cursor| vec!["--cursor", cursor]);
        let page = harness.run(&[&base[..], &more].concat());
        assert_eq!(page.status, Some(0), "{page:?}");
        let listed = objects(&page.stdout);
        for job in &listed {
            let ended = job["ended_at"].as_str().unwrap().to_owned();
            assert!(ended <= last_ended, "latest first: {ended} after {last_ended}");
            last_ended = ended;
        }
        seen.extend(ids(&listed).into_iter().map(ToOwned::to_owned));
        pages += 1;
        if pages == 2 {
            // A listed job is discarded and other jobs become dead: neither affects the following pages.
            harness.json(&["dead", "discard", "q", &seen[0]]);
            run_jobs(&harness, &[("late-1", "bad.data"), ("late-2", "mail.down")]);
        }
        from = cursor(&page);
        if from.is_none() {
            break;
        }
        assert_eq!(listed.len(), 7);
    }
    seen.sort();
    assert_eq!((pages, seen), (6, names));
}

#[test]
fn a_cursor_of_another_list_is_refused() {
    let harness = Harness::new();
    for id in ["a", "b"] {
        harness.enqueue("q", "k", id, &[]);
    }
    let page = harness.run(&["jobs", "q", "--state", "pending", "--limit", "1"]);
    let cursor = cursor(&page).unwrap();
    for (arguments, phrase) in [
        (["dead", "list", "q", "--cursor", &cursor].as_slice(), "this cursor is from another list"),
        (&["dead", "list", "q", "--cursor", "made-up"], "this is not a cursor"),
    ] {
        let refused = harness.run(arguments);
        assert_eq!(refused.status, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(phrase), "{refused:?}");
    }
}

#[test]
fn many_jobs_are_redriven_and_discarded_in_steps_and_no_others() {
    let harness = Harness::new();
    let names: Vec<String> = (0..250).map(|n| format!("j-{n}")).collect();
    let kind = |n: usize| if n < 230 { "mail.down" } else { "bad.data" };
    let jobs: Vec<(&str, &str)> = names.iter().enumerate().map(|(n, id)| (id.as_str(), kind(n))).collect();
    run_jobs(&harness, &jobs);
    let redriven = harness.run(&["dead", "redrive", "q", "--code", "NETWORK_ERROR", "--json"]);
    assert_eq!(redriven.status, Some(0), "{redriven:?}");
    assert!(redriven.stderr.starts_with("230 jobs redriven\nno worker processes queue q"), "{redriven:?}");
    let results = objects(&redriven.stdout);
    assert_eq!(ids(&results).into_iter().collect::<BTreeSet<_>>().len(), 230);
    assert!(results.iter().all(|job| job["result"] == "moved" && job["from"] == "dead" && job["state"] == "pending"));
    let counts = |fields: [&str; 3]| {
        let stats = harness.one(&["queue", "stats", "q"]);
        fields.map(|field| stats[field].clone())
    };
    assert_eq!(counts(["pending", "dead", "poisoned"]), [json!(230), json!(0), json!(20)]);
    // In a pipe one line is printed per job, as in JSON.
    let discarded = harness.run(&["dead", "discard", "q", "--all"]);
    assert_eq!((discarded.status, discarded.stderr.as_str()), (Some(0), "20 jobs discarded\n"));
    assert_eq!(discarded.stdout.lines().filter(|line| line.ends_with("  poisoned → removed")).count(), 20);
    assert_eq!(counts(["pending", "dead", "poisoned"]), [json!(230), json!(0), json!(0)]);
    let again = harness.run(&["dead", "discard", "q", "--all"]);
    assert_eq!((again.status, again.stderr.as_str()), (Some(0), "no dead or poisoned jobs in queue q\n"));
}
