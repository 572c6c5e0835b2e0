//! Several workers on one queue, each a process of its own, as they are where they are in earnest.
//!
//! A worker says what it does a line at a time: that it is ready, how much it has handled and when, and at last what it spent. It is told two things: to begin,
//! and to end. When nobody is there to tell it, it ends.

use std::io::BufRead;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::book::Book;
use super::cost::{Cost, memory_peak_mib, processor_time};
use super::figures::Figures;
use super::letter::now_us;
use super::server::Server;
use super::side::Side;
use super::step::Step;
use crate::error::CliError;
use crate::output::Output;

/// How often a worker says how much it has handled: so exact is the time that is taken.
const LOOK: Duration = Duration::from_millis(5);
/// Least time in which a rate is exact to a twentieth. What takes less is counted from the beginning.
const TIMED_MIN: Duration = Duration::from_millis(100);
/// Lines of all workers that wait to be read.
const WORDS_MAX: usize = 1_024;

/// What a worker says.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Word {
    Ready,
    Handled { jobs: u64, at_us: u64 },
    Ended { jobs: u64, cpu_s: f64, memory_mib: Option<f64> },
}

/// Works as one of several, in this process.
pub(super) async fn lend_a_hand<S: Side>(side: S, executors: usize, jobs: u64, out: &Output) -> Result<(), CliError> {
    let alone = || CliError::Failed("nobody waits for this worker any more".into());
    let mut told = told();
    say(out, &Word::Ready)?;
    told.recv().await.ok_or_else(alone)?;
    let before = processor_time();
    let book = Arc::new(Book::of(jobs));
    let worker = side.work(executors, book.clone()).await?;
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = 0;
    loop {
        tokio::select! {
            word = told.recv() => {
                word.ok_or_else(alone)?;
                break;
            }
            _ = look.tick() => {
                let jobs = book.count();
                if jobs > said {
                    say(out, &Word::Handled { jobs, at_us: now_us() })?;
                    said = jobs;
                }
            }
        }
    }
    S::end(worker).await?;
    let cpu_s = processor_time().saturating_sub(before).as_secs_f64();
    say(out, &Word::Ended { jobs: book.count(), cpu_s, memory_mib: memory_peak_mib() })
}

fn say(out: &Output, word: &Word) -> Result<(), CliError> {
    Ok(out.line(&serde_json::to_string(word).map_err(|error| CliError::Failed(error.to_string()))?)?)
}

/// A word for each line this process is told. By a thread, which does not keep the process when it ends.
fn told() -> mpsc::Receiver<()> {
    let (tell, told) = mpsc::channel(1);
    thread::spawn(move || {
        let mut lines = std::io::stdin().lock().lines();
        while lines.next().is_some_and(|line| line.is_ok()) && tell.blocking_send(()).is_ok() {}
    });
    told
}

/// The workers, and what they said last.
pub(super) struct Crew {
    jobs: u64,
    hands: Vec<Hand>,
    words: mpsc::Receiver<(usize, Option<Word>)>,
    /// They end with the crew.
    _listeners: JoinSet<()>,
}

struct Hand {
    child: Child,
    orders: ChildStdin,
    handled: u64,
    cpu_s: f64,
    memory_mib: Option<f64>,
}

impl Crew {
    /// Starts so many workers, who wait until they are told to begin.
    pub(super) async fn start(step: &Step, redis: &str, workers: usize) -> Result<Self, CliError> {
        let (say, words) = mpsc::channel(WORDS_MAX);
        let (mut hands, mut listeners) = (Vec::new(), JoinSet::new());
        for number in 0..workers {
            let mut child = step.as_a_hand().command(redis)?.stdin(Stdio::piped()).spawn()?;
            let (Some(orders), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
                return Err(CliError::Failed("a worker cannot be spoken with".into()));
            };
            let (mut lines, say) = (BufReader::new(stdout).lines(), say.clone());
            listeners.spawn(async move {
                loop {
                    let line = lines.next_line().await.ok().flatten();
                    let word = line.and_then(|line| serde_json::from_str(&line).ok());
                    let is_last = matches!(word, None | Some(Word::Ended { .. }));
                    if say.send((number, word)).await.is_err() || is_last {
                        return;
                    }
                }
            });
            hands.push(Hand { child, orders, handled: 0, cpu_s: 0.0, memory_mib: None });
        }
        let mut crew = Self { jobs: step.jobs, hands, words, _listeners: listeners };
        for _ in 0..workers {
            crew.next().await?;
        }
        Ok(crew)
    }

    /// Lets them work until all jobs are handled, and ends them.
    pub(super) async fn drain(mut self, server: &mut Server, name: &str) -> Result<Figures, CliError> {
        let before = Cost::until_now(server).await?;
        let mut pace = Pace::since(self.jobs, now_us());
        self.tell_all().await?;
        while !pace.is_over() {
            if let Word::Handled { at_us, .. } = self.next().await? {
                pace.saw(self.hands.iter().map(|hand| hand.handled).sum(), at_us);
            }
        }
        self.tell_all().await?;
        let mut ended = 0;
        while ended < self.hands.len() {
            ended += usize::from(matches!(self.next().await?, Word::Ended { .. }));
        }
        let mut figures = Figures::default();
        figures.put(name, pace.rate(), "jobs/s");
        let even = self.jobs as f64 / self.hands.len() as f64;
        let least = self.hands.iter().map(|hand| hand.handled).min().unwrap_or(0);
        let share = least as f64 / even;
        figures.put(format!("{name}_share_min"), share, "of even");
        let cpu_s = self.hands.iter().map(|hand| hand.cpu_s).sum();
        before.since_by(cpu_s, server, self.jobs, name, &mut figures).await?;
        if let Some(mib) = self.hands.iter().map(|hand| hand.memory_mib).sum::<Option<f64>>() {
            figures.put(format!("{name}_rss_peak"), mib, "MiB");
        }
        Ok(figures)
    }

    async fn tell_all(&mut self) -> Result<(), CliError> {
        for hand in &mut self.hands {
            hand.orders.write_all(b"\n").await?;
        }
        Ok(())
    }

    /// The next word of any worker, after it was written down.
    async fn next(&mut self) -> Result<Word, CliError> {
        let (number, word) = self.words.recv().await.unwrap_or((0, None));
        let Some(word) = word else { return Err(self.hands.swap_remove(number).gone().await) };
        let hand = &mut self.hands[number];
        match word {
            Word::Ready => {}
            Word::Handled { jobs, .. } => hand.handled = jobs,
            Word::Ended { jobs, cpu_s, memory_mib } => {
                (hand.handled, hand.cpu_s, hand.memory_mib) = (jobs, cpu_s, memory_mib);
            }
        }
        Ok(word)
    }
}

impl Hand {
    /// Why it ended before it was told to.
    async fn gone(self) -> CliError {
        drop(self.orders);
        match self.child.wait_with_output().await {
            Err(error) => error.into(),
            Ok(ended) => {
                let said = String::from_utf8_lossy(&ended.stderr);
                CliError::Failed(format!("a worker ended too soon, {}: {}", ended.status, said.trim()))
            }
        }
    }
}

/// Jobs a second of all together, without the first twentieth, in which they start.
struct Pace {
    jobs: u64,
    /// When they began.
    begun_us: u64,
    /// Jobs handled, and when: after the first twentieth, and now.
    first: (u64, u64),
    last: (u64, u64),
}

impl Pace {
    fn since(jobs: u64, at_us: u64) -> Self {
        Self { jobs, begun_us: at_us, first: (0, at_us), last: (0, at_us) }
    }

    fn saw(&mut self, handled: u64, at_us: u64) {
        let warm = self.jobs / 20;
        if self.last.0 < warm && handled >= warm {
            self.first = (handled, at_us);
        }
        self.last = (handled, at_us);
    }

    fn is_over(&self) -> bool {
        self.last.0 >= self.jobs
    }

    fn rate(&self) -> f64 {
        let (handled, now_us) = self.last;
        let took = |since_us: u64| Duration::from_micros(now_us.saturating_sub(since_us).max(1));
        let timed = took(self.first.1);
        if timed < TIMED_MIN {
            return handled as f64 / took(self.begun_us).as_secs_f64();
        }
        (handled - self.first.0) as f64 / timed.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(seen: &[(u64, u64)]) -> f64 {
        let mut pace = Pace::since(1_000, 500_000);
        for (handled, at_us) in seen {
            assert!(!pace.is_over());
            pace.saw(*handled, *at_us);
        }
        assert!(pace.is_over());
        pace.rate()
    }

    #[test]
    fn the_rate_begins_after_the_first_twentieth() {
        assert_eq!(rate(&[(49, 900_000), (100, 1_000_000), (500, 1_100_000), (1_000, 2_000_000)]), 900.0);
    }

    #[test]
    fn what_was_over_at_once_is_counted_from_the_beginning() {
        assert_eq!(rate(&[(1_000, 1_000_000)]), 2_000.0);
        assert_eq!(rate(&[(600, 999_900), (1_000, 1_000_000)]), 2_000.0);
    }
}
