//! Calls the scripts of audits. `check_counts.lua` only counts. Each of the others is one step of a scan or a repair (`jobs/store/redis/scan.rs`).

use super::{
    CHECK_COUNTS, REPAIR_ORPHANED, SCAN_CONTAINERS, SCAN_JOBS, SCAN_KEPT, SCAN_PENDING, SCAN_STALE, on_queue, six_bytes,
};
use crate::store::redis::connection::Link;
use crate::store::redis::keys::QueueKeys;
use crate::store::redis::reply::{Reply, big_endian};
use crate::store::{CountCheck, StoreError};

/// `check_counts.lua`
pub(in crate::store::redis) async fn check_counts(link: &Link, keys: &QueueKeys) -> Result<CountCheck, StoreError> {
    let mut reply = on_queue("check_counts", link, keys, &CHECK_COUNTS, |_| {}).await?;
    reply.status()?;
    Ok(CountCheck {
        jobs: reply.number()?,
        pending_entries: reply.number()?,
        stale: reply.number()?,
        contained: reply.number()?,
        grant_difference: reply.signed()?,
        enqueued_total: reply.number()?,
        sequence_base: reply.number()?,
        uncounted: reply.number()?,
    })
}

/// The ids of what is wrong in one slice of a container, or of a hash kept beside the jobs (`scan_containers.lua`).
pub(in crate::store::redis) struct ContainerSlice {
    pub(in crate::store::redis) next: u64,
    /// Entries without a job, and damaged grants of jobs in no sorted set. A repair deletes them.
    pub(in crate::store::redis) to_delete: Vec<Vec<u8>>,
    /// Jobs that have a grant and are in no sorted set. A repair gives them a lease.
    pub(in crate::store::redis) restored: Vec<Vec<u8>>,
    /// Unexpired leases without a grant. A repair makes them expire now.
    pub(in crate::store::redis) to_expire: Vec<Vec<u8>>,
    /// Jobs in two sorted sets, and jobs that have a grant but are in another sorted set than `lease`.
    pub(in crate::store::redis) in_two: Vec<Vec<u8>>,
}

/// `scan_containers.lua`; `key` is the number of the key in `lua/lib/queue.lua`.
pub(in crate::store::redis) async fn scan_containers(
    link: &Link,
    keys: &QueueKeys,
    key: usize,
    cursor: u64,
    count: usize,
    repair: bool,
) -> Result<ContainerSlice, StoreError> {
    let mut reply = on_queue("scan", link, keys, &SCAN_CONTAINERS, |command| {
        command.arg(key).arg(cursor).arg(count).arg(u8::from(repair));
    })
    .await?;
    reply.status()?;
    Ok(ContainerSlice {
        next: next_cursor(&mut reply)?,
        to_delete: reply.list()?.all()?,
        restored: reply.list()?.all()?,
        to_expire: reply.list()?.all()?,
        in_two: reply.list()?.all()?,
    })
}

fn next_cursor(reply: &mut Reply) -> Result<u64, StoreError> {
    Ok(reply.text()?.parse().unwrap_or(0))
}

/// The last numbers drawn from the two counters that entry versions come from.
#[derive(Clone, Copy)]
pub(in crate::store::redis) struct LastDrawn {
    /// The last number drawn for the first entry version of a job.
    sequence: u64,
    /// The last number drawn for a later entry version.
    entry_version: u64,
}

/// A page of `pending` (`scan_pending.lua`).
pub(in crate::store::redis) struct PendingPage {
    pub(in crate::store::redis) drawn: LastDrawn,
    pub(in crate::store::redis) scanned: usize,
    /// Bytes of the bodies that were read. They set the size of the next page.
    pub(in crate::store::redis) body_bytes: usize,
    pub(in crate::store::redis) entry_versions: Vec<u64>,
    pub(in crate::store::redis) in_two: Vec<Vec<u8>>,
}

/// `scan_pending.lua`; `behind` is how many entries earlier pages have read, from the back of `pending`.
pub(in crate::store::redis) async fn scan_pending(
    link: &Link,
    keys: &QueueKeys,
    behind: usize,
    count: usize,
    repair: bool,
) -> Result<PendingPage, StoreError> {
    let mut reply = on_queue("scan", link, keys, &SCAN_PENDING, |command| {
        command.arg(behind).arg(count).arg(u8::from(repair));
    })
    .await?;
    reply.status()?;
    Ok(PendingPage {
        drawn: LastDrawn { sequence: reply.number()?, entry_version: reply.number()? },
        scanned: reply.size()?,
        body_bytes: reply.size()?,
        entry_versions: reply.bytes()?.chunks_exact(6).map(big_endian).collect(),
        in_two: reply.list()?.all()?,
    })
}

/// A slice of the jobs (`scan_jobs.lua`).
pub(in crate::store::redis) struct JobsSlice {
    pub(in crate::store::redis) next: u64,
    pub(in crate::store::redis) scanned: usize,
    /// Bytes of the bodies that were read. They set the size of the next slice.
    pub(in crate::store::redis) body_bytes: usize,
    /// Id and entry version of each job that should be pending; `None` where the job cannot be read.
    pub(in crate::store::redis) expected_pending: Vec<(Vec<u8>, Option<u64>)>,
}

/// `scan_jobs.lua`
pub(in crate::store::redis) async fn scan_jobs(
    link: &Link,
    keys: &QueueKeys,
    cursor: u64,
    count: usize,
    drawn: LastDrawn,
) -> Result<JobsSlice, StoreError> {
    let mut reply = on_queue("scan", link, keys, &SCAN_JOBS, |command| {
        command.arg(cursor).arg(count).arg(drawn.sequence).arg(drawn.entry_version);
    })
    .await?;
    reply.status()?;
    let (next, scanned, body_bytes) = (next_cursor(&mut reply)?, reply.size()?, reply.size()?);
    let mut found = reply.list()?;
    let mut expected_pending = Vec::with_capacity(found.len() / 2);
    while !found.is_empty() {
        let (id, entry_version) = (found.bytes()?, found.bytes()?);
        expected_pending.push((id, (!entry_version.is_empty()).then(|| big_endian(&entry_version))));
    }
    Ok(JobsSlice { next, scanned, body_bytes, expected_pending })
}

/// `repair_orphaned.lua`; returns the ids of the jobs put back, and of those poisoned as damaged.
pub(in crate::store::redis) async fn repair_orphaned(
    link: &Link,
    keys: &QueueKeys,
    orphaned: &[(Vec<u8>, Option<u64>)],
) -> Result<(Vec<Vec<u8>>, Vec<Vec<u8>>), StoreError> {
    let mut reply = on_queue("repair", link, keys, &REPAIR_ORPHANED, |command| {
        // `lua/lib/replay.lua` reads three arguments; this script is no call of a replay slot and needs only the channel.
        command.arg("").arg("").arg(keys.hint_channel());
        for (id, entry_version) in orphaned {
            command.arg(&id[..]).arg(entry_version.map_or_else(Vec::new, |version| six_bytes(version).to_vec()));
        }
    })
    .await?;
    reply.status()?;
    Ok((reply.list()?.all()?, reply.list()?.all()?))
}

/// `scan_stale.lua`; returns how many stale entries `stats` counts, and how many there must be.
pub(in crate::store::redis) async fn scan_stale(
    link: &Link,
    keys: &QueueKeys,
    repair: bool,
) -> Result<(u64, u64), StoreError> {
    let mut reply = on_queue("scan", link, keys, &SCAN_STALE, |command| {
        command.arg(u8::from(repair));
    })
    .await?;
    reply.status()?;
    Ok((reply.number()?, reply.number()?))
}

/// How far the bytes of the jobs in one final state are summed up (`scan_kept.lua`).
#[derive(Default)]
pub(in crate::store::redis) struct KeptPage {
    pub(in crate::store::redis) state: KeptSum,
    /// Jobs that ended after this instant, in ms, are read with the last page.
    fence: String,
    scanned: u64,
    last: Vec<u8>,
    /// The bytes as `stats` counts them.
    pub(in crate::store::redis) counted: u64,
    /// The bytes of the jobs read so far.
    pub(in crate::store::redis) sum: u64,
}

/// What became of a sum.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::store::redis) enum KeptSum {
    /// There are more pages.
    #[default]
    More,
    /// It can be compared.
    Whole,
    /// It says nothing, because jobs that had been read left, or others entered among them.
    Changed,
    /// As `Changed`, and nothing was counted. The store counts from 0 on.
    FromZero,
}

/// What a page does besides adding up.
#[derive(Clone, Copy)]
pub(in crate::store::redis) enum KeptRepair {
    /// Nothing.
    No,
    /// The last page sets the counter.
    WhenWhole,
    /// The last page sets the counter. If the sum says nothing and nothing is counted, it is set to 0.
    Always,
}

/// `scan_kept.lua`; `key` is the number of the key in `lua/lib/queue.lua`, `before` the page before, `size` the most jobs of this one.
pub(in crate::store::redis) async fn scan_kept(
    link: &Link,
    keys: &QueueKeys,
    key: usize,
    before: &KeptPage,
    size: usize,
    repair: KeptRepair,
) -> Result<KeptPage, StoreError> {
    let mut reply = on_queue("scan", link, keys, &SCAN_KEPT, |command| {
        command.arg(key).arg(size).arg(repair as u8);
        command.arg(&before.fence).arg(before.scanned).arg(&before.last).arg(before.sum);
    })
    .await?;
    reply.status()?;
    let state = match reply.text()?.as_str() {
        "more" => KeptSum::More,
        "whole" => KeptSum::Whole,
        "from_zero" => KeptSum::FromZero,
        _ => KeptSum::Changed,
    };
    Ok(KeptPage {
        state,
        fence: reply.text()?,
        scanned: reply.number()?,
        last: reply.bytes()?,
        counted: reply.number()?,
        sum: reply.number()?,
    })
}
