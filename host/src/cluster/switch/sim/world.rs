//! A run: the cluster, what happens to it, and what must be true of it.

use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    super::{
        machine::{Action, Input, LineId, Machine, Outcome, Report, Timing},
        merge::{Merge, MergeLimits},
        message::{self, ControlMessage, Phase, Text},
    },
    Lie,
    net::{Data, Event, MAX_NODES, Net, Packet, TRANSPORTS},
    node::{Got, Leave, Merging, Node, OpenLine},
    random::Random,
    script::{self, Fault, Weather},
};
use crate::cluster::NodeId;

/// After the last fault, everybody must be at rest within this.
const PATIENCE: u64 = 15_000;
/// Between two looks whether everybody is.
const LOOK: u64 = 60;
/// So long after its start a node need not have got what was sent meanwhile, where it was not yet.
const GRACE: u64 = 250;
/// Anonymous messages of one sender, one bit each.
const MAX_ANONYMOUS: u32 = 64;

/// What does not change from run to run.
pub(super) struct Names {
    nodes: Vec<NodeId>,
    transports: Vec<Text>,
    emitter: NodeId,
    start: Instant,
}

impl Names {
    pub(super) fn new() -> Self {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        Self {
            nodes: names.map(NodeId::from).to_vec(),
            transports: ["red", "green", "blue"].map(Text::from).to_vec(),
            emitter: NodeId::from(crate::cluster::EMITTER),
            start: Instant::now(),
        }
    }

    fn transport(&self, name: &str) -> usize {
        match name.as_bytes()[0] {
            b'r' => 0,
            b'g' => 1,
            _ => 2,
        }
    }
}

/// What was found out about all runs together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) runs: u64,
    /// Calls of [`Machine::handle`].
    pub(super) transitions: u64,
    pub(super) delivered: u64,
    pub(super) held: u64,
    pub(super) switched: u64,
    pub(super) aborted: u64,
    pub(super) refused: u64,
    pub(super) forced: u64,
    pub(super) gaps: u64,
    pub(super) dropped: u64,
    /// Runs that ended in parts that cannot hear each other on any transport.
    pub(super) apart: u64,
}

pub(super) struct World<'a> {
    names: &'a Names,
    pub(super) random: Random,
    pub(super) net: Net,
    pub(super) nodes: Vec<Node>,
    pub(super) weather: Weather,
    timing: Timing,
    limits: MergeLimits,
    lie: Option<Lie>,
    /// Messages travel as text.
    writes: bool,
    is_over: bool,
    /// Applications send no more.
    is_quiet: bool,
    ends_at: u64,
    actions: Vec<Action>,
    out: Vec<Data>,
    pub(super) trace: Option<String>,
    pub(super) tally: Tally,
    failure: Option<String>,
}

macro_rules! trace {
    ($world:expr, $($arg:tt)*) => {
        if let Some(trace) = &mut $world.trace {
            let _ = write!(trace, "{:>6} ", $world.net.now);
            let _ = writeln!(trace, $($arg)*);
        }
    };
}

impl<'a> World<'a> {
    pub(super) fn new(
        names: &'a Names,
        seed: u64,
        lie: Option<Lie>,
        weather: Option<Weather>,
    ) -> Self {
        let mut random = Random::new(seed);
        let weathers = [
            Weather::Calm,
            Weather::Deaths,
            Weather::Newcomers,
            Weather::Backends,
            Weather::Cuts,
            Weather::Storm,
        ];
        let drawn = weathers[random.index(weathers.len())];
        let net = Net::new(&mut random);
        let timing = Timing {
            prepare: Duration::from_millis(600),
            leave: Duration::from_millis(300),
            drain: Duration::from_millis(400),
            signpost: Duration::from_millis([0, 30_000, 30_000][random.index(3)]),
            gossip: Duration::from_millis(40),
            idle_gossip: Duration::from_millis(200),
            answer: Duration::from_millis(150),
        };
        let mut limits = MergeLimits::default();
        if random.one_in(4) {
            limits.messages = random.between(1, 6) as usize;
        }
        let mut world = Self {
            names,
            net,
            nodes: Vec::with_capacity(MAX_NODES),
            weather: weather.unwrap_or(drawn),
            timing,
            limits,
            lie,
            writes: random.one_in(64),
            is_over: false,
            is_quiet: false,
            ends_at: u64::MAX,
            actions: Vec::new(),
            out: Vec::new(),
            trace: None,
            tally: Tally {
                runs: 1,
                ..Tally::default()
            },
            failure: None,
            random,
        };
        // Two or three in most runs: there is more to find in their order than in their number.
        let founders = [2, 2, 3, 3, 3, 4, 5][world.random.index(7)];
        for _ in 0..founders {
            world.join(0);
        }
        script::write(&mut world);
        world
    }

    /// Runs to the end; what was wrong, if anything was.
    pub(super) fn run(&mut self) -> Option<String> {
        while let Some(event) = self.net.next() {
            if self.net.now > self.ends_at {
                let why = self
                    .why_not_at_rest()
                    .unwrap_or_else(|| "messages are stuck".into());
                return Some(format!("it does not come to rest: {why}"));
            }
            if !self.happen(event) {
                break;
            }
            if let Some(failure) = self.failure.take() {
                return Some(failure);
            }
        }
        self.tally.gaps = self.nodes.iter().map(|node| u64::from(node.gaps)).sum();
        for at in 0..self.nodes.len() {
            let mut out = std::mem::take(&mut self.out);
            self.nodes[at].close_merge(&mut out);
            if !out.is_empty() && self.nodes[at].is_alive {
                return Some(format!("{} holds messages in the end", self.nodes[at].id));
            }
        }
        self.tally.dropped = self.nodes.iter().map(|node| node.dropped).sum();
        self.losses()
    }

    fn happen(&mut self, event: Event) -> bool {
        match event {
            Event::Deliver {
                to,
                line,
                from,
                packet,
            } => {
                self.net.in_flight -= usize::from(matches!(packet, Packet::Data(_)));
                self.arrive(to, line, from, packet);
            }
            Event::Published(node) => self.published(node),
            Event::Drive(node) => self.drive(node),
            Event::Wake(node) => {
                if self.nodes[node].wakes_at == Some(self.net.now) {
                    self.nodes[node].wakes_at = None;
                    self.input(node, Input::Tick);
                }
            }
            Event::Opened {
                node,
                line,
                is_open,
            } => self.opened(node, line, is_open),
            Event::Emit(node) => self.emit(node),
            Event::Fault(fault) => self.fault(fault),
            Event::Look => {
                if self.why_not_at_rest().is_none() {
                    self.is_quiet = true;
                    let waiting = |node: &Node| {
                        let held = node.merging.as_ref().map_or(0, |m| m.merge.held());
                        node.is_alive && held + node.outbox.len() + node.blocked.len() > 0
                    };
                    if self.net.in_flight == 0 && !self.nodes.iter().any(waiting) {
                        return false;
                    }
                }
                self.net.schedule(LOOK, Event::Look);
            }
        }
        true
    }

    // The way out.

    fn emit(&mut self, at: usize) {
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

    fn publish_soon(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if !node.is_publishing {
            node.is_publishing = true;
            let delay = self.random.below(6);
            self.net.schedule(delay, Event::Published(at));
        }
    }

    fn published(&mut self, at: usize) {
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

    fn publish(&mut self, from: usize, transport: usize, packet: &Packet) {
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

    fn arrive(&mut self, to: usize, line: LineId, from: usize, packet: Packet) {
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
    fn take(&mut self, to: usize, line: LineId, from: usize, packet: Packet) {
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
                    match &*said {
                        ControlMessage::Mark { version } if line == merging.old => {
                            merging
                                .merge
                                .mark(sender, version, &mut |data| out.push(data));
                        }
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
    fn deliver_out(&mut self, to: usize) {
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

    fn delivered(&mut self, to: usize, data: Data) {
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

    // The driver.

    pub(super) fn input(&mut self, at: usize, input: Input) {
        let node = &mut self.nodes[at];
        node.inputs.push_back(input);
        if !node.is_driven {
            node.is_driven = true;
            let delay = self.random.below(3);
            self.net.schedule(delay, Event::Drive(at));
        }
    }

    fn drive(&mut self, at: usize) {
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

    fn act(&mut self, at: usize, action: Action) {
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

    fn opened(&mut self, at: usize, line: LineId, is_open: bool) {
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

    // What goes wrong.

    fn fault(&mut self, fault: Fault) {
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

    fn crash(&mut self, node: usize) {
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

    fn cut(&mut self, is_cut: bool) {
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

    fn join(&mut self, home: usize) {
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
    fn lied(&mut self, to: usize, from: usize, said: Arc<ControlMessage>) -> Arc<ControlMessage> {
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

    // What must be true in the end.

    /// Nodes that can hear each other are at rest, on one transport, with one version.
    fn why_not_at_rest(&mut self) -> Option<String> {
        let living = self.nodes.iter().filter(|node| node.is_alive);
        let living: Vec<(&Node, Report)> =
            living.map(|node| (node, node.machine.report())).collect();
        let mut is_apart = false;
        for (node, own) in &living {
            if own.phase != Phase::Idle || own.home != own.on {
                return Some(format!("{} is {:?} on {}", node.id, own.phase, own.on));
            }
            for (other, others) in &living {
                if own.version == others.version && own.home == others.home {
                    continue;
                }
                let mut transports = 0..TRANSPORTS;
                if transports.any(|at| node.listens_on(at) && other.listens_on(at)) {
                    return Some(format!(
                        "{} is on {} with {:?}, {} on {} with {:?}",
                        node.id, own.home, own.version, other.id, others.home, others.version
                    ));
                }
                is_apart = true;
            }
        }
        if is_apart && self.weather.is_strict() {
            return Some("the cluster fell apart".to_owned());
        }
        self.tally.apart = u64::from(is_apart);
        None
    }

    /// Was anything lost, without being reported?
    fn losses(&self) -> Option<String> {
        let weather = self.weather;
        if weather.has_cuts() || weather.has_losses() {
            return None;
        }
        for to in self.nodes.iter().filter(|node| node.is_alive) {
            for (at, from) in self.nodes.iter().enumerate() {
                if to.id == from.id || !from.is_alive {
                    continue;
                }
                let got = &to.got[at];
                let all = u64::MAX.checked_shr(64 - from.sent_anonymous).unwrap_or(0);
                let has_anonymous = got.anonymous == all || !to.is_founder;
                let has_last = got.last == from.sent || from.sent <= got.before;
                let is_complete = got.missed == 0 && has_last && has_anonymous;
                let is_reported = !weather.is_strict()
                    && (!to.is_founder || !from.is_founder)
                    && to.gaps + from.gaps + to.dropped as u32 > 0;
                if !is_complete && !is_reported && self.tally.apart == 0 {
                    return Some(format!(
                        "{} lacks messages of {}, who sent {} and {}: {got:?}",
                        to.id, from.id, from.sent, from.sent_anonymous
                    ));
                }
            }
        }
        None
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
