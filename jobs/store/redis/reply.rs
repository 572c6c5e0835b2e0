//! Reads the replies of scripts and commands. A reply of an unexpected shape is a `Corrupt` error, never a panic.

use std::vec::IntoIter;

use bytes::Bytes;
use redis::Value;

use crate::job::{Counters, InstanceId, JobState};
use crate::store::StoreError;
use crate::trace::{AttemptRecord, StoredAttempt, UnreadableAttempt};

/// A list in a reply, or the whole reply. Each method takes the next item from its front.
pub(super) struct Reply {
    operation: &'static str,
    items: IntoIter<Value>,
}

impl Reply {
    pub(super) fn new(operation: &'static str, value: Value) -> Result<Self, StoreError> {
        match value {
            // RESP3 has sets.
            Value::Array(items) | Value::Set(items) => Ok(Self { operation, items: items.into_iter() }),
            // And maps, which RESP2 gives as lists.
            Value::Map(pairs) => {
                let items: Vec<Value> = pairs.into_iter().flat_map(|(field, value)| [field, value]).collect();
                Ok(Self { operation, items: items.into_iter() })
            }
            other => Err(corrupt(operation, format!("the reply has {other:?} instead of a list"))),
        }
    }

    /// Reads the status word. The two refusals of `lua/lib/replay.lua` become errors.
    pub(super) fn status(&mut self) -> Result<String, StoreError> {
        let word = self.text()?;
        match word.as_str() {
            "superseded" => Err(StoreError::Superseded { operation: self.operation }),
            "taken" => Err(StoreError::CallIdTaken { operation: self.operation }),
            _ => Ok(word),
        }
    }

    fn next(&mut self) -> Result<Value, StoreError> {
        self.items.next().ok_or_else(|| corrupt(self.operation, "the reply ends too early".into()))
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        match self.next()? {
            Value::BulkString(bytes) => Ok(bytes),
            Value::SimpleString(text) => Ok(text.into_bytes()),
            Value::Int(number) => Ok(number.to_string().into_bytes()),
            other => Err(corrupt(self.operation, format!("the reply has {other:?} instead of bytes"))),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, StoreError> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes).map_err(|_| corrupt(self.operation, "the reply has bytes instead of text".into()))
    }

    pub(super) fn number(&mut self) -> Result<u64, StoreError> {
        match self.next()? {
            Value::Int(number) => Ok(u64::try_from(number).unwrap_or(0)),
            other => Err(corrupt(self.operation, format!("the reply has {other:?} instead of a number"))),
        }
    }

    /// A number as a size; a negative one becomes 0.
    pub(super) fn size(&mut self) -> Result<usize, StoreError> {
        Ok(usize::try_from(self.number()?).unwrap_or(usize::MAX))
    }

    /// All remaining items, as bytes.
    pub(super) fn all(&mut self) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut all = Vec::with_capacity(self.len());
        while !self.is_empty() {
            all.push(self.bytes()?);
        }
        Ok(all)
    }

    pub(super) fn signed(&mut self) -> Result<i64, StoreError> {
        match self.next()? {
            Value::Int(number) => Ok(number),
            other => Err(corrupt(self.operation, format!("the reply has {other:?} instead of a number"))),
        }
    }

    /// A counter; one too large for `u32` becomes `u32::MAX`.
    pub(super) fn counter(&mut self) -> Result<u32, StoreError> {
        Ok(u32::try_from(self.number()?).unwrap_or(u32::MAX))
    }

    pub(super) fn counters(&mut self) -> Result<Counters, StoreError> {
        Ok(Counters {
            attempts: self.counter()?,
            failures: self.counter()?,
            crashes: self.counter()?,
            releases: self.counter()?,
        })
    }

    /// An instant in ms since the Unix epoch. `None` for an empty string, another text that is no number, or an infinite score. A negative score becomes 0.
    pub(super) fn instant(&mut self) -> Result<Option<u64>, StoreError> {
        let text = self.text()?;
        Ok(text.parse::<f64>().ok().filter(|score| *score < f64::INFINITY).map(|score| score.max(0.0) as u64))
    }

    pub(super) fn list(&mut self) -> Result<Reply, StoreError> {
        let value = self.next()?;
        Reply::new(self.operation, value)
    }

    /// Whether all items were read.
    pub(super) fn is_empty(&self) -> bool {
        self.items.len() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }
}

pub(super) fn corrupt(operation: &'static str, what: String) -> StoreError {
    StoreError::Corrupt { operation, what }
}

/// The state a letter stands for (`lua/lib/state.lua`).
pub(super) fn state_of(letter: u8) -> Option<JobState> {
    Some(match letter {
        b'p' => JobState::Pending,
        b'l' => JobState::Processing,
        b'y' => JobState::Delayed,
        b'c' => JobState::Completed,
        b'd' => JobState::Dead,
        b'o' => JobState::Poisoned,
        b'x' => JobState::Cancelled,
        _ => return None,
    })
}

/// The letter of a state (`lua/lib/state.lua`).
pub(super) fn letter_of(state: JobState) -> &'static str {
    match state {
        JobState::Pending => "p",
        JobState::Processing => "l",
        JobState::Delayed => "y",
        JobState::Completed => "c",
        JobState::Dead => "d",
        JobState::Poisoned => "o",
        JobState::Cancelled => "x",
    }
}

/// A big-endian number of up to eight bytes.
pub(super) fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Splits a body into (sequence, enqueue time) and envelope. A body that is too short for a header gives `None` and itself.
pub(super) fn open_body(body: Vec<u8>) -> (Option<(u64, u64)>, Bytes) {
    const HEADER: usize = 12;
    let body = Bytes::from(body);
    if body.len() < HEADER {
        return (None, body);
    }
    (Some((big_endian(&body[..6]), big_endian(&body[6..HEADER]))), body.slice(HEADER..))
}

/// Reads one attempt from a field of `history` (`lua/lib/history.lua`).
pub(super) fn attempt_of(attempt: u32, value: &[u8]) -> StoredAttempt {
    const INSTANCE: usize = 16;
    let settled_ms = big_endian(value.get(..6).unwrap_or_default());
    let unreadable = |reason: String| Err(UnreadableAttempt { reason });
    let record = match (value.get(6), value.get(7..).unwrap_or_default()) {
        (Some(b'K'), rest) if rest.len() == INSTANCE + 6 => match InstanceId::from_slice(&rest[..INSTANCE]) {
            Some(instance) => Ok(AttemptRecord::Crashed { instance, lease_expired_ms: big_endian(&rest[INSTANCE..]) }),
            None => unreadable("the worker of a crashed attempt cannot be read".into()),
        },
        (Some(kind @ (b'W' | b'N')), rest) if rest.len() == INSTANCE + 10 => {
            match InstanceId::from_slice(&rest[..INSTANCE]) {
                Some(instance) => Ok(AttemptRecord::Lost {
                    instance,
                    lease_expired_ms: big_endian(&rest[INSTANCE..INSTANCE + 6]),
                    watched: *kind == b'N',
                    in_a_row: big_endian(&rest[INSTANCE + 6..]) as u32,
                }),
                None => unreadable("the worker of a lost attempt cannot be read".into()),
            }
        }
        (Some(b'Q'), rest) if rest.len() == INSTANCE + 6 => match InstanceId::from_slice(&rest[..INSTANCE]) {
            Some(instance) => Ok(AttemptRecord::Postponed { instance, due_ms: big_endian(&rest[INSTANCE..]) }),
            None => unreadable("the worker of a postponed attempt cannot be read".into()),
        },
        (Some(b'U'), rest) => match InstanceId::from_slice(rest) {
            Some(instance) => Ok(AttemptRecord::Unclaimed { instance }),
            None => unreadable("the worker of an unclaimed attempt cannot be read".into()),
        },
        (Some(b'G'), _) => unreadable("the job could not be read in the store, so it was poisoned".into()),
        (Some(_), rest) => match crate::codec::decode_attempt(rest) {
            Ok(log) => Ok(AttemptRecord::Reported(log)),
            Err(error) => unreadable(error.to_string()),
        },
        (None, _) => unreadable("it is too short".into()),
    };
    StoredAttempt { attempt, settled_ms, record }
}
