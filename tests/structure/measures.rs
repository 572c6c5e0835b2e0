//! The figures of the structure, to compare one state of the sources with another: `cargo test --test structure -- --nocapture measures`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::graph::{Target, layer_of, resolve};
use crate::rules::{RULES, World};
use crate::source::Name;

pub fn report(world: &World<'_>) -> String {
    let mut text = String::from(
        "crate          files  median  largest file                         functions  median  p90  largest function\n",
    );
    for layer in world.tables.layers {
        let mut files: Vec<(usize, &str)> = Vec::new();
        for (file, lines) in &world.sources.lines {
            if layer_of(world.tables, file).is_some_and(|of| of.folder == layer.folder) {
                files.push((*lines, file));
            }
        }
        let mut functions: Vec<(usize, String)> = Vec::new();
        for function in &world.sources.functions {
            if layer_of(world.tables, &function.file).is_some_and(|of| of.folder == layer.folder) {
                functions.push((function.lines, format!("{}:{} {}", function.file, function.line, function.name)));
            }
        }
        files.sort();
        functions.sort();
        if let (Some((lines, largest)), Some((steps, longest))) = (files.last(), functions.last()) {
            let _ = writeln!(
                text,
                "{:<14} {:>5}  {:>6}  {:<36} {:>9}  {:>6}  {:>3}  {steps} {longest}",
                layer.folder,
                files.len(),
                files[files.len() / 2].0,
                format!("{lines} {largest}"),
                functions.len(),
                functions[functions.len() / 2].0,
                functions[functions.len() * 9 / 10].0,
            );
        }
    }
    let _ = writeln!(text, "\narrows between files: {}", world.graph.arrows.len());
    for (name, rule) in RULES {
        let offences = rule(world);
        let keys: BTreeSet<&str> = offences.iter().map(|offence| offence.key.as_str()).collect();
        let _ = writeln!(text, "{name:<10} {} offences", keys.len());
    }
    let names = public_names(world, "retraced");
    let distinct: BTreeSet<&String> = names.values().collect();
    let _ = writeln!(text, "\npublic paths of `retraced`: {}, of {} distinct items", names.len(), distinct.len());
    text.push_str("\ntypes of actors/inflight: methods, lines\n");
    let mut types: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for part in world.sources.types.iter().filter(|part| part.file.starts_with("actors/inflight")) {
        let sum = types.entry(&part.name).or_default();
        *sum = (sum.0 + part.methods, sum.1 + part.lines);
    }
    for (name, (methods, lines)) in types {
        let _ = writeln!(text, "{name:<24} {methods:>3} {lines:>5}");
    }
    text
}

/// Every path a user of the crate can write, and where its item is declared.
pub fn public_names(world: &World<'_>, crate_name: &str) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let layer = world.tables.layers.iter().position(|layer| layer.name == crate_name);
    if let Some(root) = layer.and_then(|layer| world.sources.roots.get(&layer)) {
        collect(world, *root, crate_name, &mut names);
    }
    names
}

fn collect(world: &World<'_>, module: usize, prefix: &str, names: &mut BTreeMap<String, String>) {
    for (name, what) in &world.sources.modules[module].names {
        let path = format!("{prefix}::{name}");
        match what {
            Name::Item { public: true } => drop(names.insert(path, format!("{module} {name}"))),
            Name::Module { number, public: true } => enter(world, *number, path, names),
            Name::Use { target, public: true } => {
                match resolve(world.sources, world.tables.layers, module, target, 0) {
                    Target::Item(at, item) => drop(names.insert(path, format!("{at} {item}"))),
                    Target::Module(at) => enter(world, at, path, names),
                    Target::Foreign(other) => drop(names.insert(path, other)),
                    Target::Unknown => {}
                }
            }
            _ => {}
        }
    }
    for (glob, public) in &world.sources.modules[module].globs {
        if *public && let Target::Module(at) = resolve(world.sources, world.tables.layers, module, glob, 0) {
            collect(world, at, prefix, names);
        }
    }
}

fn enter(world: &World<'_>, module: usize, path: String, names: &mut BTreeMap<String, String>) {
    collect(world, module, &path, names);
    names.insert(path, format!("{module}"));
}
