//! Enforces the structure of the sources: which crate and which file may import which, where some crates, background tasks and bounds may be used, and how large
//! files and functions may become. The rules are in `rules.rs`, their tables in `tables.rs`. Violations that are still accepted are listed in `known.txt`; an entry
//! must be removed when its violation is gone.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod drawing;
mod facade;
mod graph;
mod measures;
mod rules;
mod snippets;
mod source;
mod tables;
mod test_files;

use std::collections::BTreeSet;
use std::path::Path;

use graph::Graph;
use rules::{RULES, Violation, Workspace};
use source::Sources;
use tables::TABLES;

/// The keys of the violations that are still accepted. The list should become empty.
const KNOWN: &str = include_str!("known.txt");

fn inspect<T>(with: impl FnOnce(&Workspace<'_>) -> T) -> T {
    let files = source::read(Path::new(env!("CARGO_MANIFEST_DIR")), TABLES.layers);
    let sources = Sources::parse(&files, TABLES.layers);
    let graph = Graph::of(&sources, TABLES.layers);
    with(&Workspace { files: &files, sources: &sources, graph: &graph, tables: &TABLES })
}

#[test]
fn the_sources_keep_to_the_structure() {
    let violations: Vec<Violation> = inspect(|workspace| RULES.iter().flat_map(|(_, rule)| rule(workspace)).collect());
    let known: BTreeSet<&str> = KNOWN.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let present: BTreeSet<&str> = violations.iter().map(|violation| violation.key.as_str()).collect();

    let new: Vec<String> = violations
        .iter()
        .filter(|violation| !known.contains(violation.key.as_str()))
        .map(Violation::to_string)
        .collect();
    let gone: Vec<&str> = known.difference(&present).copied().collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "{} violations:\n{}\n\n{} entries of tests/structure/known.txt are no longer violations; remove them:\n{}\n",
        new.len(),
        new.join("\n"),
        gone.len(),
        gone.join("\n"),
    );
}

#[test]
fn every_test_file_is_part_of_a_test() {
    let folders: Vec<&str> = TABLES.layers.iter().map(|layer| layer.folder).chain([""]).collect();
    let files = test_files::read(Path::new(env!("CARGO_MANIFEST_DIR")), &folders);
    assert!(files.len() > 50, "found {} test files", files.len());
    let undeclared = test_files::undeclared(&files);
    assert!(
        undeclared.is_empty(),
        "no `mod` line leads to {undeclared:?}, so their tests never run: declare them, or delete them"
    );
}

/// Prints the figures of the structure: `cargo test --test structure -- --ignored --nocapture measures`.
#[test]
#[ignore = "a report, which cannot fail"]
fn measures() {
    println!("{}", inspect(measures::report));
}

/// Writes the drawing for `scripts/draw-imports`.
#[test]
fn the_drawing_shows_every_crate_and_no_import_in_red() {
    let drawing = inspect(drawing::dot);
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("imports.dot"), &drawing).unwrap();
    for layer in TABLES.layers {
        assert!(drawing.contains(&format!("  \"{}:", layer.folder)), "the drawing does not show {}/", layer.folder);
    }
    let red: Vec<&str> = drawing.lines().filter(|line| line.contains(drawing::WRONG)).collect();
    assert!(red.is_empty(), "imports of something higher, or in a circle:\n{}", red.join("\n"));
}

/// Prints the keys of all violations, in the form of `known.txt`: `cargo test --test structure -- --ignored --nocapture keys`.
#[test]
#[ignore = "a report, which cannot fail"]
fn keys() {
    let keys: BTreeSet<String> = inspect(|workspace| {
        RULES.iter().flat_map(|(_, rule)| rule(workspace)).map(|violation| violation.key).collect()
    });
    println!("{}", keys.into_iter().collect::<Vec<_>>().join("\n"));
}
