//! `retraced demo`: a whole tree on the memory store, with jobs that fail in every way there is.

mod handlers;
mod voice;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use retraced_jobs::job::{JobId, QueueName};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, interval};

use self::voice::{Mark, Voice};
use super::Desk;
use super::error::CliError;
use super::output::Output;
use super::shape::{self, JobShape, StatsShape};
use crate::{MemoryStore, Operator, Queue, Retry, Runtime};

const MAIL: &str = "mail";
const SHOP: &str = "shop";
/// How long a handler may run; the one that hangs is stopped after this.
const TIMEOUT: Duration = Duration::from_secs(2);
/// When the demo kills an actor of the tree.
const KILL_AT: Duration = Duration::from_millis(2_500);
const KILLED: &str = "mail/fetcher";
/// How often it is counted how far the jobs are.
const COUNT_EVERY: Duration = Duration::from_millis(250);
/// How often that is said.
const SAY_EVERY: u32 = 4;
/// Longest the demo may last; past it something is wrong, and it ends with an error.
const LASTS_MAX: Duration = Duration::from_secs(18);

/// `retraced demo`
#[derive(Args)]
pub(super) struct Demo {}

impl Demo {
    pub(super) async fn run(self, desk: &Desk) -> Result<(), CliError> {
        let out = &desk.out;
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let (voice, mut lines) = Voice::new(colour);
        let retry =
            Retry::exponential().base(Duration::from_millis(500)).max_delay(Duration::from_secs(2)).max_attempts(3);
        let queue = |name: &str, executors: usize| {
            let queue = Queue::new(name).map_err(|e| CliError::Failed(e.to_string()))?;
            Ok::<_, CliError>(queue.concurrency(executors).retry(retry).timeout(TIMEOUT))
        };
        let runtime = Runtime::builder()
            .store(MemoryStore::new())
            .lease(Duration::from_secs(3))
            .grace(Duration::from_secs(2))
            .state(voice.clone())
            .queue(queue(MAIL, 6)?)
            .queue(queue(SHOP, 4)?)
            .handler(MAIL, handlers::send_email)
            .handler(MAIL, handlers::send_reminder)
            .handler(SHOP, handlers::make_thumbnail)
            .handler(SHOP, handlers::build_report)
            .handler(SHOP, handlers::import_order)
            .handler(SHOP, handlers::send_invoice)
            .start()
            .await?;
        let mut events = runtime.supervision();
        let jobs = handlers::enqueue(&runtime.queue(MAIL)?, &runtime.queue(SHOP)?)
            .await
            .map_err(|e| CliError::Failed(e.to_string()))?;
        introduce(out, jobs, runtime.residents().len())?;

        let begun = Instant::now();
        let mut killed = false;
        let mut count = interval(COUNT_EVERY);
        let mut looks = 0_u32;
        loop {
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Ok(event) if out.is_json() => out.line(&shape::event(&event).to_string())?,
                    Ok(event) => voice.supervision(&event),
                    Err(RecvError::Lagged(missed)) => voice.say(Mark::Note, "", format_args!("{missed} events are not shown")),
                    Err(RecvError::Closed) => return Err(CliError::Failed("the tree ended before its jobs".into())),
                },
                Some(line) = lines.recv() => if !out.is_json() { out.line(&line)? },
                _ = count.tick() => {
                    let open = open_jobs(runtime.operator()).await?;
                    looks += 1;
                    if looks.is_multiple_of(SAY_EVERY) && open > 0 {
                        voice.say(Mark::Note, "", format_args!("{} of {jobs} jobs are done", jobs - open));
                    }
                    if !killed && begun.elapsed() >= KILL_AT {
                        killed = true;
                        voice.say(Mark::Note, KILLED, "is killed by this demo: the tree mends itself");
                        runtime.kill(KILLED);
                    }
                    if open == 0 || begun.elapsed() > LASTS_MAX {
                        break;
                    }
                }
            }
        }
        let ended = conclude(out, runtime.operator(), jobs).await;
        runtime.shutdown().await?;
        ended
    }
}

fn introduce(out: &Output, jobs: u64, actors: usize) -> std::io::Result<()> {
    if out.is_json() {
        return Ok(());
    }
    out.line(&format!(
        "A supervision tree of {actors} actors works through {jobs} jobs in this process, without Redis.\n\
         ✗ went wrong   ⏲ was put off   ↻ was mended   jobs that just work are only counted"
    ))?;
    out.line("")
}

fn queues() -> Result<[QueueName; 2], CliError> {
    let name = |name: &str| QueueName::new(name).map_err(|e| CliError::Failed(e.to_string()));
    Ok([name(MAIL)?, name(SHOP)?])
}

/// Jobs that have not come to an end.
async fn open_jobs(operator: &Operator) -> Result<u64, CliError> {
    let mut open = 0;
    for queue in queues()? {
        let stats = operator.stats(&queue).await?;
        open += stats.pending + stats.processing + stats.delayed;
    }
    Ok(open)
}

/// The summary and the story of the most interesting job.
async fn conclude(out: &Output, operator: &Operator, jobs: u64) -> Result<(), CliError> {
    let mut rows = Vec::new();
    for queue in queues()? {
        let stats = operator.stats(&queue).await?;
        rows.push(StatsShape::of(queue, stats));
    }
    let text = !out.is_json();
    if text {
        out.line("\nWhat became of them:")?;
    }
    let headers = ["QUEUE", "ENQUEUED", "COMPLETED", "DEAD", "POISONED", "FAILED TRIES"];
    out.results(&rows, &headers, |row| {
        let counts = [row.enqueued, row.completed, row.dead, row.poisoned, row.failures];
        std::iter::once(row.queue.to_string()).chain(counts.map(|count| count.to_string())).collect()
    })?;
    let [_, shop] = queues()?;
    let id = JobId::parse(handlers::HERO).map_err(|e| CliError::Failed(e.to_string()))?;
    if let Some(view) = operator.job(&shop, &id).await? {
        if text {
            out.line("\nThe story of one job, as `retraced trace` tells it of any:")?;
        }
        out.result(&JobShape::of(&view), || crate::Trace::from(view.clone()).to_string())?;
    }
    let ended: u64 = rows.iter().map(|row| row.completed + row.dead + row.poisoned).sum();
    if ended != jobs {
        return Err(CliError::Failed(format!("only {ended} of {jobs} jobs came to an end within {LASTS_MAX:?}")));
    }
    if text {
        out.line(&format!("\nAll {jobs} jobs came to an end; none was lost."))?;
    }
    Ok(())
}
