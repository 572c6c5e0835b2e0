//! How wide terminals are.

use std::io::IsTerminal;
use std::os::fd::AsFd;

/// The assumed width of a terminal that does not report one.
const WIDTH_DEFAULT: usize = 80;

/// The columns of the terminal to which stdout is connected; `None`: not a terminal.
pub(crate) fn width() -> Option<usize> {
    width_of(&std::io::stdout())
}

/// The columns of the terminal to which this stream is connected; `None`: not a terminal.
pub(super) fn width_of(stream: &(impl IsTerminal + AsFd)) -> Option<usize> {
    let size = || terminal_size::terminal_size_of(stream).map(|(width, _)| usize::from(width.0));
    stream.is_terminal().then(|| size().filter(|width| *width > 0).unwrap_or(WIDTH_DEFAULT))
}
