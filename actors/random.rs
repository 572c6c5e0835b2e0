//! The randomness of one runtime, seeded once.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use retraced_jobs::job::Nonce;

/// A seeded source of jitter.
pub(crate) struct Random(Mutex<SmallRng>);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(SmallRng::seed_from_u64(seed)))
    }

    fn with<T>(&self, draw: impl FnOnce(&mut SmallRng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A seed for a source of one's own.
    pub(crate) fn seed(&self) -> u64 {
        self.with(|rng| rng.random())
    }

    /// Part of a lease token. It is an identity, so it never comes from the seed: two workers with the same seed must not draw the same.
    pub(crate) fn nonce() -> Nonce {
        rand::random()
    }

    /// A draw for the jitter of a retry, −1000 to 1000.
    pub(crate) fn retry_jitter(&self) -> i16 {
        self.with(|rng| rng.random_range(-1000..=1000))
    }

    /// The duration less up to a fifth of it.
    pub(crate) fn jittered(&self, duration: Duration) -> Duration {
        duration.mul_f64(self.with(|rng| rng.random_range(0.8..=1.0)))
    }
}
