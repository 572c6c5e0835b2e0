//! What a handler is given beside its job.
