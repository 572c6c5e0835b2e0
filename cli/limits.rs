//! Every bound of the command line, with its unit and what happens past it.

/// Columns of a terminal below which help is laid out in one column.
pub(crate) const HELP_COLUMNS_MIN: usize = 60;

/// Jobs one listing examines in search of those that match; past it the list ends with the cursor to continue from.
pub(crate) const LIST_EXAMINED_MAX: u64 = 100_000;
/// Characters of an error's message shown in a list; `job show` has the rest.
pub(crate) const LISTED_MESSAGE_MAX: usize = 60;
/// Characters of a message or a payload that text shows; `--json` shows all.
pub(crate) const SHOWN_CHARS_MAX: usize = 4_000;
