//! What a user writes: handlers, and how they are found.
