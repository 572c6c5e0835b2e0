//! What the tests share: a world with a store, trees and handlers, faults for the store, and a book of what ran.

mod book;
mod faulty;
mod work;
mod world;

pub use book::{Book, How};
pub use faulty::{Fault, Faulty, Moment, Verb};
pub use work::{Do, Step, Work};
pub use world::{World, WorldBuilder, millis, secs};
