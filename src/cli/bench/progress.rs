//! How far the measurements have come, on a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the bar is drawn while nothing ends.
const TICK: Duration = Duration::from_millis(250);

/// A bar on stderr; nothing when stderr is no terminal. Gone when it is dropped.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar for so many steps.
    pub(super) fn new(steps: usize) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{pos}/{len} {wide_bar} {elapsed} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// What is measured now.
    pub(super) fn begin(&self, what: String) {
        self.0.set_message(what);
    }

    /// It was measured.
    pub(super) fn advance(&self) {
        self.0.inc(1);
    }

    /// Prints without tearing the bar.
    pub(super) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
