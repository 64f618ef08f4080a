//! Two lines made one again: the receiving side of a switch, between the subscribers of the old and
//! the new line and everything else.
//!
//! The rules, for messages of one sender:
//!
//! 1. What comes on the new line is **held** as long as the sender's mark on the old line is
//!    awaited. The mark is the last that the sender sends there, so then all before it was
//!    delivered; the held ones follow in their order, and later ones pass.
//! 2. Who dies, or is waited for too long, is **ended**: its held messages follow, as if its mark
//!    had come. When something of the new line was delivered, what still comes on the old line
//!    would be out of order: it is dropped and counted. Rather a gap that is known than a
//!    repetition or a wrong order.
//! 3. A message that does not say who sent it (an empty sender, or that of emitters) waits on the
//!    new line until nobody's mark is awaited: it may be of anybody.
//! 4. Senders whose mark is not awaited pass on both lines: other programs, and servers that moved
//!    long ago. One that comes late says on the new line that it is about to leave; from then on its
//!    mark is awaited as well.
//! 5. A server that came late to where the others had been, and are going again, has sent there
//!    **earlier** than on the old line. Such messages are delivered as long as nothing of the old
//!    line was; then they are dropped and counted. They end with the first word of that server, on
//!    the new line, that it follows the switch.
//!
//! There is one merge for each pair of lines, from when the new line opens until one of them is
//! closed. The messages held are limited: a full merge wants the new line not to be polled any
//! more, and the old line always is, so the marks that make room arrive.

use std::collections::{HashMap, VecDeque};

use super::message::{ControlMessage, Phase, Version};
use crate::cluster::{EMITTER, NodeId};

/// Senders that a merge can tell apart. Those beyond are not held and not put in order; no cluster
/// has as many nodes.
const MAX_SENDERS: usize = 100_000;

/// What a merge may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MergeLimits {
    /// Messages of the new line. It is full with as many.
    pub(crate) messages: usize,
    /// Their bytes; the last one may exceed it.
    pub(crate) bytes: usize,
}

impl Default for MergeLimits {
    fn default() -> Self {
        Self {
            messages: 65_536,
            bytes: 64 * 1024 * 1024,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Merge<E> {
    limits: MergeLimits,
    /// Marks of this version or a lower one were sent before the old line became ours.
    after: Version,
    senders: HashMap<NodeId, Sender<E>>,
    /// How many senders' marks are awaited.
    awaited: usize,
    anonymous: VecDeque<(E, usize)>,
    held: usize,
    held_bytes: usize,
    dropped: u64,
}

#[derive(Debug)]
struct Sender<E> {
    is_awaited: bool,
    /// Its mark was seen, or nobody waits for it any more.
    has_ended: bool,
    held: VecDeque<(E, usize)>,
    /// Something of the old line was delivered.
    was_on_old: bool,
    /// What it sends on the new line is later than what it sends on the old one, and some of it was
    /// delivered.
    has_crossed: bool,
    /// What it sends on the new line may be earlier.
    is_early: bool,
    /// It has said on the new line that it follows the switch.
    follows: bool,
    /// It has said there that it has left the old line.
    has_left: bool,
    /// Something of the old line was delivered after that: on its way for long, or of a later stay.
    is_ambiguous: bool,
    /// Number of the newest State that it told there.
    seq: u32,
    /// It left without a mark: nothing of the old line counts any more.
    is_refused: bool,
    /// The highest mark that was seen.
    mark: Option<Version>,
}

impl<E> Sender<E> {
    fn new(is_early: bool) -> Self {
        Self {
            is_awaited: false,
            has_ended: false,
            held: VecDeque::new(),
            was_on_old: false,
            has_crossed: false,
            is_early,
            follows: false,
            has_left: false,
            is_ambiguous: false,
            seq: 0,
            is_refused: false,
            mark: None,
        }
    }
}

fn is_anonymous(sender: &NodeId) -> bool {
    matches!(sender.as_str(), "" | EMITTER)
}

impl<E> Merge<E> {
    /// Awaits the marks of these senders, of a version above `after`.
    pub(crate) fn new(
        after: Version,
        awaited: impl IntoIterator<Item = NodeId>,
        limits: MergeLimits,
    ) -> Self {
        let mut merge = Self {
            limits,
            after,
            senders: HashMap::new(),
            awaited: 0,
            anonymous: VecDeque::new(),
            held: 0,
            held_bytes: 0,
            dropped: 0,
        };
        for sender in awaited {
            if let Some(known) = merge.record(&sender) {
                known.is_early = false;
            }
            merge.start_waiting(sender);
        }
        merge
    }

    /// A message of the old line: delivered, or dropped because newer ones of its sender were, or
    /// because it comes after its sender's mark.
    pub(crate) fn on_old(&mut self, sender: &NodeId, event: E) -> Option<E> {
        let Some(known) = self.record(sender) else {
            return Some(event);
        };
        // After its mark there is nothing, except of a later stay.
        if known.has_crossed || known.is_refused || known.mark.is_some() {
            self.dropped += 1;
            return None;
        }
        known.was_on_old = true;
        known.is_ambiguous |= known.has_left;
        Some(event)
    }

    /// A message of the new line: delivered, held, or dropped because it is from before what was
    /// delivered of the old line. `bytes` is what it costs to hold it.
    pub(crate) fn on_new(&mut self, sender: &NodeId, event: E, bytes: usize) -> Option<E> {
        let awaited = self.awaited;
        let held = if is_anonymous(sender) {
            if awaited == 0 {
                return Some(event);
            }
            &mut self.anonymous
        } else {
            let Some(known) = self.record(sender) else {
                return Some(event);
            };
            if known.is_early && (known.was_on_old || known.has_ended) {
                self.dropped += 1;
                return None;
            }
            if known.is_early || !known.is_awaited {
                known.has_crossed = true;
                return Some(event);
            }
            &mut known.held
        };
        held.push_back((event, bytes));
        self.held += 1;
        self.held_bytes = self.held_bytes.saturating_add(bytes);
        None
    }

    /// A sender says something about switching on the old line. Call it where that stands among the
    /// messages of that line. True if the sender has ended there: this is its mark, or what it said
    /// after it had left; also if that was known before.
    pub(crate) fn heard_on_old(
        &mut self,
        sender: &NodeId,
        said: &ControlMessage,
        out: &mut impl FnMut(E),
    ) -> bool {
        let version = match said {
            ControlMessage::Mark { version } => version,
            // It will leave, and its mark is to come.
            ControlMessage::State(state) if state.phase.is_to_leave() => return false,
            ControlMessage::State(state) => &state.version,
        };
        self.mark(sender, version, out)
    }

    /// The sender's mark was seen on the old line; false if it is of an earlier switch.
    pub(crate) fn mark(
        &mut self,
        sender: &NodeId,
        version: &Version,
        out: &mut impl FnMut(E),
    ) -> bool {
        if *version <= self.after {
            return false;
        }
        if let Some(known) = self.record(sender)
            && known.mark.as_ref() < Some(version)
        {
            known.mark = Some(version.clone());
        }
        self.end(sender, out);
        true
    }

    /// A sender says something about switching on the new line. Call it where that stands among the
    /// messages of that line: it tells those that are earlier than the old line's from those that
    /// are later.
    pub(crate) fn heard_on_new(&mut self, sender: &NodeId, said: &ControlMessage) {
        let (version, is_early, is_leaving) = match said {
            ControlMessage::State(state) => {
                let is_leaving = state.phase == Phase::Leaving;
                // Who takes part in a plan publishes on the old line already.
                (&state.version, state.part.is_none(), is_leaving)
            }
            ControlMessage::Mark { version } => (version, false, false),
        };
        let follows = *version > self.after;
        let Some(known) = self.record(sender) else {
            return;
        };
        if let ControlMessage::State(state) = said {
            if state.seq < known.seq {
                // It waited on the old line, which was left without it.
                return;
            }
            known.seq = state.seq;
            known.has_left |= follows && !state.phase.is_to_leave();
        }
        known.is_early = is_early && !follows;
        known.follows = follows;
        if follows {
            if let ControlMessage::Mark { version } = said {
                // It has left this line, too; what comes on the old one is of a later stay there.
                known.mark = known.mark.take().max(Some(version.clone()));
            }
            if is_leaving && known.was_on_old && !known.has_ended {
                self.wait_for(sender.clone(), version);
            }
            return;
        }
        // All that it sent here so far was early.
        known.has_crossed = false;
        let early = std::mem::take(&mut known.held);
        self.drop_held(early);
    }

    /// The sender says, on either line, that it is about to leave the old one with a mark of this
    /// version. Too late, and without effect, when its mark or something of the new line was seen.
    pub(crate) fn wait_for(&mut self, sender: NodeId, version: &Version) {
        match self.senders.get(&sender) {
            Some(known)
                if known.has_crossed
                    || known.is_refused
                    || known.mark.as_ref() >= Some(version) => {}
            _ => self.start_waiting(sender),
        }
    }

    /// The sender's mark is not awaited any more. `forced`: it left without one, and what still
    /// comes of it on the old line is dropped even if nothing of the new line came before it.
    pub(crate) fn ended(&mut self, sender: &NodeId, forced: bool, out: &mut impl FnMut(E)) {
        let mut early = VecDeque::new();
        if let Some(known) = self.record(sender) {
            known.is_refused |= forced;
            let is_unsure = known.was_on_old && !known.follows || known.is_ambiguous;
            if is_unsure && known.mark.is_none() {
                // It has not said that it has come, or may have gone back: this may be earlier than
                // what was delivered. Only the mark would tell.
                known.is_early = true;
                early = std::mem::take(&mut known.held);
            }
        }
        self.drop_held(early);
        self.end(sender, out);
    }

    /// No mark is awaited.
    #[cfg(test)]
    pub(crate) fn is_drained(&self) -> bool {
        self.awaited == 0
    }

    /// So much is held that the new line must not be polled now.
    pub(crate) fn is_full(&self) -> bool {
        self.held >= self.limits.messages || self.held_bytes >= self.limits.bytes
    }

    /// Messages that are held.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Messages dropped so far, because they came too late on the old line.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// One of the lines is about to be closed, for good or because the switch came to nothing.
    /// Delivers what may be of anybody. What is held of a sender whose mark is still awaited would
    /// be out of order: it is dropped, and added to [`Merge::dropped`].
    pub(crate) fn finish(&mut self, out: &mut impl FnMut(E)) {
        for known in self.senders.values_mut() {
            known.is_awaited = false;
            self.dropped += known.held.len() as u64;
            known.held.clear();
        }
        self.awaited = 0;
        for (event, _) in self.anonymous.drain(..) {
            out(event);
        }
        self.held = 0;
        self.held_bytes = 0;
    }

    fn record(&mut self, sender: &NodeId) -> Option<&mut Sender<E>> {
        if !self.senders.contains_key(sender) {
            if self.senders.len() >= MAX_SENDERS || is_anonymous(sender) {
                return None;
            }
            self.senders.insert(sender.clone(), Sender::new(true));
        }
        self.senders.get_mut(sender)
    }

    fn start_waiting(&mut self, sender: NodeId) {
        let Some(known) = self.record(&sender) else {
            return;
        };
        known.has_ended = false;
        if !known.is_awaited {
            known.is_awaited = true;
            self.awaited += 1;
        }
    }

    fn end(&mut self, sender: &NodeId, out: &mut impl FnMut(E)) {
        let Some(known) = self.senders.get_mut(sender) else {
            return;
        };
        known.has_ended = true;
        if !known.is_awaited {
            return;
        }
        known.is_awaited = false;
        self.awaited -= 1;
        known.has_crossed |= !known.held.is_empty();
        let held = std::mem::take(&mut known.held);
        self.release(held, out);
        if self.awaited == 0 {
            let anonymous = std::mem::take(&mut self.anonymous);
            self.release(anonymous, out);
        }
    }

    fn drop_held(&mut self, held: VecDeque<(E, usize)>) {
        self.dropped += held.len() as u64;
        self.release(held, &mut |_| ());
    }

    fn release(&mut self, held: VecDeque<(E, usize)>, out: &mut impl FnMut(E)) {
        self.held -= held.len();
        for (event, bytes) in held {
            self.held_bytes = self.held_bytes.saturating_sub(bytes);
            out(event);
        }
    }
}

#[cfg(test)]
mod tests;
