//! A queue of events that the host owns and a plugin instance takes from in its calls.
//!
//! What a call takes counts as delivered when the call returned ok (`commit`); until
//! then the events stay here and are handed out again to the next instance
//! (`rollback`). So a plugin that traps, or is replaced between two calls, loses and
//! repeats nothing. An event that kills the plugin again and again is found by handing events out
//! one by one, and is skipped.
//!
//! How events get here, and waiting for them, is the business of each capability.

use std::collections::{VecDeque, vec_deque};

/// Faults over the same first event, before events are handed out one at a time to find the one
/// that kills the plugin.
pub(crate) const FAULTS_BEFORE_ALONE: u32 = 2;
/// Faults of one event that was handed out alone, before it is skipped.
pub(crate) const FAULTS_BEFORE_SKIP: u32 = 2;

/// Why events that were handed out come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollback {
    /// The plugin died over them: one of them may be the cause.
    Fault,
    /// Nothing to do with them: the call failed politely or was abandoned.
    Harmless,
}

/// An event that can stand for others that will never arrive.
pub(crate) trait Lagged {
    /// "`missed` events are missing here."
    fn lagged(missed: u32) -> Self;
}

/// A first-in-first-out queue whose events are handed out first and dropped on commit.
///
/// It is bounded by its owner: [`push`](Self::push) always takes the event, and says whether the
/// owner must stop pushing until [`is_full`](Self::is_full) is over.
#[derive(Debug)]
pub(crate) struct HandOut<T> {
    /// Oldest first, each with its size.
    events: VecDeque<(T, usize)>,
    bytes: usize,
    max_events: usize,
    max_bytes: usize,
    /// How many events, from the front, are handed out.
    taken: usize,
    /// How many, from the front, are handed out one at a time, because one of them killed the
    /// plugin.
    suspects: usize,
    /// Faults since the front event came to the front, or since it is handed out alone.
    faults: u32,
}

impl<T: Clone + Lagged> HandOut<T> {
    /// An empty queue that is full at `max_events` events or `max_bytes` bytes.
    pub(crate) fn new(max_events: usize, max_bytes: usize) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            max_events,
            max_bytes,
            taken: 0,
            suspects: 0,
            faults: 0,
        }
    }

    /// Adds an event of this size. True: the queue is full now.
    pub(crate) fn push(&mut self, event: T, bytes: usize) -> bool {
        self.events.push_back((event, bytes));
        self.bytes += bytes;
        self.is_full()
    }

    /// At or over a limit.
    pub(crate) fn is_full(&self) -> bool {
        self.events.len() >= self.max_events || self.bytes >= self.max_bytes
    }

    /// Events in the queue, those handed out included.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Hands out the next events that are not handed out yet: at most `max_events` and at most
    /// `max_bytes`, but one event if there is one, whatever its size.
    pub(crate) fn take(&mut self, max_events: usize, max_bytes: usize) -> Vec<T> {
        self.hand_out(max_events, max_bytes).cloned().collect()
    }

    /// The same, to look at: there are many of them, and a copy of each costs more than what is
    /// made of it.
    pub(crate) fn hand_out(&mut self, max_events: usize, max_bytes: usize) -> HandedOut<'_, T> {
        let max_events = match self.suspects {
            _ if self.is_holding_back() => 0,
            0 => max_events.max(1),
            _ => 1,
        };
        let (mut count, mut bytes) = (0, 0_usize);
        for (_, size) in self.events.range(self.taken..).take(max_events) {
            let more = bytes.saturating_add(*size);
            if more > max_bytes && count > 0 {
                break;
            }
            bytes = more;
            count += 1;
        }
        let first = self.taken;
        self.taken += count;
        HandedOut {
            events: self.events.range(first..self.taken),
            bytes,
        }
    }

    /// An event is handed out alone: there is nothing more until it is committed or rolled back.
    pub(crate) fn is_holding_back(&self) -> bool {
        self.suspects > 0 && self.taken > 0
    }

    /// What was handed out is delivered.
    pub(crate) fn commit(&mut self) {
        if self.taken == 0 {
            return;
        }
        for (_, bytes) in self.events.drain(..self.taken) {
            self.bytes -= bytes;
        }
        self.suspects = self.suspects.saturating_sub(self.taken);
        self.taken = 0;
        self.faults = 0;
    }

    /// What was handed out was not delivered, and is handed out again. An event that is skipped
    /// is replaced by [`Lagged::lagged`] and returned.
    pub(crate) fn rollback(&mut self, reason: Rollback) -> Option<T> {
        let taken = std::mem::take(&mut self.taken);
        if taken == 0 || reason == Rollback::Harmless {
            return None;
        }
        self.faults += 1;
        if self.suspects == 0 {
            if self.faults >= FAULTS_BEFORE_ALONE {
                // Not only the front one: any of those handed out may be the cause, and each
                // search from the beginning would cost the plugin its life twice.
                self.suspects = taken;
                self.faults = 0;
            }
            return None;
        }
        if self.faults < FAULTS_BEFORE_SKIP {
            return None;
        }
        self.faults = 0;
        let (event, bytes) = self.events.front_mut()?;
        self.bytes -= std::mem::take(bytes);
        Some(std::mem::replace(event, T::lagged(1)))
    }
}

/// Events that are handed out, in their order.
#[derive(Debug)]
pub(crate) struct HandedOut<'a, T> {
    events: vec_deque::Iter<'a, (T, usize)>,
    bytes: usize,
}

impl<T> HandedOut<'_, T> {
    /// How many bytes they have together.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl<'a, T> Iterator for HandedOut<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<&'a T> {
        self.events.next().map(|(event, _)| event)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.events.size_hint()
    }
}

impl<T> ExactSizeIterator for HandedOut<'_, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    enum Item {
        Number(u32),
        Missed(u32),
    }

    impl Lagged for Item {
        fn lagged(missed: u32) -> Self {
            Self::Missed(missed)
        }
    }

    fn filled(count: u32) -> HandOut<Item> {
        let mut queue = HandOut::new(100, 1000);
        for number in 0..count {
            queue.push(Item::Number(number), 10);
        }
        queue
    }

    fn numbers(range: std::ops::Range<u32>) -> Vec<Item> {
        range.map(Item::Number).collect()
    }

    #[test]
    fn events_are_dropped_on_commit_only() {
        let mut queue = filled(5);
        assert_eq!(queue.take(2, 1000), numbers(0..2));
        assert_eq!(queue.take(2, 1000), numbers(2..4), "the next take goes on");
        assert_eq!((queue.len(), queue.bytes()), (5, 50));
        queue.commit();
        assert_eq!((queue.len(), queue.bytes()), (1, 10));
        assert_eq!(queue.take(9, 1000), numbers(4..5));
    }

    #[test]
    fn a_harmless_rollback_hands_out_the_same_events_for_ever() {
        let mut queue = filled(3);
        for _ in 0..20 {
            assert_eq!(queue.take(9, 1000), numbers(0..3));
            assert_eq!(queue.rollback(Rollback::Harmless), None);
        }
    }

    #[test]
    fn limits_of_a_take_hold_but_one_event_always_fits() {
        let mut queue = filled(5);
        assert_eq!(queue.take(9, 25), numbers(0..2));
        assert_eq!(queue.take(9, 0), numbers(2..3));
        assert_eq!(queue.take(0, 1000), numbers(3..4));
    }

    #[test]
    fn a_full_queue_says_so_by_count_and_by_bytes() {
        let mut queue = HandOut::new(2, 100);
        assert!(!queue.push(Item::Number(0), 1));
        assert!(queue.push(Item::Number(1), 1));
        queue.take(1, 1);
        assert!(queue.is_full(), "handed out is not gone");
        queue.commit();
        assert!(!queue.is_full());
        assert!(queue.push(Item::Number(2), 99));
    }

    /// Runs a plugin that dies over the given numbers until the queue is empty: what was
    /// delivered, and how often it died.
    fn run(mut queue: HandOut<Item>, deadly: &[u32]) -> (Vec<Item>, u32) {
        let mut delivered = Vec::new();
        let mut deaths = 0;
        while queue.len() > 0 {
            let events = queue.take(100, 1000);
            let dies = |event: &Item| matches!(event, Item::Number(n) if deadly.contains(n));
            if events.iter().any(dies) {
                deaths += 1;
                queue.rollback(Rollback::Fault);
            } else {
                delivered.extend(events);
                queue.commit();
            }
        }
        (delivered, deaths)
    }

    #[test]
    fn a_deadly_event_is_skipped_and_reported_in_its_place() {
        let (delivered, deaths) = run(filled(50), &[30]);
        let mut expected = numbers(0..50);
        expected[30] = Item::Missed(1);
        assert_eq!(delivered, expected);
        assert_eq!(deaths, FAULTS_BEFORE_ALONE + FAULTS_BEFORE_SKIP);
    }

    #[test]
    fn several_deadly_events_cost_little_more_than_one() {
        let (delivered, deaths) = run(filled(50), &[0, 30, 49]);
        let missed = delivered.iter().filter(|event| **event == Item::Missed(1));
        assert_eq!((delivered.len(), missed.count()), (50, 3));
        assert_eq!(deaths, FAULTS_BEFORE_ALONE + 3 * FAULTS_BEFORE_SKIP);
    }

    #[test]
    fn an_event_that_is_suspected_comes_alone_until_it_is_settled() {
        let mut queue = filled(3);
        for _ in 0..FAULTS_BEFORE_ALONE {
            queue.take(9, 1000);
            queue.rollback(Rollback::Fault);
        }
        assert_eq!(queue.take(9, 1000), numbers(0..1));
        assert!(queue.is_holding_back());
        assert_eq!(queue.take(9, 1000), []);
        queue.commit();
        assert_eq!(queue.take(9, 1000), numbers(1..2));
    }

    #[test]
    fn a_success_forgets_earlier_faults() {
        let mut queue = filled(4);
        for _ in 0..4 {
            queue.take(1, 1000);
            queue.rollback(Rollback::Fault);
            assert_eq!(queue.take(1, 1000).len(), 1);
            queue.commit();
        }
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn faults_without_anything_handed_out_blame_no_event() {
        let mut queue = filled(2);
        for _ in 0..10 {
            assert_eq!(queue.rollback(Rollback::Fault), None);
        }
        assert_eq!(queue.take(9, 1000), numbers(0..2));
    }
}
