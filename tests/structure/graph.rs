//! The graph of imports: which file names an item of which other file. Re-exports are followed to the file that declares the item, so that a `mod.rs` with
//! nothing but `mod` lines and re-exports never stands in between. This means:
//!
//! - `mod child;` is no edge, and neither is a parent's re-export of something below it.
//! - A parent whose own code uses an item of a child has an edge to the child. A child that uses an item which the parent's file declares has an edge to the
//!   parent. Both edges together are a cycle: the shared item belongs in a file of its own.
//! - A name that cannot be followed, because a macro declares it, counts for the file of the module in which it is looked up.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Mention, MentionKind, Name, Sources};
use crate::tables::{Layer, Tables};

/// The number of re-exports through which a name is followed.
const REEXPORTS_MAX: usize = 16;

/// One file names an item that another file declares. `line` and `path` are those of the first mention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    pub from: String,
    pub to: String,
    pub line: usize,
    pub path: String,
}

/// A mention of a crate, of this workspace or another.
#[derive(Debug, Clone)]
pub struct CrateMention {
    pub from: String,
    pub name: String,
    pub line: usize,
    pub path: String,
}

#[derive(Debug, Default)]
pub struct Graph {
    /// Edges between different files, by their two ends.
    pub edges: BTreeMap<(String, String), Edge>,
    pub crates: Vec<CrateMention>,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An item, by the module that declares it and its name.
    Item(usize, String),
    Module(usize),
    /// A crate outside this workspace.
    Foreign(String),
    /// A local name, a type parameter or a name of the prelude.
    Unknown,
}

impl Graph {
    pub fn of(sources: &Sources, layers: &[Layer]) -> Graph {
        let mut graph = Graph::default();
        for (number, module) in sources.modules.iter().enumerate() {
            for mention in &module.mentions {
                let path = mention.path.join("::");
                let target = resolve(sources, layers, number, &mention.path, 0);
                if let Some(name) = crate_named(sources, layers, number, mention) {
                    graph.crates.push(CrateMention {
                        from: module.file.clone(),
                        name,
                        line: mention.line,
                        path: path.clone(),
                    });
                }
                let Target::Item(at, _) = target else { continue };
                let to = &sources.modules[at].file;
                if *to == module.file || (mention.kind == MentionKind::Reexport && is_below(sources, at, number)) {
                    continue;
                }
                let ends = (module.file.clone(), to.clone());
                let edge = Edge { from: ends.0.clone(), to: ends.1.clone(), line: mention.line, path };
                let first = graph.edges.entry(ends).or_insert_with(|| edge.clone());
                if edge.line < first.line {
                    *first = edge;
                }
            }
        }
        graph
    }

    /// The cycles: sets of files in which each leads to all others.
    pub fn cycles(&self) -> Vec<Vec<String>> {
        cycles_of(self.edges.keys().cloned())
    }

    /// The circles: sets of top-level modules in which each leads to all others.
    pub fn circles(&self, tables: &Tables) -> Vec<Vec<String>> {
        let edges = self.edges.values().filter_map(|edge| edge.modules(tables));
        cycles_of(edges.filter(|(from, to)| from != to))
    }
}

impl Edge {
    /// The top-level modules at both ends.
    pub fn modules(&self, tables: &Tables) -> Option<(String, String)> {
        module_of(tables, &self.from).zip(module_of(tables, &self.to))
    }
}

/// The top-level module of a file: its layer's folder and its name, or that of the first folder it is in.
pub fn module_of(tables: &Tables, file: &str) -> Option<String> {
    let folder = layer_of(tables, file)?.folder;
    let inside = file.strip_prefix(folder)?.strip_prefix('/')?;
    let name = inside.split('/').next().unwrap_or(inside);
    Some(format!("{folder}:{}", name.strip_suffix(".rs").unwrap_or(name)))
}

fn cycles_of(edges: impl Iterator<Item = (String, String)>) -> Vec<Vec<String>> {
    let mut next: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (from, to) in edges {
        next.entry(to.clone()).or_default();
        next.entry(from).or_default().push(to);
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        next.keys().map(|from| (from.as_str(), reachable(&next, from))).collect();
    let mut cycles = BTreeSet::new();
    for (node, others) in &reached {
        if others.contains(node) {
            let cycle = others.iter().filter(|other| reached[*other].contains(node));
            cycles.insert(cycle.map(|other| other.to_string()).collect::<Vec<_>>());
        }
    }
    cycles.into_iter().collect()
}

fn reachable<'a>(next: &'a BTreeMap<String, Vec<String>>, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&String> = next[from].iter().collect();
    while let Some(node) = open.pop() {
        if seen.insert(node.as_str()) {
            open.extend(&next[node]);
        }
    }
    seen
}

fn is_below(sources: &Sources, module: usize, ancestor: usize) -> bool {
    std::iter::successors(Some(module), |at| sources.modules[*at].parent).any(|at| at == ancestor)
}

/// The crate a path begins with, if it begins with one.
fn crate_named(sources: &Sources, layers: &[Layer], from: usize, mention: &Mention) -> Option<String> {
    let path = &mention.path;
    let first = path.first()?;
    if path.len() == 1 && mention.kind == MentionKind::Code {
        // A variable or a function.
        return None;
    }
    if first.is_empty() {
        return path.get(1).cloned();
    }
    if matches!(first.as_str(), "crate" | "self" | "super" | "Self") || first.starts_with(char::is_uppercase) {
        return None;
    }
    match sources.modules[from].names.get(first) {
        Some(Name::Item { .. } | Name::Module { .. }) => None,
        // `use redis;` and `use redis::{self, …}` import a crate under its own name.
        Some(Name::Use { target, .. }) if target.as_slice() != std::slice::from_ref(first) => {
            let ours = target.first().is_some_and(|t| layers.iter().any(|layer| layer.name == t));
            (!ours && matches!(resolve(sources, layers, from, target, 0), Target::Foreign(_)))
                .then(|| target[0].clone())
        }
        _ => Some(first.clone()),
    }
}

pub fn resolve(sources: &Sources, layers: &[Layer], from: usize, path: &[String], depth: usize) -> Target {
    let Some((first, rest)) = path.split_first() else { return Target::Module(from) };
    if depth > REEXPORTS_MAX {
        return Target::Unknown;
    }
    let module = &sources.modules[from];
    match first.as_str() {
        "" => outside(sources, layers, rest, depth),
        "crate" => look_up(sources, layers, root_of(sources, from), rest, depth),
        "self" => look_up(sources, layers, from, rest, depth),
        "super" => {
            let mut at = module.parent.unwrap_or(from);
            let mut rest = rest;
            while let Some(("super", after)) = rest.split_first().map(|(word, after)| (word.as_str(), after)) {
                at = sources.modules[at].parent.unwrap_or(at);
                rest = after;
            }
            look_up(sources, layers, at, rest, depth)
        }
        name => match module.names.get(name) {
            Some(Name::Use { target, .. }) if target.first() == Some(first) && target.len() == 1 => {
                outside(sources, layers, path, depth)
            }
            Some(_) => look_up(sources, layers, from, path, depth),
            None => match through_globs(sources, layers, from, path, depth) {
                Some(target) => target,
                None => outside(sources, layers, path, depth),
            },
        },
    }
}

fn root_of(sources: &Sources, module: usize) -> usize {
    std::iter::successors(Some(module), |at| sources.modules[*at].parent).last().unwrap_or(module)
}

fn outside(sources: &Sources, layers: &[Layer], path: &[String], depth: usize) -> Target {
    let Some((first, rest)) = path.split_first() else { return Target::Unknown };
    match layers.iter().position(|layer| layer.name == first).and_then(|layer| sources.roots.get(&layer)) {
        Some(root) => look_up(sources, layers, *root, rest, depth),
        None if first.starts_with(char::is_lowercase) => Target::Foreign(first.clone()),
        None => Target::Unknown,
    }
}

fn look_up(sources: &Sources, layers: &[Layer], module: usize, path: &[String], depth: usize) -> Target {
    let Some((name, rest)) = path.split_first() else { return Target::Module(module) };
    match sources.modules[module].names.get(name) {
        Some(Name::Item { .. }) => Target::Item(module, name.clone()),
        Some(Name::Module { number, .. }) => look_up(sources, layers, *number, rest, depth),
        Some(Name::Use { target, .. }) => {
            let whole: Vec<String> = target.iter().chain(rest).cloned().collect();
            resolve(sources, layers, module, &whole, depth + 1)
        }
        None => {
            through_globs(sources, layers, module, path, depth).unwrap_or_else(|| Target::Item(module, name.clone()))
        }
    }
}

/// A name that comes from a `use …::*`.
fn through_globs(sources: &Sources, layers: &[Layer], module: usize, path: &[String], depth: usize) -> Option<Target> {
    sources.modules[module].globs.iter().find_map(|(glob, _)| match resolve(sources, layers, module, glob, depth + 1) {
        Target::Module(at) if at != module && sources.modules[at].names.contains_key(&path[0]) => {
            Some(look_up(sources, layers, at, path, depth + 1))
        }
        _ => None,
    })
}

/// The layer a file belongs to: the one with the longest folder.
pub fn layer_of<'t>(tables: &'t Tables, file: &str) -> Option<&'t Layer> {
    let layers = tables.layers.iter().filter(|layer| is_under(file, layer.folder));
    layers.max_by_key(|layer| layer.folder.len())
}

/// Whether `name` is this file without its `.rs`, or a folder that contains the file.
pub fn is_under(file: &str, name: &str) -> bool {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    stem == name || stem.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'))
}

/// The number of a file's row in its layer: the row with the longest name that fits. `None` for a file that no row names.
pub fn row_of(layer: &Layer, file: &str) -> Option<usize> {
    let inside = file.strip_prefix(layer.folder)?.strip_prefix('/')?;
    if matches!(inside, "lib.rs" | "main.rs") {
        return Some(layer.rows.len());
    }
    let rows = layer.rows.iter().enumerate();
    let fits = rows.flat_map(|(row, names)| names.iter().map(move |name| (name.len(), row, name)));
    fits.filter(|(_, _, name)| is_under(inside, name)).max_by_key(|(length, ..)| *length).map(|(_, row, _)| row)
}
