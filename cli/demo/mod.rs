//! `retraced demo`: a whole supervision tree on the memory store, with jobs that fail in several ways, and actors that are killed.
//!
//! `handlers` has the jobs, and `report` what their handlers report. `run` runs the demo, and `timeline` records what has happened. `view` draws the timeline on a
//! `screen`; `summary` prints the result on a `page`.

mod handlers;
mod page;
mod report;
mod row;
mod run;
mod screen;
mod summary;
mod timeline;
mod view;

use clap::Args;
use tokio::time::timeout;

use self::run::{DemoRun, End, KILLS, Presentation, Setup};
use self::screen::Screen;
use crate::context::CommandContext;
use crate::error::CliError;
use crate::limits::{DEMO_RUN_MAX, DEMO_SHUTDOWN_MAX};

/// `retraced demo`
#[derive(Args)]
pub(super) struct Demo {
    /// Print plain lines even on a terminal.
    #[arg(long)]
    plain: bool,
}

impl Demo {
    pub(super) async fn run(self, context: &CommandContext) -> Result<(), CliError> {
        let out = &context.out;
        // In a process that has set no `tracing` subscriber, the runtime prints each handler's panic to stderr. Here that would be in the middle of the screen, and the
        // timeline shows the panic.
        let _ = tracing::subscriber::set_global_default(tracing::subscriber::NoSubscriber::default());
        // The screen is entered before the runtime starts, so that the runtime's panic hook, which catches the panics of handlers, runs before the hook of the screen.
        let presentation = match (out.is_json(), self.plain) {
            (true, _) => Presentation::Json,
            (false, false) => {
                let colour = out.is_coloured();
                Screen::enter(colour).map_or(Presentation::Plain, |screen| Presentation::Live { screen, colour })
            }
            (false, true) => Presentation::Plain,
        };
        let mut demo = DemoRun::new(out, Setup::start().await?, presentation);
        let end = demo.until_over(&KILLS, DEMO_RUN_MAX).await?;
        let (setup, timeline) = demo.end();
        summary::conclude(out, setup.operator(), &timeline, end).await?;
        if end == End::Done {
            let _ = timeout(DEMO_SHUTDOWN_MAX, setup.shutdown()).await;
        }
        Ok(())
    }
}
