//! Looking through a whole queue, slice by slice, for damage that no transition leaves behind, and repairing it.
//!
//! The queue keeps working meanwhile. Each slice is one atomic step that compares what must agree at any instant, so it finds nothing in a consistent queue. One thing
//! no single step can compare: a list has no lookup by entry. So the entry versions in `pending` are read first, from the back, because a push there moves entries
//! into pages that are still to be read. Then the jobs are scanned for those in no sorted set whose entry version was not read. Versions drawn after the first
//! page was read are left out, and a job is put back only while it still has the entry version it was judged by.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::RedisStore;
use super::keys::QueueKeys;
use super::scripts::{self, Drawn};
use crate::job::JobId;
use crate::limits::redis::{
    AUDIT_ATTEMPTS_MAX, AUDIT_ENTRY_VERSIONS_MAX, AUDIT_PAUSE_MAX, AUDIT_SLICE_BYTES, AUDIT_SLICE_MAX,
};
use crate::store::StoreError;
use crate::trace::{FINDING_EXAMPLES_MAX, Finding, FindingKind};

/// The keys beside `job` and `pending`, as numbered in `lib/queue.lua`: lease, grant, the other containers, retry, history.
const BESIDE: [usize; 9] = [3, 4, 7, 8, 9, 10, 11, 5, 6];
const HISTORY: usize = 6;

/// How many entries the next step scans.
struct Pace(usize);

impl Pace {
    fn learn(&mut self, scanned: usize, bytes: usize) {
        let each = bytes / scanned.max(1);
        self.0 = (AUDIT_SLICE_BYTES / each.max(1)).clamp(1, AUDIT_SLICE_MAX);
    }
}

/// One pass through one queue.
pub(super) struct Audit<'a> {
    store: &'a RedisStore,
    keys: &'a QueueKeys,
    repair: bool,
    found: BTreeMap<FindingKind, Finding>,
}

impl<'a> Audit<'a> {
    /// A pass that changes nothing.
    pub(super) fn inspecting(store: &'a RedisStore, keys: &'a QueueKeys) -> Self {
        Self { store, keys, repair: false, found: BTreeMap::new() }
    }

    /// A pass that repairs what it finds.
    pub(super) fn repairing(store: &'a RedisStore, keys: &'a QueueKeys) -> Self {
        Self { store, keys, repair: true, found: BTreeMap::new() }
    }

    pub(super) async fn run(mut self) -> Result<Vec<Finding>, StoreError> {
        for key in BESIDE {
            self.containers(key).await?;
        }
        self.orphaned().await?;
        // The counts add up only when everything else is repaired.
        if self.repair || self.found.is_empty() {
            let (counted, are) = scripts::audit_stale(&self.store.0.admin, self.keys, self.repair).await?;
            self.note(FindingKind::StaleCount, counted.abs_diff(are), &[]);
        }
        Ok(self.found.into_values().collect())
    }

    async fn containers(&mut self, key: usize) -> Result<(), StoreError> {
        let count = if key == HISTORY { AUDIT_ATTEMPTS_MAX } else { AUDIT_SLICE_MAX };
        let mut cursor = 0;
        loop {
            let begun = Instant::now();
            let slice =
                scripts::audit_containers(&self.store.0.admin, self.keys, key, cursor, count, self.repair).await?;
            for (kind, ids) in [
                (FindingKind::EntryWithoutJob, &slice.orphans),
                (FindingKind::GrantWithoutLease, &slice.restored),
                (FindingKind::LeaseWithoutGrant, &slice.expired),
                (FindingKind::TwoContainers, &slice.twice),
            ] {
                self.note(kind, ids.len() as u64, ids);
            }
            cursor = slice.next;
            if cursor == 0 {
                return Ok(());
            }
            pause(begun).await;
        }
    }

    async fn orphaned(&mut self) -> Result<(), StoreError> {
        let entries = scripts::audit(&self.store.0.admin, self.keys).await?.pending_entries;
        let parts = entries / AUDIT_ENTRY_VERSIONS_MAX + 1;
        for part in 0..parts {
            let (drawn, entry_versions) = self.entry_versions(part, parts).await?;
            self.compare(drawn, &entry_versions, part, parts).await?;
        }
        Ok(())
    }

    /// The entry versions of one part in `pending`, in order, and what had been drawn before.
    async fn entry_versions(&mut self, part: u64, parts: u64) -> Result<(Drawn, Vec<u64>), StoreError> {
        let (mut entry_versions, mut first, mut behind, mut pace) = (Vec::new(), None, 0, Pace(1));
        loop {
            let begun = Instant::now();
            let page = scripts::audit_pending(&self.store.0.admin, self.keys, behind, pace.0, self.repair).await?;
            let drawn = *first.get_or_insert(page.drawn);
            self.note(FindingKind::TwoContainers, page.twice.len() as u64, &page.twice);
            entry_versions
                .extend(page.entry_versions.into_iter().filter(|entry_version| entry_version % parts == part));
            behind += page.scanned;
            if page.scanned < pace.0 {
                entry_versions.sort_unstable();
                return Ok((drawn, entry_versions));
            }
            pace.learn(page.scanned, page.bytes);
            pause(begun).await;
        }
    }

    async fn compare(&mut self, drawn: Drawn, entry_versions: &[u64], part: u64, parts: u64) -> Result<(), StoreError> {
        let (mut cursor, mut pace) = (0, Pace(1));
        loop {
            let begun = Instant::now();
            let slice = scripts::audit_jobs(&self.store.0.admin, self.keys, cursor, pace.0, drawn).await?;
            let lost: Vec<_> = slice
                .waiting
                .into_iter()
                .filter(|(_, entry_version)| {
                    let entry_version = entry_version.unwrap_or(0);
                    entry_version % parts == part && entry_versions.binary_search(&entry_version).is_err()
                })
                .collect();
            self.put_back(&lost).await?;
            cursor = slice.next;
            if cursor == 0 {
                return Ok(());
            }
            pace.learn(slice.scanned, slice.bytes);
            pause(begun).await;
        }
    }

    async fn put_back(&mut self, lost: &[(Vec<u8>, Option<u64>)]) -> Result<(), StoreError> {
        if !self.repair {
            let named = |readable: bool| -> Vec<Vec<u8>> {
                lost.iter()
                    .filter(|(_, entry_version)| entry_version.is_some() == readable)
                    .map(|(id, _)| id.clone())
                    .collect()
            };
            let (orphaned, damaged) = (named(true), named(false));
            self.note(FindingKind::Orphaned, orphaned.len() as u64, &orphaned);
            self.note(FindingKind::Damaged, damaged.len() as u64, &damaged);
            return Ok(());
        }
        for lost in lost.chunks(AUDIT_SLICE_MAX) {
            let (back, damaged) = scripts::audit_orphaned(&self.store.0.admin, self.keys, lost).await?;
            self.note(FindingKind::Orphaned, back.len() as u64, &back);
            self.note(FindingKind::Damaged, damaged.len() as u64, &damaged);
        }
        Ok(())
    }

    fn note(&mut self, kind: FindingKind, count: u64, ids: &[Vec<u8>]) {
        if count == 0 {
            return;
        }
        let finding = self.found.entry(kind).or_insert_with(|| Finding { kind, count: 0, examples: Vec::new() });
        finding.count += count;
        let left = FINDING_EXAMPLES_MAX.saturating_sub(finding.examples.len());
        finding.examples.extend(ids.iter().filter_map(|id| JobId::from_wire(id)).take(left));
    }
}

async fn pause(begun: Instant) {
    tokio::time::sleep(begun.elapsed().min(AUDIT_PAUSE_MAX)).await;
}
