//! The random numbers of one runtime, from one seed except for the nonces of claims.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use retraced_jobs::job::Nonce;

/// A seeded source of jitter, and of seeds for the generators of actors.
pub(crate) struct Random(Mutex<SmallRng>);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(SmallRng::seed_from_u64(seed)))
    }

    fn with<T>(&self, draw: impl FnOnce(&mut SmallRng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A seed for another random number generator.
    pub(crate) fn seed(&self) -> u64 {
        self.with(|rng| rng.random())
    }

    /// The nonce of a claim, which is part of the fencing tokens it grants. It must differ between workers with the same seed, so it does not come from the seed.
    pub(crate) fn nonce() -> Nonce {
        rand::random()
    }

    /// A draw for the jitter of a retry, −1000 to 1000.
    pub(crate) fn retry_jitter(&self) -> i16 {
        self.with(|rng| rng.random_range(-1000..=1000))
    }

    /// The duration, shortened by up to a fifth.
    pub(crate) fn jittered(&self, duration: Duration) -> Duration {
        duration.mul_f64(self.with(|rng| rng.random_range(0.8..=1.0)))
    }
}
