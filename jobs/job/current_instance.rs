//! The process instance that a process is at present.

use std::sync::{Arc, PoisonError, RwLock};

use super::InstanceId;

/// The process instance that this process is at present. Clones share it. It changes only when another process is found to call under the same instance, such as a
/// copy of this process's memory.
///
/// ```
/// use retraced_jobs::job::{CurrentInstance, InstanceId};
/// let id = |n| InstanceId::from(uuid::Uuid::from_u128(n));
/// let current = CurrentInstance::from(id(1));
/// assert!(current.replace(id(1), id(2)));
/// assert!(!current.replace(id(1), id(3)), "it was replaced before");
/// assert_eq!(current.get(), id(2));
/// ```
#[derive(Debug, Clone)]
pub struct CurrentInstance(Arc<RwLock<InstanceId>>);

impl CurrentInstance {
    /// The instance.
    #[must_use]
    pub fn get(&self) -> InstanceId {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the instance, if it still is `old`. Returns whether it was.
    pub fn replace(&self, old: InstanceId, new: InstanceId) -> bool {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_old = *current == old;
        if is_old {
            *current = new;
        }
        is_old
    }
}

impl From<InstanceId> for CurrentInstance {
    fn from(instance: InstanceId) -> Self {
        Self(Arc::new(RwLock::new(instance)))
    }
}
