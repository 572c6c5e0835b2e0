//! Something that threads wait for until a test opens it.
#![allow(dead_code)]

use std::sync::{Arc, Condvar, Mutex};

use crate::harness::EVENT_MAX;

#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        let (open, changed) = &*self.0;
        *open.lock().unwrap() = true;
        changed.notify_all();
    }

    /// Waits until it is open.
    pub(crate) fn wait(&self) {
        let (open, changed) = &*self.0;
        let waited = changed.wait_timeout_while(open.lock().unwrap(), EVENT_MAX, |open| !*open).unwrap();
        assert!(*waited.0, "the gate was not opened");
    }
}
