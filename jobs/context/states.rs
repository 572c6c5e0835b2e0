//! Shared state: values that all handlers of a runtime use, at most one per type.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The values handlers share, by type. Cheap to clone; clones share the values.
#[derive(Clone, Default)]
pub struct States(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl States {
    /// Adds the value of a type.
    ///
    /// # Errors
    /// [`DuplicateState`] when there is one of this type already.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) -> Result<(), DuplicateState> {
        if self.0.contains_key(&TypeId::of::<T>()) {
            return Err(DuplicateState(type_name::<T>()));
        }
        self.0.insert(TypeId::of::<T>(), Arc::new(value));
        Ok(())
    }

    /// The value of a type.
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.get(&TypeId::of::<T>())?.clone().downcast().ok()
    }

    pub(crate) fn has(&self, id: TypeId) -> bool {
        self.0.contains_key(&id)
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "States({} types)", self.0.len())
    }
}

/// Two values of one type were given.
///
/// ```
/// use retraced_jobs::context::{DuplicateState, States};
/// let mut states = States::default();
/// states.insert(1_u32).unwrap();
/// let refused: DuplicateState = states.insert(2_u32).unwrap_err();
/// assert_eq!(refused.to_string(), "two states of type u32 were given; wrap one of them in a type of its own");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateState(&'static str);

impl fmt::Display for DuplicateState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "two states of type {} were given; wrap one of them in a type of its own", self.0)
    }
}

impl std::error::Error for DuplicateState {}
