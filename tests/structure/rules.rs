//! The rules. Each gives its offences; an offence says where it is and what to do.

use std::collections::BTreeSet;
use std::fmt;

use crate::graph::{Graph, is_under, layer_of, row_of};
use crate::source::{Files, Sources};
use crate::tables::{BOUND_TYPES, BOUND_WORDS, Layer, Tables};

/// A place where the structure is broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offence {
    pub file: String,
    pub line: usize,
    /// Names the offence without its line: what stands in `known.txt`.
    pub key: String,
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Offence { file, line, what, remedy, key } = self;
        write!(f, "{file}:{line}: {what}\n    remedy: {remedy}\n    key: {key}")
    }
}

/// Everything the rules look at.
pub struct World<'w> {
    pub files: &'w Files,
    pub sources: &'w Sources,
    pub graph: &'w Graph,
    pub tables: &'w Tables,
}

/// A rule: gives what offends it.
pub type Rule = fn(&World<'_>) -> Vec<Offence>;

pub const RULES: &[(&str, Rule)] = &[
    ("members", members),
    ("dead-file", dead_files),
    ("layer", layers),
    ("circle", circles),
    ("room", rooms),
    ("up", arrows_up),
    ("apart", apart),
    ("kept", kept_crates),
    ("spawn", spawns),
    ("bound", bounds),
    ("lua", lua_headers),
    ("size", sizes),
];

/// Every member of the workspace is a layer, so that no crate escapes the rules.
fn members(world: &World<'_>) -> Vec<Offence> {
    let manifest = &world.files["Cargo.toml"];
    let list =
        manifest.split_once("\nmembers = [").and_then(|(_, rest)| rest.split_once(']')).map_or("", |(list, _)| list);
    let folders = list.split('"').skip(1).step_by(2).map(|member| if member == "." { "src" } else { member });
    folders
        .filter(|folder| !world.tables.layers.iter().any(|layer| layer.folder == *folder))
        .map(|folder| Offence {
            file: "Cargo.toml".into(),
            line: line_of(&world.files["Cargo.toml"], "members"),
            key: format!("members {folder}"),
            what: format!("the workspace has a member `{folder}` that is no layer"),
            remedy: "add it to LAYERS in tests/structure/tables.rs, and to ARCHITECTURE.md".into(),
        })
        .collect()
}

fn line_of(text: &str, word: &str) -> usize {
    text.lines().position(|line| line.contains(word)).map_or(1, |at| at + 1)
}

/// Every file belongs to a crate: what no `mod` line leads to is read by neither the compiler nor these rules.
fn dead_files(world: &World<'_>) -> Vec<Offence> {
    let sources = world.files.keys().filter(|file| file.ends_with(".rs"));
    sources
        .filter(|file| !world.sources.reached.contains(*file))
        .map(|file| Offence {
            file: file.clone(),
            line: 1,
            key: format!("dead-file {file}"),
            what: "no `mod` line leads to this file".into(),
            remedy: "declare it in its parent, or delete it".into(),
        })
        .collect()
}

/// A layer names only those it stands on.
fn layers(world: &World<'_>) -> Vec<Offence> {
    let by_name = world.graph.crates.iter().filter_map(|mention| {
        let from = layer_of(world.tables, &mention.from)?;
        let to = world.tables.layers.iter().find(|layer| layer.name == mention.name)?;
        let own_binary = from.name == to.name;
        (!own_binary && !from.may_name.contains(&to.folder))
            .then(|| offence_of_layer(&mention.from, mention.line, from.folder, to.folder, &mention.path))
    });
    let inside_a_crate = world.graph.arrows.values().filter_map(|arrow| {
        let (from, to) = (layer_of(world.tables, &arrow.from)?, layer_of(world.tables, &arrow.to)?);
        let forbidden = from.folder != to.folder && !from.may_name.contains(&to.folder);
        // A mention by the crate's name was found above.
        let by_name = world.tables.layers.iter().any(|layer| arrow.path.starts_with(layer.name));
        (forbidden && !by_name).then(|| offence_of_layer(&arrow.from, arrow.line, from.folder, to.folder, &arrow.path))
    });
    by_name.chain(inside_a_crate).collect()
}

fn offence_of_layer(file: &str, line: usize, from: &str, to: &str, path: &str) -> Offence {
    Offence {
        file: file.into(),
        line,
        key: format!("layer {file} -> {to}"),
        what: format!("{from}/ may not name {to}/: `{path}`"),
        remedy: format!("move what is needed down to where {from}/ may name it, or hand it in from above"),
    }
}

/// No file leads back to itself.
fn circles(world: &World<'_>) -> Vec<Offence> {
    let circles = world.graph.circles().into_iter();
    circles
        .map(|circle| {
            let inside: BTreeSet<&String> = circle.iter().collect();
            let arrows: Vec<String> = world
                .graph
                .arrows
                .values()
                .filter(|arrow| inside.contains(&arrow.from) && inside.contains(&arrow.to))
                .map(|arrow| format!("\n      {}:{}: {} ({})", arrow.from, arrow.line, arrow.to, arrow.path))
                .collect();
            Offence {
                file: circle[0].clone(),
                line: 1,
                key: format!("circle {}", circle.join(" ")),
                what: format!("a circle of {} files:{}", circle.len(), arrows.concat()),
                remedy: "move what both sides need into a file below them".into(),
            }
        })
        .collect()
}

/// Every file stands in a room, and every name in the rooms is one of a file or folder.
fn rooms(world: &World<'_>) -> Vec<Offence> {
    let mut offences = files_without_a_room(world);
    // A layer without files, as one that is to be split off, has no rooms yet.
    let layers = world.tables.layers.iter().filter(|layer| files_of(world, layer).next().is_some());
    for layer in layers {
        for name in layer.rooms.iter().copied().flatten() {
            let place = format!("{}/{name}", layer.folder);
            if !files_of(world, layer).any(|file| is_under(file, &place)) {
                offences.push(Offence {
                    file: "tests/structure/tables.rs".into(),
                    line: 1,
                    key: format!("room-unused {place}"),
                    what: format!("the rooms of {}/ name `{name}`, which is no file and no folder", layer.folder),
                    remedy: "take it out of `rooms`".into(),
                });
            }
        }
    }
    offences
}

fn files_of<'w>(world: &'w World<'_>, layer: &'w Layer) -> impl Iterator<Item = &'w String> {
    let files = world.sources.lines.keys();
    files.filter(|file| layer_of(world.tables, file).is_some_and(|of| of.folder == layer.folder))
}

fn files_without_a_room(world: &World<'_>) -> Vec<Offence> {
    let files = world.sources.lines.keys();
    files
        .filter_map(|file| {
            let layer = layer_of(world.tables, file)?;
            row_of(layer, file).is_none().then(|| Offence {
                file: file.clone(),
                line: 1,
                key: format!("room {file}"),
                what: format!("no row of {}/'s rooms names this file", layer.folder),
                remedy: "add it to `rooms` in tests/structure/tables.rs, as low as what it names allows".into(),
            })
        })
        .collect()
}

/// A file names only its own row and those below it.
fn arrows_up(world: &World<'_>) -> Vec<Offence> {
    let arrows = world.graph.arrows.values();
    arrows
        .filter_map(|arrow| {
            let (from, to) = (layer_of(world.tables, &arrow.from)?, layer_of(world.tables, &arrow.to)?);
            let (low, high) = (row_of(from, &arrow.from)?, row_of(to, &arrow.to)?);
            (from.folder == to.folder && high > low).then(|| Offence {
                file: arrow.from.clone(),
                line: arrow.line,
                key: format!("up {} -> {}", arrow.from, arrow.to),
                what: format!("names {}, which stands above it: `{}`", arrow.to, arrow.path),
                remedy: "move the named item down, or hand the value in from above".into(),
            })
        })
        .collect()
}

/// Folders that never name each other.
fn apart(world: &World<'_>) -> Vec<Offence> {
    let mut offences = Vec::new();
    for arrow in world.graph.arrows.values() {
        for (one, other) in world.tables.apart {
            let crossing = (is_under(&arrow.from, one) && is_under(&arrow.to, other))
                || (is_under(&arrow.from, other) && is_under(&arrow.to, one));
            if crossing {
                offences.push(Offence {
                    file: arrow.from.clone(),
                    line: arrow.line,
                    key: format!("apart {} -> {}", arrow.from, arrow.to),
                    what: format!("{one}/ and {other}/ never name each other: `{}`", arrow.path),
                    remedy: "move what both need to the folder above them".into(),
                });
            }
        }
    }
    offences
}

/// Some crates are named in one place only.
fn kept_crates(world: &World<'_>) -> Vec<Offence> {
    let mut offences = Vec::new();
    for mention in &world.graph.crates {
        for kept in world.tables.kept.iter().filter(|kept| kept.name == mention.name) {
            if !kept.only_in.iter().any(|place| is_under(&mention.from, place)) {
                offences.push(Offence {
                    file: mention.from.clone(),
                    line: mention.line,
                    key: format!("kept {} {}", kept.name, mention.from),
                    what: format!("`{}` is named only in {}: `{}`", kept.name, kept.only_in.join(", "), mention.path),
                    remedy: kept.remedy.into(),
                });
            }
        }
    }
    offences
}

/// Background work starts in few places, each with a reason; a place that starts none any more leaves the list.
fn spawns(world: &World<'_>) -> Vec<Offence> {
    let allowed: BTreeSet<&str> = world.tables.spawn_allowed.iter().map(|(file, _)| *file).collect();
    let used: BTreeSet<&str> = starts_of_work(world).map(|spawn| spawn.file.as_str()).collect();
    let elsewhere = starts_of_work(world).filter(|spawn| !allowed.contains(spawn.file.as_str())).map(|spawn| Offence {
        file: spawn.file.clone(),
        line: spawn.line,
        key: format!("spawn {}", spawn.file),
        what: format!("starts work in the background: `{}`", spawn.call),
        remedy: "hand it to a file of SPAWN_ALLOWED (tests/structure/tables.rs), or add this one with its reason"
            .into(),
    });
    let unused = allowed.iter().filter(|file| !used.contains(*file)).map(|file| Offence {
        file: "tests/structure/tables.rs".into(),
        line: 1,
        key: format!("spawn-unused {file}"),
        what: format!("SPAWN_ALLOWED names {file}, which starts nothing"),
        remedy: "take it out of the list".into(),
    });
    elsewhere.chain(unused).collect()
}

/// Paths to tokio's and the standard library's `spawn…`, and method calls of that name; `Actor::spawn` starts a supervised actor and is none.
fn starts_of_work<'w>(world: &'w World<'_>) -> impl Iterator<Item = &'w crate::source::Spawn> {
    world
        .sources
        .spawns
        .iter()
        .filter(|spawn| spawn.call.starts_with('.') || !spawn.call.starts_with(char::is_uppercase))
}

/// Every bound stands in a `limits.rs`. A bound is a constant of a number's or a duration's type whose name ends in a word of BOUND_WORDS. A constant that only
/// stands for another one (`const POLL_MAX: Duration = limits::POLL_MAX`) is a name for it, not a bound.
fn bounds(world: &World<'_>) -> Vec<Offence> {
    let constants = world.sources.constants.iter();
    constants
        .filter(|constant| {
            let number = constant.kind.split(' ').any(|word| BOUND_TYPES.contains(&word));
            let named = constant.name.rsplit('_').next().is_some_and(|word| BOUND_WORDS.contains(&word));
            number && named && !constant.alias && !constant.file.ends_with("/limits.rs")
        })
        .map(|constant| {
            let folder = layer_of(world.tables, &constant.file).map_or("the crate", |layer| layer.folder);
            Offence {
                file: constant.file.clone(),
                line: constant.line,
                key: format!("bound {} {}", constant.file, constant.name),
                what: format!("the bound {} stands outside limits.rs", constant.name),
                remedy: format!("move it to {folder}/limits.rs, with its unit and its consequence"),
            }
        })
        .collect()
}

/// What a script's header says, in this order, each at the start of a line.
const SCRIPT_HEADER: [&str; 4] = ["-- Guarantee: ", "-- KEYS ", "-- ARGV ", "-- Reply "];

/// Every Lua file says what it is on its first line; a script goes on with its guarantee, KEYS, ARGV and Reply.
fn lua_headers(world: &World<'_>) -> Vec<Offence> {
    world
        .files
        .iter()
        .filter(|(file, _)| file.ends_with(".lua"))
        .filter_map(|(file, text)| lua_offence(file, text))
        .collect()
}

fn lua_offence(file: &str, text: &str) -> Option<Offence> {
    let library = file.contains("/lib/");
    let base = file.rsplit('/').next().unwrap_or(file);
    let title = if library { format!("-- lib/{base}: ") } else { format!("-- {base}: ") };
    let header: Vec<&str> = text.lines().take_while(|line| line.starts_with("--")).collect();
    let offence = |line: usize, what: String| {
        Some(Offence {
            file: file.into(),
            line,
            key: format!("lua {file}"),
            what,
            remedy: "begin as its neighbours do: name and duty; a script then says Guarantee, KEYS, ARGV and Reply"
                .into(),
        })
    };
    let titled = header.first().is_some_and(|line| line.len() > title.len() && line.starts_with(&title));
    if !titled {
        return offence(1, format!("the first line is not `{title}…`"));
    }
    if library {
        return None;
    }
    let mut from = 1;
    for part in SCRIPT_HEADER {
        match header[from..].iter().position(|line| line.starts_with(part)) {
            Some(at) => from += at + 1,
            None => return offence(from + 1, format!("the header has no `{part}…` after line {from}")),
        }
    }
    None
}

/// The largest file and the largest function of a crate may not grow.
fn sizes(world: &World<'_>) -> Vec<Offence> {
    let files = world.sources.lines.iter().filter_map(|(file, lines)| {
        let layer = layer_of(world.tables, file)?;
        (*lines > layer.file_lines_max).then(|| Offence {
            file: file.clone(),
            line: 1,
            key: format!("size {file}"),
            what: format!("{lines} lines; the largest file of {}/ may have {}", layer.folder, layer.file_lines_max),
            remedy: "split it: one noun a file".into(),
        })
    });
    let functions = world.sources.functions.iter().filter_map(|function| {
        let layer = layer_of(world.tables, &function.file)?;
        (function.lines > layer.function_lines_max).then(|| Offence {
            file: function.file.clone(),
            line: function.line,
            key: format!("size {} {}", function.file, function.name),
            what: format!(
                "{} has {} lines; the largest function of {}/ may have {}",
                function.name, function.lines, layer.folder, layer.function_lines_max
            ),
            remedy: "split it into steps named by what they decide".into(),
        })
    });
    files.chain(functions).collect()
}
