//! The signals of `retraced work`: HUP, INT, QUIT and TERM stop it, USR1 asks what runs.

use std::time::Instant;
use std::{io, process, thread};

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::limits::{LAST_NOTE_TIMEOUT, SECOND_STOP_AFTER, SIGNALS_WAITING_MAX};
use crate::output::note;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalAction {
    /// Claim no more jobs, let those that run finish, and end.
    Drain,
    /// Print which jobs run.
    ShowRunning,
}

/// The signals, from [`listen`](Self::listen) on. Before that, each of them ends the process. A thread of their own receives them: if nobody reads the log, all others may
/// wait to write to it, and a second signal must end the process all the same.
pub(super) struct Signals(Receiver<SignalAction>);

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        let (asking, asked) = channel(SIGNALS_WAITING_MAX);
        let (ready, listening) = std::sync::mpsc::channel();
        thread::Builder::new().name("signals".into()).spawn(move || {
            let (runtime, listener) = match Listener::start() {
                Ok(started) => started,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let _ = ready.send(Ok(()));
            runtime.block_on(listener.serve(&asking))
        })?;
        listening.recv().map_err(io::Error::other)??;
        Ok(Self(asked))
    }

    /// Waits for the next signal that asks for something.
    pub(super) async fn next(&mut self) -> SignalAction {
        match self.0.recv().await {
            Some(asked) => asked,
            // The thread never ends before the process.
            None => std::future::pending().await,
        }
    }
}

/// Receives the signals.
struct Listener {
    /// `None` if the process was started with HUP ignored, as by `nohup`: it should then outlive its terminal.
    hangup: Option<Signal>,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    show_running: Signal,
}

impl Listener {
    fn start() -> io::Result<(Runtime, Self)> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let entered = runtime.enter();
        let hangup = SignalKind::hangup();
        let listener = Self {
            hangup: if is_ignored(hangup.as_raw_value()) { None } else { Some(signal(hangup)?) },
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            show_running: signal(SignalKind::user_defined1())?,
        };
        drop(entered);
        Ok((runtime, listener))
    }

    async fn serve(mut self, asking: &Sender<SignalAction>) {
        let mut stops = Stops::default();
        loop {
            let stop = tokio::select! {
                () = received(self.hangup.as_mut()) => SignalKind::hangup(),
                _ = self.interrupt.recv() => SignalKind::interrupt(),
                _ = self.quit.recv() => SignalKind::quit(),
                _ = self.terminate.recv() => SignalKind::terminate(),
                _ = self.show_running.recv() => {
                    // One place is left for the signal to stop.
                    if asking.capacity() > 1 {
                        let _ = asking.try_send(SignalAction::ShowRunning);
                    }
                    continue;
                }
            };
            match stops.stop(stop.as_raw_value(), Instant::now()) {
                Some(Stop::Drain) => drop(asking.try_send(SignalAction::Drain)),
                Some(Stop::AtOnce(number)) => stop_at_once(number),
                None => {}
            }
        }
    }
}

/// Ends the process. Says so first if it can: writing to a log that nobody reads would wait for ever.
fn stop_at_once(number: i32) -> ! {
    let (said, heard) = std::sync::mpsc::channel();
    let _ = thread::Builder::new().spawn(move || {
        note("stopped at once; running jobs run again when their leases expire");
        let _ = said.send(());
    });
    let _ = heard.recv_timeout(LAST_NOTE_TIMEOUT);
    process::exit(128 + number)
}

/// What a signal to stop means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The first one.
    Drain,
    /// End without waiting, because of this signal.
    AtOnce(i32),
}

/// When the first signal to stop came.
#[derive(Default)]
struct Stops {
    first: Option<Instant>,
}

impl Stops {
    /// What a signal to stop asks for. Terminals and service managers often send several within moments of the first (HUP and TERM, or one to the process and one to its
    /// group); these mean the same stop, not a second one.
    fn stop(&mut self, number: i32, now: Instant) -> Option<Stop> {
        match self.first {
            None => {
                self.first = Some(now);
                Some(Stop::Drain)
            }
            Some(first) if now.duration_since(first) < SECOND_STOP_AFTER => None,
            Some(_) => Some(Stop::AtOnce(number)),
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
        assert_eq!(stops.stop(15, first), Some(Stop::Drain));
        for later_ms in [0, 1, 999] {
            assert_eq!(stops.stop(2, first + Duration::from_millis(later_ms)), None, "{later_ms} ms");
        }
        assert_eq!(stops.stop(2, first + Duration::from_secs(1)), Some(Stop::AtOnce(2)));
    }

    #[test]
    fn signals_ignored_since_the_start_are_read_from_the_mask() {
        let status = "Name:\tretraced\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert!(ignored_in(status, 1) && ignored_in(status, 13) && !ignored_in(status, 2));
        assert!(!ignored_in("", 1) && !ignored_in("SigIgn:\tnonsense", 1));
    }
}
