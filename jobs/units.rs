//! Durations as whole numbers, which is how they are stored and sent.

use std::time::Duration;

/// Whole milliseconds; a fraction is dropped, and more than fits counts as the largest number.
#[must_use]
pub const fn millis(duration: Duration) -> u64 {
    saturated(duration.as_millis())
}

/// Whole microseconds; a fraction is dropped, and more than fits counts as the largest number.
#[must_use]
pub const fn micros(duration: Duration) -> u64 {
    saturated(duration.as_micros())
}

const fn saturated(number: u128) -> u64 {
    if number > u64::MAX as u128 { u64::MAX } else { number as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_is_dropped_and_the_longest_duration_fits() {
        let duration = Duration::from_nanos(1_999_999);
        assert_eq!((millis(duration), micros(duration)), (1, 1_999));
        assert_eq!((millis(Duration::MAX), micros(Duration::MAX)), (u64::MAX, u64::MAX));
    }
}
