//! One row of the live view: pieces of text, each with its tone, drawn in the terminal's colours.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Drawn, Span};

use super::timeline::Mark;

/// How a piece of text is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Dim,
    Bold,
    Marked(Mark),
}

/// Only the terminal's own 16 colours are used, because the user has chosen them to be legible.
fn style(tone: Tone, colour: bool) -> Style {
    let coloured = |own: Color| if colour { Style::new().fg(own) } else { Style::new() };
    match tone {
        Tone::Plain => Style::new(),
        Tone::Dim | Tone::Marked(Mark::Note) => Style::new().add_modifier(Modifier::DIM),
        Tone::Bold => Style::new().add_modifier(Modifier::BOLD),
        Tone::Marked(Mark::Failed) => coloured(Color::Red).add_modifier(Modifier::BOLD),
        Tone::Marked(Mark::Recovered) => coloured(Color::Green).add_modifier(Modifier::BOLD),
        Tone::Marked(Mark::Later) => coloured(Color::Yellow),
    }
}

/// One row of the screen.
#[derive(Default)]
pub(super) struct Row(Vec<(String, Tone)>);

impl Row {
    pub(super) fn put(mut self, text: impl Into<String>, tone: Tone) -> Self {
        self.0.push((text.into(), tone));
        self
    }

    pub(super) fn append(mut self, other: Row) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(super) fn width(&self) -> usize {
        self.0.iter().map(|(text, _)| text.chars().count()).sum()
    }

    /// Pads the row with spaces to this column; adds at least one space.
    pub(super) fn pad_to(self, column: usize) -> Self {
        let gap = column.saturating_sub(self.width()).max(1);
        self.put(" ".repeat(gap), Tone::Plain)
    }

    /// The row, cut to this many columns. Every character is assumed to take one column.
    pub(super) fn drawn(self, width: usize, colour: bool) -> Drawn<'static> {
        let mut left = width;
        let mut spans = Vec::new();
        for (text, tone) in self.0 {
            if left == 0 {
                break;
            }
            let text = cut(&text, left);
            left -= text.chars().count();
            spans.push(Span::styled(text, style(tone, colour)));
        }
        Drawn::from(spans)
    }
}

/// The text in at most this many characters, with `…` where it was cut.
pub(super) fn cut(text: &str, most: usize) -> String {
    match (text.chars().count() > most, most) {
        (false, _) => text.to_owned(),
        (true, 0) => String::new(),
        (true, _) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}
