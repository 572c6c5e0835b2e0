//! `retraced queues --watch`: shows all queues again and again, also through an outage: the last numbers stay, marked as old, until the store answers again.

use std::time::Duration;

use retraced::OperatorError;
use retraced::view::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use super::reading::Reading;
use crate::context::CommandContext;
use crate::error::CliError;
use crate::limits::WATCH_ANSWER_MAX;
use crate::output::{Style, duration_text, note, now_ms, one_line};

/// What the screen shows.
struct Frame {
    reading: Reading,
    /// When the store answered, by the clock of this machine.
    read_at: Timestamp,
    /// Whether the store has failed to answer since.
    old: bool,
}

/// Reads the queues with `read` and prints them with `print`, until Ctrl-C, or until the reader of the output leaves. A reading may take `reads_for` and some time for the
/// answers. Only the first reading may fail: then nothing was shown that could stay.
pub(super) async fn run(
    context: &CommandContext,
    every: Duration,
    reads_for: Duration,
    read: impl AsyncFn() -> Result<Reading, OperatorError>,
    print: impl Fn(&Reading, Option<Timestamp>) -> Result<(), CliError>,
) -> Result<(), CliError> {
    // From here on, Ctrl-C ends the loop.
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut last: Option<Frame> = None;
    while !context.out.is_closed() {
        let Some(read) = unless_interrupted(&mut interrupts, in_time(read(), reads_for + WATCH_ANSWER_MAX)).await
        else {
            break;
        };
        let frame = match (read, last) {
            (Ok(reading), last) => {
                if last.is_some_and(|last| last.old) && !context.out.is_text_on_terminal() {
                    note("the store answers again");
                }
                let frame = Frame { reading, read_at: Timestamp::from_ms(now_ms()), old: false };
                frame.draw(context, &print)?;
                frame
            }
            (Err(error), None) => return Err(CliError::Failed(error)),
            (Err(error), Some(last)) => {
                last.draw_old(context, &error, &print)?;
                Frame { old: true, ..last }
            }
        };
        last = Some(frame);
        if unless_interrupted(&mut interrupts, tokio::time::sleep(every)).await.is_none() {
            break;
        }
    }
    Ok(())
}

/// The result of the future; `None` if Ctrl-C was pressed first.
async fn unless_interrupted<T>(interrupts: &mut Signal, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        result = future => Some(result),
        _ = interrupts.recv() => None,
    }
}

/// One reading, or why there is none.
async fn in_time(
    read: impl Future<Output = Result<Reading, OperatorError>>,
    answer_max: Duration,
) -> Result<Reading, String> {
    match timeout(answer_max, read).await {
        Ok(read) => read.map_err(|error| one_line(&error)),
        Err(_) => Err(format!("the store did not answer within {answer_max:?}")),
    }
}

impl Frame {
    fn draw(
        &self,
        context: &CommandContext,
        print: impl Fn(&Reading, Option<Timestamp>) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let out = &context.out;
        if out.is_text_on_terminal() {
            out.clear()?;
        }
        if !out.is_json() {
            out.print_text(&out.paint(Style::Dim, self.read_at))?;
        }
        print(&self.reading, Some(self.read_at))?;
        self.reading.unread.iter().for_each(note);
        Ok(())
    }

    /// On a terminal the numbers stay, with their age and the error. A program that reads them gets no old numbers, and one message per outage.
    fn draw_old(
        &self,
        context: &CommandContext,
        error: &str,
        print: impl Fn(&Reading, Option<Timestamp>) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let age = duration_text(now_ms().saturating_sub(self.read_at.as_ms()));
        let old = format!("OLD: these numbers are of {}, {age} ago; {error}", self.read_at);
        if context.out.is_text_on_terminal() {
            context.out.clear()?;
            context.out.print_text(&context.out.flowed(&context.out.paint(Style::Bad, old)))?;
            print(&self.reading, None)?;
        } else if !self.old {
            note(format_args!("no numbers since {}: {error}; waiting for the store", self.read_at));
        }
        Ok(())
    }
}
