//! Reads what a server reports about itself, and checks whether it keeps jobs safely.

use redis::Value;

use super::connection::Link;
use crate::limits::redis::VERSION_MIN;
use crate::store::{StoreError, StoreFacts};

const OPERATION: &str = "probe";

/// Reads the facts about the server. `publishes` says whether the user may publish hints.
///
/// # Errors
/// [`StoreError::Refused`] if the server is too old, a node of a Redis Cluster or a replica, or if it may evict jobs and `allow_eviction` is not set. Missing persistence, an
/// eviction that is allowed and a missing right to publish are only warnings.
pub(super) async fn inspect(link: &Link, allow_eviction: bool, publishes: bool) -> Result<StoreFacts, StoreError> {
    let info = text(link.send(OPERATION, &redis::cmd("INFO")).await?);
    let value = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let refuse = |reason: String| Err(StoreError::Refused { operation: OPERATION, reason });

    // Valkey reports the version of Redis that it is compatible with as `redis_version`, and its own as `valkey_version`.
    let version = value("redis_version").unwrap_or("unknown");
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version_found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version_found < VERSION_MIN {
        let (major, minor) = VERSION_MIN;
        return refuse(format!("the server is version {version}; {major}.{minor} or newer is needed"));
    }
    if value("cluster_enabled") == Some("1") {
        return refuse(
            "the server is a node of a Redis Cluster, which is not supported yet; use a server outside a cluster"
                .into(),
        );
    }
    if value("role") == Some("slave") {
        return refuse("the server is a replica and takes no writes; connect to its primary".into());
    }
    let mut warnings = Vec::new();
    if !publishes {
        let prefix = link.keyspace().prefix();
        warnings.push(format!("hints cannot be published, so an idle worker notices a new job only when it polls, up to 6 s later; give this user the right +publish and the channels &{prefix}:*, and check that PUBLISH is not disabled"));
    }
    let policy = value("maxmemory_policy").unwrap_or("unknown");
    // A volatile policy evicts only keys that expire, and no key that holds jobs does.
    if policy != "noeviction" && !policy.starts_with("volatile-") {
        let what = format!("the server's maxmemory-policy is {policy}: when its memory is full it drops jobs");
        if !allow_eviction {
            return refuse(format!(
                "{what}; set it to noeviction, or allow eviction (RedisOptions::allow_eviction) if losing jobs is acceptable"
            ));
        }
        warnings.push(what);
    }
    if value("aof_enabled") != Some("1") {
        warnings.push(match makes_snapshots(link).await {
            Some(true) => "the append-only file is off: a crash of the server loses what came after its last snapshot".into(),
            Some(false) => "nothing is persisted: a crash or restart of the server loses all jobs".into(),
            None => "the append-only file is off: a crash of the server loses what came after its last snapshot, or all jobs if it makes no snapshots".to_owned(),
        });
    }
    let name = match value("valkey_version") {
        Some(own) => format!("valkey {own}"),
        None => format!("redis {version}"),
    };
    Ok(StoreFacts { name, warnings, ..StoreFacts::default() })
}

/// Whether the server is configured to make snapshots; `None` if that cannot be learnt: many managed servers refuse `CONFIG`.
async fn makes_snapshots(link: &Link) -> Option<bool> {
    let reply = link.send(OPERATION, redis::cmd("CONFIG").arg("GET").arg("save")).await.ok()?;
    let save = match reply {
        Value::Array(mut pair) => text(pair.pop()?),
        // With RESP3.
        Value::Map(mut pairs) => text(pairs.pop()?.1),
        _ => return None,
    };
    Some(!save.trim().is_empty())
}

fn text(value: Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text,
        _ => String::new(),
    }
}
