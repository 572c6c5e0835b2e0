//! What the command line prints, and where to: JSON, terminals of any width, pipes, full disks; and where its settings come from.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "support/failures.rs"]
mod failures;
#[path = "support/harness.rs"]
mod harness;
#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "support/terminal.rs"]
mod terminal;

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use failures::run_jobs;
use harness::{COMMAND_MAX, Harness, objects, retraced};
use serde_json::{Value, json};
use support::{Finished, finish, finished, without_settings};
use terminal::{on_terminal, plain};

/// Replaces values that differ between runs by placeholders.
fn steady(value: &Value) -> Value {
    let is_instant = |text: &str| text.len() == 24 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
    let named = |name: &str, value: &Value| match (name, value) {
        (_, Value::Null) => Value::Null,
        ("worker", _) => json!("<worker>"),
        ("by" | "paused_by", _) => json!("<by>"),
        ("backtrace", _) => json!("<backtrace>"),
        ("location", _) => json!("<location>"),
        // Sentences of a trace name workers, instants and durations.
        ("text", _) => json!("<text>"),
        ("jitter_drawn", _) => json!("<jitter>"),
        ("ran_ms" | "oldest_pending_ms" | "delayed_overdue_ms" | "measured_ms", Value::Number(_)) => json!("<ms>"),
        _ => steady(value),
    };
    match value {
        Value::String(text) if is_instant(text) => json!("<instant>"),
        Value::Array(items) => items.iter().map(steady).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), named(name, value))).collect(),
        other => other.clone(),
    }
}

#[test]
fn json_keeps_its_fields() {
    let harness = Harness::new();
    run_jobs(&harness, &[("bad", "bad.data"), ("down", "mail.down"), ("panics", "panics"), ("fine", "fine")]);
    let mut printed = String::new();
    let mut tell = |arguments: &[&str]| {
        let finished = harness.run(&[arguments, &["--json"]].concat());
        printed += &format!("retraced {} --json → {}\n", arguments.join(" "), finished.status.unwrap());
        for object in objects(&finished.stdout) {
            printed += &format!("{:#}\n", steady(&object));
        }
        printed.push('\n');
    };
    let job = ["enqueue", "q", "--kind", "k", "--payload", "{\"to\":\"ada\"}"];
    tell(&[&job[..], &["--id", "new"]].concat());
    tell(&[&job[..], &["--id", "later", "--at", "2099-01-31T08:00:00Z", "--strategy", "linear"]].concat());
    tell(&["queues"]);
    tell(&["queues", "--rates-over", "100ms"]);
    tell(&["queue", "pause", "q"]);
    tell(&["queue", "stats", "q"]);
    tell(&["queue", "resume", "q"]);
    tell(&["jobs", "q", "--state", "pending"]);
    tell(&["jobs", "q", "--state", "delayed"]);
    tell(&["job", "show", "q", "later"]);
    tell(&["job", "show", "q", "fine"]);
    tell(&["job", "cancel", "q", "later"]);
    tell(&["job", "cancel", "q", "fine"]);
    tell(&["job", "retry", "q", "later"]);
    tell(&["job", "retry", "q", "nope"]);
    tell(&["trace", "q", "later"]);
    tell(&["trace", "q", "panics"]);
    tell(&["dead", "list", "q", "--kind", "mail.down"]);
    tell(&["dead", "show", "q", "bad"]);
    tell(&["dead", "redrive", "q", "--code", "PANIC"]);
    tell(&["dead", "discard", "q", "bad", "nope"]);
    tell(&["queue", "delete", "q", "--force"]);
    insta::assert_snapshot!(printed);
}

#[test]
fn tables_fit_terminals_of_any_width_and_keep_ids_whole() {
    let harness = Harness::new();
    let id = "01a213a3-1375-7026-9136-f54aa1ebe517";
    run_jobs(&harness, &[(id, "bad.data"), ("b", "mail.down"), ("hostile", "hostile")]);
    harness.one(&["queue", "pause", "q", "--by", "somebody of the night shift"]);
    for columns in [20, 80, 120] {
        for arguments in [
            ["queues"].as_slice(),
            &["dead", "list", "q"],
            &["jobs", "q", "--state", "dead"],
            &["queue", "stats", "q"],
            &["config"],
            &["trace", "q", id],
            &["job", "find", id],
        ] {
            let (status, printed) = on_terminal(harness.command(arguments), columns, COMMAND_MAX);
            assert_eq!(status, Some(0), "{printed}");
            let shown = plain(&printed);
            assert!(
                !shown.contains('\u{1b}') && !shown.contains('\u{202e}') && !shown.contains('\u{7}'),
                "{printed:?}"
            );
            // Ids are printed in full at every width, wrapped if necessary.
            if arguments.ends_with(&["list", "q"]) {
                assert!(shown.replace("\r\n", "").contains(id), "{shown}");
            }
            // Sentences are wrapped between words; an id or a command in them is never broken, so that it can be copied.
            let is_unbroken = |line: &str| arguments[0] != "dead" && (line.contains('`') || !line.trim().contains(' '));
            let wraps = |line: &&str| !line.starts_with("too narrow") && !is_unbroken(line);
            let widest = shown.lines().filter(wraps).map(|line| line.chars().count()).max();
            assert!(widest.unwrap() <= usize::from(columns), "{columns}:\n{shown}");
            let narrow = shown.contains("too narrow for");
            // A list of dead jobs needs more columns, for messages that say something.
            let widest_narrow = if arguments[0] == "dead" { 120 } else { 80 };
            assert!(
                !narrow || (80..=widest_narrow).contains(&columns),
                "what is left out at 80 is shown at 120:\n{shown}"
            );
        }
    }
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let harness = Harness::new();
    run_jobs(&harness, &[("a", "bad.data")]);
    let on = |arguments: &[&str], no_color: bool| {
        let mut command = harness.command(arguments);
        if !no_color {
            command.env_remove("NO_COLOR");
        }
        on_terminal(command, 80, COMMAND_MAX).1.contains('\u{1b}')
    };
    assert!(on(&["dead", "list", "q"], false));
    assert!(on(&["--help"], false));
    assert!(!on(&["dead", "list", "q"], true));
    assert!(!on(&["dead", "list", "q", "--color", "never"], false));
    assert!(!on(&["--color", "never", "--help"], false));
    assert!(!on(&["dead", "list", "q", "--json"], false));
    assert!(on(&["dead", "list", "q", "--color", "always"], true));
    let piped = |more: &[&str]| harness.run(&[&["dead", "list", "q"], more].concat()).stdout.contains('\u{1b}');
    assert!(!piped(&[]));
    assert!(piped(&["--color", "always"]));
}

#[test]
fn text_of_a_job_cannot_take_over_the_terminal() {
    let harness = Harness::new();
    run_jobs(&harness, &[("h", "hostile")]);
    for arguments in [["dead", "list", "q"].as_slice(), &["dead", "show", "q", "h"], &["trace", "q", "h"]] {
        let shown = harness.run(arguments);
        assert_eq!(shown.status, Some(0), "{shown:?}");
        assert!(
            shown.stdout.contains("\\u{1b}[2J\\u{1b}]0;owned\\u{7}\\r\\nerror: forged \\u{202e}"),
            "{arguments:?}: {}",
            shown.stdout
        );
        assert!(!shown.stdout.lines().any(|line| line.starts_with("error:")), "a line was forged");
        assert!(shown.stdout.len() < 20_000, "{} bytes", shown.stdout.len());
    }
    let payload = format!("\"{}\"", "y".repeat(1_000_000));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{{\"kind\":\"k\",\"id\":\"big\",\"payload\":{payload}}}")).unwrap();
    harness.json(&["enqueue", "q", "--from", file.path().to_str().unwrap()]);
    let shown = harness.run(&["job", "show", "q", "big"]).stdout;
    assert!(shown.len() < 10_000 && shown.contains("(1000002 bytes; --json shows all)"), "{} bytes", shown.len());
    assert_eq!(harness.one(&["job", "show", "q", "big"])["payload"].as_str().unwrap().len(), 1_000_000);
}

#[test]
fn long_work_shows_its_progress_on_a_terminal_and_only_there() {
    let harness = Harness::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines: String = (0..3_000).map(|n| format!("{{\"kind\":\"k\",\"payload\":{n}}}\n")).collect();
    std::fs::write(file.path(), lines).unwrap();
    let enqueue = ["enqueue", "q", "--from", file.path().to_str().unwrap()];
    let (status, printed) = on_terminal(harness.command(&enqueue), 80, COMMAND_MAX);
    assert_eq!(status, Some(0), "{printed}");
    assert!(printed.contains("enqueueing") && printed.contains("/3,000"), "{printed:?}");
    assert!(plain(&printed).contains("3000 jobs enqueued to q"), "{printed:?}");
    let piped = harness.run(&enqueue);
    assert_eq!((piped.stdout.lines().count(), piped.stderr.lines().next()), (3_000, Some("3000 jobs enqueued to q")));
}

fn into_full_disk(mut command: Command) -> Finished {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
    Finished { status: output.status.code(), stdout: String::new(), stderr: String::from_utf8(output.stderr).unwrap() }
}

#[test]
fn output_that_cannot_be_written_is_a_failure_and_what_was_done_is_reported() {
    let harness = Harness::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines: String = (0..300).map(|n| format!("{{\"kind\":\"k\",\"payload\":{n}}}\n")).collect();
    std::fs::write(file.path(), lines).unwrap();
    let full = "error: the output cannot be written: No space left on device (os error 28)";
    for (arguments, phrase) in [
        (["--help"].as_slice(), ""),
        (&["enqueue", "q", "--kind", "k", "--payload", "1"], "; the job was enqueued anyway"),
        (&["queues"], ""),
        (&["queues", "--json"], ""),
        (&["completions", "bash"], ""),
        (&["enqueue", "q", "--from", file.path().to_str().unwrap()], "; stored before that: 200 jobs, up to line 200"),
    ] {
        let finished = into_full_disk(harness.command(arguments));
        assert_eq!((finished.status, finished.stderr), (Some(1), format!("{full}{phrase}\n")), "{arguments:?}");
    }
    assert_eq!(harness.one(&["queue", "stats", "q"])["pending"], json!(201));
}

#[test]
fn a_list_whose_reader_has_closed_the_pipe_ends_quietly() {
    let harness = Harness::new();
    for id in ["a", "b"] {
        harness.enqueue("q", "k", id, &[]);
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = harness.command(&["jobs", "q", "--state", "pending", "--limit", "1"]);
    let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

#[test]
fn empty_standard_input_is_reported_and_is_not_a_failure() {
    let harness = Harness::new();
    let mut closed = without_settings("sh");
    let script = "exec \"$0\" enqueue q --from - <&-";
    closed.args(["-c", script, env!("CARGO_BIN_EXE_retraced")]).env("RETRACED_REDIS_URL", harness.redis.url());
    let empty = harness.command(&["enqueue", "q", "--from", "-"]);
    for command in [closed, empty] {
        let finished = finish(command, COMMAND_MAX);
        assert_eq!(finished.status, Some(0), "{finished:?}");
        assert_eq!(finished.stderr, "nothing to enqueue: there is no job in standard input\n");
    }
}

#[test]
fn settings_come_from_flags_then_the_environment_then_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("retraced.toml");
    let text = "redis = \"redis://me:sesame@file:1\"\n\n[work]\nqueue = [\"email=50\", \"sms\"]\nwebhook = \"https://x.example/?token=sesame\"\nlease = \"5s\"\n";
    std::fs::write(&file, text).unwrap();
    let config = |arguments: &[&str], variables: &[(&str, &str)]| -> Vec<Value> {
        let mut command = retraced();
        command.args(["config", "--json"]).args(arguments).envs(variables.iter().copied()).current_dir(folder.path());
        let finished = finish(command, COMMAND_MAX);
        assert_eq!(finished.status, Some(0), "{finished:?}");
        assert!(!finished.stdout.contains("sesame"), "{finished:?}");
        objects(&finished.stdout)
    };
    let of = |rows: &[Value], setting: &str| rows.iter().find(|row| row["setting"] == setting).unwrap().clone();
    let here = config(&[], &[]);
    assert_eq!(
        of(&here, "redis"),
        json!({"setting": "redis", "value": "redis://me:***@file:1", "source": "file", "file": "retraced.toml", "line": 1})
    );
    assert_eq!(
        of(&here, "work.queue"),
        json!({"setting": "work.queue", "value": "email=50 sms", "source": "file", "file": "retraced.toml", "line": 4})
    );
    assert_eq!(of(&here, "work.webhook")["value"], "https://x.example/?***");
    assert_eq!(
        of(&here, "work.shutdown-grace"),
        json!({"setting": "work.shutdown-grace", "value": "25s", "source": "default"})
    );
    let variables = [("RETRACED_LEASE", "7s"), ("RETRACED_REDIS_URL", "redis://:sesame@variable")];
    let with_variables = config(&[], &variables);
    assert_eq!(
        of(&with_variables, "work.lease"),
        json!({"setting": "work.lease", "value": "7s", "source": "environment", "variable": "RETRACED_LEASE"})
    );
    assert_eq!(of(&with_variables, "redis")["source"], "environment");
    let with_flag = config(&["--redis", "redis://flag"], &variables);
    assert_eq!(of(&with_flag, "redis"), json!({"setting": "redis", "value": "redis://flag", "source": "flag"}));
    // In another directory the file is used only if it is named.
    let elsewhere = tempfile::tempdir().unwrap();
    for (arguments, redis) in
        [(&[][..], "redis://127.0.0.1:6379"), (&["--config", file.to_str().unwrap()], "redis://me:***@file:1")]
    {
        let mut command = retraced();
        command.args(["config", "--json"]).args(arguments).current_dir(elsewhere.path());
        let finished = finish(command, COMMAND_MAX);
        assert_eq!(of(&objects(&finished.stdout), "redis")["value"], redis);
    }
}

#[test]
fn invalid_settings_are_refused_with_their_file_and_line_or_variable_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let run = |text: &str, arguments: &[&str], variables: &[(&str, &str)]| {
        std::fs::write(folder.path().join("retraced.toml"), text).unwrap();
        let mut command = retraced();
        command.args(arguments).envs(variables.iter().copied()).current_dir(folder.path());
        finish(command, COMMAND_MAX)
    };
    for (text, phrase) in [
        (
            "[work]\n\nleese = \"5s\"\n",
            "retraced.toml line 3: unknown key work.leese (work.lease may be meant); known keys are redis",
        ),
        ("[work]\nlease = 5\n", "retraced.toml line 2: work.lease: expected a string, not a number"),
        ("redis = \"redis://:sesame@x\nnext = 1", "retraced.toml line 1: not TOML"),
    ] {
        let finished = run(text, &["queues"], &[]);
        assert_eq!((finished.status, finished.stdout.as_str()), (Some(2), ""), "{finished:?}");
        assert!(finished.stderr.contains(phrase) && !finished.stderr.contains("sesame"), "{finished:?}");
    }
    // Arguments that the file sets are no longer required; the others still are.
    let finished = run("[work]\nwebhook = \"https://x.example/\"\n", &["work"], &[]);
    assert_eq!(finished.status, Some(2));
    assert!(
        finished.stderr.contains("<QUEUE[=CONCURRENCY]>...") && !finished.stderr.contains("  --webhook <URL>\n"),
        "{finished:?}"
    );
    for command in [["work", "--webhook", "http://x.example/"].as_slice(), &["config"]] {
        let finished = run("", command, &[("RETRACED_QUEUE", "email,a b")]);
        assert_eq!(finished.status, Some(2), "{finished:?}");
        assert!(
            finished.stderr.contains("invalid queue name \"a b\"") && finished.stderr.contains("RETRACED_QUEUE"),
            "{finished:?}"
        );
    }
    let finished = run("", &["queues", "--config", "missing.toml"], &[]);
    assert_eq!(finished.status, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("the settings in missing.toml cannot be read: No such file"), "{finished:?}");
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let mut command = retraced();
        command.args(["completions", shell]);
        let finished = finish(command, COMMAND_MAX);
        assert_eq!((finished.status, finished.stderr.as_str()), (Some(0), ""));
        for word in ["redrive", "rates-over", "INVALID_JOB_DATA"] {
            assert!(finished.stdout.contains(word) || shell == "elvish" || shell == "powershell", "{shell}: {word}");
        }
    }
    // Bash can parse its script.
    let mut script = retraced().args(["completions", "bash"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut bash = Command::new("bash");
    bash.arg("-n").stdin(script.stdout.take().unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let read = finished(bash.spawn().unwrap(), COMMAND_MAX);
    assert_eq!((read.status, read.stderr.as_str()), (Some(0), ""));
    script.wait().unwrap();
}
