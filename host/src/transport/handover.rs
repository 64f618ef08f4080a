//! Where an instance waits that is to take over the way out.
//!
//! The publisher belongs to a task that calls it when there is something to send, which may be never.
//! So nobody waits for it: the successor is put here, open, and the publisher's next call is its,
//! or the first one after that of which the one before knows what became of its messages.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::capabilities::Wake;

/// How long a successor waits at most until the instance before it knows what became of the messages
/// that it could not send. After that they are sent again as after a fault.
pub(crate) const UPGRADE_PATIENCE: Duration = Duration::from_secs(5);

/// The place. Holds one successor; a later one takes the place of one that waits.
pub(super) struct Handover<T> {
    place: Mutex<Place<T>>,
    /// Ends a pause before a restart.
    relief: Arc<Wake>,
}

enum Place<T> {
    Empty,
    Waiting(T, Instant),
    Closed,
}

impl<T> Handover<T> {
    pub(super) fn new(relief: Arc<Wake>) -> Self {
        Self {
            place: Mutex::new(Place::Empty),
            relief,
        }
    }

    /// Puts a successor there. False: there is nothing to take over any more.
    pub(super) fn offer(&self, successor: T) -> bool {
        let mut place = self.lock();
        if matches!(*place, Place::Closed) {
            return false;
        }
        *place = Place::Waiting(successor, Instant::now() + UPGRADE_PATIENCE);
        drop(place);
        self.relief.wake();
        true
    }

    /// Takes the successor, if one waits and need not wait longer.
    pub(super) fn take(&self, is_in_doubt: bool) -> Option<T> {
        let mut place = self.lock();
        match &*place {
            Place::Waiting(_, until) if !is_in_doubt || *until <= Instant::now() => {}
            _ => return None,
        }
        match std::mem::replace(&mut *place, Place::Empty) {
            Place::Waiting(successor, _) => Some(successor),
            other => {
                *place = other;
                None
            }
        }
    }

    /// Nobody takes over any more.
    pub(super) fn close(&self) {
        *self.lock() = Place::Closed;
    }

    fn lock(&self) -> MutexGuard<'_, Place<T>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handover() -> Handover<u32> {
        Handover::new(Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_successor_waits_for_what_is_in_doubt_and_not_for_ever() {
        let handover = handover();
        assert_eq!(handover.take(false), None);
        assert!(handover.offer(1));
        assert_eq!(handover.take(true), None);
        tokio::time::advance(UPGRADE_PATIENCE - Duration::from_millis(1)).await;
        assert_eq!(handover.take(true), None);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(handover.take(true), Some(1));
        assert_eq!(handover.take(false), None, "once");
    }

    #[tokio::test(start_paused = true)]
    async fn the_latest_successor_takes_over() {
        let handover = handover();
        assert!(handover.offer(1));
        assert!(handover.offer(2));
        assert_eq!(handover.take(false), Some(2));
        assert_eq!(handover.take(false), None);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_takes_over_what_is_closed() {
        let handover = handover();
        assert!(handover.offer(1));
        handover.close();
        assert_eq!(handover.take(false), None);
        assert!(!handover.offer(2));
    }

    #[tokio::test(start_paused = true)]
    async fn an_offer_ends_a_pause_before_a_restart() {
        let relief = Arc::new(Wake::default());
        let handover = Handover::new(Arc::clone(&relief));
        assert!(handover.offer(1));
        relief.wanted().await;
    }
}
