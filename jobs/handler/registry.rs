//! The handlers of one queue, by kind.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt;

use super::{Handler, IntoBlockingHandler, IntoHandler, IntoRawHandler, Registered, States};
use crate::job::{InvalidName, Kind};

/// Which function runs which kind of job in one queue.
#[derive(Clone, Default)]
pub struct Handlers {
    by_kind: BTreeMap<String, Handler>,
    any: Option<Handler>,
    needs: Vec<Need>,
}

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
    /// [`DuplicateHandler`] when the kind has one, or its name is not allowed.
    pub fn add<M>(&mut self, handler: impl IntoHandler<M>) -> Result<(), DuplicateHandler> {
        self.register(handler.into_handler())
    }

    /// Adds the handler of one kind that blocks its thread.
    ///
    /// # Errors
    /// [`DuplicateHandler`] when the kind has one, or its name is not allowed.
    pub fn add_blocking<M>(&mut self, handler: impl IntoBlockingHandler<M>) -> Result<(), DuplicateHandler> {
        self.register(handler.into_blocking_handler())
    }

    /// Adds the handler of every kind that has none of its own.
    ///
    /// # Errors
    /// [`DuplicateHandler`] when there is one.
    pub fn add_any<M>(&mut self, handler: impl IntoRawHandler<M>) -> Result<(), DuplicateHandler> {
        let registered = handler.into_raw_handler();
        if self.any.is_some() {
            return Err(DuplicateHandler::Any);
        }
        self.note(&registered, "the handler of every kind");
        self.any = Some(registered.handler);
        Ok(())
    }

    fn register(&mut self, registered: Registered) -> Result<(), DuplicateHandler> {
        let kind = Kind::new(registered.kind).map_err(DuplicateHandler::Kind)?;
        if self.by_kind.contains_key(kind.as_str()) {
            return Err(DuplicateHandler::Twice(kind));
        }
        self.note(&registered, &format!("the handler of \"{kind}\""));
        self.by_kind.insert(kind.to_string(), registered.handler);
        Ok(())
    }

    fn note(&mut self, registered: &Registered, handler: &str) {
        let needs = registered.needs.iter();
        self.needs.extend(needs.map(|(state, name)| Need { state: *state, name, handler: handler.to_owned() }));
    }

    /// The handler of a kind.
    #[must_use]
    pub fn find(&self, kind: &Kind) -> Option<&Handler> {
        self.by_kind.get(kind.as_str()).or(self.any.as_ref())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_kind.is_empty() && self.any.is_none()
    }

    /// The kinds with a handler of their own.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.by_kind.keys().map(String::as_str)
    }

    /// Whether there is a handler of every kind.
    #[must_use]
    pub fn has_any(&self) -> bool {
        self.any.is_some()
    }

    /// What the handlers need and these states do not have.
    #[must_use]
    pub fn missing_states(&self, states: &States) -> Vec<MissingState> {
        let missing = self.needs.iter().filter(|need| !states.has(need.state));
        missing.map(|need| MissingState { handler: need.handler.clone(), state: need.name }).collect()
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers").field("kinds", &self.by_kind.keys()).field("any", &self.any.is_some()).finish()
    }
}

/// A handler that cannot be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DuplicateHandler {
    /// The kind has a handler already.
    Twice(Kind),
    /// There is a handler of every kind already.
    Any,
    /// The kind's name is not allowed.
    Kind(InvalidName),
}

impl fmt::Display for DuplicateHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DuplicateHandler::Twice(kind) => write!(f, "two handlers were given for kind \"{kind}\""),
            DuplicateHandler::Any => f.write_str("two handlers of every kind were given"),
            DuplicateHandler::Kind(invalid) => invalid.fmt(f),
        }
    }
}

impl std::error::Error for DuplicateHandler {}

/// A handler needs a state that was not given.
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
