//! Every bound of the command line, with its unit and what happens past it.

/// Columns of a terminal below which help is laid out in one column.
pub(crate) const HELP_COLUMNS_MIN: usize = 60;
