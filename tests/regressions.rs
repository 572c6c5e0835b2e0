//! What must not come back, as far as it shows in the sources themselves; and whether `docs/lineage.md`, which tells what went wrong before, and the mutants, which
//! build some of it in again, still fit them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use retraced::QueueName;

/// Faults the lineage tells about.
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

/// Whether it is a test or of a test's household.
fn of_tests(path: &Path) -> bool {
    let inside = path.strip_prefix(root()).unwrap();
    inside.iter().any(|part| part == "tests" || part == "tests.rs" || part == "benches")
}

/// The functions of a file's tests: all of a test's file, those after `#[cfg(test)]` of another.
fn functions_of_tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in files(&["src", "actors", "cli", "jobs", "tests"], "rs") {
        let text = read(&path);
        let from = if of_tests(&path) { Some(0) } else { text.find("#[cfg(test)]") };
        let Some(from) = from else { continue };
        for after in text[from..].split("fn ").skip(1) {
            found.insert(after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect());
        }
    }
    found
}

/// Words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_fault_of_the_lineage_has_a_row_and_every_test_it_names_exists() {
    let known = functions_of_tests();
    assert!(known.len() > 300, "the sources were not read: {}", known.len());
    let page = read(&root().join("docs/lineage.md"));
    let mut rows = BTreeMap::new();
    let of_a_fault =
        |line: &&str| line.strip_prefix("| R").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    for line in page.lines().filter(of_a_fault) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [fault, told, guards] = cells[..] else { panic!("not three cells: {line}") };
        assert!(told.len() > 40, "{fault} is not told");
        let tests: Vec<&str> = quoted(guards).collect();
        assert!(!tests.is_empty() || guards.starts_with("cannot apply: "), "nothing stands against {fault}");
        for test in tests {
            assert!(known.contains(test), "{fault} names {test}, and there is no such test");
        }
        assert!(rows.insert(fault.to_owned(), line).is_none(), "{fault} has two rows");
    }
    let expected: Vec<String> = (1..=FAULTS).map(|n| format!("R{n:02}")).collect();
    assert_eq!(rows.into_keys().collect::<Vec<_>>(), expected);
}

#[test]
fn every_mutant_applies_and_the_tests_that_must_notice_it_exist() {
    let known = functions_of_tests();
    let mutants = files(&["tests/mutants"], "patch");
    assert!(mutants.len() >= 16, "{} mutants", mutants.len());
    for path in mutants {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = read(&path);
        let field = |field: &str| {
            text.lines().filter_map(|line| line.strip_prefix(field)?.strip_prefix(": ")).collect::<Vec<_>>()
        };
        assert_eq!(field("broken").len(), 1, "{name} does not say what it breaks");
        assert!(!field("caught by").is_empty(), "{name} does not say who must notice");
        for caught_by in field("caught by") {
            let [package, target, test] = caught_by.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{name}: not a package, a target and a test: {caught_by}")
            };
            assert!(package.starts_with("retraced"), "{name}: {package}");
            let function = test.rsplit("::").next().unwrap();
            assert!(known.contains(function), "{name} is to be caught by {target} {test}, and there is no such test");
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
        assert!(QueueName::new(name).is_err(), "{name:?} was taken");
        assert!(name.parse::<QueueName>().is_err(), "{name:?} was parsed");
        assert!(serde_json::from_value::<QueueName>(name.into()).is_err(), "{name:?} was read");
    }
}

/// Addresses in code that is not a test: only what is shown as an example, and this machine's own.
#[test]
fn no_address_is_ever_built_into_the_program() {
    const HARMLESS: [&str; 6] = ["HOST", "127.0.0.1", "localhost", "example.com", "{", "[user:"];
    for path in files(&["src", "actors", "cli", "jobs"], "rs").into_iter().filter(|path| !of_tests(path)) {
        let text = read(&path);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for scheme in ["http://", "https://", "redis://", "rediss://"] {
                for address in line.split(scheme).skip(1) {
                    // What ends here names a scheme and nobody's address.
                    let harmless = address.starts_with(['"', '`', ' ', ';', ','])
                        || HARMLESS.iter().any(|own| address.starts_with(own));
                    assert!(harmless, "{}: {line}", path.display());
                }
            }
        }
    }
}

/// Instants are the server's: no script is handed the time by a worker, whose clock may be wrong.
#[test]
fn no_script_ever_takes_the_time_as_an_argument() {
    let shared = read(&root().join("jobs/store/redis/lua/lib/queue.lua"));
    assert!(shared.contains("call('TIME')"), "what every script begins with asks the server for the time");
    for path in files(&["jobs/store/redis"], "rs") {
        for word in ["SystemTime", "now_ms()"] {
            assert!(!read(&path).contains(word), "{} asks this machine for the time: {word}", path.display());
        }
    }
}
