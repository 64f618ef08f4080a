//! What the other nodes said last.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::super::message::{ControlMessage, MAX_MEMBERS, State, Version};
use super::api::PeerReport;
use crate::cluster::NodeId;

/// The other nodes that were heard.
#[derive(Debug)]
pub(super) struct Peers {
    /// Who was reported gone is not heard for so long. Else the last words of the dead, late on
    /// their way, would be followed by those who have just agreed that nothing was decided.
    doubt: Duration,
    table: HashMap<NodeId, Peer>,
}

#[derive(Debug)]
pub(super) struct Peer {
    /// Its newest State; none if only a mark was heard.
    said: Option<Arc<ControlMessage>>,
    /// Since when it is in its phase, as far as was heard.
    since: Instant,
    /// The highest mark of it that was seen, on whatever line.
    pub(super) mark: Option<Version>,
    /// It was heard on the line that this node publishes on, and has not left it.
    is_here: bool,
    /// It publishes where this node does not listen.
    is_far: bool,
    /// When the registry reported it gone, if it was not heard since.
    gone_at: Option<Instant>,
}

/// What a State is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The first of a node that was unknown or gone.
    First,
    /// Newer than what was heard before.
    Newer,
    /// The newest was heard before, on another line.
    Known,
    /// A newer one was heard, or there is no room for another node.
    Stale,
}

impl Peer {
    pub(super) fn state(&self) -> Option<&State> {
        match self.said.as_deref() {
            Some(ControlMessage::State(state)) => Some(state),
            _ => None,
        }
    }
}

impl Peers {
    pub(super) fn new(doubt: Duration) -> Self {
        Self {
            doubt,
            table: HashMap::new(),
        }
    }

    /// Takes a State.
    pub(super) fn said(&mut self, node: &NodeId, said: &Arc<ControlMessage>, now: Instant) -> News {
        let ControlMessage::State(new) = &**said else {
            return News::Stale;
        };
        let doubt = self.doubt;
        let Some(peer) = self.record(node, now) else {
            return News::Stale;
        };
        if peer.gone_at.is_some_and(|at| now < at + doubt) {
            return News::Stale;
        }
        let news = match peer.state() {
            Some(last) if new.seq < last.seq => return News::Stale,
            Some(last) if new.seq == last.seq => return News::Known,
            Some(last) => {
                if last.phase != new.phase {
                    peer.since = now;
                }
                match peer.gone_at.is_some() {
                    true => News::First,
                    false => News::Newer,
                }
            }
            None => News::First,
        };
        peer.gone_at = None;
        peer.said = Some(said.clone());
        news
    }

    /// Takes a mark.
    pub(super) fn marked(&mut self, node: &NodeId, version: &Version, now: Instant) {
        if let Some(peer) = self.record(node, now)
            && peer.mark.as_ref() < Some(version)
        {
            peer.mark = Some(version.clone());
        }
    }

    /// Whether this node listens to it on the line that it publishes on itself.
    pub(super) fn set_here(&mut self, node: &NodeId, is_here: bool) {
        if let Some(peer) = self.table.get_mut(node) {
            peer.is_here = is_here;
        }
    }

    /// Whether it publishes where this node does not listen. True if that is new. Who was seen to
    /// leave is on its way here.
    pub(super) fn set_far(&mut self, node: &NodeId, is_far: bool) -> bool {
        let Some(peer) = self.table.get_mut(node) else {
            return false;
        };
        let has_left = peer.mark.as_ref() >= peer.state().map(|state| &state.version);
        let is_far = is_far && !has_left;
        let was_far = std::mem::replace(&mut peer.is_far, is_far);
        is_far && !was_far
    }

    /// This node publishes on another transport now.
    pub(super) fn moved(&mut self, transport: &str) {
        for peer in self.table.values_mut() {
            peer.is_here = peer.state().is_some_and(|state| &*state.on == transport);
        }
    }

    pub(super) fn gone(&mut self, node: &NodeId, now: Instant) {
        if let Some(peer) = self.record(node, now) {
            peer.gone_at = Some(now);
            peer.is_here = false;
        }
    }

    pub(super) fn get(&self, node: &NodeId) -> Option<&Peer> {
        self.table.get(node)
    }

    /// Its newest State.
    pub(super) fn state(&self, node: &NodeId) -> Option<&State> {
        self.table.get(node)?.state()
    }

    /// Those that were heard and are not gone.
    pub(super) fn living(&self) -> impl Iterator<Item = &NodeId> {
        let living = |peer: &Peer| peer.gone_at.is_none() && peer.said.is_some();
        self.table
            .iter()
            .filter(move |(_, peer)| living(peer))
            .map(|(node, _)| node)
    }

    /// Those that publish, as far as is known, on this node's line.
    pub(super) fn here(&self) -> impl Iterator<Item = &NodeId> {
        let here = self.table.iter().filter(|(_, peer)| peer.is_here);
        here.map(|(node, _)| node)
    }

    /// Did a node leave, following a decision above this one?
    pub(super) fn left_after(&self, version: &Version) -> bool {
        let mut marks = self.table.values().map(|peer| peer.mark.as_ref());
        marks.any(|mark| mark > Some(version))
    }

    pub(super) fn report(&self) -> Vec<PeerReport> {
        let mut peers: Vec<_> = self
            .table
            .iter()
            .filter(|(_, peer)| peer.gone_at.is_none())
            .filter_map(|(node, peer)| {
                let state = peer.state()?;
                Some(PeerReport {
                    node: node.clone(),
                    version: state.version.clone(),
                    on: state.on.clone(),
                    phase: state.phase,
                    since: peer.since,
                    failed: state.part.as_ref().and_then(|part| part.failed.clone()),
                })
            })
            .collect();
        peers.sort_by(|a, b| a.node.cmp(&b.node));
        peers
    }

    fn record(&mut self, node: &NodeId, now: Instant) -> Option<&mut Peer> {
        if !self.table.contains_key(node) {
            if self.table.len() >= MAX_MEMBERS {
                self.table.retain(|_, peer| peer.gone_at.is_none());
            }
            if self.table.len() >= MAX_MEMBERS {
                return None;
            }
            let new = Peer {
                said: None,
                since: now,
                mark: None,
                is_here: false,
                is_far: false,
                gone_at: None,
            };
            self.table.insert(node.clone(), new);
        }
        self.table.get_mut(node)
    }
}
