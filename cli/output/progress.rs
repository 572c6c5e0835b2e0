//! Progress of long work, on a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Output;
use crate::limits::PROGRESS_INTERVAL;

/// A progress bar on stderr, removed when it is dropped. There is no bar if stderr is not a terminal, or if results go to a terminal as JSON.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar for this many items, or a spinner if their number is unknown.
    pub(crate) fn new(out: &Output, doing: &'static str, total: Option<u64>) -> Self {
        if !std::io::stderr().is_terminal() || out.is_json_on_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = match total {
            Some(_) => "{msg} {human_pos}/{human_len} {wide_bar} {eta}",
            None => "{msg} {human_pos} {spinner}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(doing);
        bar.enable_steady_tick(PROGRESS_INTERVAL);
        Self(bar)
    }

    /// Changes the message.
    pub(crate) fn set_message(&self, doing: String) {
        self.0.set_message(doing);
    }

    /// Advances the bar.
    pub(crate) fn advance(&self, items: u64) {
        self.0.inc(items);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
