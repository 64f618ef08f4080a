//! Unpredictable enough numbers without a dependency: for request ids and for jitter, not for
//! secrets.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use super::message::RequestId;

/// A sequence of numbers that do not repeat before 2^64 of them, different in each process.
#[derive(Debug)]
pub(super) struct Random(AtomicU64);

/// The odd step of splitmix64: its multiples run through all 64-bit numbers.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Random {
    pub(super) fn new() -> Self {
        // RandomState is seeded by the operating system.
        Self(AtomicU64::new(RandomState::new().build_hasher().finish()))
    }

    /// The next number. No two calls on one value give the same, because the mixing below is a
    /// bijection.
    pub(super) fn next(&self) -> u64 {
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A new request id: 16 lower-case hex digits, as Node's.
    pub(super) fn request_id(&self) -> RequestId {
        RequestId::from(format!("{:016x}", self.next()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn request_ids_are_sixteen_hex_digits_and_never_repeat() {
        let random = Random::new();
        let ids: HashSet<_> = (0..10_000).map(|_| random.request_id()).collect();
        assert_eq!(ids.len(), 10_000);
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        assert!(
            ids.iter()
                .all(|id| id.as_str().len() == 16 && id.as_str().chars().all(hex))
        );
    }
}
