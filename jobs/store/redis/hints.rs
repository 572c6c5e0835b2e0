//! Reads the hints that the scripts publish.

use super::reply;
use crate::job::{JobId, QueueName};
use crate::store::Hint;

/// The hints in a message on a queue's channel. A message of an unknown form, such as one of a newer version, has none.
pub(super) fn from_message(queue: &QueueName, message: &[u8]) -> Vec<Hint> {
    match message {
        b"pending" => vec![Hint::Pending(queue.clone())],
        b"delayed" => vec![Hint::Due(queue.clone())],
        _ => match (message.strip_prefix(b"cancel:"), message.strip_prefix(b"ended:")) {
            (Some(id), _) => JobId::from_wire(id).map(|id| Hint::Cancel(queue.clone(), id)).into_iter().collect(),
            (None, Some(list)) => ended(queue, list),
            (None, None) => Vec::new(),
        },
    }
}

/// Reads a list of state(1) length(1) id (`lua/lib/replay.lua`) until its end or until an item is cut off.
fn ended(queue: &QueueName, mut list: &[u8]) -> Vec<Hint> {
    let mut hints = Vec::new();
    while let Some((&[state, length], rest)) = list.split_first_chunk() {
        let Some((id, rest)) = rest.split_at_checked(usize::from(length)) else { break };
        list = rest;
        let ended = |id| Hint::Ended { queue: queue.clone(), id, state: reply::state_of(state) };
        hints.extend(JobId::from_wire(id).map(ended));
    }
    hints
}
