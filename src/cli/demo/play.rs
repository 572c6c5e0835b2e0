//! The play: a runtime with two queues and their jobs, actors killed on cue, and the story told while it happens.

use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use super::page::Page;
use super::screen::{Screen, quit_was_pressed};
use super::story::{Mark, Story};
use super::voice::{Voice, Word};
use super::{CURTAIN, handlers, view};
use crate::cli::error::CliError;
use crate::cli::output::{Output, jobs};
use crate::cli::shape;
use crate::{MemoryStore, Operator, ProduceError, Queue, Retry, Runtime, SupervisionEvent, TreeNode};

pub(super) const MAIL: &str = "mail";
pub(super) const SHOP: &str = "shop";
/// How long a handler may run; the one that hangs is stopped after this.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How often the tree and its queues are looked at, and the view is drawn.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often plain lines say how far the jobs are.
const SAY_EVERY: Duration = Duration::from_secs(1);
/// Longest the jobs may take.
pub(super) const PLAY_MAX: Duration = Duration::from_secs(15);

/// When somebody is killed, and who.
pub(super) type Cue = (Duration, Victim);
/// The demo's own.
pub(super) const KILLS: [Cue; 3] = [
    (Duration::from_millis(5_000), Victim::Actor("mail/fetcher")),
    (Duration::from_millis(6_500), Victim::BusyExecutorOf("mail/pool")),
    (Duration::from_millis(8_000), Victim::Actor(SHOP)),
];

#[derive(Clone, Copy)]
pub(super) enum Victim {
    Actor(&'static str),
    /// Of this pool's executors the one that began its job last.
    BusyExecutorOf(&'static str),
}

impl Victim {
    fn path(self, tree: &TreeNode) -> Option<String> {
        match self {
            Victim::Actor(path) => Some(path.to_owned()),
            Victim::BusyExecutorOf(pool) => {
                let executors = tree.find(pool)?.children.iter();
                let busy = executors.filter_map(|place| Some((place.running.as_ref()?.ran, &place.path)));
                busy.min().map(|(_, path)| path.clone())
            }
        }
    }
}

/// How the story is shown while it happens.
pub(super) enum Face {
    Json,
    Plain,
    Live { screen: Screen, colour: bool },
}

/// Why the play is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All jobs have come to an end.
    Done,
    /// Some have not, within the time there is.
    TimeUp,
    /// Somebody has seen enough.
    Quit,
}

/// A runtime with its jobs, and where its news come from.
pub(super) struct Stage {
    runtime: Runtime,
    supervision: broadcast::Receiver<SupervisionEvent>,
    words: UnboundedReceiver<Word>,
    /// Until it has ended.
    producer: Option<AbortOnDropHandle<Result<(), ProduceError>>>,
}

impl Stage {
    pub(super) async fn set() -> Result<Self, CliError> {
        let failed = |error: &dyn std::fmt::Display| CliError::Failed(error.to_string());
        let retry =
            Retry::exponential().base(Duration::from_millis(500)).max_delay(Duration::from_secs(2)).max_attempts(3);
        let queue = |name, executors| {
            let queue = Queue::new(name).map_err(|e| failed(&e))?;
            Ok::<_, CliError>(queue.concurrency(executors).retry(retry).timeout(TIMEOUT))
        };
        let (voice, words) = Voice::new();
        let runtime = Runtime::builder()
            .store(MemoryStore::new())
            .lease(Duration::from_secs(3))
            .grace(Duration::from_secs(1))
            .state(voice)
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
        Ok(Self { runtime, supervision, words, producer: Some(AbortOnDropHandle::new(producer)) })
    }

    /// Waits until all jobs were produced, or one was not taken; then for ever.
    async fn produced(producer: &mut Option<AbortOnDropHandle<Result<(), ProduceError>>>) -> Result<(), CliError> {
        let Some(producing) = producer else { return std::future::pending().await };
        let produced = producing.await;
        *producer = None;
        match produced {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => Err(CliError::Failed(format!("a job was not taken: {refused}"))),
            Err(gone) => Err(CliError::Failed(format!("the producer ended: {gone}"))),
        }
    }

    pub(super) fn operator(&self) -> &Operator {
        self.runtime.operator()
    }

    /// Ends the runtime in order.
    pub(super) async fn clear(self) -> Result<(), CliError> {
        self.runtime.shutdown().await?;
        Ok(())
    }
}

/// The play under way.
pub(super) struct Play<'a> {
    out: &'a Output,
    stage: Stage,
    face: Face,
    story: Story,
    begun: Instant,
    /// Cues that were played, lines that were printed, and when it was said last how far the jobs are.
    cues: usize,
    printed: usize,
    said: Duration,
}

impl<'a> Play<'a> {
    pub(super) fn new(out: &'a Output, stage: Stage, face: Face) -> Self {
        let story = Story::of(handlers::JOBS);
        Self { out, stage, face, story, begun: Instant::now(), cues: 0, printed: 0, said: Duration::ZERO }
    }

    /// Plays until all jobs have come to an end, the time is up, or somebody has seen enough.
    pub(super) async fn until_over(&mut self, cues: &[Cue], play_max: Duration) -> Result<End, CliError> {
        self.introduce()?;
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                event = self.stage.supervision.recv() => self.hear(event)?,
                Some(word) = self.stage.words.recv() => self.story.word(self.begun.elapsed(), word),
                produced = Stage::produced(&mut self.stage.producer) => produced?,
                () = self.face.signalled() => return Ok(End::Quit),
                _ = looks.tick() => {
                    self.look().await?;
                    if let Some(end) = self.over(play_max)? {
                        return Ok(end);
                    }
                    self.play(cues);
                }
            }
            self.print()?;
        }
    }

    /// Gives the terminal back, and what there is to tell.
    pub(super) fn end(self) -> (Stage, Story) {
        (self.stage, self.story)
    }

    fn introduce(&self) -> std::io::Result<()> {
        let Face::Plain = self.face else { return Ok(()) };
        let [failed, mended, later] = [Mark::Failed, Mark::Mended, Mark::Later].map(Mark::glyph);
        let page = Page::new(self.out);
        page.say(&format!(
            "A supervision tree of {} actors works through {} in this process, without Redis.\n\
             {failed} went wrong   {mended} was mended   {later} was put off   jobs that just work are only counted",
            self.stage.runtime.tree().all().len(),
            jobs(self.story.jobs)
        ))?;
        page.say("")
    }

    fn hear(&mut self, event: Result<SupervisionEvent, RecvError>) -> Result<(), CliError> {
        let at = self.begun.elapsed();
        match (event, &self.face) {
            (Ok(event), Face::Json) => self.out.line(&shape::event(&event).to_string())?,
            (Ok(event), _) => self.story.event(at, &event),
            (Err(RecvError::Lagged(missed)), _) => self.story.note(at, format_args!("{missed} events are not shown")),
            (Err(RecvError::Closed), _) => return Err(CliError::Failed("the tree ended before its jobs".into())),
        }
        Ok(())
    }

    /// Looks at what any user of the runtime can see, and draws it.
    async fn look(&mut self) -> Result<(), CliError> {
        let mut queues = Vec::new();
        for queue in [MAIL, SHOP] {
            let name = self.stage.runtime.queue(queue)?.name().clone();
            let stats = self.stage.operator().stats(&name).await?;
            queues.push((name, stats));
        }
        let at = self.begun.elapsed();
        self.story.look(at, self.stage.runtime.tree(), queues);
        if let Face::Live { screen, colour } = &mut self.face
            && !screen.draw(|frame| view::draw(&self.story, *colour, frame))?
        {
            // Something panicked and the screen was left, so that its message can be read.
            self.face = Face::Plain;
        }
        Ok(())
    }

    fn over(&mut self, play_max: Duration) -> Result<Option<End>, CliError> {
        let live = matches!(self.face, Face::Live { .. });
        if let Some(done) = self.story.done {
            let seen = !live || self.story.now >= done + CURTAIN || quit_was_pressed()?;
            return Ok(seen.then_some(End::Done));
        }
        if self.story.ended() >= self.story.jobs {
            self.story.all_is_done();
            return Ok((!live).then_some(End::Done));
        }
        if live && quit_was_pressed()? {
            return Ok(Some(End::Quit));
        }
        Ok((self.story.now >= play_max).then_some(End::TimeUp))
    }

    fn play(&mut self, cues: &[Cue]) {
        let at = self.begun.elapsed();
        while let Some((_, victim)) = cues.get(self.cues).filter(|(cue, _)| at >= *cue) {
            let tree = self.stage.runtime.tree();
            let Some(path) = victim.path(&tree) else { return };
            self.cues += 1;
            self.story.kills(at, &path, &tree);
            self.stage.runtime.kill(&path);
        }
        if at >= self.said + SAY_EVERY && self.story.done.is_none() {
            self.said += SAY_EVERY;
            // The view shows that all the time.
            if let Face::Plain = self.face {
                let (ended, all) = (self.story.ended(), self.story.jobs);
                self.story.note(at, format_args!("{ended} of {all} jobs have ended"));
            }
        }
    }

    fn print(&mut self) -> std::io::Result<()> {
        let new = &self.story.lines[self.printed..];
        if let Face::Plain = self.face {
            let page = Page::new(self.out);
            new.iter().try_for_each(|line| page.tell(line))?;
        }
        self.printed = self.story.lines.len();
        Ok(())
    }
}

impl Face {
    /// Waits until a signal asks to end while the terminal is taken; otherwise for ever, because signals then do what they always do.
    async fn signalled(&mut self) {
        match self {
            Face::Live { screen, .. } => screen.signalled().await,
            Face::Json | Face::Plain => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::demo::summary;

    /// Whatever happens to the jobs, the demo ends in time, and that is no failure: nothing is lost.
    #[tokio::test]
    async fn when_the_time_is_up_the_demo_ends_and_accounts_for_what_is_open() {
        let out = Output::new(false);
        let mut play = Play::new(&out, Stage::set().await.unwrap(), Face::Plain);
        let end = play.until_over(&KILLS, Duration::from_millis(300)).await.unwrap();
        assert_eq!(end, End::TimeUp);
        let (stage, story) = play.end();
        assert!(story.taken() < story.jobs, "the producer was in the middle of its work");
        assert!(story.open() > 0);
        assert_eq!(story.ended() + story.open(), story.taken());
        summary::conclude(&out, stage.operator(), &story, end).await.unwrap();
    }
}
