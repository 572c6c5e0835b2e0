//! Checks against regressions that can be seen in the sources. They also check that two things still match the sources: `docs/lineage.md`, which lists the faults of
//! the predecessor, and the mutants, which rebuild some of those faults.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use retraced::QueueName;

/// The number of faults in `docs/lineage.md`.
const FAULTS: usize = 35;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below these folders with this extension.
fn files(folders: &[&str], extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether a file belongs to tests or benchmarks.
fn is_test_code(path: &Path) -> bool {
    let inside = path.strip_prefix(root()).unwrap();
    inside.iter().any(|part| part == "tests" || part == "tests.rs" || part == "benches")
}

/// The names of functions in test code: all functions of a test file, and those after `#[cfg(test)]` in other files.
fn test_functions() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in files(&["src", "actors", "cli", "jobs", "tests"], "rs") {
        let text = read(&path);
        let from = if is_test_code(&path) { Some(0) } else { text.find("#[cfg(test)]") };
        let Some(from) = from else { continue };
        for after in text[from..].split("fn ").skip(1) {
            found.insert(after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect());
        }
    }
    found
}

/// The texts in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_fault_of_the_lineage_has_a_row_and_every_test_it_names_exists() {
    let functions = test_functions();
    assert!(functions.len() > 300, "the sources were not read: {}", functions.len());
    let page = read(&root().join("docs/lineage.md"));
    let mut rows = BTreeMap::new();
    let of_a_fault =
        |line: &&str| line.strip_prefix("| R").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    for line in page.lines().filter(of_a_fault) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [fault, description, guards] = cells[..] else { panic!("not three cells: {line}") };
        assert!(description.len() > 40, "{fault} has no description");
        let tests: Vec<&str> = quoted(guards).collect();
        assert!(!tests.is_empty() || guards.starts_with("cannot apply: "), "{fault} names no test");
        for test in tests {
            assert!(functions.contains(test), "{fault} names {test}, which does not exist");
        }
        assert!(rows.insert(fault.to_owned(), line).is_none(), "{fault} has two rows");
    }
    let expected: Vec<String> = (1..=FAULTS).map(|n| format!("R{n:02}")).collect();
    assert_eq!(rows.into_keys().collect::<Vec<_>>(), expected);
}

#[test]
fn every_mutant_applies_and_the_tests_it_names_exist() {
    let functions = test_functions();
    let mutants = files(&["tests/mutants"], "patch");
    assert!(mutants.len() >= 16, "{} mutants", mutants.len());
    for path in mutants {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = read(&path);
        let field = |field: &str| {
            text.lines().filter_map(|line| line.strip_prefix(field)?.strip_prefix(": ")).collect::<Vec<_>>()
        };
        assert_eq!(field("broken").len(), 1, "{name} does not say what it breaks");
        assert!(!field("caught by").is_empty(), "{name} does not name the tests that must fail");
        for caught_by in field("caught by") {
            let [package, target, test] = caught_by.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{name}: not a package, a target and a test: {caught_by}")
            };
            assert!(package.starts_with("retraced"), "{name}: {package}");
            let function = test.rsplit("::").next().unwrap();
            assert!(functions.contains(function), "{name} names {target} {test}, which does not exist");
        }
        let applied = Command::new("git").current_dir(root()).args(["apply", "--check"]).arg(&path).output().unwrap();
        assert!(applied.status.success(), "{name} no longer applies: {}", String::from_utf8_lossy(&applied.stderr));
    }
}

#[test]
fn a_queue_name_never_reaches_into_other_keys() {
    let long = "x".repeat(129);
    let hostile = [
        "",
        " ",
        "email:processing",
        "job:1",
        "a b",
        "{email}",
        "em}ail",
        "a*",
        "a?",
        "[a]",
        "a/b",
        "a\\b",
        "a\nb",
        "a\r\nDEL b",
        "a\0",
        "ä",
        "email\u{200b}",
        "a\"b",
        "a'b",
        "a]]b",
        &long,
    ];
    for name in hostile {
        assert!(QueueName::new(name).is_err(), "{name:?} was accepted");
        assert!(name.parse::<QueueName>().is_err(), "{name:?} was parsed");
        assert!(serde_json::from_value::<QueueName>(name.into()).is_err(), "{name:?} was read");
    }
}

/// Code outside of tests may contain only addresses of examples and the loopback address.
#[test]
fn no_address_is_ever_built_into_the_program() {
    const HARMLESS: [&str; 6] = ["HOST", "127.0.0.1", "localhost", "example.com", "{", "[user:"];
    for path in files(&["src", "actors", "cli", "jobs"], "rs").into_iter().filter(|path| !is_test_code(path)) {
        let text = read(&path);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for scheme in ["http://", "https://", "redis://", "rediss://"] {
                for address in line.split(scheme).skip(1) {
                    // The scheme may stand alone, without an address.
                    let harmless = address.starts_with(['"', '`', ' ', ';', ','])
                        || HARMLESS.iter().any(|own| address.starts_with(own));
                    assert!(harmless, "{}: {line}", path.display());
                }
            }
        }
    }
}

/// Only the clock of the server counts. A worker, whose clock may be wrong, never passes the time to a script.
#[test]
fn no_script_ever_takes_the_time_as_an_argument() {
    let shared = read(&root().join("jobs/store/redis/lua/lib/queue.lua"));
    assert!(shared.contains("call('TIME')"), "the shared prefix of every script reads the server's time");
    for path in files(&["jobs/store/redis"], "rs") {
        for word in ["SystemTime", "now_ms()"] {
            assert!(!read(&path).contains(word), "{} reads this machine's clock: {word}", path.display());
        }
    }
}
