//! Runs the demo: a runtime with two queues and their jobs, actors killed at fixed times, and the timeline shown while it happens.

use std::time::Duration;

use retraced::supervision::SupervisionEvent;
use retraced::view::Event;
use retraced::{EnqueueError, MemoryStore, Operator, Queue, Retry, Runtime, TreeNode};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use super::page::Page;
use super::report::{Report, Reporter};
use super::screen::{Screen, quit_was_pressed};
use super::timeline::{Mark, Timeline};
use super::{handlers, view};
use crate::error::CliError;
use crate::limits::{DEMO_HANDLER_TIMEOUT, DEMO_LAST_FRAME_MIN, DEMO_PROGRESS_INTERVAL, DEMO_UPDATE_INTERVAL};
use crate::output::{Output, job_count};

pub(super) const MAIL: &str = "mail";
pub(super) const SHOP: &str = "shop";

/// After which time to kill which actor.
pub(super) type Kill = (Duration, KillTarget);
/// The kills of the demo.
pub(super) const KILLS: [Kill; 3] = [
    (Duration::from_millis(5_000), KillTarget::Actor("mail/fetcher")),
    (Duration::from_millis(6_500), KillTarget::BusyExecutorOf("mail/pool")),
    (Duration::from_millis(8_000), KillTarget::Actor(SHOP)),
];

#[derive(Clone, Copy)]
pub(super) enum KillTarget {
    Actor(&'static str),
    /// The executor of this pool whose job began last. While no executor of the pool has a job, the kill waits.
    BusyExecutorOf(&'static str),
}

impl KillTarget {
    fn path(self, tree: &TreeNode) -> Option<String> {
        match self {
            KillTarget::Actor(path) => Some(path.to_owned()),
            KillTarget::BusyExecutorOf(pool) => {
                let executors = tree.find(pool)?.children.iter();
                let busy = executors.filter_map(|node| Some((node.running.as_ref()?.ran, &node.path)));
                busy.min().map(|(_, path)| path.clone())
            }
        }
    }
}

/// How the timeline is shown while it happens.
pub(super) enum Presentation {
    Json,
    Plain,
    Live { screen: Screen, colour: bool },
}

/// Why the demo is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All jobs have ended.
    Done,
    /// Some jobs have not ended within the time limit.
    TimeUp,
    /// The user pressed a key to quit, or the process received a signal.
    Quit,
}

/// The runtime of the demo, the producer of its jobs, and the receivers of events and reports.
pub(super) struct Setup {
    runtime: Runtime,
    supervision: broadcast::Receiver<SupervisionEvent>,
    reports: UnboundedReceiver<Report>,
    /// `None` once all jobs were enqueued.
    producer: Option<AbortOnDropHandle<Result<(), EnqueueError>>>,
}

impl Setup {
    pub(super) async fn start() -> Result<Self, CliError> {
        let failed = |error: &dyn std::fmt::Display| CliError::Failed(error.to_string());
        let retry =
            Retry::exponential().base(Duration::from_millis(500)).max_delay(Duration::from_secs(2)).max_attempts(3);
        let queue = |name, executors| {
            let queue = Queue::new(name).map_err(|e| failed(&e))?;
            Ok::<_, CliError>(queue.concurrency(executors).retry(retry).timeout(DEMO_HANDLER_TIMEOUT))
        };
        let (reporter, reports) = Reporter::new();
        let runtime = Runtime::builder()
            .store(MemoryStore::new())
            .lease(Duration::from_secs(3))
            .shutdown_grace(Duration::from_secs(1))
            .state(reporter)
            .queue(queue(MAIL, 4)?.handler(handlers::send_email).handler(handlers::send_reminder))
            .queue(
                queue(SHOP, 3)?
                    .handler(handlers::make_thumbnail)
                    .handler(handlers::build_report)
                    .handler(handlers::import_order)
                    .handler(handlers::send_invoice),
            )
            .start()
            .await?;
        let supervision = runtime.supervision();
        let producer = tokio::spawn(handlers::produce(runtime.queue(MAIL)?, runtime.queue(SHOP)?));
        Ok(Self { runtime, supervision, reports, producer: Some(AbortOnDropHandle::new(producer)) })
    }

    /// Waits until all jobs were enqueued, or one was refused. Further calls never return.
    async fn produced(producer: &mut Option<AbortOnDropHandle<Result<(), EnqueueError>>>) -> Result<(), CliError> {
        let Some(producing) = producer else { return std::future::pending().await };
        let produced = producing.await;
        *producer = None;
        match produced {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => Err(CliError::Failed(format!("a job was refused: {refused}"))),
            Err(gone) => Err(CliError::Failed(format!("the producer ended: {gone}"))),
        }
    }

    pub(super) fn operator(&self) -> &Operator {
        self.runtime.operator()
    }

    /// Shuts the runtime down.
    pub(super) async fn shutdown(self) -> Result<(), CliError> {
        self.runtime.shutdown().await?;
        Ok(())
    }
}

/// The running demo.
pub(super) struct DemoRun<'a> {
    out: &'a Output,
    setup: Setup,
    presentation: Presentation,
    timeline: Timeline,
    begun: Instant,
    /// How many of the kills are done.
    kills_done: usize,
    /// How many lines of the timeline were printed.
    printed: usize,
    /// When the progress was reported last, since `begun`.
    reported: Duration,
}

impl<'a> DemoRun<'a> {
    pub(super) fn new(out: &'a Output, setup: Setup, presentation: Presentation) -> Self {
        let timeline = Timeline::of(handlers::JOBS);
        Self {
            out,
            setup,
            presentation,
            timeline,
            begun: Instant::now(),
            kills_done: 0,
            printed: 0,
            reported: Duration::ZERO,
        }
    }

    /// Runs until all jobs have ended, the time is up, or the user quits.
    pub(super) async fn until_over(&mut self, kills: &[Kill], run_max: Duration) -> Result<End, CliError> {
        self.introduce()?;
        let mut ticks = interval(DEMO_UPDATE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                event = self.setup.supervision.recv() => self.record(event)?,
                Some(report) = self.setup.reports.recv() => self.timeline.report(self.begun.elapsed(), report),
                produced = Setup::produced(&mut self.setup.producer) => produced?,
                () = self.presentation.signalled() => return Ok(End::Quit),
                _ = ticks.tick() => {
                    self.update().await?;
                    if let Some(end) = self.over(run_max)? {
                        return Ok(end);
                    }
                    self.kill_and_report(kills);
                }
            }
            self.print()?;
        }
    }

    /// Leaves the screen, and returns what the summary needs.
    pub(super) fn end(self) -> (Setup, Timeline) {
        (self.setup, self.timeline)
    }

    fn introduce(&self) -> std::io::Result<()> {
        let Presentation::Plain = self.presentation else { return Ok(()) };
        let [failed, recovered, later] = [Mark::Failed, Mark::Recovered, Mark::Later].map(Mark::glyph);
        let page = Page::new(self.out);
        page.print(&format!(
            "A supervision tree of {} actors runs {} in this process, without Redis.\n\
             {failed} went wrong   {recovered} recovered   {later} delayed   jobs that succeed are only counted",
            self.setup.runtime.tree().all().len(),
            job_count(self.timeline.jobs)
        ))?;
        page.print("")
    }

    fn record(&mut self, event: Result<SupervisionEvent, RecvError>) -> Result<(), CliError> {
        let at = self.begun.elapsed();
        match (event, &self.presentation) {
            (Ok(event), Presentation::Json) => self.out.result(&Event::from(&event), String::new)?,
            (Ok(event), _) => self.timeline.event(at, &event),
            (Err(RecvError::Lagged(missed)), _) => {
                self.timeline.note(at, format_args!("{missed} events are not shown"))
            }
            (Err(RecvError::Closed), _) => return Err(CliError::Failed("the tree ended before its jobs".into())),
        }
        Ok(())
    }

    /// Reads the tree and the statistics of the queues, and draws the live view.
    async fn update(&mut self) -> Result<(), CliError> {
        let mut queues = Vec::new();
        for queue in [MAIL, SHOP] {
            let name = self.setup.runtime.queue(queue)?.name().clone();
            let stats = self.setup.operator().stats(&name).await?;
            queues.push((name, stats));
        }
        let at = self.begun.elapsed();
        self.timeline.update(at, self.setup.runtime.tree(), queues);
        if let Presentation::Live { screen, colour } = &mut self.presentation
            && !screen.draw(|frame| view::draw(&self.timeline, *colour, frame))?
        {
            // A panic outside of a handler has left the screen, so that its message can be read.
            self.presentation = Presentation::Plain;
        }
        Ok(())
    }

    /// Returns why the demo is over, if it is.
    fn over(&mut self, run_max: Duration) -> Result<Option<End>, CliError> {
        let live = matches!(self.presentation, Presentation::Live { .. });
        if let Some(done) = self.timeline.done {
            let seen = !live || self.timeline.now >= done + DEMO_LAST_FRAME_MIN || quit_was_pressed()?;
            return Ok(seen.then_some(End::Done));
        }
        if self.timeline.ended() >= self.timeline.jobs {
            self.timeline.all_is_done();
            return Ok((!live).then_some(End::Done));
        }
        if live && quit_was_pressed()? {
            return Ok(Some(End::Quit));
        }
        Ok((self.timeline.now >= run_max).then_some(End::TimeUp))
    }

    /// Kills the actors whose time has come, and reports the progress.
    fn kill_and_report(&mut self, kills: &[Kill]) {
        let at = self.begun.elapsed();
        while let Some((_, target)) = kills.get(self.kills_done).filter(|(due, _)| at >= *due) {
            let tree = self.setup.runtime.tree();
            let Some(path) = target.path(&tree) else { return };
            self.kills_done += 1;
            self.timeline.record_kill(at, &path, &tree);
            self.setup.runtime.kill(&path);
        }
        if at >= self.reported + DEMO_PROGRESS_INTERVAL && self.timeline.done.is_none() {
            self.reported += DEMO_PROGRESS_INTERVAL;
            // Only plain lines need a line for it: the live view has a progress bar, and JSON only events.
            if let Presentation::Plain = self.presentation {
                let (ended, all) = (self.timeline.ended(), self.timeline.jobs);
                self.timeline.note(at, format_args!("{ended} of {all} jobs have ended"));
            }
        }
    }

    fn print(&mut self) -> std::io::Result<()> {
        let new = &self.timeline.lines[self.printed..];
        if let Presentation::Plain = self.presentation {
            let page = Page::new(self.out);
            new.iter().try_for_each(|line| page.print_line(line))?;
        }
        self.printed = self.timeline.lines.len();
        Ok(())
    }
}

impl Presentation {
    /// Waits for a signal to quit in the live view. Without it, this waits for ever, and a signal ends the process.
    async fn signalled(&mut self) {
        match self {
            Presentation::Live { screen, .. } => screen.signalled().await,
            Presentation::Json | Presentation::Plain => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::demo::summary;

    /// A demo whose time is up does not fail, because no job is lost.
    #[tokio::test]
    async fn when_the_time_is_up_the_demo_ends_and_accounts_for_what_is_open() {
        let out = Output::new(false);
        let mut demo = DemoRun::new(&out, Setup::start().await.unwrap(), Presentation::Plain);
        let end = demo.until_over(&KILLS, Duration::from_millis(300)).await.unwrap();
        assert_eq!(end, End::TimeUp);
        let (setup, timeline) = demo.end();
        assert!(timeline.enqueued() < timeline.jobs, "the producer was in the middle of its work");
        assert!(timeline.open() > 0);
        assert_eq!(timeline.ended() + timeline.open(), timeline.enqueued());
        summary::conclude(&out, setup.operator(), &timeline, end).await.unwrap();
    }
}
