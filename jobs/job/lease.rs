//! The right to run a job for some time, and the fencing token that proves it.

use super::{InstanceId, JobId};

/// The random part of a token. The worker draws it before it sends the claim, so that a store that was rolled back never issues a token twice.
///
/// Used in the example of [`Token`].
pub type Nonce = [u8; 8];

/// Proof of one grant, a fencing token: every transition out of `processing` checks it.
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
    /// The random part, drawn by the worker that claims.
    pub nonce: Nonce,
}

impl Token {
    /// Length on the wire, in bytes.
    pub const WIRE_LENGTH: usize = 12;

    /// Attempt (big-endian), then nonce.
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

/// A job held under a token.
///
/// Used in the example of [`Leases`](crate::store::Leases).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub id: JobId,
    /// The proof of the grant.
    pub token: Token,
    /// The process that holds it.
    pub owner: InstanceId,
}
