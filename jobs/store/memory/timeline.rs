//! Jobs ordered by an instant: when they are due, when their leases expire, or when they ended.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;

use crate::job::JobId;

/// Jobs ordered by instant, and by the bytes of their ids where the instant is the same.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    points: BTreeSet<Point>,
    /// What the jobs count for retention, in bytes.
    bytes: u64,
}

/// One job and its instant, in ms since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) at_ms: u64,
    pub(super) id: JobId,
}

impl Point {
    /// The text of a cursor that points here; [`parse`](Self::parse) reads it.
    pub(super) fn to_text(&self) -> String {
        format!("{}:{}", self.at_ms, self.id)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (at_ms, id) = text.split_once(':')?;
        Some(Self { at_ms: at_ms.parse().ok()?, id: JobId::parse(id).ok()? })
    }
}

impl Ord for Point {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at_ms, self.id.as_wire()).cmp(&(other.at_ms, other.id.as_wire()))
    }
}

impl PartialOrd for Point {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Timeline {
    /// Adds a job that counts so many bytes.
    pub(super) fn insert(&mut self, at_ms: u64, id: JobId, bytes: u64) {
        if self.points.insert(Point { at_ms, id }) {
            self.bytes += bytes;
        }
    }

    /// Removes a job that counts so many bytes.
    pub(super) fn remove(&mut self, at_ms: u64, id: &JobId, bytes: u64) {
        if self.points.remove(&Point { at_ms, id: id.clone() }) {
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// What the jobs count for retention, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The earliest instant.
    pub(super) fn first_ms(&self) -> Option<u64> {
        self.points.first().map(|point| point.at_ms)
    }

    /// The latest instant.
    pub(super) fn last_ms(&self) -> Option<u64> {
        self.points.last().map(|point| point.at_ms)
    }

    /// The jobs whose instant is later than `at_ms`, latest first.
    pub(super) fn later_than(&self, at_ms: u64) -> impl Iterator<Item = &JobId> {
        self.points.iter().rev().take_while(move |point| point.at_ms > at_ms).map(|point| &point.id)
    }

    /// The jobs whose instant is `now_ms` or earlier, earliest first.
    pub(super) fn due(&self, now_ms: u64) -> impl Iterator<Item = &JobId> {
        self.points.iter().take_while(move |point| point.at_ms <= now_ms).map(|point| &point.id)
    }

    /// All jobs, earliest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Point> {
        self.points.iter()
    }

    /// The jobs after `from`, earliest first.
    pub(super) fn after(&self, from: Option<Point>) -> impl Iterator<Item = &Point> {
        let lower = from.map_or(Bound::Unbounded, Bound::Excluded);
        self.points.range((lower, Bound::Unbounded))
    }

    /// The jobs before `from`, latest first.
    pub(super) fn before(&self, from: Option<Point>) -> impl Iterator<Item = &Point> {
        let upper = from.map_or(Bound::Unbounded, Bound::Excluded);
        self.points.range((Bound::Unbounded, upper)).rev()
    }
}
