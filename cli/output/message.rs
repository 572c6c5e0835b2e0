//! Messages on stderr: lines for people, or JSON for a collector of logs.

use std::fmt::Display;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use serde::Serialize;

use super::style::{Style, is_coloured};
use super::text::{flowed, printable};
use super::width::width_of;

/// Whether messages are JSON objects.
static AS_JSON: AtomicBool = AtomicBool::new(false);

/// A message with the fields that each line of the JSON log of `work` has.
#[derive(Serialize)]
struct JsonMessage {
    timestamp: String,
    level: &'static str,
    message: String,
    target: &'static str,
}

/// From now on messages are JSON objects, one per line.
pub(crate) fn print_messages_as_json() {
    AS_JSON.store(true, Ordering::Relaxed);
}

/// Prints a message for people on stderr. A closed stderr is not an error.
pub(crate) fn note(message: impl Display) {
    if AS_JSON.load(Ordering::Relaxed) {
        return print_json("INFO", message.to_string());
    }
    let message = message.to_string();
    // On a terminal a long message is wrapped between words.
    let lines = match width_of(&std::io::stderr()) {
        Some(width) => message.lines().map(|line| flowed(line, width)).collect::<Vec<_>>().join("\n"),
        None => message,
    };
    let _ = writeln!(std::io::stderr().lock(), "{lines}");
}

/// Prints a message with its time, which lines of a log have in any case.
pub(crate) fn note_with_time(message: impl Display) {
    match AS_JSON.load(Ordering::Relaxed) {
        true => note(message),
        false => note(format_args!("{:.6}  {message}", Timestamp::now())),
    }
}

/// Prints on stderr why the command failed.
pub(crate) fn print_error(error: impl Display) {
    if AS_JSON.load(Ordering::Relaxed) {
        return print_json("ERROR", error.to_string());
    }
    let label = Style::Bad.paint("error:", is_coloured(&std::io::stderr()));
    note(format_args!("{label} {}", printable(&error.to_string())));
}

fn print_json(level: &'static str, message: String) {
    let timestamp = format!("{:.6}", Timestamp::now());
    let line = JsonMessage { timestamp, level, message, target: "retraced::cli" };
    // Texts can always be written as JSON.
    let line = serde_json::to_string(&line).unwrap_or_default() + "\n";
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}
