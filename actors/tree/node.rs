//! The tree as it is now: every node, whether its actor is up, and what it runs.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use retraced_jobs::codec;
use retraced_jobs::job::{JobId, Kind};
use retraced_jobs::trace::ExecutorId;

use super::table::{Branch, Role};
use crate::context::{QueueContext, RuntimeContext};
use crate::inflight::HandlerRun;
use crate::path;

/// One node of the tree and all nodes below it. Its `Display` draws the tree, one line per node.
///
/// ```
/// use std::time::Duration;
/// use retraced_actors::{TreeNode, NodeState, RunningJob};
/// let mut node = TreeNode::new("email/executor-0", NodeState::Up);
/// node.running = Some(RunningJob::new("welcome-42".parse()?, 2, Duration::from_secs(3)));
/// assert_eq!(node.name(), "executor-0");
/// assert!(node.to_string().contains("welcome-42"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeNode {
    /// Its path. An actor of a queue has the queue and its own name, as `email/executor-3`, without the supervisors between; a child of the root has only a
    /// name. The root's path is `retraced`.
    pub path: String,
    /// How often the actor at this path was started before: 0 for the first one.
    pub generation: u32,
    /// Whether its actor is up.
    pub state: NodeState,
    /// The job it runs; only executors run jobs. A zombie is not shown: another executor has taken the place of the zombie's executor.
    pub running: Option<RunningJob>,
    /// The nodes it supervises, in start order; the executors of a pool by number.
    pub children: Vec<TreeNode>,
}

/// Whether the actor of a node is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NodeState {
    /// It is up.
    Up,
    /// It is down: it is about to be started, its supervisor is closed, or the tree is ending.
    Down,
    /// A supervisor that gave up or could not be restarted. The jobs of its queue wait in the store. The event
    /// [`SupervisorClosed`](retraced_jobs::events::EventKind::SupervisorClosed) says when it is reopened.
    Closed,
}

/// A job that runs now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunningJob {
    /// The job.
    pub job: JobId,
    /// The kind of the job; `None` when the envelope cannot be read.
    pub kind: Option<Kind>,
    /// Which attempt this is, counting every grant, from 1.
    pub attempt: u32,
    /// How long the handler has run.
    pub ran: Duration,
}

impl RunningJob {
    /// A job of unknown kind that has run for this long, for tests of what shows it.
    #[must_use]
    pub fn new(job: JobId, attempt: u32, ran: Duration) -> Self {
        Self { job, kind: None, attempt, ran }
    }
}

impl TreeNode {
    /// A node that was never restarted, runs nothing and has no children, for tests of what shows it.
    #[must_use]
    pub fn new(path: impl Into<String>, state: NodeState) -> Self {
        Self { path: path.into(), generation: 0, state, running: None, children: Vec::new() }
    }

    /// Its name among its siblings: the last part of its path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The node at this path: this node or one below it.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&TreeNode> {
        self.all().into_iter().find(|node| node.path == path)
    }

    /// This node and all below it, each before its children.
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

/// One node without those below it.
struct Line<'a>(&'a TreeNode);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line(node) = self;
        f.write_str(node.name())?;
        if node.generation > 0 {
            write!(f, " #{}", node.generation)?;
        }
        match node.state {
            NodeState::Up => {}
            NodeState::Down => f.write_str(" (down)")?,
            NodeState::Closed => f.write_str(" (closed)")?,
        }
        match &node.running {
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

/// The tree as it is now, from the root down. Each node is read by itself: a concurrent change may show in one node and not yet in another.
pub(super) fn snapshot(runtime: &RuntimeContext, root: &Branch) -> TreeNode {
    let live = runtime.registry.all().into_iter().map(|actor| actor.path).collect();
    Snapshot { runtime, live }.node(root)
}

struct Snapshot<'a> {
    runtime: &'a RuntimeContext,
    live: BTreeSet<String>,
}

impl Snapshot<'_> {
    fn node(&self, branch: &Branch) -> TreeNode {
        let children = match &branch.role {
            Role::Actor(_) => Vec::new(),
            Role::Pool(_, queue) => self.executors(queue),
            Role::Supervisor(group) => group.children.iter().map(|child| self.node(child)).collect(),
        };
        let state = match branch.closes() {
            Some(queue) if !self.live.contains(&branch.path) && queue.inflight.is_closed() => NodeState::Closed,
            _ => self.state(&branch.path),
        };
        let generation = self.runtime.registry.generation(&branch.path);
        TreeNode { path: branch.path.clone(), generation, state, running: None, children }
    }

    fn executors(&self, queue: &QueueContext) -> Vec<TreeNode> {
        let running = queue.inflight.running().into_iter();
        let mut running: HashMap<_, _> = running.map(|running| (running.executor, RunningJob::of(&running))).collect();
        let slots = queue.executor_slots();
        slots
            .map(|slot| {
                let path = path::executor(&queue.name, slot);
                let (generation, state) = (self.runtime.registry.generation(&path), self.state(&path));
                let running = running.remove(&ExecutorId::new(slot, generation));
                TreeNode { path, generation, state, running, children: Vec::new() }
            })
            .collect()
    }

    fn state(&self, path: &str) -> NodeState {
        if self.live.contains(path) { NodeState::Up } else { NodeState::Down }
    }
}

impl RunningJob {
    fn of(running: &HandlerRun) -> Self {
        let job = &running.job;
        let kind = codec::open(&job.envelope).ok().map(|envelope| envelope.kind);
        Self { job: job.id.clone(), kind, attempt: job.token.attempt, ran: running.ran }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_tree_is_drawn_one_line_per_node() {
        let node = |path: &str, generation, state, children| TreeNode {
            path: path.into(),
            generation,
            state,
            running: None,
            children,
        };
        let mut executor = node("email/executor-0", 2, NodeState::Up, Vec::new());
        executor.running = Some(RunningJob {
            job: JobId::parse("welcome-42").unwrap(),
            kind: Kind::new("email.send").ok(),
            attempt: 2,
            ran: Duration::from_millis(340),
        });
        let pool = node("email/pool", 0, NodeState::Up, vec![executor]);
        let fetcher = node("email/fetcher", 1, NodeState::Down, Vec::new());
        let email = node("email", 0, NodeState::Up, vec![pool, fetcher]);
        let sms = node("sms", 3, NodeState::Closed, Vec::new());
        let root = node("retraced", 0, NodeState::Up, vec![email, sms]);
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
