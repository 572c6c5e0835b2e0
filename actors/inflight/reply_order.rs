//! The order in which the replies of claims are taken in.
//!
//! A queue may have several claims open, and their replies may arrive in any order. If the queue keeps its order, the store numbers its claims as it applies them. A reply
//! is taken in at once if its number follows that of the last one taken in: no claim was applied between the two. Otherwise an open claim may have been applied before it,
//! or another worker has claimed. Then the reply is held back until all open claims have ended, and those held back are taken in by their numbers.
//!
//! So a claim whose reply does not come holds back those of later ones. Therefore none is opened beside a claim that takes longer than [`CLAIM_OVERLAP_MAX`].

use tokio::time::Instant;

use super::phase::Held;
use crate::limits::CLAIM_OVERLAP_MAX;

/// The reply of a claim.
pub(super) struct Reply {
    /// [`Claims::number`](retraced_jobs::store::Claims::number)
    pub(super) number: Option<u64>,
    pub(super) jobs: Vec<Held>,
    /// The credits that the claim uses until its reply is taken in.
    pub(super) requested: usize,
}

/// The open claims of a queue, and the replies that are held back.
pub(super) struct ReplyOrder {
    keeps_order: bool,
    /// Claims that were opened and have not ended.
    open: usize,
    /// When the latest claim ended, or when one was opened while none was open.
    advanced_at: Option<Instant>,
    held_back: Vec<Reply>,
    /// The number of the last reply taken in. A store of your own may number nothing: then it is `None`.
    last: Option<u64>,
}

impl ReplyOrder {
    pub(super) fn new(keeps_order: bool) -> Self {
        Self { keeps_order, open: 0, advanced_at: None, held_back: Vec::new(), last: None }
    }

    /// Whether a claim may be opened. While replies are held back none is, so that all open claims come to an end.
    pub(super) fn may_open(&self, now: Instant) -> bool {
        let advances = self.advanced_at.is_some_and(|at| now.duration_since(at) <= CLAIM_OVERLAP_MAX);
        !self.keeps_order || self.open == 0 || (advances && self.last.is_some() && self.held_back.is_empty())
    }

    /// A claim was opened.
    pub(super) fn opened(&mut self, now: Instant) {
        if self.open == 0 {
            self.advanced_at = Some(now);
        }
        self.open += 1;
    }

    /// An open claim has ended.
    pub(super) fn ended(&mut self, now: Instant) {
        self.advanced_at = Some(now);
        self.open = self.open.saturating_sub(1);
    }

    /// A reply without jobs is never held back. If it follows the last one taken in, it closes the gap before the next.
    pub(super) fn skip(&mut self, number: Option<u64>) {
        if self.follows(number) {
            self.last = number;
        }
    }

    /// Whether a reply with this number can be taken in now. If so, it counts as taken in.
    pub(super) fn take(&mut self, number: Option<u64>) -> bool {
        let taken = !self.keeps_order || self.follows(number) || (self.open == 0 && self.held_back.is_empty());
        if taken {
            self.last = number;
        }
        taken
    }

    /// Whether no claim was applied between the last one that was taken in and the one with this number.
    fn follows(&self, number: Option<u64>) -> bool {
        number.is_some() && number == self.last.map(|last| last + 1)
    }

    pub(super) fn hold_back(&mut self, reply: Reply) {
        self.held_back.push(reply);
    }

    /// Removes the next reply that was held back and can be taken in now.
    pub(super) fn take_held_back(&mut self) -> Option<Reply> {
        let (at, next) = self.held_back.iter().enumerate().min_by_key(|(_, reply)| reply.number)?;
        let number = next.number;
        (self.open == 0 || self.follows(number)).then(|| {
            self.last = number;
            self.held_back.remove(at)
        })
    }

    /// The jobs of the replies that are held back.
    pub(super) fn held_back(&self) -> impl Iterator<Item = &Held> {
        self.held_back.iter().flat_map(|reply| &reply.jobs)
    }
}
