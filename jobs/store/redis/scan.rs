//! Scans a whole queue, slice by slice, for damage that no transition leaves behind, and repairs it when asked. The queue keeps working meanwhile.
//!
//! Each slice is one atomic step. It compares keys that must agree at any instant, so it finds nothing in a consistent queue. Only one question needs several
//! steps, because Redis cannot look up an entry of a list by its job: whether a job has an entry in `pending`. First all entry versions in `pending` are read,
//! from back to front: a push to the back then only moves entries into pages that are still to be read. Then the jobs are scanned. A job that is in no sorted
//! set and has no grant is orphaned if its entry version was not among those read. Jobs whose version was drawn after the first page was read are skipped. A
//! job is put back only if it still has the entry version that the scan saw.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::RedisStore;
use super::keys::{QueueKeys, number_of};
use super::scripts::{self, KeptPage, KeptRepair, KeptSum, LastDrawn};
use crate::events::{FINDING_EXAMPLES_MAX, Finding, FindingKind};
use crate::job::JobId;
use crate::limits::redis::{
    KEPT_SLICES, SCAN_ATTEMPTS_MAX, SCAN_ENTRY_VERSIONS_MAX, SCAN_PAUSE_MAX, SCAN_SLICE_BYTES, SCAN_SLICE_MAX,
};
use crate::store::StoreError;

/// The keys that are compared with `job`, in this order.
const COMPARED_KEYS: [&str; 9] =
    ["lease", "grant", "delayed", "completed", "dead", "poisoned", "cancelled", "retry", "history"];

/// The keys of final states, whose bytes are counted for retention.
const FINAL_KEYS: [&str; 4] = ["completed", "dead", "poisoned", "cancelled"];

/// How many entries or jobs the next slice scans.
struct SliceSize(usize);

impl SliceSize {
    /// Adapts the size to the bytes per entry in the last slice.
    fn adapt(&mut self, scanned: usize, bytes: usize) {
        let bytes_each = bytes / scanned.max(1);
        self.0 = (SCAN_SLICE_BYTES / bytes_each.max(1)).clamp(1, SCAN_SLICE_MAX);
    }
}

/// One pass through one queue.
pub(super) struct Scan<'a> {
    store: &'a RedisStore,
    keys: &'a QueueKeys,
    repair: bool,
    found: BTreeMap<FindingKind, Finding>,
}

impl<'a> Scan<'a> {
    /// A pass that reports what it finds and changes nothing.
    pub(super) fn reporting(store: &'a RedisStore, keys: &'a QueueKeys) -> Self {
        Self { store, keys, repair: false, found: BTreeMap::new() }
    }

    /// A pass that repairs what it finds.
    pub(super) fn repairing(store: &'a RedisStore, keys: &'a QueueKeys) -> Self {
        Self { store, keys, repair: true, found: BTreeMap::new() }
    }

    pub(super) async fn run(mut self) -> Result<Vec<Finding>, StoreError> {
        for key in COMPARED_KEYS {
            self.scan_key(key).await?;
        }
        self.find_orphaned().await?;
        // How many entries must be stale can be computed only when every job is in exactly one container.
        if self.repair || self.found.is_empty() {
            let (counted, actual) = scripts::scan_stale(&self.store.0.general, self.keys, self.repair).await?;
            self.note(FindingKind::StaleCount, counted.abs_diff(actual), &[]);
        }
        for key in FINAL_KEYS {
            self.compare_kept_bytes(key).await?;
        }
        Ok(self.found.into_values().collect())
    }

    /// Compares the bytes of the jobs in a final state with what is counted. If jobs that were read leave the state, there is nothing to compare: it begins anew, with larger
    /// steps. A repair that never gets a sum where nothing is counted lets the store count from 0 on: otherwise the next audit would find the same, and repair again.
    async fn compare_kept_bytes(&mut self, key: &str) -> Result<(), StoreError> {
        let mut spoilt = "";
        for (n, size) in KEPT_SLICES.into_iter().enumerate() {
            let repair = match self.repair {
                false => KeptRepair::No,
                true if n + 1 < KEPT_SLICES.len() => KeptRepair::WhenWhole,
                true => KeptRepair::Always,
            };
            let page = self.sum_up_kept_bytes(key, size, repair).await?;
            spoilt = match page.state {
                KeptSum::Whole => {
                    self.note(FindingKind::KeptBytes, page.counted.abs_diff(page.sum), &[]);
                    return Ok(());
                }
                KeptSum::FromZero => {
                    "retention counts them from 0 on, so it may keep too many bytes; repair the queue again when it is less busy"
                }
                KeptSum::More | KeptSum::Changed => {
                    "they were not compared with what retention counts; audit the queue again when it is less busy"
                }
            };
        }
        let key = self.keys.all().get(number_of(key).saturating_sub(1)).map(String::as_str);
        tracing::warn!(
            key,
            "the bytes of ended jobs could not be summed up, because jobs entered or left the state all the time: {spoilt}"
        );
        Ok(())
    }

    /// Sums the bytes up in steps of at most `size` jobs, and returns the last page.
    async fn sum_up_kept_bytes(&self, key: &str, size: usize, repair: KeptRepair) -> Result<KeptPage, StoreError> {
        let (link, mut page) = (&self.store.0.general, KeptPage::default());
        loop {
            let begun = Instant::now();
            page = scripts::scan_kept(link, self.keys, number_of(key), &page, size, repair).await?;
            if page.state != KeptSum::More {
                return Ok(page);
            }
            pause(begun).await;
        }
    }

    async fn scan_key(&mut self, key: &str) -> Result<(), StoreError> {
        let count = if key == "history" { SCAN_ATTEMPTS_MAX } else { SCAN_SLICE_MAX };
        let mut cursor = 0;
        loop {
            let begun = Instant::now();
            let slice =
                scripts::scan_containers(&self.store.0.general, self.keys, number_of(key), cursor, count, self.repair)
                    .await?;
            for (kind, ids) in [
                (FindingKind::EntryWithoutJob, &slice.to_delete),
                (FindingKind::GrantWithoutLease, &slice.restored),
                (FindingKind::LeaseWithoutGrant, &slice.to_expire),
                (FindingKind::TwoContainers, &slice.in_two),
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

    async fn find_orphaned(&mut self) -> Result<(), StoreError> {
        let entries = scripts::check_counts(&self.store.0.general, self.keys).await?.pending_entries;
        let parts = entries / SCAN_ENTRY_VERSIONS_MAX + 1;
        for part in 0..parts {
            let (drawn, entry_versions) = self.read_entry_versions(part, parts).await?;
            self.scan_jobs(drawn, &entry_versions, part, parts).await?;
        }
        Ok(())
    }

    /// Returns the last numbers drawn before the first page was read, and the entry versions in `pending`, sorted. For a long queue it keeps only those with
    /// `entry_version % parts == part`, to bound the memory.
    async fn read_entry_versions(&mut self, part: u64, parts: u64) -> Result<(LastDrawn, Vec<u64>), StoreError> {
        let (mut entry_versions, mut first, mut behind, mut size) = (Vec::new(), None, 0, SliceSize(1));
        loop {
            let begun = Instant::now();
            let page = scripts::scan_pending(&self.store.0.general, self.keys, behind, size.0, self.repair).await?;
            let drawn = *first.get_or_insert(page.drawn);
            self.note(FindingKind::TwoContainers, page.in_two.len() as u64, &page.in_two);
            entry_versions
                .extend(page.entry_versions.into_iter().filter(|entry_version| entry_version % parts == part));
            behind += page.scanned;
            if page.scanned == 0 {
                entry_versions.sort_unstable();
                return Ok((drawn, entry_versions));
            }
            size.adapt(page.scanned, page.body_bytes);
            pause(begun).await;
        }
    }

    /// Scans the jobs for those whose entry versions, of this `part`, were not `read` from `pending`.
    async fn scan_jobs(&mut self, drawn: LastDrawn, read: &[u64], part: u64, parts: u64) -> Result<(), StoreError> {
        let (mut cursor, mut size) = (0, SliceSize(1));
        loop {
            let begun = Instant::now();
            let slice = scripts::scan_jobs(&self.store.0.general, self.keys, cursor, size.0, drawn).await?;
            let orphaned: Vec<_> = slice
                .expected_pending
                .into_iter()
                .filter(|(_, entry_version)| {
                    let entry_version = entry_version.unwrap_or(0);
                    entry_version % parts == part && read.binary_search(&entry_version).is_err()
                })
                .collect();
            self.handle_orphaned(&orphaned).await?;
            cursor = slice.next;
            if cursor == 0 {
                return Ok(());
            }
            size.adapt(slice.scanned, slice.body_bytes);
            pause(begun).await;
        }
    }

    /// Notes orphaned jobs; a repair also puts them back.
    async fn handle_orphaned(&mut self, found: &[(Vec<u8>, Option<u64>)]) -> Result<(), StoreError> {
        if !self.repair {
            let named = |readable: bool| -> Vec<Vec<u8>> {
                found
                    .iter()
                    .filter(|(_, entry_version)| entry_version.is_some() == readable)
                    .map(|(id, _)| id.clone())
                    .collect()
            };
            let (orphaned, damaged) = (named(true), named(false));
            self.note(FindingKind::Orphaned, orphaned.len() as u64, &orphaned);
            self.note(FindingKind::Damaged, damaged.len() as u64, &damaged);
            return Ok(());
        }
        for chunk in found.chunks(SCAN_SLICE_MAX) {
            let (orphaned, damaged) = scripts::repair_orphaned(&self.store.0.general, self.keys, chunk).await?;
            self.note(FindingKind::Orphaned, orphaned.len() as u64, &orphaned);
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

/// Waits for as long as the last slice took, at most [`SCAN_PAUSE_MAX`], so that other calls are served in between.
async fn pause(begun: Instant) {
    tokio::time::sleep(begun.elapsed().min(SCAN_PAUSE_MAX)).await;
}
