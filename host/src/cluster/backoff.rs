//! Growing pauses between attempts, with jitter, so that a returning backend is not met by all
//! nodes at the same moment.

use std::time::Duration;

use super::random::Random;

/// The first pause.
pub(super) const RETRY_MIN: Duration = Duration::from_millis(50);
/// The longest pause: how late a returned backend is noticed. A backend has pauses of its own before
/// it is connected again; together they stay below two seconds.
pub(super) const RETRY_MAX: Duration = Duration::from_secs(1);

/// Pauses that double from [`RETRY_MIN`] to [`RETRY_MAX`], each shortened by up to a half.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    random: Random,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self {
            next: RETRY_MIN,
            random: Random::new(),
        }
    }

    /// How long to pause now.
    pub(super) fn pause(&mut self) -> Duration {
        let full = self.next;
        self.next = (full * 2).min(RETRY_MAX);
        let half = full / 2;
        let span_us = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_micros(self.random.next() % span_us)
    }

    /// Something worked: the next trouble starts with a short pause again.
    pub(super) fn reset(&mut self) {
        self.next = RETRY_MIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_start_again_after_success() {
        let mut backoff = Backoff::new();
        for _ in 0..10 {
            backoff.pause();
        }
        let capped = backoff.pause();
        assert!(capped >= RETRY_MAX / 2 && capped <= RETRY_MAX, "{capped:?}");
        backoff.reset();
        assert!(backoff.pause() <= RETRY_MIN);
    }
}
