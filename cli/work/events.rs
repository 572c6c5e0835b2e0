//! Prints supervision events as JSON on a thread of their own: a reader of the output that is slow or gone must not hold up signals or jobs.

use std::io;
use std::thread;

use retraced::supervision::SupervisionEvent;
use retraced::view::Event;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::oneshot;

use crate::limits::LAST_EVENTS_TIMEOUT;
use crate::output::{Output, note};

/// The thread that prints.
pub(super) struct EventPrinter {
    ended: oneshot::Receiver<()>,
}

impl EventPrinter {
    /// Prints events until their runtime is dropped, or the output cannot be written.
    pub(super) fn start(mut events: Receiver<SupervisionEvent>) -> io::Result<Self> {
        let (ending, ended) = oneshot::channel();
        thread::Builder::new().name("events".into()).spawn(move || {
            if let Err(error) = print(&mut events) {
                note(format_args!("{error}; supervision events are no longer printed, jobs go on"));
            }
            let _ = ending.send(());
        })?;
        Ok(Self { ended })
    }

    /// Waits until the last events are printed. Call it after the runtime was dropped.
    pub(super) async fn finish(self) {
        if tokio::time::timeout(LAST_EVENTS_TIMEOUT, self.ended).await.is_err() {
            note("nobody reads the output; the last supervision events are not shown");
        }
    }
}

fn print(events: &mut Receiver<SupervisionEvent>) -> io::Result<()> {
    let out = Output::new(true);
    loop {
        match events.blocking_recv() {
            Ok(event) => out.result(&Event::from(&event), String::new)?,
            Err(RecvError::Lagged(missed)) => note(format_args!("{missed} supervision events are not shown")),
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}
