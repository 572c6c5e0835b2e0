//! A supervision event.

use retraced_jobs::events::{EventKind, SupervisionEvent};
use serde::Serialize;

use super::Timestamp;

/// A supervision event. In JSON `event` names its kind, and the kind's fields stand beside the others.
///
/// ```
/// use retraced::job::InstanceId;
/// use retraced::supervision::{EventKind, SupervisionEvent};
/// use retraced::view::Event;
/// let instance = InstanceId::from(uuid::Uuid::from_u128(1));
/// let kind = EventKind::RestartScheduled { delay_ms: 50 };
/// let event = SupervisionEvent::new(0, instance, "email/fetcher", 1, kind);
/// let json = serde_json::to_value(Event::from(&event))?;
/// assert_eq!((&json["path"], &json["event"]), (&"email/fetcher".into(), &"restart_scheduled".into()));
/// assert_eq!((&json["at"], &json["delay_ms"]), (&"1970-01-01T00:00:00.000Z".into(), &50.into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// When it happened, by the worker's clock.
    pub at: Timestamp,
    /// The worker process.
    pub worker: String,
    /// Where in the tree: the path of an actor such as `email/executor-3`, as `Runtime::kill` takes it, or of a queue such as `email`.
    pub path: String,
    /// How often the actor at this path was restarted before.
    pub generation: u32,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl From<&SupervisionEvent> for Event {
    fn from(event: &SupervisionEvent) -> Self {
        Self {
            at: Timestamp::from_ms(event.at_ms),
            worker: event.instance.to_string(),
            path: event.path.clone(),
            generation: event.generation,
            kind: event.kind.clone(),
        }
    }
}
