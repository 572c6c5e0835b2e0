//! The signals of `retraced work`: HUP, INT, QUIT and TERM stop it, USR1 asks what runs.

use std::io;
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::limits::SECOND_STOP_AFTER;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalAction {
    /// Claim no more jobs, let those that run finish, and end.
    Drain,
    /// End without waiting, because of this signal.
    StopAtOnce(i32),
    /// Print which jobs run.
    ShowRunning,
}

/// The signals, from [`listen`](Self::listen) on. Before that, each of them ends the process.
pub(super) struct Signals {
    /// `None` if the process was started with HUP ignored, as by `nohup`: it should then outlive its terminal.
    hangup: Option<Signal>,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    show_running: Signal,
    stops: Stops,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        let hangup = SignalKind::hangup();
        Ok(Self {
            hangup: if is_ignored(hangup.as_raw_value()) { None } else { Some(signal(hangup)?) },
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            show_running: signal(SignalKind::user_defined1())?,
            stops: Stops::default(),
        })
    }

    /// Waits for the next signal that asks for something.
    pub(super) async fn next(&mut self) -> SignalAction {
        loop {
            let stop = tokio::select! {
                () = received(self.hangup.as_mut()) => SignalKind::hangup(),
                _ = self.interrupt.recv() => SignalKind::interrupt(),
                _ = self.quit.recv() => SignalKind::quit(),
                _ = self.terminate.recv() => SignalKind::terminate(),
                _ = self.show_running.recv() => return SignalAction::ShowRunning,
            };
            if let Some(asked) = self.stops.stop(stop.as_raw_value(), Instant::now()) {
                return asked;
            }
        }
    }
}

/// When the first signal to stop came.
#[derive(Default)]
struct Stops {
    first: Option<Instant>,
}

impl Stops {
    /// What a signal to stop asks for. Terminals and service managers often send several within moments of the first (HUP and TERM, or one to the process and one to its
    /// group); these mean the same stop, not a second one.
    fn stop(&mut self, number: i32, now: Instant) -> Option<SignalAction> {
        match self.first {
            None => {
                self.first = Some(now);
                Some(SignalAction::Drain)
            }
            Some(first) if now.duration_since(first) < SECOND_STOP_AFTER => None,
            Some(_) => Some(SignalAction::StopAtOnce(number)),
        }
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Whether the process was started with this signal ignored. Only Linux tells without unsafe code; elsewhere the answer is no.
fn is_ignored(number: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_in(&status, number)
}

fn ignored_in(status: &str, number: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    u32::try_from(number - 1).ok().and_then(|bit| mask.checked_shr(bit)).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_second_stop_within_a_second_of_the_first_does_not_count() {
        let mut stops = Stops::default();
        let first = Instant::now();
        assert_eq!(stops.stop(15, first), Some(SignalAction::Drain));
        for later_ms in [0, 1, 999] {
            assert_eq!(stops.stop(2, first + Duration::from_millis(later_ms)), None, "{later_ms} ms");
        }
        assert_eq!(stops.stop(2, first + Duration::from_secs(1)), Some(SignalAction::StopAtOnce(2)));
    }

    #[test]
    fn signals_ignored_since_the_start_are_read_from_the_mask() {
        let status = "Name:\tretraced\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert!(ignored_in(status, 1) && ignored_in(status, 13) && !ignored_in(status, 2));
        assert!(!ignored_in("", 1) && !ignored_in("SigIgn:\tnonsense", 1));
    }
}
