//! A command whose output goes to a terminal of its own.
#![allow(dead_code)]

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A command that runs on a terminal of its own; killed when it is dropped.
pub(crate) struct OnTerminal {
    child: Child,
    printed: Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl OnTerminal {
    pub(crate) fn start(mut command: Command, columns: u16) -> Self {
        let (mut controller, device) = open_terminal(columns);
        let end = || Stdio::from(device.try_clone().unwrap());
        let child = command.env("TERM", "xterm").stdout(end()).stderr(end()).spawn().unwrap();
        let (sender, printed) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = controller.read(&mut piece) {
                if sender.send(piece[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, printed, seen: Vec::new() }
    }

    /// Waits until this text is printed, and returns what was printed from the last time the screen was cleared before it.
    pub(crate) fn wait_for(&mut self, text: &str, within: Duration) -> String {
        let deadline = Instant::now() + within;
        loop {
            let printed = String::from_utf8_lossy(&self.seen).into_owned();
            if let Some((before, after)) = printed.split_once(text) {
                let screen = before.rsplit("\u{1b}[2J").next().unwrap_or_default();
                let rest = after.split("\u{1b}[H").next().unwrap_or_default();
                let shown = format!("{screen}{text}{rest}");
                self.seen = after.as_bytes().to_vec();
                return shown;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let piece = self.printed.recv_timeout(left).unwrap_or_else(|_| panic!("no {text:?} in {printed:?}"));
            self.seen.extend(piece);
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The two ends of a new terminal this wide.
fn open_terminal(columns: u16) -> (File, File) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let path = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
    let flags = i32::try_from(OFlags::NOCTTY.bits()).unwrap();
    let device = File::options().read(true).write(true).custom_flags(flags).open(path).unwrap();
    tcsetwinsize(&device, Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    (File::from(controller), device)
}

/// Runs a command on a terminal this wide until it ends, for at most this long. Returns its status and everything that was printed.
pub(crate) fn on_terminal(mut command: Command, columns: u16, within: Duration) -> (Option<i32>, String) {
    let (mut controller, device) = open_terminal(columns);
    let end = || Stdio::from(device.try_clone().unwrap());
    let mut child = command.env("TERM", "xterm").stdout(end()).stderr(end()).spawn().unwrap();
    let reader = std::thread::spawn(move || {
        let mut printed = Vec::new();
        let mut piece = [0; 4096];
        // An error means that the other end is closed.
        while let Ok(read @ 1..) = controller.read(&mut piece) {
            printed.extend_from_slice(&piece[..read]);
        }
        printed
    });
    let deadline = Instant::now() + within;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    drop((device, command));
    let printed = String::from_utf8(reader.join().unwrap()).unwrap();
    (status.unwrap_or_else(|| panic!("it did not end within {within:?}: {printed:?}")).code(), printed)
}

/// The text without colours.
pub(crate) fn plain(printed: &str) -> String {
    let mut plain = String::new();
    let mut rest = printed;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain += before;
        rest = after.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest);
    }
    plain + rest
}
