//! What this process has run out of, so that it is reported once.

use std::sync::{Mutex, PoisonError};

use foldhash::{HashMap, HashMapExt};
use retraced_jobs::failure::Resource;
use tokio::time::Instant;

use crate::limits::EXHAUSTED_REPORT_INTERVAL;

/// When each resource was last found exhausted.
pub(crate) struct Exhaustion(Mutex<HashMap<Resource, Instant>>);

impl Default for Exhaustion {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl Exhaustion {
    /// An attempt lacked this resource. Returns whether that is to be reported: no attempt has lacked it for [`EXHAUSTED_REPORT_INTERVAL`].
    pub(crate) fn is_new(&self, resource: Resource, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.insert(resource, now);
        before.is_none_or(|before| now.duration_since(before) > EXHAUSTED_REPORT_INTERVAL)
    }
}
