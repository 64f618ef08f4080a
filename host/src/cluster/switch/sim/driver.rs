//! The driver of a node: gives the machine its inputs and does what it says.

use std::{fmt::Write, time::Duration};

use super::{
    super::{
        machine::{Action, Input, LineId, Outcome},
        merge::Merge,
        message::ControlMessage,
    },
    net::{Event, Packet},
    node::{Leave, Merging, OpenLine},
    world::World,
};

impl World<'_> {
    pub(super) fn input(&mut self, at: usize, input: Input) {
        let node = &mut self.nodes[at];
        node.inputs.push_back(input);
        if !node.is_driven {
            node.is_driven = true;
            let delay = self.random.below(3);
            self.net.schedule(delay, Event::Drive(at));
        }
    }

    pub(super) fn drive(&mut self, at: usize) {
        self.nodes[at].is_driven = false;
        if !self.nodes[at].is_alive {
            return;
        }
        let now = self.names.start + Duration::from_millis(self.net.now);
        while let Some(input) = self.nodes[at].inputs.pop_front() {
            trace!(self, "{} <- {}", self.nodes[at].id, shown(&input));
            self.tally.transitions += 1;
            let mut actions = std::mem::take(&mut self.actions);
            self.nodes[at].machine.handle(input, now, &mut actions);
            for action in actions.drain(..) {
                self.act(at, action);
            }
            self.actions = actions;
        }
        self.deliver_out(at);
        let node = &mut self.nodes[at];
        if let Some(wake) = node.machine.wake_at() {
            let wake = wake.saturating_duration_since(self.names.start);
            let wake = (wake.as_millis() as u64).max(self.net.now);
            if node
                .wakes_at
                .is_none_or(|before| before > wake || before <= self.net.now)
            {
                node.wakes_at = Some(wake);
                self.net.schedule_at(wake, Event::Wake(at));
            }
        }
    }

    pub(super) fn act(&mut self, at: usize, action: Action) {
        if !matches!(action, Action::Tell { .. }) {
            trace!(self, "{} -> {action:?}", self.nodes[at].id);
        }
        let node = &mut self.nodes[at];
        let out = &mut self.out;
        match action {
            Action::Open { line, transport } => {
                let transport = self.names.transport(&transport);
                node.lines.push(OpenLine {
                    id: line,
                    transport,
                    is_open: false,
                });
                let delay = match self.random.one_in(12) {
                    true => self.random.between(5, 900),
                    false => self.random.between(2, 40),
                };
                let is_open = self.is_over || !self.random.one_in(16);
                let node = at;
                self.net.schedule(
                    delay,
                    Event::Opened {
                        node,
                        line,
                        is_open,
                    },
                );
            }
            Action::Close(line) => {
                node.lines.retain(|open| open.id != line);
                node.blocked.retain(|(blocked, _, _)| *blocked != line);
            }
            Action::Tell { line, say } => {
                let packet = Packet::Control(say);
                if line == node.speaks_on {
                    node.outbox.push_back(packet);
                    self.publish_soon(at);
                } else if line != node.publishes_on
                    && let Some(transport) = node.transport_of(line)
                    && !self.net.is_down[transport]
                {
                    self.publish(at, transport, &packet);
                }
            }
            Action::Leave { to, mark } => {
                node.leave = Some(Leave { to, now: false });
                node.speaks_on = to;
                node.outbox.push_back(Packet::Control(mark));
                self.publish_soon(at);
            }
            Action::LeaveNow => {
                if let Some(leave) = &mut node.leave {
                    leave.now = true;
                    self.publish_soon(at);
                }
            }
            Action::MergeStart {
                old,
                new,
                after,
                awaited,
            } => {
                let merge = Merge::new(after, awaited, self.limits);
                node.merging = Some(Merging { old, new, merge });
            }
            Action::Expect {
                node: sender,
                version,
            } => {
                if let Some(merging) = &mut node.merging {
                    merging.merge.wait_for(sender, &version);
                }
            }
            Action::Ended {
                node: sender,
                forced,
            } => {
                if let Some(merging) = &mut node.merging {
                    merging
                        .merge
                        .ended(&sender, forced, &mut |data| out.push(data));
                }
            }
            Action::MergeEnd => node.close_merge(out),
            Action::Gap { why } => {
                node.gaps += 1;
                if self.weather.is_strict() {
                    self.failure = Some(format!("{} reports a gap: {why}", self.nodes[at].id));
                }
            }
            Action::Finished(outcome) => match outcome {
                Outcome::Switched { .. } => self.tally.switched += 1,
                Outcome::Aborted { .. } => self.tally.aborted += 1,
                Outcome::Refused { .. } => self.tally.refused += 1,
            },
            Action::Log { .. } => {}
        }
    }

    pub(super) fn opened(&mut self, at: usize, line: LineId, is_open: bool) {
        let node = &mut self.nodes[at];
        let Some(place) = node.lines.iter().position(|open| open.id == line) else {
            return;
        };
        let is_down = self.net.is_down[node.lines[place].transport];
        let input = if is_open && !is_down {
            node.lines[place].is_open = true;
            Input::Opened(line)
        } else {
            node.lines.remove(place);
            Input::OpenFailed(line, "no such thing".to_owned())
        };
        self.input(at, input);
    }
}

fn shown(input: &Input) -> String {
    match input {
        Input::Heard { from, line, said } => match &**said {
            ControlMessage::State(state) => format!(
                "{from} on {line:?}: {} {:?} {} {:?} {:?}{}{}",
                state.seq,
                state.version,
                state.on,
                state.phase,
                state.part,
                if state.plan.is_some() { " plan" } else { "" },
                if state.aborted.is_some() {
                    " aborted"
                } else {
                    ""
                },
            ),
            mark => format!("{from} on {line:?}: {mark:?}"),
        },
        other => format!("{other:?}"),
    }
}
