//! A command whose output goes to a terminal of its own.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Runs a command on a terminal this wide until it ends, for at most this long. Returns its status and everything that was printed.
pub(crate) fn on_terminal(mut command: Command, columns: u16, within: Duration) -> (Option<i32>, String) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let path = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
    let flags = i32::try_from(OFlags::NOCTTY.bits()).unwrap();
    let device = File::options().read(true).write(true).custom_flags(flags).open(path).unwrap();
    tcsetwinsize(&device, Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let end = || Stdio::from(device.try_clone().unwrap());
    let mut child = command.env("TERM", "xterm").stdout(end()).stderr(end()).spawn().unwrap();
    let mut controller = File::from(controller);
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
