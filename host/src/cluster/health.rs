//! Log lines that an operator can read when much goes wrong at once: one line when a direction
//! is lost, one when it is back, and at most one a second of any repeated complaint.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Is one direction of the transport working? Logs each change once.
#[derive(Debug)]
pub(super) struct Health {
    what: &'static str,
    up: AtomicBool,
    last_error: Mutex<Option<String>>,
}

impl Health {
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            what,
            up: AtomicBool::new(true),
            last_error: Mutex::new(None),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// The latest error, also after the direction is back.
    pub(super) fn last_error(&self) -> Option<String> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Keeps an error for the statistics.
    pub(super) fn note(&self, why: &str) {
        let mut last = self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *last = Some(why.to_owned());
    }

    pub(super) fn lost(&self, why: &str) {
        self.note(why);
        if self.up.swap(false, Ordering::Relaxed) {
            tracing::warn!(
                why,
                "cluster: {} is lost, trying again until it is back",
                self.what
            );
        }
    }

    pub(super) fn back(&self) {
        // The load keeps the usual case free of a shared write.
        if !self.is_up() && !self.up.swap(true, Ordering::Relaxed) {
            tracing::info!("cluster: {} is back", self.what);
        }
    }
}

/// Lets one line a second through and counts the others.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<ThrottleState>);

#[derive(Debug, Default)]
struct ThrottleState {
    last: Option<Instant>,
    held_back: u64,
}

/// The pause between two lines of one kind.
const THROTTLE: Duration = Duration::from_secs(1);

impl Throttle {
    /// Some: log now, and say how many were held back since the last line.
    pub(super) fn pass(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if state
            .last
            .is_some_and(|last| now.duration_since(last) < THROTTLE)
        {
            state.held_back += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn repeated_complaints_are_counted_instead_of_logged() {
        let throttle = Throttle::default();
        assert_eq!(throttle.pass(), Some(0));
        assert_eq!(throttle.pass(), None);
        assert_eq!(throttle.pass(), None);
        tokio::time::advance(THROTTLE).await;
        assert_eq!(throttle.pass(), Some(2));
    }

    #[test]
    fn a_lost_direction_comes_back_and_keeps_its_last_error() {
        let health = Health::new("the way out");
        health.lost("connection refused");
        assert!(!health.is_up());
        health.back();
        assert!(health.is_up());
        assert_eq!(health.last_error().as_deref(), Some("connection refused"));
    }
}
