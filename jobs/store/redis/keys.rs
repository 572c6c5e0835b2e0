//! The names of keys and of hint channels. No other file of the store spells them.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use super::KeyPrefix;
use crate::job::QueueName;
use crate::limits::redis::QUEUE_KEYS_MAX;

/// Name and type of each key of a queue, in the order of KEYS in every script that works on one queue (`lua/lib/queue.lua`).
const NAMES: [(&str, &str); 15] = [
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
    ("tombstones", "list"),
];

/// How many keys, from the first on, `enqueue.lua` uses. Each key that is passed costs the server's time.
const ENQUEUE_KEYS: usize = 10;

/// The number of this key in KEYS, which counts from 1; 0 if there is none.
pub(super) fn number_of(name: &str) -> usize {
    NAMES.iter().position(|(other, _)| *other == name).map_or(0, |index| index + 1)
}

/// A key or channel of this prefix.
fn with_prefix(prefix: &KeyPrefix, name: impl Display) -> String {
    format!("{prefix}:{name}")
}

impl KeyPrefix {
    /// The key of the set of all queue names ever announced, for tools that look at the server directly.
    ///
    /// ```
    /// use retraced_jobs::store::redis::KeyPrefix;
    /// assert_eq!(KeyPrefix::default().queues_key(), "retraced:queues");
    /// ```
    #[must_use]
    pub fn queues_key(&self) -> String {
        with_prefix(self, "queues")
    }
}

/// All keys and channels of one store. Keys are apart in each database of a server, but channels are not, so their names contain the number of the database.
#[derive(Debug)]
pub(super) struct Keyspace {
    prefix: KeyPrefix,
    database: i64,
    /// Set of all queue names ever announced.
    pub(super) queues: String,
    /// Hash of worker rows: process instance → time of its last heartbeat, row.
    pub(super) workers: String,
    /// Stream of supervision events.
    pub(super) ledger: String,
    /// A key that is never kept: `lua/probe.lua` tries to write it.
    pub(super) probe: String,
    /// A key that is never kept: `lua/rights.lua` tries commands on it.
    pub(super) rights: String,
    /// A channel that nobody listens to: `lua/rights.lua` tries to publish to it. Like every channel of a queue it matches `PREFIX:*`.
    pub(super) rights_channel: String,
    /// The keys of queues that were used through this store, at most [`QUEUE_KEYS_MAX`] of them.
    used: Mutex<HashMap<QueueName, Arc<QueueKeys>>>,
}

impl Keyspace {
    pub(super) fn new(prefix: KeyPrefix, database: i64) -> Self {
        Self {
            queues: prefix.queues_key(),
            workers: with_prefix(&prefix, "workers"),
            ledger: with_prefix(&prefix, "ledger"),
            probe: with_prefix(&prefix, "probe"),
            rights: with_prefix(&prefix, "rights"),
            rights_channel: with_prefix(&prefix, format_args!("rights:wake:{database}")),
            used: Mutex::default(),
            prefix,
            database,
        }
    }

    /// What the names of all keys and channels begin with, before a colon.
    pub(super) fn prefix(&self) -> &KeyPrefix {
        &self.prefix
    }

    /// The keys of this queue. They are kept, because each call needs them.
    pub(super) fn of(&self, queue: &QueueName) -> Arc<QueueKeys> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = used.get(queue) {
            return keys.clone();
        }
        if used.len() >= QUEUE_KEYS_MAX {
            // Those of queues in use are made again. That costs less than to know how long each was idle.
            used.clear();
        }
        let keys = Arc::new(QueueKeys::new(self, queue));
        used.insert(queue.clone(), keys.clone());
        keys
    }

    /// The channel of a queue's hints.
    pub(super) fn hint_channel(&self, queue: &QueueName) -> String {
        with_prefix(&self.prefix, format_args!("{{{queue}}}:wake:{}", self.database))
    }
}

/// The keys of one queue. They share the hash tag `{queue}`: in a Redis cluster, all keys of a script must be on one node.
#[derive(Debug)]
pub(super) struct QueueKeys {
    names: [String; NAMES.len()],
    hint_channel: String,
}

impl QueueKeys {
    fn new(keyspace: &Keyspace, queue: &QueueName) -> Self {
        let names = NAMES.map(|(name, _)| with_prefix(&keyspace.prefix, format_args!("{{{queue}}}:{name}")));
        Self { names, hint_channel: keyspace.hint_channel(queue) }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;

    use super::*;

    fn keyspace(prefix: &str, database: i64) -> Keyspace {
        Keyspace::new(KeyPrefix::new(prefix).unwrap(), database)
    }

    #[test]
    fn no_two_queues_share_a_key_and_all_keys_of_one_share_a_hash_tag() {
        let mut seen = HashSet::new();
        for prefix in ["retraced", "retraced-2", "a", "queues"] {
            let keyspace = keyspace(prefix, 0);
            for name in ["a", "a.wake", "a-lease", "lease", "job", "queues", "ledger", "A"] {
                let queue = QueueName::new(name).unwrap();
                let keys = keyspace.of(&queue);
                for key in keys.all().iter().map(String::as_str).chain([keys.hint_channel()]) {
                    assert!(seen.insert(key.to_owned()), "{key} is used twice");
                    assert!(key.contains(&format!("{{{name}}}")), "{key}");
                }
            }
            let Keyspace { queues, workers, ledger, probe, rights, rights_channel, .. } = &keyspace;
            for global in [queues, workers, ledger, probe, rights, rights_channel] {
                assert!(seen.insert(global.clone()), "{global} is used twice");
            }
            assert!(seen.iter().filter(|name| name.starts_with(&format!("{prefix}:"))).count() >= 8 * 16 + 6);
        }
    }

    #[test]
    fn no_two_databases_share_a_channel() {
        let queue = QueueName::new("q").unwrap();
        let [four, five] = [4, 5].map(|database| keyspace("retraced", database));
        assert_eq!(four.of(&queue).all(), five.of(&queue).all());
        assert_ne!(four.hint_channel(&queue), five.hint_channel(&queue));
        assert_ne!(four.rights_channel, five.rights_channel);
    }

    #[test]
    fn the_names_of_queues_without_end_are_not_kept() {
        let keyspace = keyspace("retraced", 0);
        let first = QueueName::new("q0").unwrap();
        for n in 0..3 * QUEUE_KEYS_MAX {
            let queue = QueueName::new(format!("q{n}")).unwrap();
            assert_eq!(keyspace.of(&queue).hint_channel(), keyspace.hint_channel(&queue));
            assert!(keyspace.used.lock().unwrap().len() <= QUEUE_KEYS_MAX);
        }
        assert_eq!(keyspace.of(&first).hint_channel(), keyspace.hint_channel(&first));
    }
}
