//! Where a scenario's chance comes from.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// What `make test` plays with, so that two runs of it do the same.
const USUAL: u64 = 1;

/// The seed of this run: `SEED`, or a drawn one at full scale, or the usual one.
pub(crate) fn seed() -> u64 {
    match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) if crate::support::full_scale() => u64::from(rand::rng().random::<u32>()),
        Err(_) => USUAL,
    }
}

pub(crate) fn dice(seed: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed)
}
