//! The terminal in the live view: the alternate screen is entered once, and left in every case, even after a panic.

use std::io::{self, IsTerminal, Stdout, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::style::force_color_output;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use ratatui::{Frame, Terminal};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Whether the process uses the alternate screen now. It is a static because the panic hook reads it, and a process has only one terminal.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// The alternate screen in raw mode. Dropping it leaves the alternate screen and raw mode.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    interrupt: Signal,
    terminate: Signal,
}

impl Screen {
    /// Enters the alternate screen; `None` if stdout is not a terminal that can be drawn on.
    pub(super) fn enter(colour: bool) -> Option<Self> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let drawable = size().is_ok_and(|(columns, rows)| columns > 0 && rows > 0);
        if dumb || !stdout().is_terminal() || !drawable {
            return None;
        }
        let screen = Self {
            terminal: Terminal::new(CrosstermBackend::new(stdout())).ok()?,
            interrupt: signal(SignalKind::interrupt()).ok()?,
            terminate: signal(SignalKind::terminate()).ok()?,
        };
        enable_raw_mode().ok()?;
        // Otherwise crossterm would decide by itself whether to use colour.
        force_color_output(colour);
        ENTERED.store(true, Ordering::SeqCst);
        leave_before_a_panic_is_printed();
        // If this fails, dropping the screen undoes what was done. Ratatui's own clear is not used, because it asks the terminal for its cursor and waits for an answer.
        execute!(stdout(), EnterAlternateScreen, Hide, Clear(ClearType::All)).ok()?;
        Some(screen)
    }

    /// Waits for a signal that ends the demo.
    pub(super) async fn signalled(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Draws a frame. Draws nothing and returns `false` if a panic has left the alternate screen.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame)) -> io::Result<bool> {
        let entered = ENTERED.load(Ordering::SeqCst);
        if entered {
            self.terminal.draw(draw)?;
        }
        Ok(entered)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Whether the user has pressed `q`, Escape or Ctrl-C. Never waits.
pub(super) fn quit_was_pressed() -> io::Result<bool> {
    let mut quit = false;
    while event::poll(Duration::ZERO)? {
        if let Event::Key(key) = event::read()? {
            quit |= quits(key);
        }
    }
    Ok(quit)
}

fn quits(key: KeyEvent) -> bool {
    let pressed = key.kind != KeyEventKind::Release;
    match key.code {
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => pressed,
        KeyCode::Char('c') => pressed && key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

/// Restores the terminal, if it is not restored already. Errors are ignored: they mean that the terminal is gone.
fn leave() {
    if ENTERED.swap(false, Ordering::SeqCst) {
        let _ = execute!(stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// Makes a panic leave the alternate screen before its message is printed. This does not happen for panics of handlers: the runtime's hook handles them first.
fn leave_before_a_panic_is_printed() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        leave();
        previous(panic);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_control_c_quit_and_nothing_else() {
        let key = |code, modifiers| quits(KeyEvent::new(code, modifiers));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE));
        assert!(key(KeyCode::Esc, KeyModifiers::NONE));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE));
        assert!(!key(KeyCode::Char('x'), KeyModifiers::CONTROL));
        assert!(!quits(KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release)));
    }
}
