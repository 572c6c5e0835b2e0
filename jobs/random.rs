//! Random bytes that differ between a process and a copy of its memory.

use rand::TryRng;
use rand::rngs::SysRng;

/// Random bytes of the operating system. A generator in memory would give the same bytes to this process and to a copy of its memory (a fork, a restored snapshot).
///
/// ```
/// use retraced_jobs::random::from_system;
/// assert_ne!(from_system::<16>(), from_system::<16>());
/// ```
#[must_use]
pub fn from_system<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    match SysRng.try_fill_bytes(&mut bytes) {
        Ok(()) => bytes,
        // The system gives no random bytes now. The generator in memory was seeded by the system before.
        Err(_) => rand::random(),
    }
}
