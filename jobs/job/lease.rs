//! A lease, which is the right to run a job for some time, and the fencing token that proves it.

use super::{InstanceId, JobId};

/// The random part of a token, drawn by the worker before it sends a claim; all grants of that claim share it. A store that was restored from a backup grants
/// an attempt number a second time, and the nonce keeps the two tokens apart.
pub type Nonce = [u8; 8];

/// The fencing token of one grant. A settlement with any other token than that of the job's present lease changes nothing.
/// Exhaustive: these fields identify a grant, and none will be added.
///
/// ```
/// use retraced_jobs::job::{Nonce, Token};
/// let nonce: Nonce = *b"8 random";
/// let token = Token { attempt: 2, nonce };
/// assert_eq!(Token::from_wire(&token.to_wire()), Some(token));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// Which grant of the job this is, from 1.
    pub attempt: u32,
    /// The nonce of the claim.
    pub nonce: Nonce,
}

impl Token {
    /// Length on the wire, in bytes.
    pub const WIRE_LENGTH: usize = 12;

    /// The bytes that stores keep: the attempt (big-endian), then the nonce.
    #[must_use]
    pub fn to_wire(&self) -> [u8; Self::WIRE_LENGTH] {
        let mut wire = [0; Self::WIRE_LENGTH];
        wire[..4].copy_from_slice(&self.attempt.to_be_bytes());
        wire[4..].copy_from_slice(&self.nonce);
        wire
    }

    /// The token of these bytes; `None` unless there are exactly [`WIRE_LENGTH`](Self::WIRE_LENGTH).
    #[must_use]
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        let wire: &[u8; Self::WIRE_LENGTH] = wire.try_into().ok()?;
        let (attempt, nonce) = wire.split_first_chunk::<4>()?;
        Some(Self { attempt: u32::from_be_bytes(*attempt), nonce: nonce.try_into().ok()? })
    }
}

/// Which job is leased to whom, and under which token. When the lease expires is known to the store and to [`AttemptControl`](crate::context::AttemptControl).
/// Exhaustive: these fields identify a grant, and none will be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub id: JobId,
    /// The token of the grant.
    pub token: Token,
    /// The process that holds it.
    pub instance: InstanceId,
}
