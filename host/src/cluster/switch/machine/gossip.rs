//! When a node tells its State.

use std::time::{Duration, Instant};

use super::super::message::Aborted;

#[derive(Debug)]
pub(super) struct Gossip {
    pub(super) seq: u32,
    /// When all of it was told last.
    told_at: Instant,
    /// Something has changed that others should know now.
    pub(super) is_due: bool,
    /// Somebody needs an answer, at this time.
    answer_at: Option<Instant>,
    answered_at: Option<Instant>,
    /// A plan that came to nothing, and until when to say so.
    pub(super) aborted: Option<(Aborted, Instant)>,
}

impl Gossip {
    /// A node tells its State when it starts.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            seq: 0,
            told_at: now,
            is_due: true,
            answer_at: None,
            answered_at: None,
            aborted: None,
        }
    }

    /// Somebody should hear what this node says. Not more often than once in `pause`.
    pub(super) fn answer(&mut self, pause: Duration, now: Instant) {
        let at = self.answered_at.map_or(now, |last| now.max(last + pause));
        self.answer_at.get_or_insert(at);
    }

    /// When to tell it, if it is told every `pace` anyway.
    pub(super) fn due_at(&self, pace: Option<Duration>) -> Option<Instant> {
        let regular = pace.map(|pace| self.told_at + pace);
        [regular, self.answer_at].into_iter().flatten().min()
    }

    /// It is being told; gives its number.
    pub(super) fn told(&mut self, now: Instant) -> u32 {
        self.told_at = now;
        self.is_due = false;
        if self.answer_at.take().is_some() {
            self.answered_at = Some(now);
        }
        self.seq = self.seq.saturating_add(1);
        self.seq
    }
}
