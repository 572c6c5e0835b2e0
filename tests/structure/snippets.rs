//! Tests of the rules on small sources: each rule must report what violates it, and nothing else.

use crate::drawing;
use crate::graph::Graph;
use crate::rules::{RULES, Violation, Workspace};
use crate::source::{Files, Sources};
use crate::tables::{Layer, Restricted, Tables};

const LOW: Layer = Layer {
    folder: "low",
    name: "retraced_low",
    roots: &["low/lib.rs"],
    may_name: &[],
    rows: &[&["limits"], &["job"], &["port"], &["port/one", "port/two"], &["run"]],
    file_lines_max: 12,
    function_lines_max: 5,
};

const HIGH: Layer = Layer {
    folder: "high",
    name: "retraced_high",
    roots: &["high/lib.rs", "high/main.rs"],
    may_name: &["low"],
    rows: &[&["limits"], &["page"]],
    file_lines_max: 12,
    function_lines_max: 5,
};

const TABLES: Tables = Tables {
    layers: &[LOW, HIGH],
    apart: &[("low/port/one", "low/port/two")],
    restricted: &[Restricted { name: "redis", only_in: &["low/port/one"], remedy: "use the port" }],
    spawn_allowed: &[],
    durations: &[],
    pure: &["low/job"],
    impure: &["low/job/shared"],
};

/// The violations of one rule on the given files.
fn violations_of(rule: &str, tables: &Tables, files: &[(&str, &str)]) -> Vec<Violation> {
    let (_, rule) = RULES.iter().find(|(name, _)| *name == rule).unwrap();
    inspect(tables, files, rule)
}

/// Inspects the given files; a manifest that names both crates is added.
fn inspect<T>(tables: &Tables, files: &[(&str, &str)], with: impl FnOnce(&Workspace<'_>) -> T) -> T {
    let mut all = Files::from([("Cargo.toml".into(), "[workspace]\nmembers = [\"low\", \"high\"]\n".into())]);
    all.extend(files.iter().map(|(file, text)| (file.to_string(), text.to_string())));
    let sources = Sources::parse(&all, tables.layers);
    let graph = Graph::of(&sources, tables.layers);
    with(&Workspace { files: &all, sources: &sources, graph: &graph, tables })
}

fn violations(rule: &str, files: &[(&str, &str)]) -> Vec<String> {
    let found = violations_of(rule, &TABLES, files).into_iter();
    found.map(|violation| format!("{}:{} {}", violation.file, violation.line, violation.key)).collect()
}

#[test]
fn a_layer_must_not_name_one_above_it() {
    let low = ("low/lib.rs", "mod job;");
    let high = ("high/lib.rs", "use retraced_low::X;");
    assert_eq!(violations("layer", &[low, ("low/job.rs", "pub struct Job;"), high]), [""; 0]);
    assert_eq!(
        violations("layer", &[low, ("low/job.rs", "\nuse retraced_high::Page;"), high]),
        ["low/job.rs:2 layer low/job.rs -> high"]
    );
    let mentioned = "fn f() {\n    let x = retraced_high::page();\n}";
    assert_eq!(violations("layer", &[low, ("low/job.rs", mentioned)]), ["low/job.rs:2 layer low/job.rs -> high"]);
    let in_a_macro = "fn f() {\n    log!(\"{}\", retraced_high::page());\n}";
    assert_eq!(violations("layer", &[low, ("low/job.rs", in_a_macro)]), ["low/job.rs:2 layer low/job.rs -> high"]);
}

#[test]
fn a_binary_may_name_the_library_of_its_own_crate() {
    let main = ("high/main.rs", "fn main() { retraced_high::run() }");
    assert_eq!(violations("layer", &[("high/lib.rs", "pub fn run() {}"), main]), [""; 0]);
}

#[test]
fn every_member_of_the_workspace_must_be_a_layer() {
    let manifest = ("Cargo.toml", "[workspace]\nmembers = [\"low\", \"web\"]\n");
    assert_eq!(violations("members", &[manifest]), ["Cargo.toml:2 members web"]);
}

#[test]
fn every_file_must_be_declared_by_a_mod_line() {
    let lib = ("low/lib.rs", "mod job;\n#[cfg(test)]\nmod tests;");
    let files = [lib, ("low/job.rs", ""), ("low/tests.rs", ""), ("low/left.rs", "")];
    assert_eq!(violations("dead-file", &files), ["low/left.rs:1 dead-file low/left.rs"]);
}

#[test]
fn files_must_not_import_each_other_in_a_cycle() {
    let lib = ("low/lib.rs", "mod job;\nmod run;");
    let job = ("low/job.rs", "use crate::run::Run;\npub struct Job;");
    assert_eq!(violations("cycle", &[lib, job, ("low/run.rs", "pub struct Run;")]), [""; 0]);
    assert_eq!(
        violations("cycle", &[lib, job, ("low/run.rs", "pub struct Run;\nfn f(_: super::job::Job) {}")]),
        ["low/job.rs:1 cycle low/job.rs low/run.rs"]
    );
}

/// Four files in two folders, whose files form no cycle: `job/new` -> `run/one`, and `run/two` -> what is given.
fn two_folders(two: &'static str) -> [(&'static str, &'static str); 7] {
    [
        ("low/lib.rs", "mod job;\nmod run;"),
        ("low/job/mod.rs", "mod id;\nmod new;\npub use id::Id;"),
        ("low/job/id.rs", "pub struct Id;"),
        ("low/job/new.rs", "\nuse crate::run::One;"),
        ("low/run/mod.rs", "mod one;\nmod two;\npub use one::One;"),
        ("low/run/one.rs", "pub struct One;"),
        ("low/run/two.rs", two),
    ]
}

#[test]
fn modules_must_not_import_each_other_in_a_circle() {
    assert_eq!(violations("circle", &two_folders("use super::One;")), [""; 0]);
    let circle = two_folders("use crate::job::Id;");
    assert_eq!(violations("cycle", &circle), [""; 0]);
    assert_eq!(violations("circle", &circle), ["low/job/new.rs:2 circle low:job low:run"]);
    let what = &violations_of("circle", &TABLES, &circle)[0].what;
    for edge in ["low/job/new.rs:2: low/run/one.rs", "low/run/two.rs:1: low/job/id.rs"] {
        assert!(what.contains(edge), "{what}");
    }
}

#[test]
fn a_file_beside_its_folder_is_one_module_with_it() {
    let lib = ("low/lib.rs", "mod run;");
    let run = ("low/run.rs", "mod one;\nmod two;\nuse two::Two;");
    let files =
        [lib, run, ("low/run/one.rs", "pub struct One;"), ("low/run/two.rs", "use super::one::One;\npub struct Two;")];
    assert_eq!(violations("circle", &files), [""; 0]);
}

#[test]
fn imports_up_and_imports_in_a_circle_are_red() {
    let red = |files: &[(&str, &str)]| {
        let drawing = inspect(&TABLES, files, drawing::dot);
        let red = drawing.lines().filter(|line| line.contains(drawing::WRONG));
        red.map(|line| line.split(" [").next().unwrap().trim().replace('"', "")).collect::<Vec<_>>()
    };
    let lib = ("low/lib.rs", "mod job;\nmod run;");
    let down = [lib, ("low/job.rs", "pub struct Job;"), ("low/run.rs", "use crate::job::Job;")];
    assert_eq!(red(&down), [""; 0]);
    let up = [lib, ("low/job.rs", "use crate::run::Run;"), ("low/run.rs", "pub struct Run;")];
    assert_eq!(red(&up), ["low:job -> low:run"]);
    assert_eq!(red(&two_folders("use crate::job::Id;")), ["low:job -> low:run", "low:run -> low:job"]);
}

#[test]
fn imports_in_test_code_do_not_count() {
    let lib = ("low/lib.rs", "mod job;\nmod run;");
    let job = ("low/job.rs", "pub struct Job;\n#[cfg(test)]\nmod tests {\n    use crate::run::Run;\n}");
    let run = ("low/run.rs", "use crate::job::Job;\npub struct Run;");
    assert_eq!(violations("cycle", &[lib, job, run]), [""; 0]);
    assert_eq!(violations("up", &[lib, job, run]), [""; 0]);
}

#[test]
fn a_mod_file_that_only_re_exports_takes_part_in_no_cycle() {
    let lib = ("low/lib.rs", "mod port;");
    let one = ("low/port/one.rs", "use super::Port;");
    let contents = ("low/port/mod.rs", "mod one;\nmod two;\npub use two::Port;\npub use one::One;");
    let two = ("low/port/two.rs", "pub struct Port;");
    assert_eq!(violations("cycle", &[lib, contents, one, two]), [""; 0]);
    // The edge runs from `one` to `two`, although `one` names the parent.
    assert_eq!(
        violations("apart", &[lib, contents, one, two]),
        ["low/port/one.rs:1 apart low/port/one.rs -> low/port/two.rs"]
    );
}

#[test]
fn a_parent_and_its_child_must_not_use_each_other() {
    let lib = ("low/lib.rs", "mod port;");
    let parent = ("low/port/mod.rs", "mod one;\nuse one::One;\npub struct Port(One);");
    let child = ("low/port/one.rs", "use super::Port;\npub struct One;");
    assert_eq!(violations("cycle", &[lib, parent, child]), ["low/port/mod.rs:1 cycle low/port/mod.rs low/port/one.rs"]);
}

#[test]
fn names_are_followed_through_imported_modules_and_globs() {
    let lib = ("low/lib.rs", "mod job;\nmod run;\nmod port;");
    let port = ("low/port/mod.rs", "pub use crate::run::*;");
    let run = ("low/run.rs", "pub struct Run;");
    let by_module = ("low/job.rs", "use crate::run;\n\nfn f(_: run::Run) {}");
    assert_eq!(violations("up", &[lib, port, run, by_module])[0], "low/job.rs:3 up low/job.rs -> low/run.rs");
    let by_glob = ("low/job.rs", "use crate::port::Run;");
    assert_eq!(violations("up", &[lib, port, run, by_glob])[0], "low/job.rs:1 up low/job.rs -> low/run.rs");
}

#[test]
fn a_file_must_not_import_from_a_higher_row() {
    let lib = ("low/lib.rs", "mod job;\nmod run;");
    let up = [lib, ("low/job.rs", "use crate::run::Run;"), ("low/run.rs", "pub struct Run;")];
    assert_eq!(violations("up", &up), ["low/job.rs:1 up low/job.rs -> low/run.rs"]);
    let down = [lib, ("low/job.rs", "pub struct Job;"), ("low/run.rs", "use crate::job::Job;")];
    assert_eq!(violations("up", &down), [""; 0]);
    let to_the_root = [("low/lib.rs", "mod run;\nstruct Root;"), ("low/run.rs", "use crate::Root;")];
    assert_eq!(violations("up", &to_the_root), ["low/run.rs:1 up low/run.rs -> low/lib.rs"]);
}

#[test]
fn every_file_must_be_named_by_a_row() {
    let files = [("low/lib.rs", "mod cellar;\nmod port;"), ("low/cellar.rs", ""), ("low/port/mod.rs", "")];
    assert_eq!(violations("row", &files)[0], "low/cellar.rs:1 row low/cellar.rs");
}

#[test]
fn every_name_in_a_row_must_be_a_file_or_folder() {
    let lib = ("high/lib.rs", "mod limits;");
    let files = [lib, ("high/limits.rs", "")];
    assert_eq!(violations("row", &files), ["tests/structure/tables.rs:1 row-unused high/page"]);
    let used = [("high/lib.rs", "mod limits;\nmod page;"), ("high/limits.rs", ""), ("high/page/mod.rs", "")];
    assert_eq!(violations("row", &used), [""; 0]);
}

#[test]
fn a_restricted_crate_must_be_named_only_where_it_may_be() {
    let lib = ("low/lib.rs", "mod port;\nmod run;");
    let port = ("low/port/mod.rs", "mod one;\npub use one::One;");
    let one = ("low/port/one.rs", "use redis::Client;\npub struct One(redis::Value);");
    assert_eq!(violations("restricted", &[lib, port, one, ("low/run.rs", "")]), [""; 0]);
    for (text, line) in
        [("use redis::Client;", 1), ("\nfn f(_: redis::Value) {}", 2), ("use redis;", 1), ("pub use ::redis as r;", 1)]
    {
        let run = ("low/run.rs", text);
        assert_eq!(
            violations("restricted", &[lib, port, one, run]),
            [format!("low/run.rs:{line} restricted redis low/run.rs")],
            "{text}"
        );
    }
    // A module, a variable and a comment of that name are not mentions of the crate.
    let run = (
        "low/run.rs",
        "//! See redis::Client.\nmod redis { pub struct X; }\nuse redis::X;\nfn f(redis: u8) -> u8 { redis }",
    );
    assert_eq!(violations("restricted", &[lib, port, one, run]), [""; 0]);
}

#[test]
fn background_work_starts_only_in_allowed_files() {
    let lib = ("low/lib.rs", "mod run;");
    for text in [
        "fn f() { tokio::spawn(async {}); }",
        "use tokio::task::spawn_blocking;",
        "fn f(handle: H) { handle.spawn(async {}); }",
        "fn f() { select! { x = tokio::spawn(g()) => {} } }",
        "fn f() { std::thread::spawn(|| {}); }",
    ] {
        assert_eq!(violations("spawn", &[lib, ("low/run.rs", text)]), ["low/run.rs:1 spawn low/run.rs"], "{text}");
    }
    let process = "fn f(mut c: Command) { c.spawn(); Actor::spawn(None); }";
    assert_eq!(violations("spawn", &[lib, ("low/run.rs", process)]), [""; 0]);
    let allowing = Tables { spawn_allowed: &[("low/run.rs", "a reason")], ..TABLES };
    let spawning = ("low/run.rs", "fn f() { tokio::spawn(async {}); }");
    assert_eq!(violations_of("spawn", &allowing, &[lib, spawning]), []);
    assert_eq!(violations_of("spawn", &allowing, &[lib, ("low/run.rs", "")])[0].key, "spawn-unused low/run.rs");
}

#[test]
fn every_bound_must_be_in_a_limits_file() {
    let lib = ("low/lib.rs", "mod limits;\nmod run;");
    let limits = ("low/limits.rs", "pub const JOBS_MAX: usize = 1;");
    for (text, name) in [
        ("const JOBS_MAX: usize = 2;", "JOBS_MAX"),
        ("pub const POLL_EVERY: Duration = Duration::from_secs(1);", "POLL_EVERY"),
        ("fn f() { const WAIT: std::time::Duration = std::time::Duration::MAX; g(WAIT) }", ""),
        ("impl R { pub const FACTOR_MAX: u32 = 3; }", "FACTOR_MAX"),
        ("const SIZE_BOUNDS: (Duration, Duration) = (A, B);", ""),
        ("const RANGE_BOUNDS: Range<u64> = 1..2;", "RANGE_BOUNDS"),
    ] {
        let found = violations("bound", &[lib, limits, ("low/run.rs", text)]);
        let name = if name.is_empty() { text.split_once(": ").unwrap().0.rsplit(' ').next().unwrap() } else { name };
        assert_eq!(found, [format!("low/run.rs:1 bound low/run.rs {name}")], "{text}");
    }
    for text in [
        "pub const JOBS_MAX: usize = crate::limits::JOBS_MAX;",
        "const VERSION: u8 = 1;",
        "const NAME_MAX: &str = \"longest\";",
        "#[cfg(test)]\nmod tests { const JOBS_MAX: usize = 2; }",
    ] {
        assert_eq!(violations("bound", &[lib, limits, ("low/run.rs", text)]), [""; 0], "{text}");
    }
}

#[test]
fn a_duration_outside_limits_must_be_listed() {
    let lib = ("low/lib.rs", "mod port;\nmod run;");
    let port = ("low/port/mod.rs", "mod one;");
    let axis = "pub const AXIS: Duration = Duration::from_secs(11);";
    let one = ("low/port/one.rs", axis);
    let tables = Tables { durations: &[("low/port/one.rs", "AXIS", "the scale of a drawing")], ..TABLES };
    let keys = |files: &[(&str, &str)]| {
        violations_of("bound", &tables, files).into_iter().map(|violation| violation.key).collect::<Vec<_>>()
    };
    assert_eq!(keys(&[lib, port, one, ("low/run.rs", "const COUNT: usize = 1;")]), [""; 0]);
    let run = ("low/run.rs", "static SETTLED: [Duration; 1] = [HOUR];\nconst AXIS: Duration = Duration::ZERO;");
    assert_eq!(keys(&[lib, port, one, run]), ["bound low/run.rs SETTLED", "bound low/run.rs AXIS"]);
    let gone = [lib, port, ("low/port/one.rs", ""), ("low/run.rs", "")];
    assert_eq!(keys(&gone), ["duration-unused low/port/one.rs AXIS"]);
}

#[test]
fn a_pure_file_reads_no_clock_and_draws_nothing() {
    let lib = ("low/lib.rs", "mod job;\nmod run;");
    let job = ("low/job/mod.rs", "mod shared;\nfn f(now: Instant, since: Instant) { g(now - since) }");
    let reading = "fn f() { g(Instant::now()) }";
    assert_eq!(violations("pure", &[lib, job, ("low/job/shared.rs", reading), ("low/run.rs", reading)]), [""; 0]);
    for text in [
        reading,
        "fn f() -> u64 { std::time::SystemTime::now().into() }",
        "fn f(since: Instant) { g(since.elapsed()) }",
        "fn f(since: Instant) { log!(\"{:?}\", since.elapsed()) }",
        "fn f() { g(Uuid::now_v7()) }",
        "fn f() { g(rand::random()) }",
        "use rand::rngs::SmallRng;",
        "fn f() { h(x.unwrap_or_else(Instant::now)) }",
    ] {
        let job = format!("mod shared;\n{text}");
        let files = [lib, ("low/job/mod.rs", &*job), ("low/job/shared.rs", ""), ("low/run.rs", "")];
        assert_eq!(violations("pure", &files), ["low/job/mod.rs:2 pure low/job/mod.rs"], "{text}");
    }
}

const HEADER: &str = "-- settle.lua: end attempts.\n-- Guarantee: one wins.\n--   no other does.\n-- KEYS    none\n-- ARGV    none\n-- Reply   {'ok'}\nreturn 1";

#[test]
fn every_script_must_have_its_header() {
    let file = "low/port/one/lua/settle.lua";
    assert_eq!(violations("lua", &[(file, HEADER)]), [""; 0]);
    for (broken, line) in [
        (HEADER.replace("-- settle.lua", "-- claim.lua"), 1),
        (HEADER.replace("-- Guarantee: ", "-- "), 2),
        (HEADER.replace("-- KEYS ", "-- KEYS: "), 3),
        (HEADER.replace("-- ARGV    none\n", ""), 5),
        (HEADER.replace("-- Reply   {'ok'}\n", "local x = 1\n-- Reply   {'ok'}\n"), 6),
        (String::new(), 1),
    ] {
        assert_eq!(violations("lua", &[(file, &broken)]), [format!("{file}:{line} lua {file}")], "{broken}");
    }
}

#[test]
fn a_lua_library_needs_only_its_title() {
    let file = "low/port/one/lua/lib/push.lua";
    assert_eq!(violations("lua", &[(file, "-- lib/push.lua: returns jobs to their queue.\n")]), [""; 0]);
    assert_eq!(violations("lua", &[(file, "-- lib/push.lua: \n")]), [format!("{file}:1 lua {file}")]);
}

#[test]
fn a_lua_constant_has_one_value_in_all_files() {
    let jobs = ("low/port/one/lua/jobs.lua", "\nlocal READ_MAX, SCANNED_MAX = 100, 10 * 100 -- entries\n");
    let same = (
        "low/port/one/lua/stats.lua",
        "local SCANNED_MAX = 10 * 100 -- as in jobs.lua\nlocal now = 1\nlocal KEY = KEYS[1]\n",
    );
    let trim = ("low/port/one/lua/trim.lua", "local now, KEY = 2, 'k'\nlocal function f() local SCANNED_MAX = 3 end\n");
    assert_eq!(violations("lua-name", &[jobs, same, trim]), [""; 0]);
    let other = ("low/port/one/lua/stats.lua", "local SCANNED_MAX = 50\n");
    assert_eq!(
        violations("lua-name", &[jobs, other, trim]),
        ["low/port/one/lua/stats.lua:1 lua-name low/port/one/lua/stats.lua SCANNED_MAX"]
    );
}

#[test]
fn files_and_functions_must_not_exceed_the_largest_allowed() {
    let lib = ("low/lib.rs", "mod run;");
    let long = format!("fn f() {{\n{}}}\n", "    g();\n".repeat(4));
    assert_eq!(violations("size", &[lib, ("low/run.rs", &long)]), ["low/run.rs:1 size low/run.rs f"]);
    let many = "fn f() {}\n".repeat(13);
    assert_eq!(violations("size", &[lib, ("low/run.rs", &many)]), ["low/run.rs:1 size low/run.rs"]);
    let tested = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{}}}\n", "fn g() {}\n".repeat(13));
    assert_eq!(violations("size", &[lib, ("low/run.rs", &tested)]), [""; 0]);
}
