//! `retraced demo`: a whole tree on the memory store, with jobs that fail in every way, and actors that are killed.
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
use crate::admin::Admin;
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
    pub(super) async fn run(self, admin: &Admin) -> Result<(), CliError> {
        let out = &admin.out;
        // Without a subscriber a handler's panic would be printed to standard error as well, in the middle of the screen. The timeline reports the panic anyway.
        let _ = tracing::subscriber::set_global_default(tracing::subscriber::NoSubscriber::default());
        // The screen is entered before anything runs, so that its panic hook runs after the one that catches the handlers' panics.
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
