//! The backends and the network, and the queue of what happens next.

use std::{cmp::Ordering, collections::BinaryHeap, sync::Arc};

use super::{
    super::machine::LineId, super::message::ControlMessage, random::Random, script::Fault,
};

/// Nodes that a run can have, newcomers included.
pub(super) const MAX_NODES: usize = 8;
/// Backends.
pub(super) const TRANSPORTS: usize = 3;

/// A message of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Data {
    pub(super) sender: usize,
    /// It does not say who sent it.
    pub(super) is_anonymous: bool,
    /// Counts from 1, for each sender, apart for anonymous ones.
    pub(super) number: u32,
}

#[derive(Clone, Debug)]
pub(super) enum Packet {
    Data(Data),
    Control(Arc<ControlMessage>),
}

#[derive(Debug)]
pub(super) enum Event {
    Deliver {
        to: usize,
        line: LineId,
        from: usize,
        packet: Packet,
    },
    /// The publish call of the node's outbox returns.
    Published(usize),
    /// The node's driver takes its inputs.
    Drive(usize),
    Wake(usize),
    Opened {
        node: usize,
        line: LineId,
        is_open: bool,
    },
    /// The application on this node sends something.
    Emit(usize),
    Fault(Fault),
    /// Is everybody at rest?
    Look,
}

struct Entry {
    at: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

pub(super) struct Net {
    pub(super) now: u64,
    queue: BinaryHeap<Entry>,
    order: u64,
    /// The latest arrival on a way, which no later message may precede.
    arrival: [[[u64; MAX_NODES]; MAX_NODES]; TRANSPORTS],
    /// Nothing goes from one node to another on this backend.
    pub(super) cut: [[[bool; MAX_NODES]; MAX_NODES]; TRANSPORTS],
    /// The backend takes nothing.
    pub(super) is_down: [bool; TRANSPORTS],
    /// It loses one of so many messages; 0: none.
    pub(super) loses: [u64; TRANSPORTS],
    /// Messages of the application that are on their way.
    pub(super) in_flight: usize,
    delay: u64,
    pub(super) slow: u64,
}

impl Net {
    pub(super) fn new(random: &mut Random) -> Self {
        Self {
            now: 0,
            queue: BinaryHeap::with_capacity(256),
            order: 0,
            arrival: Default::default(),
            cut: Default::default(),
            is_down: Default::default(),
            loses: Default::default(),
            in_flight: 0,
            delay: [2, 8, 20][random.index(3)],
            slow: [0, 0, 60, 120][random.index(4)],
        }
    }

    pub(super) fn schedule(&mut self, after: u64, event: Event) {
        self.schedule_at(self.now + after, event);
    }

    pub(super) fn schedule_at(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.queue.push(Entry {
            at,
            order: self.order,
            event,
        });
    }

    /// What happens next, and the time moves on to it.
    pub(super) fn next(&mut self) -> Option<Event> {
        let entry = self.queue.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }

    /// Sends a packet to one listener.
    pub(super) fn send(
        &mut self,
        transport: usize,
        from: usize,
        (to, line): (usize, LineId),
        packet: Packet,
        random: &mut Random,
    ) {
        let loses = self.loses[transport];
        if self.cut[transport][from][to] || loses > 0 && random.one_in(loses) {
            return;
        }
        let mut delay = random.below(self.delay + 1);
        if self.slow > 0 && random.one_in(16) {
            delay += random.below(self.slow);
        }
        let arrival = &mut self.arrival[transport][from][to];
        *arrival = (*arrival).max(self.now + delay);
        let at = *arrival;
        self.in_flight += usize::from(matches!(packet, Packet::Data(_)));
        self.schedule_at(
            at,
            Event::Deliver {
                to,
                line,
                from,
                packet,
            },
        );
    }
}
