//! Messages on stderr: lines for people, or those of a log, as text or as JSON.

use std::fmt::Display;
use std::io::Write;
use std::sync::OnceLock;

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;

use super::style::{Style, is_coloured};
use super::text::{flowed, printable};
use super::width::width_of;

/// The log that messages are part of, if they are part of one.
static LOG: OnceLock<LogFormat> = OnceLock::new();

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// A message with the fields that each line of the JSON log of `work` has.
#[derive(Serialize)]
struct JsonMessage {
    timestamp: String,
    level: &'static str,
    message: String,
    target: &'static str,
}

/// From now on messages are lines of a log of this format: with their time, and as JSON with their level. The first call decides.
pub(crate) fn print_messages_as_log(format: LogFormat) {
    let _ = LOG.set(format);
}

/// Prints a message for people on stderr. A closed stderr is not an error.
pub(crate) fn note(message: impl Display) {
    print("INFO", message, |message| message);
}

/// Prints a warning on stderr.
pub(crate) fn warn(message: impl Display) {
    print("WARN", message, |message| format!("warning: {message}"));
}

/// Prints on stderr why the command failed.
pub(crate) fn print_error(error: impl Display) {
    let label = Style::Bad.paint("error:", is_coloured(&std::io::stderr()));
    print("ERROR", error, |error| format!("{label} {}", printable(&error)));
}

/// Prints a message of this level. As text it is labelled; a field of a JSON object holds it as it is.
fn print(level: &'static str, message: impl Display, labelled: impl FnOnce(String) -> String) {
    let message = message.to_string();
    match LOG.get() {
        Some(LogFormat::Json) => print_json(level, message),
        Some(LogFormat::Text) => print_text(&format!("{:.6}  {}", Timestamp::now(), labelled(message))),
        None => print_text(&labelled(message)),
    }
}

fn print_text(message: &str) {
    // On a terminal a long message is wrapped between words.
    let lines = match width_of(&std::io::stderr()) {
        Some(width) => message.lines().map(|line| flowed(line, width)).collect::<Vec<_>>().join("\n"),
        None => message.to_owned(),
    };
    let _ = writeln!(std::io::stderr().lock(), "{lines}");
}

fn print_json(level: &'static str, message: String) {
    let timestamp = format!("{:.6}", Timestamp::now());
    let line = JsonMessage { timestamp, level, message, target: "retraced::cli" };
    // Texts can always be written as JSON.
    let line = serde_json::to_string(&line).unwrap_or_default() + "\n";
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}
