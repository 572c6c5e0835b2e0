//! Calls the scripts that concern no jobs: they forget a process instance, write worker rows and supervision events, and probe the server.

use std::time::Duration;

use super::{FORGET, HEARTBEAT, PROBE, RECORD, millis, on_key, on_queue};
use crate::job::InstanceId;
use crate::store::redis::connection::Link;
use crate::store::redis::keys::QueueKeys;
use crate::store::redis::reply::Reply;
use crate::store::{BATCH_MAX, StoreError};

/// `forget.lua`, slice after slice until all replay slots of the queue were checked.
pub(in crate::store::redis) async fn forget(
    link: &Link,
    keys: &QueueKeys,
    instance: InstanceId,
) -> Result<(), StoreError> {
    let mut cursor = 0;
    loop {
        let mut reply = on_queue("forget", link, keys, &FORGET, |command| {
            command.arg(&instance.as_bytes()[..]).arg(cursor).arg(BATCH_MAX);
        })
        .await?;
        reply.status()?;
        cursor = reply.text()?.parse::<u64>().unwrap_or(0);
        if cursor == 0 {
            return Ok(());
        }
    }
}

/// `heartbeat.lua`
pub(in crate::store::redis) async fn heartbeat(
    link: &Link,
    instance: InstanceId,
    row: &[u8],
    age_max: Duration,
) -> Result<(), StoreError> {
    let mut reply = on_key("heartbeat", link, &link.keyspace().workers, &HEARTBEAT, |command| {
        command.arg(&instance.as_bytes()[..]).arg(row).arg(millis(age_max));
    })
    .await?;
    reply.status().map(drop)
}

/// `record.lua`
pub(in crate::store::redis) async fn record(
    link: &Link,
    events_max: usize,
    bytes_max: usize,
    events: &[Vec<u8>],
) -> Result<(), StoreError> {
    let mut reply = on_key("record", link, &link.keyspace().ledger, &RECORD, |command| {
        command.arg(events_max).arg(bytes_max).arg(events);
    })
    .await?;
    reply.status().map(drop)
}

/// The answer to a probe.
pub(in crate::store::redis) struct Probed {
    /// The server's clock, in ms since the Unix epoch.
    pub(in crate::store::redis) now_ms: u64,
    /// The error with which the server refuses writes, if it does.
    pub(in crate::store::redis) writes_refused: Option<String>,
}

/// `probe.lua`
pub(in crate::store::redis) async fn probe(link: &Link) -> Result<Probed, StoreError> {
    let value = link
        .run("probe", &PROBE, |command| {
            command.arg(1).arg(&link.keyspace().probe);
        })
        .await?;
    let mut reply = Reply::new("probe", value)?;
    reply.status()?;
    let now_ms = reply.number()?;
    Ok(Probed { now_ms, writes_refused: Some(reply.text()?).filter(|error| !error.is_empty()) })
}
