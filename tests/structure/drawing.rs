//! Draws the graph of imports for graphviz. Each crate is a box; each file or folder directly in it is a node. Imports of something higher and imports in a cycle are red.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::graph::{layer_of, row_of};
use crate::rules::Workspace;
use crate::tables::Tables;

pub fn dot(workspace: &Workspace<'_>) -> String {
    let mut text = String::from(
        "digraph imports {\n  rankdir=TB; ranksep=0.45; nodesep=0.15; node [shape=box, style=filled, fillcolor=white, fontname=Helvetica, fontsize=11, \
         height=0.25]; edge [arrowsize=0.5, color=\"#00000070\"];\n",
    );
    let in_cycles: BTreeSet<BTreeSet<String>> =
        workspace.graph.cycles().into_iter().map(|cycle| cycle.into_iter().collect()).collect();

    let mut boxes: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for file in workspace.sources.lines.keys().filter(|file| !is_root(file)) {
        if let Some(layer) = layer_of(workspace.tables, file) {
            boxes.entry(layer.folder).or_default().extend(node(workspace.tables, file));
        }
    }
    for (folder, nodes) in boxes {
        let _ = writeln!(
            text,
            "  subgraph \"cluster_{folder}\" {{ label=\"{folder}/\"; fontname=Helvetica; style=filled; color=\"#e8eef4\";"
        );
        for node in nodes {
            let label = node.rsplit_once(':').map_or(node.as_str(), |(_, label)| label);
            let _ = writeln!(text, "    \"{node}\" [label=\"{label}\"];");
        }
        text.push_str("  }\n");
    }

    let mut edges: BTreeMap<(String, String), bool> = BTreeMap::new();
    for edge in workspace.graph.edges.values().filter(|edge| !is_root(&edge.from)) {
        let (Some(from), Some(to)) = (node(workspace.tables, &edge.from), node(workspace.tables, &edge.to)) else {
            continue;
        };
        if from != to {
            let cycle = in_cycles.iter().any(|cycle| cycle.contains(&edge.from) && cycle.contains(&edge.to));
            *edges.entry((from, to)).or_default() |= cycle || runs_up(workspace.tables, &edge.from, &edge.to);
        }
    }
    for ((from, to), wrong) in edges {
        let colour = if wrong { " [color=red, penwidth=1.5]" } else { "" };
        let _ = writeln!(text, "  \"{from}\" -> \"{to}\"{colour};");
    }
    text.push_str("}\n");
    text
}

fn is_root(file: &str) -> bool {
    file.ends_with("/lib.rs") || file.ends_with("/main.rs")
}

/// The node of a file: its crate's folder and its name, or that of the first folder it is in.
fn node(tables: &Tables, file: &str) -> Option<String> {
    let folder = layer_of(tables, file)?.folder;
    let inside = file.strip_prefix(folder)?.strip_prefix('/')?;
    let name = inside.split('/').next().unwrap_or(inside);
    Some(format!("{folder}:{}", name.strip_suffix(".rs").unwrap_or(name)))
}

fn runs_up(tables: &Tables, from: &str, to: &str) -> bool {
    match (layer_of(tables, from), layer_of(tables, to)) {
        (Some(one), Some(other)) if one.folder == other.folder => {
            row_of(one, from).zip(row_of(other, to)).is_some_and(|(low, high)| high > low)
        }
        (Some(one), Some(other)) => !one.may_name.contains(&other.folder),
        _ => false,
    }
}
