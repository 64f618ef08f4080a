//! From a decision to rest.

use std::time::Duration;

use super::super::message::{ControlMessage, Text, Version};
use super::{
    Action, Leaving, Line, LineId, Machine, Moving, Outcome, Signpost, Stage, Step,
    settling::Settling, waits::Waits,
};
use crate::cluster::NodeId;

/// A line that is needed and does not open is tried again after this part of the time that
/// preparation may take.
const RETRY_PART: u32 = 10;

impl Machine {
    /// Something was decided that this node had no part in, or of which it missed the end.
    pub(super) fn follow(
        &mut self,
        from: &NodeId,
        version: &Version,
        home: &Text,
        step: &mut Step<'_>,
    ) {
        match &self.stage {
            Stage::Preparing(_) => {
                let why = format!("{from} follows another decision, {}", version.id);
                self.abort(why, step);
                self.follow(from, version, home, step);
            }
            _ if *home == self.home => self.adopt(version, step),
            Stage::Settled if self.is_drained() => {
                let after = self.version.clone();
                self.close_signpost(step);
                self.move_alone(after, version, home, step);
            }
            // It will be heard again.
            Stage::Settled | Stage::Leaving(_) => {}
            Stage::Moving(moving) => {
                let after = moving.after.clone();
                if let Some(line) = moving.opening {
                    step.act(Action::Close(line));
                }
                self.stage = Stage::Settled;
                if *home == self.line.transport {
                    self.home = home.clone();
                    self.adopt(version, step);
                } else {
                    self.move_alone(after, version, home, step);
                }
            }
        }
    }

    /// It leads where this node is, or is going.
    fn adopt(&mut self, version: &Version, step: &mut Step<'_>) {
        let is_here = self.home == self.line.transport;
        if is_here && self.peers.left_after(&self.version) {
            step.gap(format!(
                "other servers left `{}` and came back, and were not followed",
                self.home
            ));
        }
        self.version = version.clone();
        self.gossip.is_due = true;
    }

    fn move_alone(&mut self, after: Version, version: &Version, home: &Text, step: &mut Step<'_>) {
        step.log(
            true,
            format!(
                "the cluster has moved from `{}` to `{home}` ({}): following",
                self.line.transport, version.id
            ),
        );
        self.version = version.clone();
        self.home = home.clone();
        self.forced = false;
        self.stage = Stage::Moving(Moving {
            after,
            opening: None,
            retry_at: None,
        });
        self.open_decided(step);
    }

    /// Opens the line that this node has to move to.
    pub(super) fn open_decided(&mut self, step: &mut Step<'_>) {
        let line = self.new_line();
        let transport = self.home.clone();
        if let Stage::Moving(moving) = &mut self.stage {
            moving.opening = Some(line);
            moving.retry_at = None;
            step.act(Action::Open { line, transport });
            self.gossip.is_due = true;
        }
    }

    pub(super) fn opened(&mut self, line: LineId, step: &mut Step<'_>) {
        match &self.stage {
            Stage::Preparing(preparing) if preparing.line.id == line && !preparing.is_open => {
                self.opened_to_prepare(step);
            }
            Stage::Moving(moving) if moving.opening == Some(line) => {
                let after = moving.after.clone();
                step.gap(format!(
                    "what others sent on `{}` before this server came there was not received",
                    self.home
                ));
                let settling = self.settling.as_ref();
                let settling = settling.filter(|settling| settling.plan.version == self.version);
                let mut awaited: Vec<NodeId> = self.peers.here().cloned().collect();
                let members = settling.into_iter().flat_map(Settling::living);
                awaited.extend(members.filter(|node| **node != self.me).cloned());
                awaited.sort();
                awaited.dedup();
                self.start_merge(line, after, awaited, step);
                let transport = self.home.clone();
                let id = line;
                self.leave(Line { id, transport }, step);
            }
            // It took too long, and is not needed any more.
            _ => step.act(Action::Close(line)),
        }
    }

    pub(super) fn open_failed(&mut self, line: LineId, why: &str, step: &mut Step<'_>) {
        match &mut self.stage {
            Stage::Preparing(preparing) if preparing.line.id == line && !preparing.is_open => {
                self.could_not_prepare(why, step);
            }
            Stage::Moving(moving) if moving.opening == Some(line) => {
                moving.opening = None;
                moving.retry_at = Some(step.now + self.timing.prepare / RETRY_PART);
                let home = &self.home;
                step.log(
                    true,
                    format!("the cluster is on `{home}`, which cannot be opened: {why}; trying on"),
                );
            }
            _ => {}
        }
    }

    /// Begins to merge the line that this node is on with one that has opened.
    pub(super) fn start_merge(
        &mut self,
        new: LineId,
        after: Version,
        mut awaited: Vec<NodeId>,
        step: &mut Step<'_>,
    ) {
        // Who was seen to leave will not be seen to leave again.
        awaited.retain(|node| {
            let mark = self.peers.get(node).and_then(|peer| peer.mark.as_ref());
            mark <= Some(&after)
        });
        self.waits = Some(Waits::new(self.line.clone(), after.clone(), &awaited));
        step.act(Action::MergeStart {
            old: self.line.id,
            new,
            after,
            awaited,
        });
    }

    /// Both lines are open, and it is decided.
    pub(super) fn leave(&mut self, to: Line, step: &mut Step<'_>) {
        if let Some(waits) = &mut self.waits {
            waits.limit(step.now + self.timing.leave + self.timing.drain);
        }
        let leave = Action::Leave {
            to: to.id,
            mark: std::sync::Arc::new(ControlMessage::Mark {
                version: self.version.clone(),
            }),
        };
        self.stage = Stage::Leaving(Leaving {
            to,
            until: step.now + self.timing.leave,
            is_pressed: false,
        });
        // Before anything of this node's arrives on the new line.
        self.tell(step);
        step.act(leave);
    }

    /// The old line does not take the mark.
    pub(super) fn press(&mut self, step: &mut Step<'_>) {
        if let Stage::Leaving(leaving) = &mut self.stage {
            leaving.is_pressed = true;
            step.log(
                true,
                format!(
                    "`{}` takes no messages: going over to `{}` without it",
                    self.line.transport, leaving.to.transport
                ),
            );
            step.act(Action::LeaveNow);
        }
    }

    pub(super) fn left(&mut self, forced: bool, step: &mut Step<'_>) {
        let stage = std::mem::replace(&mut self.stage, Stage::Settled);
        let Stage::Leaving(leaving) = stage else {
            self.stage = stage;
            return;
        };
        self.peers.moved(&leaving.to.transport);
        let line = std::mem::replace(&mut self.line, leaving.to);
        self.signpost = Some(Signpost { line, until: None });
        self.forced = forced;
        self.gossip.is_due = true;
        step.log(false, format!("publishing on `{}`", self.line.transport));
    }

    pub(super) fn gone(&mut self, node: &NodeId, step: &mut Step<'_>) {
        if *node == self.me {
            return;
        }
        self.peers.gone(node, step.now);
        // Before anything is decided its messages of the new line, if there are any, stay where they
        // are: if this plan comes to nothing here, they would stand before those of the old line
        // that are still on their way.
        if !matches!(self.stage, Stage::Preparing(_)) {
            self.ended(node, false, step);
        }
        if let Some(settling) = &mut self.settling {
            settling.gone(node);
        }
        self.lost_while_preparing(node);
    }

    /// The node's mark is awaited no more.
    pub(super) fn ended(&mut self, node: &NodeId, forced: bool, step: &mut Step<'_>) {
        if let Some(waits) = &mut self.waits
            && waits.end(node)
        {
            let node = node.clone();
            step.act(Action::Ended { node, forced });
        }
    }

    pub(super) fn give_up_overdue(&mut self, step: &mut Step<'_>) {
        while let Some(waits) = &self.waits
            && let Some(node) = waits.overdue(step.now)
        {
            let old = &waits.old.transport;
            step.gap(format!(
                "the end of what {node} sent on `{old}` was not seen in time"
            ));
            self.ended(&node, false, step);
        }
    }

    /// Is anything over that was only waited for?
    pub(super) fn rest(&mut self, step: &mut Step<'_>) {
        let is_at_rest = self.is_at_rest();
        if let Some(settling) = &self.settling
            && (is_at_rest && settling.all_are_done() || settling.until <= step.now)
        {
            self.finish_settling(step);
        }
        let Some(signpost) = &mut self.signpost else {
            return;
        };
        if !is_at_rest {
            return;
        }
        let now = step.now;
        let after = match self.timing.signpost {
            // What is still on its way from those who came late needs the merge.
            Duration::ZERO if self.settling.is_none() => self.timing.answer,
            Duration::ZERO => return,
            after => after,
        };
        match signpost.until {
            Some(until) if until <= now => self.close_signpost(step),
            Some(_) => {}
            None => signpost.until = Some(now + after),
        }
    }

    pub(super) fn finish_settling(&mut self, step: &mut Step<'_>) {
        if let Some(settling) = self.settling.take() {
            self.gossip.is_due = true;
            let unfinished = (!self.is_at_rest()).then(|| self.me.clone());
            if settling.plan.coordinator == self.me {
                let outcome: Outcome = settling.outcome(unfinished);
                step.act(Action::Finished(outcome));
            }
        }
    }

    pub(super) fn close_signpost(&mut self, step: &mut Step<'_>) {
        if let Some(signpost) = self.signpost.take() {
            self.waits = None;
            step.act(Action::MergeEnd);
            step.act(Action::Close(signpost.line.id));
        }
    }
}
