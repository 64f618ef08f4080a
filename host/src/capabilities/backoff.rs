//! When to try again.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// The pause after the first attempt that failed; the first attempt is made at once.
const RETRY_MIN: Duration = Duration::from_millis(25);
/// The longest pause: how late a server that is back is noticed.
pub(crate) const RETRY_MAX: Duration = Duration::from_millis(500);
/// A connection that lasted for less does not count as a return.
pub(crate) const STABLE_AFTER: Duration = Duration::from_secs(1);
/// The pause when the settings are at fault: somebody has to change them, here or in the backend.
pub(crate) const REFUSED_PAUSE: Duration = Duration::from_secs(5);
/// What connecting and subscribing may take after the longest pause.
const SUBSCRIBED_IN: Duration = Duration::from_millis(250);

/// After an absence of a backend, how long the commands of plugins wait with a connection that
/// stands. By then other servers, which look for the backend as often, have subscribed again: what has gathered
/// meanwhile and leaves at once would be lost for those that have not.
pub(crate) fn return_pause(is_refusal: bool) -> Duration {
    let longest = match is_refusal {
        true => REFUSED_PAUSE,
        false => RETRY_MAX,
    };
    longest + SUBSCRIBED_IN
}

/// Pauses that double, each shortened by up to a half, so that servers do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(RETRY_MIN)
    }

    /// Nothing has failed yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.0 == RETRY_MIN
    }

    /// How long to pause now.
    pub(crate) fn pause(&mut self, is_refusal: bool) -> Duration {
        if is_refusal {
            return REFUSED_PAUSE;
        }
        let full = self.0;
        self.0 = (full * 2).min(RETRY_MAX);
        // Seeded by the operating system: random enough for jitter.
        let random = RandomState::new().build_hasher().finish();
        let half_us = u64::try_from((full / 2).as_micros()).unwrap_or(u64::MAX);
        full / 2 + Duration::from_micros(random % half_us.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_tries_as_rarely_as_possible_is_back_before_commands_leave() {
        for is_refusal in [false, true] {
            let mut backoff = Backoff::new();
            let longest = (0..20).map(|_| backoff.pause(is_refusal)).max();
            assert!(longest.is_some_and(|longest| longest < return_pause(is_refusal)));
        }
    }

    #[test]
    fn pauses_grow_to_the_cap_but_a_refusal_waits_longer() {
        let mut backoff = Backoff::new();
        assert!(backoff.pause(false) <= RETRY_MIN);
        for _ in 0..10 {
            backoff.pause(false);
        }
        let capped = backoff.pause(false);
        assert!(capped >= RETRY_MAX / 2 && capped <= RETRY_MAX, "{capped:?}");
        assert_eq!(backoff.pause(true), REFUSED_PAUSE);
    }
}
