//! What a user interface shows, as plain data: the same fields for `--json`, a web page or a script.

mod text;

pub use text::printable;
