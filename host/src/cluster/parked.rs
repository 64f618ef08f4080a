//! Senders that wait for room in the outbox, first come, first served.
//!
//! What a sender wants to put in waits here with it, and is put in by whoever makes room: so the
//! order is that of arrival, however late the senders themselves run again, and room that appears
//! is filled in one go.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use super::{error::SendError, local::Local, message::Message, outbox::Outbox};

/// What a sender wants to put in.
pub(super) struct Letter {
    pub(super) message: Message,
    pub(super) size: usize,
    /// Whose sockets it is for as well, when its fate is known.
    pub(super) here: Option<Arc<dyn Local>>,
}

/// One sender.
pub(super) struct Parked(Mutex<Stand>);

#[expect(
    clippy::large_enum_variant,
    reason = "all of them wait at first, and each is gone soon after"
)]
enum Stand {
    Waiting(Letter, Option<Waker>),
    /// In, or refused: for the sender to take.
    Done(Result<bool, SendError>),
    /// The sender has its answer, or has gone.
    Over,
}

impl Parked {
    fn lock(&self) -> MutexGuard<'_, Stand> {
        // Nothing in here panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_gone(&self) -> bool {
        matches!(*self.lock(), Stand::Over)
    }

    /// Lets what waits be put in. None: the sender has gone.
    fn settle(&self, put: impl FnOnce(Letter) -> Result<bool, SendError>) -> Option<Waker> {
        let mut stand = self.lock();
        match std::mem::replace(&mut *stand, Stand::Over) {
            Stand::Waiting(letter, waker) => {
                *stand = Stand::Done(put(letter));
                waker
            }
            _ => None,
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Result<bool, SendError>> {
        let new = cx.waker().clone();
        let mut stand = self.lock();
        let old = match &mut *stand {
            Stand::Waiting(_, waker) => waker.replace(new),
            done => {
                let result = match std::mem::replace(done, Stand::Over) {
                    Stand::Done(result) => result,
                    // Polled again after it was ready.
                    _ => Err(SendError::Closed),
                };
                return Poll::Ready(result);
            }
        };
        drop(stand);
        // Outside the lock: with the last waker a whole task may go, and this sender with it.
        drop(old);
        Poll::Pending
    }

    /// The sender goes. What it had not put in yet, and its waker, to be dropped outside of all locks.
    pub(super) fn leave(&self) -> Option<(Letter, Option<Waker>)> {
        match std::mem::replace(&mut *self.lock(), Stand::Over) {
            Stand::Waiting(letter, waker) => Some((letter, waker)),
            _ => None,
        }
    }
}

/// All of them, oldest first.
#[derive(Default)]
pub(super) struct Line {
    /// With the room that each needs.
    waiting: VecDeque<(Arc<Parked>, usize)>,
    /// Those among them who have gone: never more than half.
    gone: usize,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn join(&mut self, letter: Letter, room: usize) -> Arc<Parked> {
        let parked = Arc::new(Parked(Mutex::new(Stand::Waiting(letter, None))));
        self.waiting.push_back((Arc::clone(&parked), room));
        parked
    }

    /// The room that the next one needs.
    pub(super) fn next(&mut self) -> Option<usize> {
        while let Some((first, room)) = self.waiting.front() {
            if !first.is_gone() {
                return Some(*room);
            }
            self.waiting.pop_front();
            self.gone -= 1;
        }
        None
    }

    /// What the next one waits with is put in. Returns whom to wake.
    pub(super) fn settle_next(
        &mut self,
        put: impl FnOnce(Letter) -> Result<bool, SendError>,
    ) -> Option<Waker> {
        let (first, _) = self.waiting.pop_front()?;
        first.settle(put)
    }

    /// One of them has gone.
    pub(super) fn note_gone(&mut self) {
        self.gone += 1;
        if self.gone * 2 > self.waiting.len() {
            self.waiting.retain(|(parked, _)| !parked.is_gone());
            self.gone = 0;
        }
    }
}

/// Waits until a message is in. True: it acts on this server when its fate is known.
///
/// Dropped before it is ready, it takes its message back if that is not in yet.
pub(crate) struct Admission<'a> {
    outbox: &'a Outbox,
    parked: Arc<Parked>,
    is_over: bool,
}

impl<'a> Admission<'a> {
    pub(super) fn new(outbox: &'a Outbox, parked: Arc<Parked>) -> Self {
        Self {
            outbox,
            parked,
            is_over: false,
        }
    }
}

impl Future for Admission<'_> {
    type Output = Result<bool, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.parked.poll(cx);
        self.is_over = polled.is_ready();
        polled
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.outbox.give_up(&self.parked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::message::{Body, Namespace, NodeId};

    fn letter(size: usize) -> Letter {
        let message = Message {
            namespace: Namespace::from("/"),
            sender: NodeId::from("a"),
            recipient: None,
            body: Body::Heartbeat,
        };
        Letter {
            message,
            size,
            here: None,
        }
    }

    #[test]
    fn those_who_have_gone_are_forgotten_before_their_turn() {
        let mut line = Line::default();
        line.join(letter(0), 0);
        for room in 1..=1000 {
            let parked = line.join(letter(room), room);
            assert!(parked.leave().is_some());
            line.note_gone();
            assert!(line.waiting.len() <= 3, "{}", line.waiting.len());
        }
        line.join(letter(7), 7);
        assert_eq!(line.next(), Some(0));
        line.settle_next(|_| Ok(false));
        assert_eq!(line.next(), Some(7), "whoever has gone is passed over");
        line.settle_next(|_| Ok(false));
        assert!(line.next().is_none() && line.is_empty());
    }

    #[test]
    fn what_was_put_in_is_not_taken_back() {
        let mut line = Line::default();
        let parked = line.join(letter(1), 1);
        line.settle_next(|letter| Ok(letter.size == 1));
        assert!(parked.leave().is_none());
    }
}
