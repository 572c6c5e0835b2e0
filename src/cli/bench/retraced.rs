//! ReTraced's side, as its users write it: a client that enqueues, a runtime with a typed handler, every guarantee on.

use std::sync::Arc;
use std::time::Duration;

use retraced_jobs::job::{QueueName, RunAt};

use super::book::Book;
use super::letter::Letter;
use super::server::beside;
use super::side::Side;
use crate::cli::error::CliError;
use crate::{
    Client, ClientQueue, Code, Context, Failure, JobOptions, Queue, RedisStore, Retention, Retry, Runtime, State,
    seal_job,
};

/// How long an enqueue of many is waited for.
const BULK_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(super) struct Retraced {
    url: String,
    queue: QueueName,
    door: ClientQueue,
    keep: bool,
}

impl Retraced {
    /// With `keep` completed jobs are kept, as they are unless a queue says otherwise.
    pub(super) async fn open(url: &str, queue: &QueueName, keep: bool) -> Result<Self, CliError> {
        let door = Client::new(store(url).await?).queue(queue).map_err(failed)?;
        Ok(Self { url: url.into(), queue: queue.clone(), door, keep })
    }

    async fn send(&self, letters: &[Letter], options: impl Fn(&Letter) -> JobOptions) -> Result<(), CliError> {
        let sealed: Result<Vec<_>, _> = letters.iter().map(|letter| seal_job(letter, &options(letter))).collect();
        self.door.enqueue_all(&sealed.map_err(failed)?, BULK_PATIENCE).await?;
        Ok(())
    }
}

impl Side for Retraced {
    type Worker = Runtime;

    async fn enqueue(&self, letter: Letter) -> Result<(), CliError> {
        self.door.enqueue(letter).await.map(drop).map_err(failed)
    }

    async fn enqueue_all(&self, letters: Vec<Letter>) -> Result<(), CliError> {
        self.send(&letters, |_| JobOptions::default()).await
    }

    async fn enqueue_due(&self, letters: Vec<Letter>) -> Result<(), CliError> {
        let due = |letter: &Letter| JobOptions { run_at: RunAt::At(letter.at_us / 1_000), ..JobOptions::default() };
        self.send(&letters, due).await
    }

    async fn work(&self, concurrency: usize, book: Arc<Book>) -> Result<Runtime, CliError> {
        let mut retention = Retention::default();
        if !self.keep {
            retention.completed = None;
        }
        let queue = Queue::new(&self.queue).map_err(failed)?;
        // The least backoff there is: the first two failures are tried again at once.
        let queue = queue.concurrency(concurrency).retention(retention).retry(Retry::three_tier());
        let runtime =
            Runtime::builder().store(store(&self.url).await?).state(book).queue(queue.handler(read)).start().await?;
        Ok(runtime)
    }

    async fn wait(&self, queues: usize, book: Arc<Book>) -> Result<Runtime, CliError> {
        let mut builder = Runtime::builder().store(store(&self.url).await?).state(book);
        for name in beside(&self.queue).take(queues) {
            builder = builder.queue(Queue::new(&name).map_err(failed)?.handler(read));
        }
        Ok(builder.start().await?)
    }

    async fn end(runtime: Runtime) -> Result<(), CliError> {
        let drained = runtime.shutdown().await?;
        match drained.unsettled {
            0 => Ok(()),
            n => Err(CliError::Failed(format!("the store did not confirm the outcomes of {n} jobs in time"))),
        }
    }
}

async fn read(letter: Letter, _: Context, book: State<Arc<Book>>) -> Result<(), Failure> {
    if book.handle(&letter) {
        return Ok(());
    }
    Err(Failure::temporary(Code::ServiceUnavailable, "this attempt is meant to fail"))
}

async fn store(url: &str) -> Result<RedisStore, CliError> {
    RedisStore::connect(url).await.map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::Failed(error.to_string())
}
