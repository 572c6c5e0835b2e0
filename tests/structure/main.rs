//! The structure of the sources, held by a test: which crate names which, which file names which, where some crates, background tasks and bounds may stand,
//! and how large things may become. The rules are in `rules.rs`, their tables in `tables.rs`; what is not yet as it should be is listed in `known.txt`, and
//! leaves that list as soon as it is.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, unreachable_pub)]

mod drawing;
mod graph;
mod measures;
mod rules;
mod snippets;
mod source;
mod tables;

use std::collections::BTreeSet;
use std::path::Path;

use graph::Graph;
use rules::{Offence, RULES, World};
use source::Sources;
use tables::TABLES;

/// Offences that exist today, by their keys. Empty it.
const KNOWN: &str = include_str!("known.txt");

fn look<T>(with: impl FnOnce(&World<'_>) -> T) -> T {
    let files = source::read(Path::new(env!("CARGO_MANIFEST_DIR")), TABLES.layers);
    let sources = Sources::parse(&files, TABLES.layers);
    let graph = Graph::of(&sources, TABLES.layers);
    with(&World { files: &files, sources: &sources, graph: &graph, tables: &TABLES })
}

#[test]
fn the_sources_keep_to_the_structure() {
    let offences: Vec<Offence> = look(|world| RULES.iter().flat_map(|(_, rule)| rule(world)).collect());
    let known: BTreeSet<&str> = KNOWN.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let met: BTreeSet<&str> = offences.iter().map(|offence| offence.key.as_str()).collect();

    let new: Vec<String> =
        offences.iter().filter(|offence| !known.contains(offence.key.as_str())).map(Offence::to_string).collect();
    let mended: Vec<&str> = known.difference(&met).copied().collect();
    assert!(
        new.is_empty() && mended.is_empty(),
        "{} offences:\n{}\n\n{} entries of tests/structure/known.txt are no offences any more, take them out:\n{}\n",
        new.len(),
        new.join("\n"),
        mended.len(),
        mended.join("\n"),
    );
}

#[test]
fn measures() {
    println!("{}", look(measures::report));
}

#[test]
fn the_imports_can_be_drawn() {
    let drawing = look(drawing::dot);
    assert!(drawing.contains("\"actors:"), "the drawing shows the actors");
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("imports.dot"), drawing).unwrap();
}

/// Prints the keys of all offences, in the form of `known.txt`.
#[test]
fn keys() {
    let keys: BTreeSet<String> =
        look(|world| RULES.iter().flat_map(|(_, rule)| rule(world)).map(|offence| offence.key).collect());
    println!("{}", keys.into_iter().collect::<Vec<_>>().join("\n"));
}
