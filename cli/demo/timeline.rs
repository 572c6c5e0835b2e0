//! What has happened so far: takes events, reports and counts, and makes lines, incidents and a caption of them. Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::time::Duration;

use retraced::store::QueueStats;
use retraced::supervision::{EventKind, SupervisionEvent};
use retraced::{JobId, QueueName, TreeNode};

use super::report::{Next, Report};
use crate::output::{duration_text, job_count, millis, printable};

/// The kind of a line. Each has a glyph, so that colour is never the only sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    Note,
    Later,
    Recovered,
    Failed,
}

impl Mark {
    pub(super) fn glyph(self) -> &'static str {
        match self {
            Mark::Failed => "✗",
            Mark::Recovered => "↻",
            Mark::Later => "◔",
            Mark::Note => "·",
        }
    }
}

/// A line of the log: one thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Time since the start of the demo, as all times here.
    pub(super) at: Duration,
    pub(super) mark: Mark,
    /// An actor or a job; empty for a note.
    pub(super) who: String,
    pub(super) what: String,
    /// What happens next; may be empty.
    pub(super) then: String,
}

/// An incident, which gets a row in the table of the summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Incident {
    pub(super) kind: IncidentKind,
    /// How long it took to replace the actor that ended; `None`: no actor ended, or it is not replaced yet.
    pub(super) recovered_ms: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum IncidentKind {
    /// A handler panicked, and so its executor ended.
    Panicked { job: JobId, message: String, executor: String },
    /// A handler hung until its timeout.
    Hung { job: JobId },
    /// The demo killed an actor, this many actors below it, and the handlers of the jobs that ran there.
    Killed { path: String, below: usize, running: Vec<JobId> },
    /// An actor crashed by itself.
    Crashed { path: String, reason: String },
    /// A job was poisoned.
    Poisoned { job: JobId },
    /// A job was moved to the dead letter queue.
    Died { job: JobId },
}

/// The timeline.
#[derive(Default)]
pub(super) struct Timeline {
    /// How many jobs there are.
    pub(super) jobs: u64,
    /// When the tree and the queues were read last.
    pub(super) now: Duration,
    /// When all jobs had ended.
    pub(super) done: Option<Duration>,
    pub(super) lines: Vec<Line>,
    pub(super) incidents: Vec<Incident>,
    /// The tree and the queues as they were read last.
    pub(super) tree: Option<TreeNode>,
    pub(super) queues: Vec<(QueueName, QueueStats)>,
    /// What is to be seen now, in one to three sentences.
    pub(super) caption: String,
    /// Jobs that failed and were retried.
    pub(super) retried: BTreeSet<JobId>,
    /// How often handlers asked to be run later.
    pub(super) snoozed: u32,
    /// Actors that ended and are not restarted yet: when each ended, in ms since the Unix epoch, and the index of its incident.
    down: BTreeMap<String, (u64, usize)>,
    /// When each actor was restarted last.
    restarted: BTreeMap<String, Duration>,
}

impl Timeline {
    pub(super) fn of(jobs: u64) -> Self {
        let caption = "Two queues, and jobs that mostly succeed. Watch what goes wrong, and how it recovers.";
        Self { jobs, caption: caption.into(), ..Self::default() }
    }

    // --- input

    /// Records the report of a handler.
    pub(super) fn report(&mut self, at: Duration, report: Report) {
        match report {
            Report::Failed { job, code, message, next } => {
                if matches!(next, Next::Attempt { .. }) && self.retried.is_empty() {
                    self.caption =
                        format!("{job} failed. The job waits a moment, longer after each failure, and is retried.");
                }
                if matches!(next, Next::Attempt { .. }) {
                    self.retried.insert(job.clone());
                }
                self.add_line(at, Mark::Failed, &job, format_args!("{code}: {message}"), next);
            }
            Report::TimedOut { job, next } => {
                self.add_line(at, Mark::Failed, &job, "TIMEOUT: it hung and was stopped", next);
                self.caption = format!(
                    "{job} hung. Its timeout expired, so its handler was stopped. The executor continues with other jobs."
                );
                self.add_incident(IncidentKind::Hung { job });
            }
            Report::Later { job, delay } => {
                self.snoozed += 1;
                let delay = duration_text(millis(delay));
                self.add_line(
                    at,
                    Mark::Later,
                    &job,
                    format_args!("is not ready yet, asks to run later"),
                    format_args!("in {delay}"),
                );
            }
        }
    }

    /// Records that the demo is about to kill an actor.
    pub(super) fn record_kill(&mut self, at: Duration, path: &str, tree: &TreeNode) {
        let Some(node) = tree.find(path) else { return };
        let below = node.all().len() - 1;
        let running: Vec<JobId> = node
            .all()
            .into_iter()
            .filter_map(|node| node.running.as_ref())
            .map(|running| running.job.clone())
            .collect();
        let doing = match (&running[..], below) {
            ([], 0) => String::new(),
            ([job], 0) => format!(" in the middle of {job}"),
            (running, _) => format!(", {} running below it", job_count(running.len() as u64)),
        };
        self.add_line(at, Mark::Note, path, format_args!("is killed by this demo{doing}"), "");
        self.add_incident(IncidentKind::Killed { path: path.to_owned(), below, running });
    }

    /// Records an event of the tree.
    pub(super) fn event(&mut self, at: Duration, event: &SupervisionEvent) {
        let SupervisionEvent { path, generation, at_ms, .. } = event;
        match &event.kind {
            EventKind::HandlerPanicked { job, message, location, .. } => {
                let location = location.as_deref().unwrap_or("an unknown location");
                self.add_line(at, Mark::Failed, job, format_args!("PANIC: {message}"), "");
                self.add_line(at, Mark::Failed, path, format_args!("ended by this panic at {location}"), "");
                let (job, message, executor) = (job.clone(), message.clone(), path.clone());
                self.record_end(path, *at_ms, IncidentKind::Panicked { job, message, executor });
            }
            EventKind::Crashed { reason, failures, budget } => {
                self.add_line(
                    at,
                    Mark::Failed,
                    path,
                    format_args!("crashed: {reason}"),
                    format_args!("restart {failures} of {budget}"),
                );
                self.record_end(path, *at_ms, IncidentKind::Crashed { path: path.clone(), reason: reason.clone() });
            }
            EventKind::Restarted => self.record_restart(at, event),
            EventKind::SupervisorClosed { reason, .. } => {
                self.add_line(at, Mark::Failed, path, format_args!("closed: {reason}"), "")
            }
            EventKind::SupervisorReopened => self.add_line(at, Mark::Recovered, path, "works again", ""),
            EventKind::Escalated { child, reason, .. } => {
                self.add_line(at, Mark::Failed, path, format_args!("gave up on {child}: {reason}"), "");
            }
            EventKind::StartFailed { reason } => {
                self.add_line(
                    at,
                    Mark::Failed,
                    path,
                    format_args!("generation {generation} did not start: {reason}"),
                    "",
                );
            }
            EventKind::JobPoisoned { job, .. } => {
                self.caption = format!(
                    "{job} can never succeed, says its handler. It is poisoned at once; no retry is wasted on it."
                );
                self.add_incident(IncidentKind::Poisoned { job: job.clone() });
            }
            EventKind::JobDied { job, .. } => {
                self.caption = format!(
                    "{job} has used up its attempts. It is kept in the dead letter queue, with its whole history."
                );
                self.retried.remove(job);
                self.add_incident(IncidentKind::Died { job: job.clone() });
            }
            _ => {}
        }
    }

    /// Records the present state of the tree and its queues.
    pub(super) fn update(&mut self, at: Duration, tree: TreeNode, queues: Vec<(QueueName, QueueStats)>) {
        (self.now, self.tree, self.queues) = (at, Some(tree), queues);
    }

    pub(super) fn note(&mut self, at: Duration, what: impl Display) {
        self.add_line(at, Mark::Note, "", what, "");
    }

    /// Records that the last job has ended.
    pub(super) fn all_is_done(&mut self) {
        self.done = Some(self.now);
        self.caption = format!("All {} have ended, and none was lost.", job_count(self.jobs));
    }

    // --- output

    /// Jobs that have ended.
    pub(super) fn ended(&self) -> u64 {
        self.queues.iter().map(|(_, stats)| stats.completed_total + stats.dead + stats.poisoned + stats.cancelled).sum()
    }

    /// Jobs that were enqueued.
    pub(super) fn enqueued(&self) -> u64 {
        self.queues.iter().map(|(_, stats)| stats.enqueued_total).sum()
    }

    /// Jobs that have been enqueued and have not ended.
    pub(super) fn open(&self) -> u64 {
        self.queues.iter().map(|(_, stats)| stats.pending + stats.processing + stats.delayed).sum()
    }

    /// How long ago this actor was restarted.
    pub(super) fn restarted_ago(&self, path: &str) -> Option<Duration> {
        self.restarted.get(path).map(|at| self.now.saturating_sub(*at))
    }

    // --- helpers

    fn add_line(&mut self, at: Duration, mark: Mark, who: impl Display, what: impl Display, then: impl Display) {
        let (who, what, then) = (who.to_string(), printable(&what.to_string()), then.to_string());
        self.lines.push(Line { at, mark, who, what, then });
    }

    fn add_incident(&mut self, kind: IncidentKind) -> usize {
        self.incidents.push(Incident { kind, recovered_ms: None });
        self.incidents.len() - 1
    }

    /// Records that an actor ended. If the demo killed it, its incident is there already.
    fn record_end(&mut self, path: &str, at_ms: u64, kind: IncidentKind) {
        let killed = self.incidents.iter().rposition(|incident| {
            incident.recovered_ms.is_none()
                && matches!(&incident.kind, IncidentKind::Killed { path: killed, .. } if killed == path)
        });
        let incident = killed.unwrap_or_else(|| self.add_incident(kind));
        self.down.insert(path.to_owned(), (at_ms, incident));
    }

    /// Records that an actor was restarted. If the actor ended with its supervisor, no line is added: the line for the supervisor says it.
    fn record_restart(&mut self, at: Duration, event: &SupervisionEvent) {
        self.restarted.insert(event.path.clone(), at);
        let Some((ended_ms, incident)) = self.down.remove(&event.path) else { return };
        let after_ms = event.at_ms.saturating_sub(ended_ms);
        let all = match &self.incidents[incident].kind {
            IncidentKind::Killed { below, .. } if *below > 0 => format!(" with all {below} below it"),
            _ => String::new(),
        };
        self.incidents[incident].recovered_ms = Some(after_ms);
        self.caption = restart_caption(&self.incidents[incident].kind);
        let (generation, time) = (event.generation, restart_time(after_ms));
        self.add_line(
            at,
            Mark::Recovered,
            &event.path,
            format_args!("restarted{all}, {time} (generation {generation})"),
            "",
        );
    }
}

/// The caption for the restart of an actor.
fn restart_caption(kind: &IncidentKind) -> String {
    match kind {
        IncidentKind::Panicked { job, executor, .. } => {
            format!(
                "A bug: {job}'s handler panicked. Only {executor} ended; it was restarted, and the job will be retried."
            )
        }
        IncidentKind::Killed { path, below: 0, running } => match &running[..] {
            [] => {
                format!("The demo has killed {path}. Its supervisor has restarted it; running jobs were not affected.")
            }
            [job, ..] => format!(
                "The demo has killed {path} in the middle of {job}. The job went back to the front of its queue, not counted."
            ),
        },
        IncidentKind::Killed { path, below, running } => format!(
            "The demo has killed all of {path}: {} actors, {} running. The actors are back, and the jobs run again, not counted.",
            below + 1,
            job_count(running.len() as u64)
        ),
        IncidentKind::Crashed { path, .. } => format!("{path} crashed, and its supervisor has restarted it."),
        IncidentKind::Hung { .. } | IncidentKind::Poisoned { .. } | IncidentKind::Died { .. } => String::new(),
    }
}

/// How long a restart took, as text.
pub(super) fn restart_time(ms: u64) -> String {
    if ms == 0 { "in less than 1ms".into() } else { format!("in {}", duration_text(ms)) }
}

impl Line {
    /// The line as plain text: when, which actor or job, what, and what happens next.
    pub(super) fn plain(&self) -> String {
        let Self { at, mark, who, what, .. } = self;
        let text = format!("{:4.1}s {} {who:<15} {what}{}", at.as_secs_f64(), mark.glyph(), self.tail());
        text.trim_end().to_owned()
    }

    /// What happens next, after an arrow.
    pub(super) fn tail(&self) -> String {
        if self.then.is_empty() { String::new() } else { format!(" → {}", self.then) }
    }
}

impl Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Next::Attempt { n, of } => write!(f, "attempt {n} of {of}"),
            Next::Dead { attempts } => write!(f, "dead after {attempts} attempts"),
            Next::Poisoned => f.write_str("poisoned, no retry"),
        }
    }
}

#[cfg(test)]
mod tests;
