//! The log of an attempt, as stores keep it: a byte for the shape (how the rest is encoded), then MessagePack.
//!
//! Nearly all attempts complete, so the log of one that completed without output has a compact shape without field names. This shape may never change. Any other log
//! has field names and may gain new fields, which older builds ignore.

use bytes::Bytes;

use super::CodecError;
use super::payload::{decode_bounded, encode_named};
use crate::job::InstanceId;
use crate::limits::OUTPUT_BYTES_MAX;
use crate::trace::{AttemptLog, Ended, ExecutorId};

/// An array of instance, number and generation of the executor, `started_ms` and `ran_ms`, for an attempt that completed without output, log lines or progress.
const COMPLETED: u8 = 1;
/// The log with field names: short ones, but long ones in the retry decision. Still read, no longer written.
const NAMED_LONG_DECISION: u8 = 2;
/// The log with field names, all of them short.
const NAMED: u8 = 3;

type Completed = (InstanceId, u32, u32, u64, u64);

/// The log as bytes: usually 34 and at most 48 for an attempt that completed without output, log lines or progress. An output above [`OUTPUT_BYTES_MAX`] is left
/// out. Empty when the log cannot be written, which does not happen to any log that this library builds.
#[must_use]
pub fn encode_attempt(log: &AttemptLog) -> Bytes {
    if let Ended::Completed { output: Some(output) } = &log.ended
        && output.len() > OUTPUT_BYTES_MAX
    {
        return encode_attempt(&AttemptLog { ended: Ended::Completed { output: None }, ..log.clone() });
    }
    let mut bytes = Vec::with_capacity(48);
    let written = match completed(log) {
        Some(completed) => {
            bytes.push(COMPLETED);
            // A tuple, which has no names.
            encode_named("attempt log", &completed, &mut bytes)
        }
        None => {
            bytes.push(NAMED);
            encode_named("attempt log", log, &mut bytes)
        }
    };
    written.map(|()| Bytes::from(bytes)).unwrap_or_default()
}

/// The log that is stored as these bytes.
///
/// # Errors
/// [`CodecError`] when a newer version wrote the log, or it is damaged.
pub fn decode_attempt(bytes: &[u8]) -> Result<AttemptLog, CodecError> {
    match bytes.split_first() {
        Some((&COMPLETED, array)) => {
            let (instance, slot, generation, started_ms, ran_ms): Completed = decode_bounded("attempt log", array)?;
            Ok(AttemptLog {
                instance,
                executor: ExecutorId { slot, generation },
                started_ms,
                ran_ms,
                ended: Ended::Completed { output: None },
                lines: Vec::new(),
                lines_dropped: 0,
                progress: None,
            })
        }
        Some((&(NAMED | NAMED_LONG_DECISION), map)) => decode_bounded("attempt log", map),
        Some((&shape, _)) => Err(CodecError::newer(format!(
            "attempt log has shape {shape}, this build reads {COMPLETED} to {NAMED}; a newer version wrote it"
        ))),
        None => Err(CodecError::new("attempt log is empty")),
    }
}

fn completed(log: &AttemptLog) -> Option<Completed> {
    let nothing_noted = log.lines.is_empty() && log.lines_dropped == 0 && log.progress.is_none();
    let ExecutorId { slot, generation } = log.executor;
    (nothing_noted && log.ended == (Ended::Completed { output: None })).then_some((
        log.instance,
        slot,
        generation,
        log.started_ms,
        log.ran_ms,
    ))
}
