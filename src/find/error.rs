//! Why a search for jobs failed.

use std::fmt;

use crate::operator::OperatorError;

/// Why a search for jobs failed.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::sync::Arc;
/// # use retraced::{Client, Job, MemoryStore, Operator, QueueName, Store};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Welcome;
/// # impl Job for Welcome { const KIND: &'static str = "welcome"; }
/// # let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
/// # let client = Client::shared(store.clone()).queue("email")?;
/// # for _ in 0..2 { client.enqueue(Welcome).await?; }
/// # let (operator, queue) = (Operator::shared(store), QueueName::new("email")?);
/// use retraced::{JobState, find::{FindError, JobFilter}};
/// let page = operator.find(&queue, &JobFilter::in_state(JobState::Pending), None, 1).await?;
/// let refused = operator.find(&queue, &JobFilter::failed(), page.next, 1).await;
/// assert!(matches!(refused, Err(FindError::OtherList)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum FindError {
    /// The cursor is from a list of jobs in other states. Use it with the filter it came from.
    OtherList,
    /// The store refused or did not answer.
    Operator(OperatorError),
}

impl FindError {
    /// Whether the same search may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, FindError::Operator(error) if error.is_retryable())
    }
}

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FindError::OtherList => f.write_str("this cursor is from another list: its jobs are in other states"),
            FindError::Operator(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for FindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FindError::OtherList => None,
            FindError::Operator(error) => error.source(),
        }
    }
}

impl From<OperatorError> for FindError {
    fn from(error: OperatorError) -> Self {
        FindError::Operator(error)
    }
}
