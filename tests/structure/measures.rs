//! Figures of the structure, to compare one state of the sources with another: `cargo test --test structure -- --ignored --nocapture measures`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::graph::{Target, layer_of, resolve};
use crate::rules::{RULES, Workspace};
use crate::source::Name;

pub fn report(workspace: &Workspace<'_>) -> String {
    let mut text = String::from(
        "crate          files  median  largest file                         functions  median  p90  largest function\n",
    );
    for layer in workspace.tables.layers {
        let mut files: Vec<(usize, &str)> = Vec::new();
        for (file, lines) in &workspace.sources.lines {
            if layer_of(workspace.tables, file).is_some_and(|of| of.folder == layer.folder) {
                files.push((*lines, file));
            }
        }
        let mut functions: Vec<(usize, String)> = Vec::new();
        for function in &workspace.sources.functions {
            if layer_of(workspace.tables, &function.file).is_some_and(|of| of.folder == layer.folder) {
                functions.push((function.lines, format!("{}:{} {}", function.file, function.line, function.name)));
            }
        }
        files.sort();
        functions.sort();
        if let (Some((lines, largest)), Some((longest_lines, longest))) = (files.last(), functions.last()) {
            let _ = writeln!(
                text,
                "{:<14} {:>5}  {:>6}  {:<36} {:>9}  {:>6}  {:>3}  {longest_lines} {longest}",
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
    let _ = writeln!(text, "\nedges between files: {}", workspace.graph.edges.len());
    for (name, rule) in RULES {
        let violations = rule(workspace);
        let keys: BTreeSet<&str> = violations.iter().map(|violation| violation.key.as_str()).collect();
        let _ = writeln!(text, "{name:<10} {} violations", keys.len());
    }
    let names = public_names(workspace, "retraced");
    let distinct: BTreeSet<&String> = names.values().collect();
    let _ = writeln!(text, "\npublic paths of `retraced`: {}, of {} distinct items", names.len(), distinct.len());
    text.push_str("\ntypes of actors/inflight: methods, lines\n");
    let mut types: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for part in workspace.sources.types.iter().filter(|part| part.file.starts_with("actors/inflight")) {
        let sum = types.entry(&part.name).or_default();
        *sum = (sum.0 + part.methods, sum.1 + part.lines);
    }
    for (name, (methods, lines)) in types {
        let _ = writeln!(text, "{name:<24} {methods:>3} {lines:>5}");
    }
    text
}

/// Every public path of the crate, and the module and name under which its item is declared.
pub fn public_names(workspace: &Workspace<'_>, crate_name: &str) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let layer = workspace.tables.layers.iter().position(|layer| layer.name == crate_name);
    if let Some(root) = layer.and_then(|layer| workspace.sources.roots.get(&layer)) {
        collect(workspace, *root, crate_name, &mut names);
    }
    names
}

fn collect(workspace: &Workspace<'_>, module: usize, prefix: &str, names: &mut BTreeMap<String, String>) {
    for (name, what) in &workspace.sources.modules[module].names {
        let path = format!("{prefix}::{name}");
        match what {
            Name::Item { public: true } => drop(names.insert(path, format!("{module} {name}"))),
            Name::Module { number, public: true } => enter(workspace, *number, path, names),
            Name::Use { target, public: true } => {
                match resolve(workspace.sources, workspace.tables.layers, module, target, 0) {
                    Target::Item(at, item) => drop(names.insert(path, format!("{at} {item}"))),
                    Target::Module(at) => enter(workspace, at, path, names),
                    Target::Foreign(other) => drop(names.insert(path, other)),
                    Target::Unknown => {}
                }
            }
            _ => {}
        }
    }
    for (glob, public) in &workspace.sources.modules[module].globs {
        if *public && let Target::Module(at) = resolve(workspace.sources, workspace.tables.layers, module, glob, 0) {
            collect(workspace, at, prefix, names);
        }
    }
}

fn enter(workspace: &Workspace<'_>, module: usize, path: String, names: &mut BTreeMap<String, String>) {
    collect(workspace, module, &path, names);
    names.insert(path, format!("{module}"));
}
