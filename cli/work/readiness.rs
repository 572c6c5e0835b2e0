//! Whether a worker is alive, and whether it is ready for jobs.

use retraced::{NodeState, StoreStatus, TreeNode};
use serde::Serialize;

/// Where a worker is between its start and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Phase {
    Starting,
    Running,
    Draining,
    Ended,
}

impl Phase {
    /// Whether the supervision tree runs.
    pub(super) fn is_alive(self) -> bool {
        matches!(self, Phase::Running | Phase::Draining)
    }
}

/// Whether a worker can take jobs, and if not, why.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    #[serde(rename = "status")]
    pub(super) phase: Phase,
    /// `up`, `unreachable`, or `blocked` if it refuses writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<&'static str>,
    /// Why the store refuses writes, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_by: Option<String>,
    /// The paths of the supervisors that gave up, such as `email/workers`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    closed: Vec<String>,
}

impl Readiness {
    /// The tree does not run.
    pub(super) fn without_tree(phase: Phase) -> Self {
        Self { ready: false, phase, store: None, blocked_by: None, closed: Vec::new() }
    }

    pub(super) fn new(tree: &TreeNode, status: StoreStatus, is_draining: bool) -> Self {
        if tree.state != NodeState::Up {
            return Self::without_tree(Phase::Ended);
        }
        let phase = if is_draining { Phase::Draining } else { Phase::Running };
        let (store, blocked_by) = match status {
            StoreStatus::Up => ("up", None),
            StoreStatus::Blocked(by) => ("blocked", Some(format!("{by}; {}", by.remedy()))),
            // Also for a status that a later version may add: it is unknown whether the store can be used then.
            _ => ("unreachable", None),
        };
        let closed: Vec<String> =
            tree.all().iter().filter(|node| node.state == NodeState::Closed).map(|node| node.path.clone()).collect();
        let ready = !is_draining && status == StoreStatus::Up && closed.is_empty();
        Self { ready, phase, store: Some(store), blocked_by, closed }
    }
}

#[cfg(test)]
mod tests {
    use retraced::store::Block;

    use super::*;

    fn tree() -> TreeNode {
        let mut root = TreeNode::new("retraced", NodeState::Up);
        let mut queue = TreeNode::new("email", NodeState::Up);
        queue.children.push(TreeNode::new("email/workers", NodeState::Up));
        root.children.push(queue);
        root
    }

    #[test]
    fn a_worker_with_a_closed_queue_a_blocked_store_or_a_shutdown_is_not_ready() {
        assert!(Readiness::new(&tree(), StoreStatus::Up, false).ready);
        let mut closed = tree();
        closed.children[0].children[0].state = NodeState::Closed;
        for (tree, status, is_draining, json) in [
            (
                closed,
                StoreStatus::Up,
                false,
                r#"{"ready":false,"status":"running","store":"up","closed":["email/workers"]}"#,
            ),
            (tree(), StoreStatus::Unreachable, false, r#"{"ready":false,"status":"running","store":"unreachable"}"#),
            (
                tree(),
                StoreStatus::Blocked(Block::Memory),
                false,
                r#"{"ready":false,"status":"running","store":"blocked","blocked_by":"its memory is full; free memory or raise maxmemory"}"#,
            ),
            (tree(), StoreStatus::Up, true, r#"{"ready":false,"status":"draining","store":"up"}"#),
            (TreeNode::new("retraced", NodeState::Down), StoreStatus::Up, false, r#"{"ready":false,"status":"ended"}"#),
        ] {
            let readiness = Readiness::new(&tree, status, is_draining);
            assert_eq!(serde_json::to_string(&readiness).unwrap_or_default(), json);
        }
    }

    #[test]
    fn a_worker_that_starts_or_has_ended_is_not_alive() {
        let alive = [Phase::Starting, Phase::Running, Phase::Draining, Phase::Ended].map(Phase::is_alive);
        assert_eq!(alive, [false, true, true, false]);
    }
}
