//! The handlers of one queue, by kind.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt;

use super::{Handler, IntoBlockingHandler, IntoHandler, IntoRawHandler, Registered};
use crate::context::States;
use crate::job::{InvalidName, Kind};
use crate::typed_job::{InvalidDefaults, JobDefaults};

/// The handlers of one queue: one per kind, and at most one catch-all handler.
#[derive(Clone, Default)]
pub struct Handlers {
    by_kind: BTreeMap<String, HandlerEntry>,
    catch_all: Option<HandlerEntry>,
    needs: Vec<Need>,
}

/// A handler, with the defaults of its kind.
#[derive(Clone)]
pub struct HandlerEntry {
    /// The handler.
    pub handler: Handler,
    /// The defaults of the kind; none for the catch-all handler.
    pub defaults: JobDefaults,
}

/// A shared value that a handler needs.
#[derive(Clone)]
struct Need {
    state: TypeId,
    name: &'static str,
    handler: String,
}

impl Handlers {
    /// Adds the handler of one kind.
    ///
    /// # Errors
    /// [`InvalidHandler`] when the kind has a handler already, its name is not allowed, or one of its defaults is out of bounds.
    pub fn add<M>(&mut self, handler: impl IntoHandler<M>) -> Result<(), InvalidHandler> {
        self.register(handler.into_handler())
    }

    /// Adds the handler of one kind, which blocks its thread.
    ///
    /// # Errors
    /// [`InvalidHandler`] when the kind has a handler already, its name is not allowed, or one of its defaults is out of bounds.
    pub fn add_blocking<M>(&mut self, handler: impl IntoBlockingHandler<M>) -> Result<(), InvalidHandler> {
        self.register(handler.into_blocking_handler())
    }

    /// Adds the catch-all handler, which runs jobs of every kind that has no handler of its own.
    ///
    /// # Errors
    /// [`InvalidHandler`] when there is a catch-all handler already.
    pub fn add_any<M>(&mut self, handler: impl IntoRawHandler<M>) -> Result<(), InvalidHandler> {
        let registered = handler.into_raw_handler();
        if self.catch_all.is_some() {
            return Err(InvalidHandler::Any);
        }
        self.note_needs(&registered, "the catch-all handler");
        self.catch_all = Some(HandlerEntry { handler: registered.handler, defaults: registered.defaults });
        Ok(())
    }

    fn register(&mut self, registered: Registered) -> Result<(), InvalidHandler> {
        let kind = Kind::new(registered.kind).map_err(InvalidHandler::Kind)?;
        if self.by_kind.contains_key(kind.as_str()) {
            return Err(InvalidHandler::Twice(kind));
        }
        if let Err(invalid) = registered.defaults.validate() {
            return Err(InvalidHandler::Defaults(kind, invalid));
        }
        self.note_needs(&registered, &format!("the handler of \"{kind}\""));
        let entry = HandlerEntry { handler: registered.handler, defaults: registered.defaults };
        self.by_kind.insert(kind.to_string(), entry);
        Ok(())
    }

    fn note_needs(&mut self, registered: &Registered, handler: &str) {
        let needs = registered.needs.iter();
        self.needs.extend(needs.map(|(state, name)| Need { state: *state, name, handler: handler.to_owned() }));
    }

    /// The handler of a kind, or else the catch-all handler.
    #[must_use]
    pub fn find(&self, kind: &Kind) -> Option<&HandlerEntry> {
        self.by_kind.get(kind.as_str()).or(self.catch_all.as_ref())
    }

    /// Whether there is no handler.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_kind.is_empty() && self.catch_all.is_none()
    }

    /// The kinds with a handler of their own.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.by_kind.keys().map(String::as_str)
    }

    /// The defaults of the kinds with a handler of their own.
    pub(crate) fn defaults(&self) -> impl Iterator<Item = &JobDefaults> {
        self.by_kind.values().map(|entry| &entry.defaults)
    }

    /// Whether there is a catch-all handler, which runs every kind without a handler of its own.
    #[must_use]
    pub fn has_any(&self) -> bool {
        self.catch_all.is_some()
    }

    /// The shared values that handlers need and that `states` does not have.
    #[must_use]
    pub fn missing_states(&self, states: &States) -> Vec<MissingState> {
        let missing = self.needs.iter().filter(|need| !states.has(need.state));
        missing.map(|need| MissingState { handler: need.handler.clone(), state: need.name }).collect()
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers")
            .field("kinds", &self.by_kind.keys())
            .field("catch_all", &self.catch_all.is_some())
            .finish()
    }
}

/// A handler that cannot be added to its queue.
///
/// ```
/// use retraced_jobs::handler::{Handlers, InvalidHandler};
/// use retraced_jobs::typed_job::Job;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Ring;
/// impl Job for Ring { const KIND: &'static str = "bell.ring"; }
/// let mut handlers = Handlers::default();
/// handlers.add(|_: Ring| async {}).unwrap();
/// let refused = handlers.add(|_: Ring| async {}).unwrap_err();
/// assert!(matches!(refused, InvalidHandler::Twice(_)));
/// assert_eq!(refused.to_string(), "two handlers were given for kind \"bell.ring\"");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidHandler {
    /// The kind has a handler already.
    Twice(Kind),
    /// There is a catch-all handler already.
    Any,
    /// The kind's name is not allowed.
    Kind(InvalidName),
    /// One of the kind's defaults is out of its bounds.
    Defaults(Kind, InvalidDefaults),
}

impl fmt::Display for InvalidHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidHandler::Twice(kind) => write!(f, "two handlers were given for kind \"{kind}\""),
            InvalidHandler::Any => f.write_str("two catch-all handlers were given"),
            InvalidHandler::Kind(invalid) => invalid.fmt(f),
            InvalidHandler::Defaults(kind, invalid) => write!(f, "the defaults of kind \"{kind}\": {invalid}"),
        }
    }
}

impl std::error::Error for InvalidHandler {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            InvalidHandler::Kind(invalid) => invalid.source(),
            InvalidHandler::Defaults(_, invalid) => invalid.source(),
            InvalidHandler::Twice(_) | InvalidHandler::Any => None,
        }
    }
}

/// A handler needs a value that was not given to the builder.
///
/// ```
/// use retraced_jobs::context::States;
/// use retraced_jobs::handler::{Handlers, MissingState, State};
/// use retraced_jobs::typed_job::Job;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Ring;
/// impl Job for Ring { const KIND: &'static str = "bell.ring"; }
/// let mut handlers = Handlers::default();
/// handlers.add(|_: Ring, _: State<u32>| async {}).unwrap();
/// let missing: Vec<MissingState> = handlers.missing_states(&States::default());
/// assert_eq!(missing[0].to_string(), "the handler of \"bell.ring\" needs a state of type u32; add .state(…) with one");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingState {
    handler: String,
    state: &'static str,
}

impl fmt::Display for MissingState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} needs a state of type {}; add .state(…) with one", self.handler, self.state)
    }
}

impl std::error::Error for MissingState {}
