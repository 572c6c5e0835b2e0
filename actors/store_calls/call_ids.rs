//! The ids of calls under a replay slot, and what is done when another process calls under the same process instance, such as a copy of this process's memory.

use retraced_jobs::job::InstanceId;
use retraced_jobs::store::{CallId, ReplaySlot, StoreError};

use super::{CallError, StoreCalls};
use crate::limits::CALL_IDS_MAX;
use crate::random::new_instance;

impl StoreCalls {
    /// Makes a call: `send` sends it under an id until its outcome is known. If another call used this id, or a later one of the slot, this process takes a new process
    /// instance. Then the call is sent again under a new id, but only if it is certain that it was not applied: each of its sendings was refused. Otherwise its outcome stays
    /// unknown.
    pub(super) async fn under<T, Sending>(
        &self,
        slot: &mut ReplaySlot,
        send: impl Fn(CallId) -> Sending,
    ) -> Result<T, CallError>
    where
        Sending: Future<Output = Result<T, CallError>>,
    {
        let mut conflict = None;
        for _ in 0..CALL_IDS_MAX {
            let id = slot.next_call();
            match send(id).await {
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
