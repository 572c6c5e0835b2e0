//! Why a store that answers does not do what it was asked for.

use std::fmt;

/// Why a store that answers does not do what it was asked for.
///
/// ```
/// use retraced_jobs::store::{Block, StoreError};
/// let full = StoreError::Blocked { operation: "enqueue", by: Block::Memory, said: "OOM command not allowed".into() };
/// assert!(full.is_retryable());
/// assert_eq!(
///     full.to_string(),
///     "the store refused enqueue for now, because its memory is full; free memory or raise maxmemory (OOM command not allowed)"
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Block {
    /// Its memory is full (`OOM`). It takes no new jobs; jobs that it holds can be claimed, renewed and settled.
    Memory,
    /// It cannot write to its disk (`MISCONF`), so it takes no writes.
    Disk,
    /// Too few of its replicas are connected (`NOREPLICAS`), so it takes no writes.
    MissingReplicas,
    /// It is a replica now (`READONLY`, `MASTERDOWN`), so it takes no writes.
    Replica,
    /// It is loading its data after a start (`LOADING`).
    Loading,
    /// A script or function has been running for too long (`BUSY`).
    Script,
    /// The user may not call a command or use a key that the call needs, or the server does not know a command, because it was renamed or disabled. Concerns only the calls
    /// that need what is missing.
    Rights,
    /// It no longer accepts the user and password that it accepted before (`NOAUTH`, `WRONGPASS`). A first connection with a wrong password is
    /// [`StoreError::Refused`](super::StoreError::Refused) instead.
    Login,
}

impl Block {
    /// Whether it usually ends by itself within seconds, so that a caller may wait for it. The others often need somebody who acts.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Block::Loading | Block::Script)
    }

    /// What an operator can do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Block::Memory => "free memory or raise maxmemory",
            Block::Disk => "free disk space, and see the server's log",
            Block::MissingReplicas => "start its replicas, or lower min-replicas-to-write",
            Block::Replica => "connect to its primary",
            Block::Loading => "wait until it has finished",
            Block::Script => "wait, or end the script by SCRIPT KILL",
            Block::Rights => "give the rights that docs/redis.md lists",
            Block::Login => "enable the user or set its password back, or start this process again with the new one",
        }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Block::Memory => "its memory is full",
            Block::Disk => "it cannot write to its disk",
            Block::MissingReplicas => "too few of its replicas are connected",
            Block::Replica => "it is a replica",
            Block::Loading => "it is loading its data",
            Block::Script => "a script has been running on it for too long",
            Block::Rights => "a right is missing",
            Block::Login => "it no longer accepts the user and password that it accepted before",
        })
    }
}

/// A [`Block`], with what the server said.
///
/// ```
/// use retraced_jobs::store::{Block, BlockedStore};
/// let blocked = BlockedStore::new(Block::MissingReplicas, "NOREPLICAS Not enough good replicas to write");
/// assert!(blocked.to_string().starts_with("too few of its replicas are connected; start its replicas"), "{blocked}");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockedStore {
    /// The cause.
    pub by: Block,
    /// What the server said.
    pub said: String,
}

impl BlockedStore {
    /// A store that is blocked by this cause, and what its server said.
    #[must_use]
    pub fn new(by: Block, said: impl Into<String>) -> Self {
        Self { by, said: said.into() }
    }
}

/// The cause, what to do, and what the server said.
impl fmt::Display for BlockedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {} ({})", self.by, self.by.remedy(), self.said)
    }
}
