//! The ids of calls under a replay slot, and what is done when another process calls under the same process instance, such as a copy of this process's memory.

use std::sync::atomic::{AtomicBool, Ordering};

use retraced_jobs::job::InstanceId;
use retraced_jobs::store::{CallId, ReplaySlot, StoreError};

use super::{CallError, StoreCalls};
use crate::limits::CALL_IDS_MAX;
use crate::random::new_instance;

/// The id of one call, for each of its sendings.
pub(super) struct Sendings {
    id: CallId,
    /// No sending from now on may say that it is the first one.
    begun: AtomicBool,
}

impl Sendings {
    /// The next call of a replay slot. Only if the call before was answered can its first sending say so: otherwise a late copy of the call before may be on its way, and
    /// the store refuses that copy by the reply that it keeps to this call.
    fn under(slot: &mut ReplaySlot) -> Self {
        let begun = AtomicBool::new(!slot.is_answered());
        Self { id: slot.next_call(), begun }
    }

    /// The id with which the call is sent now.
    pub(super) fn next(&self) -> CallId {
        CallId { first_sending: !self.begun.swap(true, Ordering::Relaxed), ..self.id }
    }
}

impl StoreCalls {
    /// Makes a call: `send` sends it under an id until its outcome is known, each time as [`Sendings::next`] has it. If another call used this id, or a later one of the
    /// slot, this process takes a new process instance. Then the call is sent again under a new id, but only if it is certain that it was not applied: each of its sendings was
    /// refused. Otherwise its outcome stays unknown.
    pub(super) async fn under<T, Sending>(
        &self,
        slot: &mut ReplaySlot,
        send: impl Fn(Sendings) -> Sending,
    ) -> Result<T, CallError>
    where
        Sending: Future<Output = Result<T, CallError>>,
    {
        let mut conflict = None;
        for _ in 0..CALL_IDS_MAX {
            let sendings = Sendings::under(slot);
            let id = sendings.id;
            match send(sendings).await {
                Ok(reply) => {
                    slot.answered();
                    return Ok(reply);
                }
                Err(CallError::Refused(error)) if error.is_call_id_conflict() => {
                    self.replace_instance(id.instance, &error);
                    conflict = Some(error);
                }
                Err(CallError::OutcomeUnknown(Some(error))) if error.is_call_id_conflict() => {
                    self.replace_instance(id.instance, &error);
                    return Err(CallError::OutcomeUnknown(Some(error)));
                }
                result => return result,
            }
        }
        Err(CallError::OutcomeUnknown(conflict))
    }

    /// Takes a new process instance and reports it, unless another call did so since `old` was used.
    fn replace_instance(&self, old: InstanceId, conflict: &StoreError) {
        let new = new_instance();
        if self.slots.current_instance().replace(old, new) {
            self.health.report_replaced(old, new, conflict);
        }
    }
}
