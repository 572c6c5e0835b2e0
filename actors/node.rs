//! The tree as it is now, for those who look at it: every place, whether somebody is there, and what it runs.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use retraced_jobs::codec;
use retraced_jobs::job::{JobId, Kind};
use retraced_jobs::store::ClaimedJob;

use crate::executor;
use crate::house::{House, Room};
use crate::tree::ROOT_PATH;

/// One place of the tree and what is below it. Its `Display` draws it, a line for each place.
///
/// ```
/// use std::time::Duration;
/// use retraced_actors::{TreeNode, NodeState, RunningJob};
/// let running = RunningJob { job: "welcome-42".parse()?, kind: None, attempt: 2, ran: Duration::from_secs(3) };
/// let place = TreeNode {
///     path: "email/executor-0".into(),
///     generation: 1,
///     state: NodeState::Up,
///     running: Some(running),
///     children: Vec::new(),
/// };
/// assert_eq!(place.name(), "executor-0");
/// assert!(place.to_string().contains("welcome-42"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeNode {
    /// Its path, as `email/executor-3`; the root's is `retraced`.
    pub path: String,
    /// How often it was started before: 0 for the first actor.
    pub generation: u32,
    /// Whether somebody is there.
    pub state: NodeState,
    /// The job that runs there; only executors run jobs. A handler whose attempt was settled without it is not told here: its place is another's.
    pub running: Option<RunningJob>,
    /// The places it supervises, in start order; a pool's executors by number.
    pub children: Vec<TreeNode>,
}

/// Whether somebody is at a place.
///
/// Used in the example of [`TreeNode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NodeState {
    /// Its actor lives.
    Up,
    /// Nobody: it is about to be started, or the tree ends.
    Down,
    /// A queue whose supervisor gave up. Its jobs wait in the store, and it is started again later, as
    /// [`QueueClosed`](retraced_jobs::trace::EventKind::QueueClosed) told.
    Closed,
}

/// A job as it runs now.
///
/// Used in the example of [`TreeNode`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningJob {
    /// The job.
    pub job: JobId,
    /// Its kind; `None` when its envelope cannot be read.
    pub kind: Option<Kind>,
    /// Which try this is: failures so far + 1.
    pub attempt: u32,
    /// How long it has run.
    pub ran: Duration,
}

impl TreeNode {
    /// Its name among its siblings: the last part of its path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The place of this path, here or below.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&TreeNode> {
        self.all().into_iter().find(|place| place.path == path)
    }

    /// This place and all below it, each before its children.
    #[must_use]
    pub fn all(&self) -> Vec<&TreeNode> {
        let below = self.children.iter().flat_map(TreeNode::all);
        std::iter::once(self).chain(below).collect()
    }

    fn draw(&self, f: &mut fmt::Formatter<'_>, indent: &str) -> fmt::Result {
        let last = self.children.len().saturating_sub(1);
        for (index, child) in self.children.iter().enumerate() {
            let (branch, below) = if index == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            writeln!(f, "{indent}{branch}{}", Line(child))?;
            child.draw(f, &format!("{indent}{below}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for TreeNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Line(self))?;
        self.draw(f, "")
    }
}

/// A place without what is below it.
struct Line<'a>(&'a TreeNode);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line(place) = self;
        f.write_str(place.name())?;
        if place.generation > 0 {
            write!(f, " #{}", place.generation)?;
        }
        match place.state {
            NodeState::Up => {}
            NodeState::Down => f.write_str(" (down)")?,
            NodeState::Closed => f.write_str(" (closed)")?,
        }
        match &place.running {
            Some(running) => write!(f, ": {running}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for RunningJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.as_ref().map_or("unreadable", Kind::as_str);
        write!(f, "{} ({kind}), attempt {}, for {:.1}s", self.job, self.attempt, self.ran.as_secs_f64())
    }
}

/// The tree as it is now, from the root down. Each place is looked at by itself: a change during the look may be seen in one place and not yet in another.
pub(crate) fn look(house: &House) -> TreeNode {
    let living: BTreeSet<String> = house.roster.all().into_iter().map(|resident| resident.path).collect();
    let place = |path: String, generation: u32, children: Vec<TreeNode>| {
        let state = if living.contains(&path) { NodeState::Up } else { NodeState::Down };
        TreeNode { path, generation, state, running: None, children }
    };
    let leaf = |path: String| {
        let generation = house.roster.generation(&path);
        place(path, generation, Vec::new())
    };
    let executors = |room: &Room| {
        let mut running: HashMap<_, _> =
            room.inflight.running_jobs().into_iter().map(|(id, job, ran)| (id, RunningJob::of(&job, ran))).collect();
        room.executors()
            .into_iter()
            .map(|id| {
                let place = place(executor::path(room, id.slot), id.generation, Vec::new());
                TreeNode { running: running.remove(&id), ..place }
            })
            .collect()
    };
    let queue = |room: &Room| {
        let path = |role: &str| format!("{}/{role}", room.name);
        let pool = TreeNode { children: executors(room), ..leaf(path("pool")) };
        let children = vec![leaf(path("settler")), leaf(path("queue")), pool, leaf(path("fetcher"))];
        let mut queue = TreeNode { children, ..leaf(room.name.to_string()) };
        if queue.state == NodeState::Down && room.inflight.is_abandoned() {
            queue.state = NodeState::Closed;
        }
        queue
    };
    let before = ["ledger", "store-link", "lease-keeper"].map(|role| leaf(role.into()));
    let after = ["retry-scheduler", "watchdog"].map(|role| leaf(role.into()));
    let queues = house.rooms.iter().map(|room| queue(room));
    place(ROOT_PATH.into(), 0, before.into_iter().chain(queues).chain(after).collect())
}

impl RunningJob {
    fn of(job: &ClaimedJob, ran: Duration) -> Self {
        let kind = codec::open(&job.envelope).ok().map(|envelope| envelope.kind);
        Self { job: job.id.clone(), kind, attempt: job.counters.attempt(), ran }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_tree_is_drawn_a_line_for_each_place() {
        let place = |path: &str, generation, state, children| TreeNode {
            path: path.into(),
            generation,
            state,
            running: None,
            children,
        };
        let mut executor = place("email/executor-0", 2, NodeState::Up, Vec::new());
        executor.running = Some(RunningJob {
            job: JobId::parse("welcome-42").unwrap(),
            kind: Kind::new("email.send").ok(),
            attempt: 2,
            ran: Duration::from_millis(340),
        });
        let pool = place("email/pool", 0, NodeState::Up, vec![executor]);
        let fetcher = place("email/fetcher", 1, NodeState::Down, Vec::new());
        let email = place("email", 0, NodeState::Up, vec![pool, fetcher]);
        let sms = place("sms", 3, NodeState::Closed, Vec::new());
        let root = place(ROOT_PATH, 0, NodeState::Up, vec![email, sms]);
        assert_eq!(
            root.to_string(),
            "\
retraced
├─ email
│  ├─ pool
│  │  └─ executor-0 #2: welcome-42 (email.send), attempt 2, for 0.3s
│  └─ fetcher #1 (down)
└─ sms #3 (closed)
"
        );
        assert_eq!(root.find("email/fetcher").unwrap().generation, 1);
        assert_eq!(root.find("email/settler"), None);
    }
}
