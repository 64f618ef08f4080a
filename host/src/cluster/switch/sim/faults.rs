//! What goes wrong: nodes that die or come, cuts, and lies.

use std::{fmt::Write, sync::Arc, time::Duration};

use super::{
    super::{
        machine::{Input, LineId, Machine},
        message::{self, ControlMessage, Phase},
    },
    Lie,
    net::{Event, MAX_NODES, TRANSPORTS},
    node::{Got, Node, OpenLine},
    script::Fault,
    world::{GRACE, LOOK, PATIENCE, World},
};

impl World<'_> {
    pub(super) fn fault(&mut self, fault: Fault) {
        trace!(self, "** {fault:?}");
        match fault {
            Fault::Begin { node, to } => {
                let living = self.nodes.iter().filter(|node| node.is_alive);
                let members = living.map(|node| node.id.clone()).collect();
                let to = self.names.transports[to].clone();
                self.input(node, Input::Begin { to, members });
            }
            Fault::Abort { node } => self.input(node, Input::Abort),
            Fault::Crash { node } => self.crash(node),
            Fault::Gone { at, node } => {
                if self.lie != Some(Lie::ForgetGone) {
                    let node = self.nodes[node].id.clone();
                    self.input(at, Input::Gone(node));
                }
            }
            Fault::Join {
                with_old_configuration,
            } => {
                if self.nodes.len() < MAX_NODES {
                    let newest = self.nodes.iter().filter(|node| node.is_alive);
                    let newest = newest.map(|node| node.machine.report());
                    let newest = newest.max_by(|a, b| a.version.cmp(&b.version));
                    let home = newest.map_or(0, |newest| self.names.transport(&newest.home));
                    self.join(if with_old_configuration { 0 } else { home });
                }
            }
            Fault::Cut { is_cut } => self.cut(is_cut),
            Fault::Down { transport, is_down } => self.net.is_down[transport] = is_down,
            Fault::Lossy { transport, one_in } => self.net.loses[transport] = one_in,
            Fault::Over => {
                self.net.cut = Default::default();
                self.net.is_down = Default::default();
                self.net.loses = Default::default();
                self.net.slow = 0;
                self.is_over = true;
                self.ends_at = self.net.now + PATIENCE;
                self.net.schedule(LOOK, Event::Look);
            }
        }
    }

    pub(super) fn crash(&mut self, node: usize) {
        let living = self.nodes.iter().filter(|node| node.is_alive).count();
        if living < 2 || !self.nodes[node].is_alive {
            return;
        }
        self.nodes[node].is_alive = false;
        for at in 0..self.nodes.len() {
            if self.nodes[at].is_alive {
                // Again when its last words have arrived, which may look as if it lived.
                let first = self.random.between(1, 250);
                self.net
                    .schedule(first, Event::Fault(Fault::Gone { at, node }));
                self.net
                    .schedule(600, Event::Fault(Fault::Gone { at, node }));
            }
        }
    }

    pub(super) fn cut(&mut self, is_cut: bool) {
        let n = self.nodes.len();
        let (one, other) = (self.random.index(n), self.random.index(n));
        if !is_cut {
            self.net.cut = Default::default();
            return;
        }
        let all_transports = self.random.one_in(2);
        let transport = self.random.index(TRANSPORTS);
        let both_ways = self.random.one_in(2);
        let from_all = self.random.one_in(2);
        for (at, cut) in self.net.cut.iter_mut().enumerate() {
            if at == transport || all_transports {
                for from in (0..n).filter(|from| *from != other) {
                    if from == one || from_all {
                        cut[from][other] = true;
                        cut[other][from] |= both_ways;
                    }
                }
            }
        }
    }

    pub(super) fn join(&mut self, home: usize) {
        let at = self.nodes.len();
        let line = LineId(0);
        let now = self.names.start + Duration::from_millis(self.net.now);
        let id = self.names.nodes[at].clone();
        let name = self.names.transports[home].clone();
        let mut got = [Got::default(); MAX_NODES];
        for (got, node) in got.iter_mut().zip(&self.nodes) {
            got.before = node.sent;
        }
        self.nodes.push(Node {
            machine: Machine::new(id.clone(), name, line, self.timing, now),
            id,
            is_alive: true,
            is_founder: self.net.now == 0,
            counts_from: match self.net.now {
                0 => 0,
                now => now + GRACE,
            },
            lines: vec![OpenLine {
                id: line,
                transport: home,
                is_open: true,
            }],
            publishes_on: line,
            speaks_on: line,
            leave: None,
            outbox: Default::default(),
            is_publishing: false,
            merging: None,
            blocked: Default::default(),
            inputs: Default::default(),
            is_driven: false,
            wakes_at: None,
            sent: 0,
            sent_anonymous: 0,
            got,
            gaps: 0,
            dropped: 0,
            was_forced: false,
        });
        self.input(at, Input::Tick);
        let delay = self.random.below(20);
        self.net.schedule(delay, Event::Emit(at));
    }

    /// What a node makes of a message in a broken protocol.
    pub(super) fn lied(
        &mut self,
        to: usize,
        from: usize,
        said: Arc<ControlMessage>,
    ) -> Arc<ControlMessage> {
        if self.writes {
            let read = message::decode(&message::encode(&said));
            assert_eq!(read.as_ref(), Some(&*said), "what is written is read");
        }
        let ControlMessage::State(state) = &*said else {
            return said;
        };
        match self.lie {
            Some(Lie::DecideUnready) if matches!(state.phase, Phase::Opening | Phase::Hearing) => {
                let mut state = state.clone();
                state.phase = Phase::Ready;
                Arc::new(ControlMessage::State(state))
            }
            // The coordinator says to some that it has given up what it has decided.
            Some(Lie::AbortDecided) if state.phase == Phase::Leaving && (to + from) % 2 == 1 => {
                let mut state = state.clone();
                state.version = Default::default();
                state.home = state.on.clone();
                state.phase = Phase::Idle;
                Arc::new(ControlMessage::State(state))
            }
            _ => said,
        }
    }
}
