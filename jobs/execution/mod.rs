//! One attempt as a pipeline: decode, run, classify, decide, outcome.
