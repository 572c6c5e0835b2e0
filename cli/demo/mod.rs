//! `retraced demo`: a whole tree on the memory store, with jobs that fail in every way there is, and actors that are killed.
//!
//! `handlers` are the jobs, and `voice` is how they speak; `play` runs it all; `story` is what happened, as a reader is told it; `view` draws the story on a
//! `screen`; `summary` tells its end on a `page`.

mod handlers;
mod page;
mod play;
mod screen;
mod story;
mod summary;
mod view;
mod voice;

use std::time::Duration;

use clap::Args;
use tokio::time::timeout;

use self::play::{End, Face, KILLS, PLAY_MAX, Play, Stage};
use self::screen::Screen;
use crate::admin::Admin;
use crate::error::CliError;

/// Longest the demo may take, in all.
const DEMO_MAX: Duration = Duration::from_secs(20);
/// How long the last picture stays.
const CURTAIN: Duration = Duration::from_secs(2);
/// Longest the tree may take to end. Nothing runs by then, so whatever it still does may be cut.
const SHUTDOWN_MAX: Duration = Duration::from_millis(1_500);
const _: () = assert!(PLAY_MAX.as_millis() + CURTAIN.as_millis() + SHUTDOWN_MAX.as_millis() < DEMO_MAX.as_millis());

/// `retraced demo`
#[derive(Args)]
pub(super) struct Demo {
    /// Print plain lines, also on a terminal.
    #[arg(long)]
    plain: bool,
}

impl Demo {
    pub(super) async fn run(self, admin: &Admin) -> Result<(), CliError> {
        let out = &admin.out;
        // The screen is taken before anything runs: so its hook on panics stands behind the one that catches the handlers'.
        let face = match (out.is_json(), self.plain) {
            (true, _) => Face::Json,
            (false, false) => {
                let colour = out.is_coloured();
                Screen::take(colour).map_or(Face::Plain, |screen| Face::Live { screen, colour })
            }
            (false, true) => Face::Plain,
        };
        let mut play = Play::new(out, Stage::set().await?, face);
        let end = play.until_over(&KILLS, PLAY_MAX).await?;
        let (stage, story) = play.end();
        summary::conclude(out, stage.operator(), &story, end).await?;
        if end == End::Done {
            let _ = timeout(SHUTDOWN_MAX, stage.clear()).await;
        }
        Ok(())
    }
}
