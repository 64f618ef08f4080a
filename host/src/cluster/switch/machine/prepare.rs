//! From a plan to its decision or its end.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use super::super::message::{Aborted, MAX_MEMBERS, MAX_TEXT_BYTES, Plan, State, Version, short};
use super::{
    Action, Line, MAX_REFUSED, Machine, Moving, Outcome, Stage, Step, Text, preparing::Preparing,
    settling::Settling,
};
use crate::cluster::NodeId;

/// A member takes the coordinator for gone after this many times the deadline of preparation.
const SILENCE: u32 = 3;
/// It aborts alone after as many.
const ALONE: u32 = 6;
/// Members that an abort names.
const MAX_REASONS: usize = 5;

impl Machine {
    pub(super) fn begin(&mut self, to: Text, members: Vec<NodeId>, step: &mut Step<'_>) {
        let refused = |why: String| Action::Finished(Outcome::Refused { why });
        let mut members: BTreeSet<NodeId> = members.into_iter().collect();
        members.extend(self.peers.living().cloned());
        members.insert(self.me.clone());
        // Also while others have not said that they are done with the last one: a node that waits for
        // a mark on the old line must not hear there what is sent after a return to it.
        let why = if let Some(plan) = self.plan() {
            format!(
                "the switch {} from `{}` to `{}` is still in progress",
                plan.version.id, plan.from, plan.to
            )
        } else if !self.is_at_rest() {
            format!(
                "this server is still on its way from `{}` to `{}`",
                self.line.transport, self.home
            )
        } else if to == self.home {
            format!("the cluster is on `{to}` already")
        } else if let Some((node, on)) = self.left_behind(&members) {
            // The plan would close the line on which it can hear where the others are.
            format!("{node} is still on `{on}` and has not followed the last switch yet")
        } else if members.len() > MAX_MEMBERS {
            format!("the cluster has more than {MAX_MEMBERS} servers")
        } else if to.len() > MAX_TEXT_BYTES
            || members
                .iter()
                .any(|node| node.as_str().len() > MAX_TEXT_BYTES)
        {
            format!("a name is longer than {MAX_TEXT_BYTES} bytes")
        } else if let Some(epoch) = self.version.epoch.checked_add(1) {
            self.last_plan += 1;
            let id = format!("{}/{}", self.me, self.last_plan);
            let plan = Plan {
                version: Version {
                    epoch,
                    id: id.into(),
                },
                base: self.version.clone(),
                from: self.home.clone(),
                to,
                coordinator: self.me.clone(),
                members: members.into_iter().collect(),
                revision: 0,
            };
            self.take_part(Arc::new(plan), step);
            return;
        } else {
            "there are no numbers left for another switch".to_owned()
        };
        step.act(refused(why));
    }

    /// A node that is on the transport that this one left, as far as is known.
    fn left_behind(&self, members: &BTreeSet<NodeId>) -> Option<(NodeId, Text)> {
        let old = &self.signpost.as_ref()?.line.transport;
        members.iter().find_map(|node| {
            let state = self.peers.state(node)?;
            let is_behind = state.version < self.version || state.on != self.home;
            (is_behind && state.on == *old).then(|| (node.clone(), old.clone()))
        })
    }

    /// Could this node take part in the plan that it heard of?
    pub(super) fn can_take_part(&self, plan: &Plan) -> bool {
        self.is_at_rest()
            && plan.base == self.version
            && plan.from == self.home
            && plan.to != self.home
            && plan.version > self.version
            && is_sound(plan)
            && plan.members.binary_search(&self.me).is_ok()
            && !self.refused.contains(&plan.version)
    }

    pub(super) fn take_part(&mut self, plan: Arc<Plan>, step: &mut Step<'_>) {
        // One that was begun here and waits for somebody's last word.
        self.finish_settling(step);
        self.close_signpost(step);
        self.forced = false;
        let line = Line {
            id: self.new_line(),
            transport: plan.to.clone(),
        };
        step.log(
            false,
            format!(
                "preparing to switch from `{}` to `{}` ({})",
                plan.from, plan.to, plan.version.id
            ),
        );
        step.act(Action::Open {
            line: line.id,
            transport: line.transport.clone(),
        });
        self.stage = Stage::Preparing(Preparing::new(plan, line, &self.me, step.now));
        self.gossip.is_due = true;
    }

    /// The plan's line is open.
    pub(super) fn opened_to_prepare(&mut self, step: &mut Step<'_>) {
        let Stage::Preparing(preparing) = &mut self.stage else {
            return;
        };
        preparing.is_open = true;
        let line = preparing.line.id;
        let after = preparing.plan.base.clone();
        let awaited: Vec<NodeId> = preparing.living(&self.me).cloned().collect();
        self.start_merge(line, after, awaited, step);
        self.gossip.is_due = true;
    }

    pub(super) fn could_not_prepare(&mut self, why: &str, step: &mut Step<'_>) {
        let Stage::Preparing(preparing) = &mut self.stage else {
            return;
        };
        preparing.failed = Some(short(why));
        let to = preparing.plan.to.clone();
        self.gossip.is_due = true;
        step.log(true, format!("cannot open `{to}`: {why}"));
        if self.is_coordinator() {
            self.abort(format!("{} cannot open `{to}`: {why}", self.me), step);
        }
    }

    fn is_coordinator(&self) -> bool {
        matches!(&self.stage, Stage::Preparing(preparing) if preparing.plan.coordinator == self.me)
    }

    pub(super) fn abort_by_operator(&mut self, step: &mut Step<'_>) {
        if self.is_coordinator() {
            self.abort("it was asked for".to_owned(), step);
        } else {
            let text = "there is no switch of this server's that could be aborted";
            step.log(true, text.to_owned());
        }
    }

    /// Somebody who takes part, or could, has news.
    pub(super) fn prepare_news(&mut self, from: &NodeId, state: &State, step: &mut Step<'_>) {
        let Stage::Preparing(preparing) = &mut self.stage else {
            return;
        };
        if preparing.lost.contains(from) {
            return;
        }
        if preparing.plan.coordinator == self.me {
            self.member_news(from, state, step);
        } else if preparing.plan.coordinator == *from {
            self.coordinator_news(state, step);
        }
    }

    fn member_news(&mut self, from: &NodeId, state: &State, step: &mut Step<'_>) {
        let Stage::Preparing(preparing) = &mut self.stage else {
            return;
        };
        let plan = &preparing.plan;
        if !preparing.is_member(from) {
            let fits = state.version == plan.base && state.home == plan.from;
            let is_at_rest = state.on == plan.from && state.part.is_none();
            if fits && is_at_rest && plan.members.len() < MAX_MEMBERS {
                let mut plan = Plan::clone(plan);
                if let Err(at) = plan.members.binary_search(from) {
                    plan.members.insert(at, from.clone());
                }
                plan.revision = plan.revision.saturating_add(1);
                self.revise(Arc::new(plan), step);
            }
            return;
        }
        if preparing.is_ready_at(state) {
            preparing.unready.remove(from);
        } else {
            preparing.unready.insert(from.clone());
        }
        let to = &plan.to;
        let given_up = state.aborted.as_ref();
        let why = match &state.part {
            Some(part) if part.plan != plan.version => {
                format!("{from} takes part in another switch, {}", part.plan.id)
            }
            Some(part) if part.gone.contains(&self.me) => {
                format!("{from} does not hear this server any more")
            }
            Some(part) => match &part.failed {
                Some(why) => format!("{from} cannot open `{to}`: {why}"),
                None => return,
            },
            None => match given_up.filter(|aborted| aborted.plan == plan.version) {
                Some(aborted) => format!("{from} has given it up: {}", aborted.why),
                None => return,
            },
        };
        self.abort(why, step);
    }

    fn coordinator_news(&mut self, state: &State, step: &mut Step<'_>) {
        let Stage::Preparing(preparing) = &mut self.stage else {
            return;
        };
        let version = &preparing.plan.version;
        match &state.part {
            Some(part) if part.plan == *version => {
                let revised = state.plan.as_ref().filter(|plan| {
                    plan.revision > preparing.plan.revision
                        && plan.version == *version
                        && is_sound(plan)
                });
                if let Some(plan) = revised.cloned() {
                    self.revise(plan, step);
                }
            }
            // It is in no plan, or in another: what was not decided then is not decided any more.
            _ if state.version < *version => {
                let aborted = state.aborted.as_ref();
                let why = match aborted.filter(|aborted| aborted.plan == *version) {
                    Some(aborted) => aborted.why.to_string(),
                    None => "the server that began it has given it up".to_owned(),
                };
                self.abort(why, step);
            }
            _ => {}
        }
    }

    fn revise(&mut self, plan: Arc<Plan>, step: &mut Step<'_>) {
        let Stage::Preparing(preparing) = &mut self.stage else {
            return;
        };
        let version = plan.version.clone();
        for node in preparing.revise(plan, &self.me) {
            if let Some(waits) = &mut self.waits
                && waits.add(&node, None)
            {
                step.act(Action::Expect {
                    node,
                    version: version.clone(),
                });
            }
        }
        self.gossip.is_due = true;
    }

    pub(super) fn lost_while_preparing(&mut self, node: &NodeId) {
        if let Stage::Preparing(preparing) = &mut self.stage
            && preparing.lose(node)
        {
            self.gossip.is_due = true;
        }
    }

    pub(super) fn prepare_until(&self, preparing: &Preparing) -> Option<Instant> {
        let times = if preparing.plan.coordinator == self.me {
            1
        } else if preparing.lost.contains(&preparing.plan.coordinator) {
            ALONE
        } else {
            SILENCE
        };
        Some(preparing.since + self.timing.prepare * times)
    }

    pub(super) fn prepare_timers(&mut self, step: &mut Step<'_>) {
        let Stage::Preparing(preparing) = &self.stage else {
            return;
        };
        let until = self.prepare_until(preparing);
        if until.is_none_or(|until| until > step.now) {
            return;
        }
        let coordinator = preparing.plan.coordinator.clone();
        if coordinator == self.me {
            let why = self.why_not_ready(preparing);
            self.abort(why, step);
        } else if preparing.lost.contains(&coordinator) {
            let why = format!("{coordinator} began it and is not heard any more");
            self.abort(why, step);
        } else {
            self.lost_while_preparing(&coordinator);
        }
    }

    fn why_not_ready(&self, preparing: &Preparing) -> String {
        let mut reasons = Vec::new();
        if !preparing.is_open {
            reasons.push(format!("{} has not opened it yet", self.me));
        } else if let Some(first) = preparing.unheard.first() {
            reasons.push(format!("{} does not hear {first} there", self.me));
        }
        for node in &preparing.unready {
            let state = self.peers.state(node);
            let part = state.and_then(|state| state.part.as_ref());
            let part = part.filter(|part| part.plan == preparing.plan.version);
            reasons.push(match part {
                None => format!("{node} does not take part"),
                Some(part) => match part.missing_names.first() {
                    Some(first) => format!("{node} does not hear {first} there"),
                    None if part.missing > 0 => format!("{node} has not opened it yet"),
                    None => format!("{node} is not ready"),
                },
            });
        }
        let more = reasons.len().saturating_sub(MAX_REASONS);
        reasons.truncate(MAX_REASONS);
        if more > 0 {
            reasons.push(format!("and {more} more"));
        }
        let to = &preparing.plan.to;
        format!(
            "not all servers were ready for `{to}` in time: {}",
            reasons.join("; ")
        )
    }

    /// Is it time to decide, or to give up?
    pub(super) fn judge(&mut self, step: &mut Step<'_>) {
        let Stage::Preparing(preparing) = &self.stage else {
            return;
        };
        let coordinator = &preparing.plan.coordinator;
        let is_lost = preparing.lost.contains(coordinator);
        if *coordinator == self.me {
            if preparing.lost.len() * 2 > preparing.plan.members.len() {
                // Rather this node was cut off than all of them died.
                self.abort("most servers are gone".to_owned(), step);
            } else if preparing.is_ready() && preparing.unready.is_empty() {
                self.decide(step);
            }
        } else if is_lost {
            let all_agree = preparing
                .living(&self.me)
                .all(|node| preparing.agrees(self.peers.state(node)));
            if !preparing.is_ready() || all_agree {
                let why = format!("{coordinator} began it and is gone");
                self.abort(why, step);
            }
        }
    }

    /// The plan comes to nothing here.
    pub(super) fn abort(&mut self, why: String, step: &mut Step<'_>) {
        let stage = std::mem::replace(&mut self.stage, Stage::Settled);
        let Stage::Preparing(preparing) = stage else {
            self.stage = stage;
            return;
        };
        if self.waits.take().is_some() {
            step.act(Action::MergeEnd);
        }
        step.act(Action::Close(preparing.line.id));
        let plan = &preparing.plan;
        step.log(
            true,
            format!(
                "the switch from `{}` to `{}` was given up: {why}",
                plan.from, plan.to
            ),
        );
        self.refuse(&plan.version);
        let aborted = Aborted {
            plan: plan.version.clone(),
            why: short(&why),
        };
        self.gossip.aborted = Some((aborted, step.now + self.timing.prepare));
        self.gossip.is_due = true;
        if plan.coordinator == self.me {
            step.act(Action::Finished(Outcome::Aborted { why }));
        }
    }

    /// Never again.
    pub(super) fn refuse(&mut self, plan: &Version) {
        if !self.refused.contains(plan) {
            if self.refused.len() == MAX_REFUSED {
                self.refused.pop_front();
            }
            self.refused.push_back(plan.clone());
        }
    }

    /// The plan is decided, by this node or by the one that decides.
    pub(super) fn decide(&mut self, step: &mut Step<'_>) {
        let stage = std::mem::replace(&mut self.stage, Stage::Settled);
        let Stage::Preparing(preparing) = stage else {
            self.stage = stage;
            return;
        };
        let plan = &preparing.plan;
        self.version = plan.version.clone();
        self.home = plan.to.clone();
        let until = step.now + self.timing.leave + self.timing.drain * 2;
        self.settling = Some(Settling::new(&preparing, &self.me, until));
        self.gossip.is_due = true;
        step.log(
            false,
            format!("switching from `{}` to `{}`", plan.from, plan.to),
        );
        if !preparing.is_open {
            self.stage = Stage::Moving(Moving {
                after: plan.base.clone(),
                opening: preparing.failed.is_none().then_some(preparing.line.id),
                retry_at: preparing.failed.is_some().then_some(step.now),
            });
            return;
        }
        for node in &preparing.lost {
            self.ended(node, false, step);
        }
        if let Some(first) = preparing.unheard.first() {
            let to = &plan.to;
            step.gap(format!(
                "{first} and perhaps others were not heard on `{to}` when they moved there"
            ));
        }
        self.leave(preparing.line, step);
    }
}

/// Is it what a coordinator would say?
fn is_sound(plan: &Plan) -> bool {
    plan.members.is_sorted_by(|a, b| a < b) && plan.members.binary_search(&plan.coordinator).is_ok()
}
