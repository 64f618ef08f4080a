//! A plan that is not decided yet, as one of its members sees it.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use super::super::message::{MAX_NAMED, Part, Phase, Plan, State, Text};
use super::Line;
use crate::cluster::NodeId;

/// One member's part in a plan.
#[derive(Debug)]
pub(super) struct Preparing {
    pub(super) plan: Arc<Plan>,
    pub(super) line: Line,
    pub(super) is_open: bool,
    pub(super) failed: Option<Text>,
    pub(super) since: Instant,
    /// Living members that were not heard on the new line.
    pub(super) unheard: BTreeSet<NodeId>,
    /// For the coordinator: living members that have not said that they are ready.
    pub(super) unready: BTreeSet<NodeId>,
    /// Members that this node believes no more, about this plan: reported gone, or, the
    /// coordinator, silent for too long.
    pub(super) lost: BTreeSet<NodeId>,
}

impl Preparing {
    pub(super) fn new(plan: Arc<Plan>, line: Line, me: &NodeId, now: Instant) -> Self {
        let others = plan.members.iter().filter(|member| *member != me);
        let others: BTreeSet<NodeId> = others.cloned().collect();
        Self {
            line,
            is_open: false,
            failed: None,
            since: now,
            unheard: others.clone(),
            unready: others,
            lost: BTreeSet::new(),
            plan,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_open && self.unheard.is_empty()
    }

    pub(super) fn is_member(&self, node: &NodeId) -> bool {
        self.plan.members.binary_search(node).is_ok()
    }

    pub(super) fn phase(&self) -> Phase {
        match (self.is_open, self.unheard.is_empty()) {
            (false, _) => Phase::Opening,
            (true, false) => Phase::Hearing,
            (true, true) => Phase::Ready,
        }
    }

    pub(super) fn part(&self) -> Part {
        Part {
            plan: self.plan.version.clone(),
            revision: self.plan.revision,
            missing: u32::try_from(self.unheard.len()).unwrap_or(u32::MAX),
            missing_names: match self.is_open {
                true => self.unheard.iter().take(MAX_NAMED).cloned().collect(),
                false => Vec::new(),
            },
            failed: self.failed.clone(),
            gone: self.lost.iter().cloned().collect(),
        }
    }

    /// This was said on the new line: does it show that its sender takes part?
    pub(super) fn is_of_this(&self, state: &State) -> bool {
        let part = state.part.as_ref();
        part.is_some_and(|part| part.plan == self.plan.version)
            || state.version >= self.plan.version
    }

    /// A member is not believed any more. False: it was not before.
    pub(super) fn lose(&mut self, node: &NodeId) -> bool {
        self.unheard.remove(node);
        self.unready.remove(node);
        self.is_member(node) && self.lost.insert(node.clone())
    }

    /// Another revision of the plan: gives the newcomers.
    pub(super) fn revise(&mut self, plan: Arc<Plan>, me: &NodeId) -> Vec<NodeId> {
        let newcomers = plan.members.iter();
        let newcomers: Vec<NodeId> = newcomers
            .filter(|node| !self.is_member(node) && *node != me)
            .cloned()
            .collect();
        self.plan = plan;
        self.unheard.extend(newcomers.iter().cloned());
        self.unready = self.living(me).cloned().collect();
        newcomers
    }

    /// The other members that are believed.
    pub(super) fn living<'a>(&'a self, me: &'a NodeId) -> impl Iterator<Item = &'a NodeId> {
        let others = self.plan.members.iter().filter(move |node| *node != me);
        others.filter(|node| !self.lost.contains(*node))
    }

    /// A living member, without the coordinator: has it said that it will not move because of those
    /// that this node believes no more, and that nobody else has told it to?
    pub(super) fn agrees(&self, said: Option<&State>) -> bool {
        let Some(state) = said.filter(|state| state.version < self.plan.version) else {
            return false;
        };
        match &state.part {
            Some(part) if part.plan == self.plan.version => {
                self.lost.iter().all(|node| part.gone.contains(node))
            }
            _ => true,
        }
    }

    /// Does the member's State say that it is ready for what is planned now?
    pub(super) fn is_ready_at(&self, state: &State) -> bool {
        state.phase == Phase::Ready
            && state.part.as_ref().is_some_and(|part| {
                part.plan == self.plan.version && part.revision == self.plan.revision
            })
    }
}
