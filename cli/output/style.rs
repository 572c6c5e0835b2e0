//! The meanings of printed text, and their colours.

use std::fmt::Display;

use retraced::JobState;

/// The meaning of a piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Style {
    /// As it is.
    #[default]
    Plain,
    /// A heading.
    Head,
    /// Less important.
    Dim,
    /// All is well.
    Good,
    /// Under way.
    Live,
    /// Needs attention, or waits for its time.
    Warn,
    /// Went wrong.
    Bad,
}

impl Style {
    /// How a job's state looks.
    pub(crate) fn of(state: JobState) -> Self {
        match state {
            JobState::Pending => Style::Plain,
            JobState::Processing => Style::Live,
            JobState::Delayed => Style::Warn,
            JobState::Completed => Style::Good,
            JobState::Dead | JobState::Poisoned => Style::Bad,
            JobState::Cancelled => Style::Dim,
        }
    }

    /// The text in this style, if colours are on.
    pub(super) fn paint(self, text: impl Display, coloured: bool) -> String {
        let code = match self {
            _ if !coloured => return text.to_string(),
            Style::Plain => return text.to_string(),
            Style::Head => "1",
            Style::Dim => "2",
            Style::Good => "32",
            Style::Live => "36",
            Style::Warn => "33",
            Style::Bad => "31",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Whether text for this stream is coloured: as [`choose_colour`](super::choose_colour) has set it.
pub(super) fn is_coloured(stream: &impl anstream::stream::RawStream) -> bool {
    anstream::AutoStream::choice(stream) != anstream::ColorChoice::Never
}
