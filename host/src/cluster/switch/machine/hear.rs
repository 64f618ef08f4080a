//! What follows from what another node says.

use std::sync::Arc;

use super::super::message::{ControlMessage, Phase, State, Version};
use super::{Action, LineId, Machine, Stage, Step, peers::News};
use crate::cluster::{EMITTER, NodeId};

impl Machine {
    pub(super) fn heard(
        &mut self,
        from: &NodeId,
        line: LineId,
        said: &Arc<ControlMessage>,
        step: &mut Step<'_>,
    ) {
        if *from == self.me || matches!(from.as_str(), "" | EMITTER) {
            return;
        }
        match &**said {
            ControlMessage::Mark { version } => self.mark_heard(from, line, version, step),
            ControlMessage::State(state) => {
                self.heard_there(from, line, state);
                let news = self.peers.said(from, said, step.now);
                self.presence(from, line, state, news, step);
                if matches!(news, News::First | News::Newer) {
                    self.news(from, line, state, step);
                }
                if news == News::First {
                    self.gossip.answer(self.timing.answer, step.now);
                }
            }
        }
    }

    fn mark_heard(&mut self, from: &NodeId, line: LineId, version: &Version, step: &mut Step<'_>) {
        self.peers.marked(from, version, step.now);
        if line == self.line.id && *version > self.version {
            self.peers.set_here(from, false);
        }
        let waits = self.waits.as_ref();
        if waits.is_some_and(|waits| waits.old.id == line && *version > waits.after) {
            self.ended(from, false, step);
        }
        if let Stage::Preparing(preparing) = &self.stage
            && preparing.plan.version == *version
            && !preparing.lost.contains(from)
            && preparing.plan.coordinator != self.me
        {
            self.decide(step);
        }
    }

    /// It was heard on the new line.
    fn heard_there(&mut self, from: &NodeId, line: LineId, state: &State) {
        if let Stage::Preparing(preparing) = &mut self.stage
            && preparing.line.id == line
            && preparing.is_of_this(state)
            && preparing.unheard.remove(from)
            && preparing.is_ready()
        {
            self.gossip.is_due = true;
        }
    }

    /// What the State says about the line that it was heard on.
    fn presence(
        &mut self,
        from: &NodeId,
        line: LineId,
        state: &State,
        news: News,
        step: &mut Step<'_>,
    ) {
        if line == self.line.id && news != News::Stale {
            let is_here = state.on == self.line.transport;
            self.peers.set_here(from, is_here);
        }
        // Said there after it had left; that is true also if it has said more since, elsewhere.
        if let Some(waits) = &self.waits
            && waits.old.id == line
            && state.version > waits.after
            && !state.phase.is_to_leave()
        {
            self.ended(from, state.forced, step);
        }
    }

    fn news(&mut self, from: &NodeId, line: LineId, state: &State, step: &mut Step<'_>) {
        if let Some(settling) = &mut self.settling {
            settling.heard(from, state);
        }
        if state.version > self.version {
            self.decided(from, state, step);
        } else if state.version < self.version {
            self.gossip.answer(self.timing.answer, step.now);
        }
        self.expectation(from, line, state, step);
        self.out_of_earshot(from, state, step);
        self.prepare_news(from, state, step);
        if let Some(aborted) = &state.aborted
            && !matches!(&self.stage, Stage::Preparing(_))
            && is_of(&aborted.plan, from)
        {
            self.refuse(&aborted.plan);
        }
        let is_misled = state
            .part
            .as_ref()
            .is_some_and(|part| self.refused.contains(&part.plan));
        if is_misled {
            self.gossip.answer(self.timing.answer, step.now);
        }
        if let Some(plan) = &state.plan
            && plan.coordinator == *from
            && self.can_take_part(plan)
        {
            self.take_part(plan.clone(), step);
        }
    }

    /// Somebody follows a decision that this node did not know.
    fn decided(&mut self, from: &NodeId, state: &State, step: &mut Step<'_>) {
        if let Stage::Preparing(preparing) = &self.stage
            && preparing.plan.version == state.version
        {
            // Of those that are gone others may hear no more; all must hear the same.
            if preparing.plan.coordinator != self.me && !preparing.lost.contains(from) {
                self.decide(step);
            }
            return;
        }
        self.follow(from, &state.version, &state.home, step);
    }

    /// It publishes where this node does not listen, and will come, or the other way round.
    fn out_of_earshot(&mut self, from: &NodeId, state: &State, step: &mut Step<'_>) {
        let second = match &self.stage {
            Stage::Preparing(preparing) => Some(&preparing.line.transport),
            Stage::Leaving(leaving) => Some(&leaving.to.transport),
            _ => None,
        };
        let signpost = self
            .signpost
            .as_ref()
            .map(|signpost| &signpost.line.transport);
        let lines = [
            Some(&self.line.transport),
            Some(&self.home),
            second,
            signpost,
        ];
        let is_heard = lines.contains(&Some(&state.on));
        if self.peers.set_far(from, !is_heard) {
            step.gap(format!(
                "{from} sends on `{}`, where this server does not listen",
                state.on
            ));
        }
    }

    /// Its mark is to come, or should have come.
    fn expectation(&mut self, from: &NodeId, line: LineId, state: &State, step: &mut Step<'_>) {
        let Some(waits) = &mut self.waits else {
            return;
        };
        if state.on == waits.old.transport {
            let mark = self.peers.get(from).and_then(|peer| peer.mark.as_ref());
            if state.phase == Phase::Leaving
                && state.version > waits.after
                && mark < Some(&state.version)
                && waits.add(from, Some(step.now + self.timing.leave + self.timing.drain))
            {
                step.act(Action::Expect {
                    node: from.clone(),
                    version: state.version.clone(),
                });
            }
            return;
        }
        if waits.old.id == line || state.version <= waits.after {
            return;
        }
        if !waits.contains(from) {
            // It was not heard when it left, and has come all the same.
            self.ended(from, state.forced, step);
        } else if state.forced {
            step.gap(format!(
                "{from} left `{}` without saying so there: what it sent last may be missing",
                waits.old.transport
            ));
            self.ended(from, true, step);
        } else {
            waits.has_left(from, step.now + self.timing.drain);
        }
    }
}

/// Is it a plan of this node's own?
fn is_of(plan: &Version, node: &NodeId) -> bool {
    let own = plan.id.strip_prefix(node.as_str());
    own.is_some_and(|rest| rest.starts_with('/'))
}
