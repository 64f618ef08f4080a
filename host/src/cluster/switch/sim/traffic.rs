//! What applications send, on its way: outbox, publisher, backend, subscriber, application.

use super::{
    super::{
        machine::{Input, LineId},
        message::ControlMessage,
    },
    Lie,
    net::{Data, Event, Packet},
    node::{Got, Node},
    world::World,
};
use std::fmt::Write;

/// Anonymous messages of one sender, one bit each.
const MAX_ANONYMOUS: u32 = 64;

impl World<'_> {
    pub(super) fn emit(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if !node.is_alive || self.is_quiet {
            return;
        }
        let is_anonymous = node.sent_anonymous < MAX_ANONYMOUS && self.random.one_in(8);
        let count = match is_anonymous {
            true => &mut node.sent_anonymous,
            false => &mut node.sent,
        };
        *count += 1;
        let number = *count;
        node.outbox.push_back(Packet::Data(Data {
            sender: at,
            is_anonymous,
            number,
        }));
        self.publish_soon(at);
        let pause = match self.is_over {
            true => self.random.between(20, 60),
            false => self.random.between(4, 24),
        };
        self.net.schedule(pause, Event::Emit(at));
    }

    pub(super) fn publish_soon(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if !node.is_publishing {
            node.is_publishing = true;
            let delay = self.random.below(6);
            self.net.schedule(delay, Event::Published(at));
        }
    }

    pub(super) fn published(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.is_publishing = false;
        if !node.is_alive {
            return;
        }
        let old = node.transport_of(node.publishes_on);
        if let Some(leave) = node.leave.filter(|leave| leave.now) {
            node.leave = None;
            node.publishes_on = leave.to;
            node.was_forced = true;
            self.tally.forced += 1;
            trace!(self, "{} goes over by force", self.nodes[at].id);
            // What is in doubt is not sent again; the backend may have it, and publish it late.
            let in_doubt = self.random.below(3);
            for _ in 0..in_doubt {
                let first = self.nodes[at].outbox.front();
                if let Some(Packet::Data(_)) = first
                    && let Some(packet) = self.nodes[at].outbox.pop_front()
                    && let Some(old) = old
                {
                    self.publish(at, old, &packet);
                }
            }
            self.input(at, Input::Left { forced: true });
        } else if let Some(transport) = old {
            if self.net.is_down[transport] {
                let node = &mut self.nodes[at];
                node.is_publishing = true;
                self.net.schedule(15, Event::Published(at));
                return;
            }
            for _ in 0..self.random.between(1, 4) {
                let Some(packet) = self.nodes[at].outbox.pop_front() else {
                    break;
                };
                self.publish(at, transport, &packet);
                let node = &mut self.nodes[at];
                if let Packet::Control(said) = &packet
                    && matches!(**said, ControlMessage::Mark { .. })
                    && let Some(leave) = node.leave.take()
                {
                    node.publishes_on = leave.to;
                    trace!(self, "{} goes over", self.nodes[at].id);
                    self.input(at, Input::Left { forced: false });
                    break;
                }
            }
        }
        if !self.nodes[at].outbox.is_empty() {
            self.publish_soon(at);
        }
    }

    pub(super) fn publish(&mut self, from: usize, transport: usize, packet: &Packet) {
        for to in 0..self.nodes.len() {
            if to == from || !self.nodes[to].is_alive {
                continue;
            }
            for open in &self.nodes[to].lines {
                if open.is_open && open.transport == transport {
                    let listener = (to, open.id);
                    let random = &mut self.random;
                    self.net
                        .send(transport, from, listener, packet.clone(), random);
                }
            }
        }
    }

    // The way in.

    pub(super) fn arrive(&mut self, to: usize, line: LineId, from: usize, packet: Packet) {
        let node = &mut self.nodes[to];
        if !node.is_alive || node.transport_of(line).is_none() {
            return;
        }
        if node.is_blocked(line) {
            node.blocked.push_back((line, from, packet));
            return;
        }
        self.take(to, line, from, packet);
        self.deliver_out(to);
    }

    /// The subscriber takes something.
    pub(super) fn take(&mut self, to: usize, line: LineId, from: usize, packet: Packet) {
        let node = &mut self.nodes[to];
        let merging = node.merging.as_mut();
        let out = &mut self.out;
        match packet {
            Packet::Data(data) => {
                let sender = match data.is_anonymous {
                    true => &self.names.emitter,
                    false => &self.names.nodes[data.sender],
                };
                let passed = match merging {
                    Some(merging) if line == merging.old => merging.merge.on_old(sender, data),
                    Some(merging) if line == merging.new && self.lie != Some(Lie::NoHold) => {
                        let passed = merging.merge.on_new(sender, data, 1);
                        self.tally.held += u64::from(passed.is_none());
                        passed
                    }
                    _ => Some(data),
                };
                out.extend(passed);
            }
            Packet::Control(said) => {
                if let Some(merging) = merging {
                    let sender = &self.names.nodes[from];
                    if line == merging.new {
                        merging.merge.heard_on_new(sender, &said);
                    }
                    if line == merging.old {
                        let out = &mut |data| out.push(data);
                        merging.merge.heard_on_old(sender, &said, out);
                    }
                    match &*said {
                        ControlMessage::State(state)
                            if self.lie == Some(Lie::EarlyRelease)
                                && line == merging.new
                                && state.on == state.home =>
                        {
                            merging
                                .merge
                                .ended(sender, false, &mut |data| out.push(data));
                        }
                        _ => {}
                    }
                }
                let said = self.lied(to, from, said);
                let from = self.names.nodes[from].clone();
                self.input(to, Input::Heard { from, line, said });
            }
        }
    }

    /// Hands out what the merge gave back, and takes what waited for room in it.
    pub(super) fn deliver_out(&mut self, to: usize) {
        loop {
            let out = std::mem::take(&mut self.out);
            for data in &out {
                self.delivered(to, *data);
            }
            self.out = out;
            self.out.clear();
            let node = &mut self.nodes[to];
            let mut blocked = node.blocked.iter();
            let Some(first) = blocked.position(|(line, _, _)| !node.is_unpolled(*line)) else {
                return;
            };
            if let Some((line, from, packet)) = node.blocked.remove(first) {
                self.take(to, line, from, packet);
            }
        }
    }

    pub(super) fn delivered(&mut self, to: usize, data: Data) {
        self.tally.delivered += 1;
        trace!(
            self,
            "{} gets {}{} of {}",
            self.nodes[to].id,
            if data.is_anonymous { "anonymous " } else { "" },
            data.number,
            self.nodes[data.sender].id
        );
        let is_new = self.net.now < self.nodes[to].counts_from;
        let Got {
            last,
            missed,
            last_anonymous,
            anonymous,
            ..
        } = &mut self.nodes[to].got[data.sender];
        let wrong = if data.is_anonymous {
            let bit = 1 << (data.number - 1);
            let is_repeated = *anonymous & bit != 0;
            let is_late = *last_anonymous > data.number && self.weather.is_strict();
            *anonymous |= bit;
            *last_anonymous = data.number;
            match (is_repeated, is_late && self.nodes[data.sender].is_alive) {
                (true, _) => Some("again"),
                (_, true) => Some("too late"),
                _ => None,
            }
        } else if data.number <= *last {
            Some(if data.number == *last {
                "again"
            } else {
                "too late"
            })
        } else {
            if !is_new {
                *missed += data.number - *last - 1;
            }
            *last = data.number;
            None
        };
        if let Some(wrong) = wrong {
            self.failure = Some(format!(
                "{} gets {data:?} of {} {wrong}",
                self.nodes[to].id, self.nodes[data.sender].id
            ));
        }
    }
}

impl Node {
    /// The subscriber does not poll this line now.
    fn is_unpolled(&self, line: LineId) -> bool {
        match &self.merging {
            Some(merging) if merging.new == line => merging.merge.is_full(),
            Some(merging) if merging.old == line => false,
            // Open, and the driver has not begun to merge it.
            _ => line != self.publishes_on,
        }
    }

    fn is_blocked(&self, line: LineId) -> bool {
        self.blocked.iter().any(|(blocked, _, _)| *blocked == line) || self.is_unpolled(line)
    }
}
