//! The random numbers of a scenario.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// The seed of `make test`, so that all its runs do the same.
const DEFAULT_SEED: u64 = 1;

/// The seed of this run: `SEED`, or a random one at full scale, or the default.
pub(crate) fn seed() -> u64 {
    match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) if crate::support::full_scale() => u64::from(rand::rng().random::<u32>()),
        Err(_) => DEFAULT_SEED,
    }
}

pub(crate) fn rng(seed: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed)
}
