//! A plan that is decided, until all its members are done.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use super::super::message::{Phase, Plan, State};
use super::api::Outcome;
use super::preparing::Preparing;
use crate::cluster::NodeId;

#[derive(Debug)]
pub(super) struct Settling {
    pub(super) plan: Arc<Plan>,
    /// Members that have not said that they are done; without those that are gone.
    undone: BTreeSet<NodeId>,
    gone: BTreeSet<NodeId>,
    /// Nobody waits longer than this.
    pub(super) until: Instant,
}

impl Settling {
    pub(super) fn new(preparing: &Preparing, me: &NodeId, until: Instant) -> Self {
        Self {
            plan: preparing.plan.clone(),
            undone: preparing.living(me).cloned().collect(),
            gone: preparing.lost.clone(),
            until,
        }
    }

    pub(super) fn heard(&mut self, node: &NodeId, state: &State) {
        let is_done = state.version == self.plan.version && state.phase == Phase::Idle;
        if is_done || state.version > self.plan.version {
            self.undone.remove(node);
        }
    }

    pub(super) fn gone(&mut self, node: &NodeId) {
        if self.undone.remove(node) {
            self.gone.insert(node.clone());
        }
    }

    pub(super) fn all_are_done(&self) -> bool {
        self.undone.is_empty()
    }

    /// The members that take part in it still.
    pub(super) fn living(&self) -> impl Iterator<Item = &NodeId> {
        let members = self.plan.members.iter();
        members.filter(|node| !self.gone.contains(*node))
    }

    pub(super) fn outcome(self, unfinished_too: Option<NodeId>) -> Outcome {
        let mut unfinished = self.undone;
        unfinished.extend(unfinished_too);
        Outcome::Switched {
            version: self.plan.version.clone(),
            to: self.plan.to.clone(),
            gone: self.gone.into_iter().collect(),
            unfinished: unfinished.into_iter().collect(),
        }
    }
}
