//! The position at which a list of jobs continues.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use retraced_jobs::job::{JobId, JobState};

/// The position at which a list of jobs continues. Its text is safe in a URL and stays valid whatever happens to the jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobCursor {
    /// The last job examined: the next search skips the jobs up to it. `None` when it has none to skip.
    pub(super) after: Option<Examined>,
    /// The states that have more jobs.
    pub(super) pages: Vec<PageStart>,
}

/// A job that was examined: the time it is ordered by (`None` for a pending job), its state, its id.
pub(super) type Examined = (Option<u64>, JobState, JobId);
/// A state that has more jobs, and where its next page begins in the store; `None` for the first page.
pub(super) type PageStart = (JobState, Option<String>);

/// This text is not a cursor.
///
/// ```
/// use retraced::find::{InvalidCursor, JobCursor};
/// let Err(error): Result<JobCursor, InvalidCursor> = "made-up".parse() else { panic!() };
/// assert_eq!(error.to_string(), "this is not a cursor; take the one that an earlier list ended with");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidCursor;

impl fmt::Display for JobCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_vec(&(&self.after, &self.pages)).map_err(|_| fmt::Error)?;
        f.write_str(&URL_SAFE_NO_PAD.encode(json))
    }
}

impl FromStr for JobCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        let (after, pages): (_, Vec<PageStart>) = serde_json::from_slice(&json).map_err(|_| InvalidCursor)?;
        // A cursor that names a state twice was not made here, and would find the jobs of that state twice.
        let twice = |(at, (state, _)): (usize, &PageStart)| pages[..at].iter().any(|(earlier, _)| earlier == state);
        if pages.iter().enumerate().any(twice) {
            return Err(InvalidCursor);
        }
        Ok(Self { after, pages })
    }
}

impl fmt::Display for InvalidCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this is not a cursor; take the one that an earlier list ended with")
    }
}

impl std::error::Error for InvalidCursor {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_a_cursor_is_refused() {
        for text in ["", "x", "e30", "!!!"] {
            assert_eq!(text.parse::<JobCursor>(), Err(InvalidCursor), "{text}");
        }
    }

    #[test]
    fn a_cursor_that_names_a_state_twice_is_refused() {
        let cursor =
            |states: &[JobState]| JobCursor { after: None, pages: states.iter().map(|s| (*s, None)).collect() };
        let twice = cursor(&[JobState::Dead, JobState::Poisoned, JobState::Dead]);
        assert_eq!(twice.to_string().parse::<JobCursor>(), Err(InvalidCursor));
        let once = cursor(&[JobState::Dead, JobState::Poisoned]);
        assert_eq!(once.to_string().parse(), Ok(once));
    }
}
