//! Whose marks are awaited, and for how long: the machine's picture of the merge.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::super::message::{MAX_MEMBERS, Version};
use super::Line;
use crate::cluster::NodeId;

/// There is one as long as there is a merge.
#[derive(Debug)]
pub(super) struct Waits {
    pub(super) old: Line,
    /// Marks of this version or a lower one are of an earlier switch.
    pub(super) after: Version,
    awaited: BTreeMap<NodeId, Wait>,
    /// Who is known to have ended; so the merge is told once.
    ended: BTreeSet<NodeId>,
}

#[derive(Debug, Default)]
struct Wait {
    /// None before this node itself leaves: the plan's own deadlines are enough.
    until: Option<Instant>,
    /// It has said that it has left; `until` counts from there.
    has_left: bool,
}

impl Waits {
    pub(super) fn new(old: Line, after: Version, awaited: &[NodeId]) -> Self {
        let awaited = awaited.iter().map(|node| (node.clone(), Wait::default()));
        Self {
            old,
            after,
            awaited: awaited.collect(),
            ended: BTreeSet::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.awaited.is_empty()
    }

    pub(super) fn contains(&self, node: &NodeId) -> bool {
        self.awaited.contains_key(node)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.awaited.keys()
    }

    /// False: it was awaited already.
    pub(super) fn add(&mut self, node: &NodeId, until: Option<Instant>) -> bool {
        if self.contains(node) {
            return false;
        }
        let wait = Wait {
            until,
            has_left: false,
        };
        self.ended.remove(node);
        self.awaited.insert(node.clone(), wait);
        true
    }

    /// It is awaited no more. False: that was known.
    pub(super) fn end(&mut self, node: &NodeId) -> bool {
        let was_awaited = self.awaited.remove(node).is_some();
        let has_room = self.ended.len() < MAX_MEMBERS;
        has_room && self.ended.insert(node.clone()) || was_awaited
    }

    /// This node leaves: no wait is longer than this.
    pub(super) fn limit(&mut self, until: Instant) {
        for wait in self.awaited.values_mut() {
            wait.until.get_or_insert(until);
        }
    }

    /// The node says that it has left: its mark should come until then.
    pub(super) fn has_left(&mut self, node: &NodeId, until: Instant) {
        if let Some(wait) = self.awaited.get_mut(node)
            && !wait.has_left
        {
            wait.has_left = true;
            wait.until = Some(wait.until.map_or(until, |before| before.min(until)));
        }
    }

    /// The first deadline.
    pub(super) fn until(&self) -> Option<Instant> {
        self.awaited.values().filter_map(|wait| wait.until).min()
    }

    /// One whose deadline is over.
    pub(super) fn overdue(&self, now: Instant) -> Option<NodeId> {
        let mut waits = self.awaited.iter();
        waits
            .find(|(_, wait)| wait.until.is_some_and(|until| until <= now))
            .map(|(node, _)| node.clone())
    }
}
