//! The names of keys and of hint channels. No other file of the store spells them.

use crate::job::QueueName;

/// Set of all queue names ever announced.
pub const QUEUES_KEY: &str = "retraced:queues";
/// Hash of worker rows: process instance → time of its last heartbeat, row.
pub(super) const WORKERS: &str = "retraced:workers";
/// Stream of supervision events.
pub(super) const LEDGER: &str = "retraced:ledger";
/// A key that is never kept: `lua/probe.lua` tries to write it.
pub(super) const PROBE: &str = "retraced:probe";
/// A key that is never kept: `lua/rights.lua` tries commands on it.
pub(super) const RIGHTS: &str = "retraced:rights";
/// A channel that nobody listens to: `lua/rights.lua` tries to publish to it. Like every channel of a queue it matches `retraced:*`.
pub(super) const RIGHTS_CHANNEL: &str = "retraced:rights:wake";

/// Name and type of each key of a queue, in the order of KEYS in every script that works on one queue (`lua/lib/queue.lua`).
const NAMES: [(&str, &str); 14] = [
    ("job", "hash"),
    ("pending", "list"),
    ("lease", "zset"),
    ("delayed", "zset"),
    ("completed", "zset"),
    ("dead", "zset"),
    ("poisoned", "zset"),
    ("cancelled", "zset"),
    ("stats", "hash"),
    ("replay", "hash"),
    ("grant", "hash"),
    ("retry", "hash"),
    ("history", "hash"),
    ("awaited", "zset"),
];

/// How many keys, from the first on, `enqueue.lua` uses. Each key that is passed costs the server's time.
const ENQUEUE_KEYS: usize = 10;

/// The number of this key in KEYS, which counts from 1; 0 if there is none.
pub(super) fn number_of(name: &str) -> usize {
    NAMES.iter().position(|(other, _)| *other == name).map_or(0, |index| index + 1)
}

/// The keys of one queue. They share the hash tag `{queue}`: in a Redis cluster, all keys of a script must be on one node.
#[derive(Debug)]
pub(super) struct QueueKeys {
    names: [String; NAMES.len()],
    hint_channel: String,
}

impl QueueKeys {
    pub(super) fn new(queue: &QueueName) -> Self {
        let names = NAMES.map(|(name, _)| format!("retraced:{{{queue}}}:{name}"));
        Self { names, hint_channel: hint_channel(queue) }
    }

    /// All keys, in the order of KEYS.
    pub(super) fn all(&self) -> &[String] {
        &self.names
    }

    /// The keys that `enqueue.lua` uses, in the order of KEYS.
    pub(super) fn for_enqueue(&self) -> &[String] {
        &self.names[..ENQUEUE_KEYS]
    }

    /// All keys with the type each must have.
    pub(super) fn typed(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.names.iter().map(String::as_str).zip(NAMES.map(|(_, kind)| kind))
    }

    /// The channel of the queue's hints.
    pub(super) fn hint_channel(&self) -> &str {
        &self.hint_channel
    }
}

/// The channel of a queue's hints.
pub(super) fn hint_channel(queue: &QueueName) -> String {
    format!("retraced:{{{queue}}}:wake")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_queues_share_a_key_and_all_keys_of_one_share_a_hash_tag() {
        let mut seen = HashSet::new();
        for name in ["a", "a.wake", "a-lease", "lease", "job", "queues", "ledger", "A"] {
            let queue = QueueName::new(name).unwrap();
            let keys = QueueKeys::new(&queue);
            for key in keys.all().iter().map(String::as_str).chain([keys.hint_channel()]) {
                assert!(seen.insert(key.to_owned()), "{key} is used twice");
                assert!(key.contains(&format!("{{{name}}}")), "{key}");
            }
        }
        for global in [QUEUES_KEY, WORKERS, LEDGER] {
            assert!(seen.insert(global.to_owned()), "{global} collides with a queue's key");
        }
    }
}
