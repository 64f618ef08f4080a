//! One node: its machine, and models of what is around it (outbox and publisher, subscriber,
//! driver), which do what the real ones do in the order they do it.

use std::collections::VecDeque;

use super::{
    super::{
        machine::{Input, LineId, Machine},
        merge::Merge,
    },
    net::{Data, MAX_NODES, Packet},
};
use crate::cluster::NodeId;

#[derive(Clone, Copy, Debug)]
pub(super) struct OpenLine {
    pub(super) id: LineId,
    pub(super) transport: usize,
    pub(super) is_open: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Leave {
    pub(super) to: LineId,
    pub(super) now: bool,
}

pub(super) struct Merging {
    pub(super) old: LineId,
    pub(super) new: LineId,
    pub(super) merge: Merge<Data>,
}

/// What a node got from one sender.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Got {
    pub(super) last: u32,
    /// What was sent before it came.
    pub(super) before: u32,
    /// Numbers that were passed over.
    pub(super) missed: u32,
    pub(super) last_anonymous: u32,
    /// A bit for each anonymous message.
    pub(super) anonymous: u64,
}

pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) machine: Machine,
    pub(super) is_alive: bool,
    /// Here from the beginning.
    pub(super) is_founder: bool,
    /// What it lacks from then on, it lacks.
    pub(super) counts_from: u64,
    pub(super) lines: Vec<OpenLine>,
    /// The line that the publisher publishes on.
    pub(super) publishes_on: LineId,
    /// The line whose control messages go through the outbox: the driver's view of the same.
    pub(super) speaks_on: LineId,
    pub(super) leave: Option<Leave>,
    pub(super) outbox: VecDeque<Packet>,
    pub(super) is_publishing: bool,
    pub(super) merging: Option<Merging>,
    /// What waits on the new line while the merge is full.
    pub(super) blocked: VecDeque<(LineId, usize, Packet)>,
    pub(super) inputs: VecDeque<Input>,
    pub(super) is_driven: bool,
    pub(super) wakes_at: Option<u64>,
    pub(super) sent: u32,
    pub(super) sent_anonymous: u32,
    pub(super) got: [Got; MAX_NODES],
    /// Gaps reported.
    pub(super) gaps: u32,
    /// Messages that merges dropped, and counted.
    pub(super) dropped: u64,
    pub(super) was_forced: bool,
}

impl Node {
    pub(super) fn transport_of(&self, line: LineId) -> Option<usize> {
        let mut lines = self.lines.iter();
        lines
            .find(|open| open.id == line && open.is_open)
            .map(|open| open.transport)
    }

    pub(super) fn listens_on(&self, transport: usize) -> bool {
        let mut lines = self.lines.iter();
        lines.any(|open| open.is_open && open.transport == transport)
    }

    pub(super) fn close_merge(&mut self, out: &mut Vec<Data>) {
        if let Some(mut merging) = self.merging.take() {
            merging.merge.finish(&mut |data| out.push(data));
            self.dropped += merging.merge.dropped();
        }
    }
}
