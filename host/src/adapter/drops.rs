//! Counting what had to be left out, and saying so without flooding the log.
//!
//! What is left out and why is decided elsewhere in `adapter/`.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// At most one log line in this time for each [`Drops`].
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// One kind of thing that is left out.
#[derive(Debug, Default)]
pub(super) struct Drops {
    total: AtomicU64,
    reported_at: Mutex<Option<Instant>>,
}

impl Drops {
    /// Counts `count` more. Returns the total when it is time for a log line, else `None`.
    pub(super) fn add(&self, count: u64) -> Option<u64> {
        self.add_at(count, Instant::now())
    }

    fn add_at(&self, count: u64, now: Instant) -> Option<u64> {
        let total = self.total.fetch_add(count, Ordering::Relaxed) + count;
        // A poisoned lock holds a plain time stamp, which cannot be half written.
        let mut reported_at = self
            .reported_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if reported_at.is_some_and(|then| now.saturating_duration_since(then) < REPORT_INTERVAL) {
            return None;
        }
        *reported_at = Some(now);
        Some(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_drop_is_reported_and_later_ones_wait_for_the_interval() {
        let drops = Drops::default();
        let start = Instant::now();
        assert_eq!(drops.add_at(1, start), Some(1));
        assert_eq!(drops.add_at(5, start), None);
        assert_eq!(drops.add_at(1, start + REPORT_INTERVAL / 2), None);
        assert_eq!(
            drops.add_at(1, start + REPORT_INTERVAL),
            Some(8),
            "nothing is uncounted"
        );
    }

    #[test]
    fn a_clock_that_steps_back_does_not_panic() {
        let drops = Drops::default();
        let start = Instant::now();
        assert_eq!(drops.add_at(1, start + REPORT_INTERVAL), Some(1));
        assert_eq!(drops.add_at(1, start), None);
    }
}
