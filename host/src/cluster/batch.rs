//! Messages that were taken out of the outbox, until the backend has accepted them.

use std::{collections::VecDeque, sync::Arc};

use super::{local::Local, message::Message};

/// Which room a message takes up in the outbox, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) kind: Kind,
    /// Its share of the limit in bytes; may be less than `size`.
    pub(super) room: usize,
    pub(super) size: usize,
    /// Sockets of this server wait for its fate.
    pub(super) waits_here: bool,
}

/// Whose room it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sent,
    Answer,
    Control,
}

/// Messages, oldest first.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) messages: Vec<Message>,
    pub(super) shares: Vec<Share>,
    pub(super) bytes: usize,
    /// Whose sockets wait: one for each message that is waited for and has not yet acted here.
    pub(super) waiting_here: VecDeque<Arc<dyn Local>>,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The message at this place and whose sockets wait for it, once; none if none do. To be
    /// asked for place after place.
    pub(super) fn take_waiting(&mut self, at: usize) -> Option<(&mut Message, Arc<dyn Local>)> {
        let share = self.shares.get_mut(at)?;
        if !std::mem::take(&mut share.waits_here) {
            return None;
        }
        Some((self.messages.get_mut(at)?, self.waiting_here.pop_front()?))
    }
}
