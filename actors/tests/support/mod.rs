//! What the tests share: a harness with a store, trees and handlers, a store that injects faults, and a recorder of executions.

mod faulty_store;
mod harness;
mod recorder;
mod work;

pub use faulty_store::{Fault, FaultyStore, Moment, Verb};
pub use harness::{Harness, HarnessBuilder, millis, secs};
pub use recorder::{Recorder, RunEnd};
pub use work::{Action, Step, Work};
