//! The demo as its users run it: in a pipe, and on a terminal of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use serde_json::{Value, json};
use support::{finish, without_settings};

/// Longest the demo may take, plus 5 s for the start of a process on a busy machine.
const DEMO_MAX: Duration = Duration::from_secs(20 + 5);
/// The escape sequence that enters the alternate screen.
const ENTERED: &str = "\u{1b}[?1049h";
/// The escape sequence that leaves the alternate screen.
const LEFT: &str = "\u{1b}[?1049l";
/// The escape sequence that clears the screen.
const CLEARED: &str = "\u{1b}[2J";
const CURSOR_SHOWN: &str = "\u{1b}[?25h";

fn retraced() -> Command {
    let mut command = without_settings(env!("CARGO_BIN_EXE_retraced"));
    command.env("NO_COLOR", "1").env("TERM", "xterm").stdin(Stdio::null());
    command
}

fn objects(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}"))).collect()
}

#[test]
fn the_demo_prints_in_plain_lines_what_goes_wrong_and_what_follows() {
    let mut command = retraced();
    command.arg("demo");
    let shown = finish(command, DEMO_MAX);
    assert_eq!(shown.status, Some(0), "{shown:?}");
    assert_eq!(shown.stderr, "");
    for line in [
        "jobs that succeed are only counted",
        "PANIC: attempt to divide by zero",
        "ended by this panic at cli/demo/handlers.rs:",
        "TIMEOUT: it hung and was stopped → attempt 2 of 3",
        "INVALID_JOB_DATA: order \"???\" has no buyer → poisoned, no retry",
        "→ dead after 3 attempts",
        "is not ready yet, asks to run later → in 2.5s",
        "mail/fetcher    is killed by this demo",
        "mail/fetcher    restarted, in ",
        "is killed by this demo in the middle of email-",
        "shop            is killed by this demo, ",
        "shop            restarted with all 8 below it, in ",
        "order-1 can never succeed             poisoned at once; no retry was wasted on it",
        "the job went back to the front",
        "job thumbnail-13 · thumbnail.make · queue shop · completed",
        "attempt 1 panicked after ",
        "succeeded after ",
        "All 300 jobs ended within ",
        "none was lost.",
    ] {
        assert!(shown.stdout.contains(line), "{line:?} is missing in\n{}", shown.stdout);
    }
    assert!(!shown.stdout.contains('\u{1b}'), "colours in a pipe");
}

#[test]
fn the_demo_in_json_is_events_then_counts_then_one_job() {
    let mut command = retraced();
    command.args(["demo", "--json"]);
    let shown = finish(command, DEMO_MAX);
    assert_eq!(shown.status, Some(0), "{shown:?}");
    let objects = objects(&shown.stdout);
    for event in ["handler_panicked", "crashed", "restarted", "job_poisoned", "job_died"] {
        assert!(objects.iter().any(|object| object["event"] == event), "no {event} in\n{}", shown.stdout);
    }
    let [.., mail, shop, hero] = &objects[..] else { panic!("{}", shown.stdout) };
    assert_eq!((&mail["queue"], &shop["queue"]), (&json!("mail"), &json!("shop")));
    assert_eq!(mail["completed"].as_u64().unwrap() + shop["completed"].as_u64().unwrap(), 298);
    assert_eq!(hero["id"], json!("thumbnail-13"));
}

fn resize(terminal: &File, columns: u16, rows: u16) {
    tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

/// A terminal with the demo on it.
struct Terminal {
    /// The test's end: writing is typing, and reading returns what was printed.
    controller: File,
    /// The demo's end, kept open so that nothing printed is lost.
    device: File,
    /// The modes of the terminal before the demo was started. The demo changes them as soon as it runs.
    before: Termios,
    child: Demo,
    printed: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

/// A child that does not outlive its test.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Terminal {
    fn with_demo(columns: u16, rows: u16, more: &[&str]) -> Self {
        let mut demo = retraced();
        demo.arg("demo").args(more);
        Self::with(demo, columns, rows)
    }

    fn with(mut demo: Command, columns: u16, rows: u16) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let path = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
        let flags = i32::try_from(OFlags::NOCTTY.bits()).unwrap();
        let device = File::options().read(true).write(true).custom_flags(flags).open(path).unwrap();
        let end = || Stdio::from(device.try_clone().unwrap());
        resize(&device, columns, rows);
        let before = tcgetattr(&device).unwrap();
        let child = demo.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let controller = File::from(controller);
        let printed = Arc::new(Mutex::new(Vec::new()));
        let reader = std::thread::spawn({
            let (mut controller, printed) = (controller.try_clone().unwrap(), printed.clone());
            move || {
                let mut piece = [0; 4096];
                // An error means that the other end is closed.
                while let Ok(read @ 1..) = controller.read(&mut piece) {
                    printed.lock().unwrap().extend_from_slice(&piece[..read]);
                }
            }
        });
        Self { controller, device, before, child: Demo(child), printed, reader }
    }

    fn printed(&self) -> String {
        String::from_utf8_lossy(&self.printed.lock().unwrap()).into_owned()
    }

    fn until_printed(&self, text: &str) {
        self.until(text, |printed| printed.contains(text));
    }

    fn until(&self, what: &str, is_printed: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + DEMO_MAX;
        while !is_printed(&self.printed()) {
            assert!(Instant::now() < deadline, "{what:?} was not printed in\n{:?}", self.printed());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Changes the size, and waits for a frame that is as wide as the terminal now, and not higher.
    fn resize(&self, columns: u16, rows: u16) {
        let cleared = |printed: &str| printed.matches(CLEARED).count();
        let before = cleared(&self.printed());
        resize(&self.device, columns, rows);
        self.until(&format!("a frame of {columns}x{rows}"), |printed| {
            let (width, height) = drawn(printed);
            cleared(printed) > before && width == columns && height <= rows
        });
    }

    /// Waits for the demo's end. Returns its status and what it printed after it had left the screen, and checks that the terminal is as before.
    fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + DEMO_MAX;
        let status = loop {
            if let Some(status) = self.child.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it did not end within {DEMO_MAX:?}:\n{:?}", self.printed());
            std::thread::sleep(Duration::from_millis(10));
        };
        let (before, after) = (&self.before, tcgetattr(&self.device).unwrap());
        assert_eq!(
            (after.local_modes, after.input_modes, after.output_modes),
            (before.local_modes, before.input_modes, before.output_modes)
        );
        let Self { device, reader, printed, .. } = self;
        drop(device);
        reader.join().unwrap();
        let printed = String::from_utf8(Arc::into_inner(printed).unwrap().into_inner().unwrap()).unwrap();
        assert_eq!((printed.matches(ENTERED).count(), printed.matches(LEFT).count()), (1, 1), "{printed:?}");
        let (_, after) = printed.split_once(LEFT).unwrap();
        assert!(after.contains(CURSOR_SHOWN), "{after:?}");
        (status.code(), after.replace(CURSOR_SHOWN, ""))
    }
}

/// The last column and the last row in which something was printed since the screen was cleared, which happens when its size changes.
fn drawn(printed: &str) -> (u16, u16) {
    let mut rest = printed.rsplit(CLEARED).next().unwrap_or_default();
    let (mut column, mut row, mut drawn) = (1, 1, (0, 0));
    while let Some(next) = rest.chars().next() {
        rest = match rest.strip_prefix("\u{1b}[") {
            Some(sequence) => {
                let Some(end) = sequence.find(|c: char| c.is_ascii_alphabetic()) else { break };
                if let ("H", Some((to_row, to_column))) = (&sequence[end..=end], sequence[..end].split_once(';')) {
                    (column, row) = (to_column.parse().unwrap(), to_row.parse().unwrap());
                }
                &sequence[end + 1..]
            }
            None => {
                drawn = (drawn.0.max(column), drawn.1.max(row));
                column += 1;
                &rest[next.len_utf8()..]
            }
        };
    }
    drawn
}

#[test]
fn the_demo_is_drawn_on_a_terminal_of_any_size_and_then_prints_its_summary_on_the_normal_screen() {
    let terminal = Terminal::with_demo(80, 24, &[]);
    terminal.until_printed("thumbnail.make");
    for (columns, rows) in [(20, 5), (1, 1), (40, 10), (120, 40)] {
        terminal.resize(columns, rows);
    }
    terminal.until_printed("takes back the jobs of dead workers");
    let (status, after) = terminal.end();
    assert_eq!(status, Some(0), "{after}");
    for text in ["WHAT HAPPENED NEXT", "job thumbnail-13", "All 300 jobs ended within ", "none was lost."] {
        assert!(after.contains(text), "{text:?} is missing in\n{after}");
    }
    assert!(!after.contains('\u{1b}'), "{after:?}");
    assert!(after.lines().all(|line| line.trim_end().chars().count() <= 120), "{after}");
}

/// Bold and dim are not colours.
#[test]
fn a_demo_without_colours_has_none_and_one_with_colours_has_some() {
    let coloured = |text: &str| text.contains("[38;5;") || text.contains("[31m") || text.contains("[32m");
    let choices = [("never", "CLICOLOR_FORCE", false), ("auto", "NO_COLOR", false), ("always", "NO_COLOR", true)];
    for (choice, variable, expected) in choices {
        let mut demo = retraced();
        demo.args(["demo", "--color", choice]).env_remove("NO_COLOR").env(variable, "1");
        let terminal = Terminal::with(demo, 80, 24);
        // A frame arrives in pieces. A failure is always drawn in red, if there are colours.
        match expected {
            true => terminal.until("a colour", coloured),
            false => terminal.until_printed("NETWORK_ERROR"),
        }
        assert_eq!(coloured(&terminal.printed()), expected, "{choice}: {:?}", terminal.printed());
    }
}

#[test]
fn a_demo_in_plain_lines_leaves_the_terminal_alone() {
    let terminal = Terminal::with_demo(80, 24, &["--plain"]);
    terminal.until_printed("have ended");
    assert!(!terminal.printed().contains(ENTERED), "{:?}", terminal.printed());
}

#[test]
fn quitting_the_demo_leaves_the_terminal_as_it_was() {
    let interrupt = |terminal: &mut Terminal, signal| {
        kill_process(Pid::from_child(&terminal.child.0), signal).unwrap();
    };
    let ways: [&dyn Fn(&mut Terminal); 4] = [
        &|terminal| terminal.controller.write_all(b"q").unwrap(),
        &|terminal| terminal.controller.write_all(b"\x03").unwrap(),
        &|terminal| interrupt(terminal, Signal::INT),
        &|terminal| interrupt(terminal, Signal::TERM),
    ];
    for way in ways {
        let mut terminal = Terminal::with_demo(80, 24, &[]);
        terminal.until_printed("quits");
        way(&mut terminal);
        let (status, after) = terminal.end();
        assert_eq!(status, Some(0), "{after}");
        assert!(after.trim_start().starts_with("Quit after ") && after.contains(" had ended."), "{after:?}");
    }
}
