//! Draws the graph of imports for graphviz. Each crate is a box; each file or folder directly in it is a node. Imports of something higher and imports in a circle are red.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::graph::{layer_of, module_of, row_of};
use crate::rules::Workspace;
use crate::tables::Tables;

/// The colour of an import that should not be.
pub const WRONG: &str = "color=red";

pub fn dot(workspace: &Workspace<'_>) -> String {
    let mut text = String::from(
        "digraph imports {\n  rankdir=TB; ranksep=0.45; nodesep=0.15; node [shape=box, style=filled, fillcolor=white, fontname=Helvetica, fontsize=11, \
         height=0.25]; edge [arrowsize=0.5, color=\"#00000070\"];\n",
    );
    let in_circles = workspace.graph.circles(workspace.tables);

    let mut boxes: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for file in workspace.sources.lines.keys().filter(|file| !is_root(file)) {
        if let Some(layer) = layer_of(workspace.tables, file) {
            boxes.entry(layer.folder).or_default().extend(module_of(workspace.tables, file));
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
        let Some((from, to)) = edge.modules(workspace.tables) else { continue };
        if from != to {
            let circle = in_circles.iter().any(|circle| circle.contains(&from) && circle.contains(&to));
            *edges.entry((from, to)).or_default() |= circle || runs_up(workspace.tables, &edge.from, &edge.to);
        }
    }
    for ((from, to), wrong) in edges {
        let colour = if wrong { format!(" [{WRONG}, penwidth=1.5]") } else { String::new() };
        let _ = writeln!(text, "  \"{from}\" -> \"{to}\"{colour};");
    }
    text.push_str("}\n");
    text
}

fn is_root(file: &str) -> bool {
    file.ends_with("/lib.rs") || file.ends_with("/main.rs")
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
