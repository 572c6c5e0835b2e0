//! The rules. Each returns its violations; a violation says where it is and what to do about it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::graph::{Edge, Graph, is_under, layer_of, row_of};
use crate::source::{Constant, Files, Sources};
use crate::tables::{BOUND_TYPES, BOUND_WORDS, Layer, Tables};

/// A place where the structure is broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub file: String,
    pub line: usize,
    /// Identifies the violation without its line: its entry in `known.txt`.
    pub key: String,
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { file, line, what, remedy, key } = self;
        write!(f, "{file}:{line}: {what}\n    remedy: {remedy}\n    key: {key}")
    }
}

/// Everything the rules check.
pub struct Workspace<'w> {
    pub files: &'w Files,
    pub sources: &'w Sources,
    pub graph: &'w Graph,
    pub tables: &'w Tables,
}

/// A rule: returns what violates it.
pub type Rule = fn(&Workspace<'_>) -> Vec<Violation>;

pub const RULES: &[(&str, Rule)] = &[
    ("members", members),
    ("dead-file", dead_files),
    ("layer", layers),
    ("cycle", cycles),
    ("circle", circles),
    ("row", rows),
    ("up", edges_up),
    ("apart", apart),
    ("restricted", restricted_crates),
    ("spawn", spawns),
    ("bound", bounds),
    ("pure", pure),
    ("lua", lua_headers),
    ("lua-name", lua_names),
    ("size", sizes),
];

/// Every member of the workspace is a layer, so that the rules check every crate.
fn members(workspace: &Workspace<'_>) -> Vec<Violation> {
    let manifest = &workspace.files["Cargo.toml"];
    let list =
        manifest.split_once("\nmembers = [").and_then(|(_, rest)| rest.split_once(']')).map_or("", |(list, _)| list);
    let folders = list.split('"').skip(1).step_by(2).map(|member| if member == "." { "src" } else { member });
    folders
        .filter(|folder| !workspace.tables.layers.iter().any(|layer| layer.folder == *folder))
        .map(|folder| Violation {
            file: "Cargo.toml".into(),
            line: line_of(&workspace.files["Cargo.toml"], "members"),
            key: format!("members {folder}"),
            what: format!("the workspace has a member `{folder}` that is not a layer"),
            remedy: "add it to LAYERS in tests/structure/tables.rs, and to ARCHITECTURE.md".into(),
        })
        .collect()
}

fn line_of(text: &str, word: &str) -> usize {
    text.lines().position(|line| line.contains(word)).map_or(1, |at| at + 1)
}

/// Every file belongs to a crate. Neither the compiler nor these rules read a file to which no `mod` line leads.
fn dead_files(workspace: &Workspace<'_>) -> Vec<Violation> {
    let sources = workspace.files.keys().filter(|file| file.ends_with(".rs"));
    sources
        .filter(|file| !workspace.sources.reached.contains(*file))
        .map(|file| Violation {
            file: file.clone(),
            line: 1,
            key: format!("dead-file {file}"),
            what: "no `mod` line leads to this file".into(),
            remedy: "declare it in its parent, or delete it".into(),
        })
        .collect()
}

/// A layer names only the layers that its `may_name` lists.
fn layers(workspace: &Workspace<'_>) -> Vec<Violation> {
    let by_name = workspace.graph.crates.iter().filter_map(|mention| {
        let from = layer_of(workspace.tables, &mention.from)?;
        let to = workspace.tables.layers.iter().find(|layer| layer.name == mention.name)?;
        let own_binary = from.name == to.name;
        (!own_binary && !from.may_name.contains(&to.folder))
            .then(|| layer_violation(&mention.from, mention.line, from.folder, to.folder, &mention.path))
    });
    let inside_a_crate = workspace.graph.edges.values().filter_map(|edge| {
        let (from, to) = (layer_of(workspace.tables, &edge.from)?, layer_of(workspace.tables, &edge.to)?);
        let forbidden = from.folder != to.folder && !from.may_name.contains(&to.folder);
        // Mentions by the name of the crate were found above.
        let by_name = workspace.tables.layers.iter().any(|layer| edge.path.starts_with(layer.name));
        (forbidden && !by_name).then(|| layer_violation(&edge.from, edge.line, from.folder, to.folder, &edge.path))
    });
    by_name.chain(inside_a_crate).collect()
}

fn layer_violation(file: &str, line: usize, from: &str, to: &str, path: &str) -> Violation {
    Violation {
        file: file.into(),
        line,
        key: format!("layer {file} -> {to}"),
        what: format!("{from}/ may not name {to}/: `{path}`"),
        remedy: format!("move what is needed down to where {from}/ may name it, or hand it in from above"),
    }
}

/// The edges of files form no cycle.
fn cycles(workspace: &Workspace<'_>) -> Vec<Violation> {
    let cycles = workspace.graph.cycles().into_iter();
    cycles
        .map(|cycle| {
            let inside: BTreeSet<&String> = cycle.iter().collect();
            let edges: Vec<String> = workspace
                .graph
                .edges
                .values()
                .filter(|edge| inside.contains(&edge.from) && inside.contains(&edge.to))
                .map(|edge| format!("\n      {}:{}: {} ({})", edge.from, edge.line, edge.to, edge.path))
                .collect();
            Violation {
                file: cycle[0].clone(),
                line: 1,
                key: format!("cycle {}", cycle.join(" ")),
                what: format!("a cycle of {} files:{}", cycle.len(), edges.concat()),
                remedy: "move what both sides need into a file below them".into(),
            }
        })
        .collect()
}

/// The top-level modules of a layer form no circle, although a circle of modules may be free of cycles of files.
fn circles(workspace: &Workspace<'_>) -> Vec<Violation> {
    let circles = workspace.graph.circles(workspace.tables).into_iter();
    circles
        .map(|circle| {
            let mut edges: BTreeMap<(String, String), &Edge> = BTreeMap::new();
            for edge in workspace.graph.edges.values() {
                if let Some((from, to)) = edge.modules(workspace.tables)
                    && from != to
                    && circle.contains(&from)
                    && circle.contains(&to)
                {
                    edges.entry((from, to)).or_insert(edge);
                }
            }
            let first = edges.values().next().expect("a circle has imports");
            let lines =
                edges.values().map(|edge| format!("\n      {}:{}: {} ({})", edge.from, edge.line, edge.to, edge.path));
            Violation {
                file: first.from.clone(),
                line: first.line,
                key: format!("circle {}", circle.join(" ")),
                what: format!("a circle of {} modules:{}", circle.len(), lines.collect::<String>()),
                remedy: "move what both sides need into a module below them, or one of them into the other".into(),
            }
        })
        .collect()
}

/// Every file is named by a row, and every name in a row is that of a file or folder.
fn rows(workspace: &Workspace<'_>) -> Vec<Violation> {
    let mut violations = files_without_a_row(workspace);
    // A layer may be listed before it has files: its rows are not checked then.
    let layers = workspace.tables.layers.iter().filter(|layer| files_of(workspace, layer).next().is_some());
    for layer in layers {
        for name in layer.rows.iter().copied().flatten() {
            let place = format!("{}/{name}", layer.folder);
            if !files_of(workspace, layer).any(|file| is_under(file, &place)) {
                violations.push(Violation {
                    file: "tests/structure/tables.rs".into(),
                    line: 1,
                    key: format!("row-unused {place}"),
                    what: format!("the rows of {}/ name `{name}`, which is neither a file nor a folder", layer.folder),
                    remedy: "remove it from `rows`".into(),
                });
            }
        }
    }
    violations
}

fn files_of<'w>(workspace: &'w Workspace<'_>, layer: &'w Layer) -> impl Iterator<Item = &'w String> {
    let files = workspace.sources.lines.keys();
    files.filter(|file| layer_of(workspace.tables, file).is_some_and(|of| of.folder == layer.folder))
}

fn files_without_a_row(workspace: &Workspace<'_>) -> Vec<Violation> {
    let files = workspace.sources.lines.keys();
    files
        .filter_map(|file| {
            let layer = layer_of(workspace.tables, file)?;
            row_of(layer, file).is_none().then(|| Violation {
                file: file.clone(),
                line: 1,
                key: format!("row {file}"),
                what: format!("no row of {}/ names this file", layer.folder),
                remedy: "add it to `rows` in tests/structure/tables.rs, in the lowest row from which it may import what it needs".into(),
            })
        })
        .collect()
}

/// A file names only files of its own row and of lower rows.
fn edges_up(workspace: &Workspace<'_>) -> Vec<Violation> {
    let edges = workspace.graph.edges.values();
    edges
        .filter_map(|edge| {
            let (from, to) = (layer_of(workspace.tables, &edge.from)?, layer_of(workspace.tables, &edge.to)?);
            let (low, high) = (row_of(from, &edge.from)?, row_of(to, &edge.to)?);
            (from.folder == to.folder && high > low).then(|| Violation {
                file: edge.from.clone(),
                line: edge.line,
                key: format!("up {} -> {}", edge.from, edge.to),
                what: format!("names {}, which is in a higher row: `{}`", edge.to, edge.path),
                remedy: "move the named item down, or hand the value in from above".into(),
            })
        })
        .collect()
}

/// Some folders never name each other.
fn apart(workspace: &Workspace<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for edge in workspace.graph.edges.values() {
        for (one, other) in workspace.tables.apart {
            let crossing = (is_under(&edge.from, one) && is_under(&edge.to, other))
                || (is_under(&edge.from, other) && is_under(&edge.to, one));
            if crossing {
                violations.push(Violation {
                    file: edge.from.clone(),
                    line: edge.line,
                    key: format!("apart {} -> {}", edge.from, edge.to),
                    what: format!("{one}/ and {other}/ never name each other: `{}`", edge.path),
                    remedy: "move what both need to a file that both may name".into(),
                });
            }
        }
    }
    violations
}

/// Some crates are named only in certain files.
fn restricted_crates(workspace: &Workspace<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for mention in &workspace.graph.crates {
        for restricted in workspace.tables.restricted.iter().filter(|restricted| restricted.name == mention.name) {
            if !restricted.only_in.iter().any(|place| is_under(&mention.from, place)) {
                violations.push(Violation {
                    file: mention.from.clone(),
                    line: mention.line,
                    key: format!("restricted {} {}", restricted.name, mention.from),
                    what: format!(
                        "`{}` may be named only in {}: `{}`",
                        restricted.name,
                        restricted.only_in.join(", "),
                        mention.path
                    ),
                    remedy: restricted.remedy.into(),
                });
            }
        }
    }
    violations
}

/// Background work starts only in the files of SPAWN_ALLOWED. A file that no longer starts any must be removed from the list.
fn spawns(workspace: &Workspace<'_>) -> Vec<Violation> {
    let allowed: BTreeSet<&str> = workspace.tables.spawn_allowed.iter().map(|(file, _)| *file).collect();
    let used: BTreeSet<&str> = starts_of_work(workspace).map(|spawn| spawn.file.as_str()).collect();
    let elsewhere =
        starts_of_work(workspace).filter(|spawn| !allowed.contains(spawn.file.as_str())).map(|spawn| Violation {
            file: spawn.file.clone(),
            line: spawn.line,
            key: format!("spawn {}", spawn.file),
            what: format!("starts work in the background: `{}`", spawn.call),
            remedy: "hand it to a file of SPAWN_ALLOWED (tests/structure/tables.rs), or add this one with its reason"
                .into(),
        });
    let unused = allowed.iter().filter(|file| !used.contains(*file)).map(|file| Violation {
        file: "tests/structure/tables.rs".into(),
        line: 1,
        key: format!("spawn-unused {file}"),
        what: format!("SPAWN_ALLOWED names {file}, which starts no background work"),
        remedy: "remove it from the list".into(),
    });
    elsewhere.chain(unused).collect()
}

/// Paths to a `spawn…` of tokio or the standard library, and calls of methods with such a name. `Actor::spawn` is left out: it starts a supervised actor.
fn starts_of_work<'w>(workspace: &'w Workspace<'_>) -> impl Iterator<Item = &'w crate::source::Call> {
    workspace
        .sources
        .spawns
        .iter()
        .filter(|spawn| spawn.call.starts_with('.') || !spawn.call.starts_with(char::is_uppercase))
}

/// Every bound is declared in a `limits.rs`. A bound is a constant of a type of BOUND_TYPES whose name ends in a word of BOUND_WORDS, or a duration that is not in
/// the list of durations that bound nothing. A constant that is only another name for a bound (`const POLL_MAX: Duration = limits::POLL_MAX`) may be declared
/// anywhere.
fn bounds(workspace: &Workspace<'_>) -> Vec<Violation> {
    let listed = |constant: &Constant| {
        let durations = workspace.tables.durations.iter();
        durations.clone().any(|(file, name, _)| *file == constant.file && *name == constant.name)
    };
    let is_duration = |constant: &Constant| constant.kind.split(' ').any(|word| word == "Duration");
    let outside = || {
        let constants = workspace.sources.constants.iter();
        constants.filter(|constant| !constant.alias && !constant.file.ends_with("/limits.rs"))
    };
    let unused = workspace.tables.durations.iter().filter(|(file, name, _)| {
        !outside().any(|constant| is_duration(constant) && constant.file == *file && constant.name == *name)
    });
    let unused = unused.map(|(file, name, _)| Violation {
        file: "tests/structure/tables.rs".into(),
        line: 1,
        key: format!("duration-unused {file} {name}"),
        what: format!("DURATIONS names {name} of {file}, which is no duration there"),
        remedy: "remove it from the list".into(),
    });
    let declared = outside()
        .filter(|constant| {
            let number = constant.kind.split(' ').any(|word| BOUND_TYPES.contains(&word));
            let named = constant.name.rsplit('_').next().is_some_and(|word| BOUND_WORDS.contains(&word));
            number && named || is_duration(constant) && !listed(constant)
        })
        .map(|constant| {
            let folder = layer_of(workspace.tables, &constant.file).map_or("the crate", |layer| layer.folder);
            Violation {
                file: constant.file.clone(),
                line: constant.line,
                key: format!("bound {} {}", constant.file, constant.name),
                what: format!("the bound {} is declared outside limits.rs", constant.name),
                remedy: format!(
                    "move it to {folder}/limits.rs, with its unit and what happens past it; a duration that bounds nothing can be listed in DURATIONS"
                ),
            }
        });
    declared.chain(unused).collect()
}

/// Pure files take time and random numbers as arguments: they read no clock and draw nothing.
fn pure(workspace: &Workspace<'_>) -> Vec<Violation> {
    let readings = workspace.sources.readings.iter().map(|call| (&call.file, call.line, &call.call));
    let drawn = workspace.graph.crates.iter().filter(|mention| mention.name == "rand");
    let drawn = drawn.map(|mention| (&mention.from, mention.line, &mention.path));
    let offences = readings.chain(drawn).filter(|(file, ..)| {
        let among = |names: &[&str]| names.iter().any(|name| is_under(file, name));
        among(workspace.tables.pure) && !among(workspace.tables.impure)
    });
    offences
        .map(|(file, line, call)| Violation {
            file: file.clone(),
            line,
            key: format!("pure {file}"),
            what: format!("reads a clock or draws at random: `{call}`"),
            remedy: "take the instant, the time or the random number as an argument".into(),
        })
        .collect()
}

/// The parts of a script's header, in this order, each at the start of a line.
const SCRIPT_HEADER: [&str; 4] = ["-- Guarantee: ", "-- KEYS ", "-- ARGV ", "-- Reply "];

/// The first line of every Lua file has its name and duty. In a script, its guarantee, KEYS, ARGV and Reply follow.
fn lua_headers(workspace: &Workspace<'_>) -> Vec<Violation> {
    workspace
        .files
        .iter()
        .filter(|(file, _)| file.ends_with(".lua"))
        .filter_map(|(file, text)| lua_violation(file, text))
        .collect()
}

fn lua_violation(file: &str, text: &str) -> Option<Violation> {
    let library = file.contains("/lib/");
    let base = file.rsplit('/').next().unwrap_or(file);
    let title = if library { format!("-- lib/{base}: ") } else { format!("-- {base}: ") };
    let header: Vec<&str> = text.lines().take_while(|line| line.starts_with("--")).collect();
    let violation = |line: usize, what: String| {
        Some(Violation {
            file: file.into(),
            line,
            key: format!("lua {file}"),
            what,
            remedy: "begin as the other Lua files do: with name and duty, and in a script then Guarantee, KEYS, ARGV and Reply"
                .into(),
        })
    };
    let titled = header.first().is_some_and(|line| line.len() > title.len() && line.starts_with(&title));
    if !titled {
        return violation(1, format!("the first line is not `{title}…`"));
    }
    if library {
        return None;
    }
    let mut from = 1;
    for part in SCRIPT_HEADER {
        match header[from..].iter().position(|line| line.starts_with(part)) {
            Some(at) => from += at + 1,
            None => return violation(from + 1, format!("the header has no `{part}…` after line {from}")),
        }
    }
    None
}

/// A name of a Lua constant has one value, in whatever files it stands: a script consists of several of them, and whoever searches for a name finds all of them.
fn lua_names(workspace: &Workspace<'_>) -> Vec<Violation> {
    let mut first: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    let mut violations = Vec::new();
    for (file, text) in workspace.files.iter().filter(|(file, _)| file.ends_with(".lua")) {
        for (line, name, value) in lua_constants(text) {
            let (elsewhere, other) = *first.entry(name).or_insert((file, value));
            if other != value {
                violations.push(Violation {
                    file: file.clone(),
                    line,
                    key: format!("lua-name {file} {name}"),
                    what: format!("{name} is {value} here and {other} in {elsewhere}"),
                    remedy: "give them different names".into(),
                });
            }
        }
    }
    violations
}

/// The numbers with a name in capitals, at the top of a Lua file: line, name, value.
fn lua_constants(text: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    text.lines().enumerate().flat_map(|(at, line)| {
        let code = line.split("--").next().unwrap_or_default();
        let declared = code.strip_prefix("local ").and_then(|rest| rest.split_once(" = "));
        let pairs = declared.into_iter().flat_map(|(names, values)| names.split(", ").zip(values.split(", ")));
        pairs.map(move |(name, value)| (at + 1, name, value.trim())).filter(|(_, name, value)| {
            !name.contains(char::is_lowercase) && value.starts_with(|c: char| c.is_ascii_digit())
        })
    })
}

/// No file and no function is larger than its layer allows.
fn sizes(workspace: &Workspace<'_>) -> Vec<Violation> {
    let files = workspace.sources.lines.iter().filter_map(|(file, lines)| {
        let layer = layer_of(workspace.tables, file)?;
        (*lines > layer.file_lines_max).then(|| Violation {
            file: file.clone(),
            line: 1,
            key: format!("size {file}"),
            what: format!("{lines} lines; a file of {}/ may have at most {}", layer.folder, layer.file_lines_max),
            remedy: "split it into files that have one duty each".into(),
        })
    });
    let functions = workspace.sources.functions.iter().filter_map(|function| {
        let layer = layer_of(workspace.tables, &function.file)?;
        (function.lines > layer.function_lines_max).then(|| Violation {
            file: function.file.clone(),
            line: function.line,
            key: format!("size {} {}", function.file, function.name),
            what: format!(
                "{} has {} lines; a function of {}/ may have at most {}",
                function.name, function.lines, layer.folder, layer.function_lines_max
            ),
            remedy: "split it into functions named after what they do".into(),
        })
    });
    files.chain(functions).collect()
}
