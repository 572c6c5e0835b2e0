//! The random numbers of one runtime, from one seed except for process instances and the nonces of claims.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use retraced_jobs::job::{InstanceId, Nonce};
use retraced_jobs::random::from_system;
use uuid::Builder;

/// Draws a new process instance. A copy of this process's memory draws another one.
///
/// ```
/// assert_ne!(retraced_actors::new_instance(), retraced_actors::new_instance());
/// ```
#[must_use]
pub fn new_instance() -> InstanceId {
    Builder::from_random_bytes(from_system()).into_uuid().into()
}

/// Draws the jitter of a retry: −1000 to 1000, in thousandths of the largest jitter that the policy allows.
pub(crate) fn retry_jitter(rng: &mut SmallRng) -> i16 {
    rng.random_range(-1000..=1000)
}

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

    /// The nonce of a claim, which is part of the fencing tokens it grants. It must differ between workers with the same seed and between copies
    /// of a process, so it comes from the operating system.
    pub(crate) fn nonce() -> Nonce {
        from_system()
    }

    /// See [`retry_jitter`].
    pub(crate) fn retry_jitter(&self) -> i16 {
        self.with(retry_jitter)
    }

    /// The duration, shortened by up to a fifth.
    pub(crate) fn jittered(&self, duration: Duration) -> Duration {
        duration.mul_f64(self.with(|rng| rng.random_range(0.8..=1.0)))
    }
}
