//! A run: the cluster, what happens to it, and what must be true of it.

use std::time::{Duration, Instant};

use super::{
    super::{
        machine::{Action, Input, Timing},
        merge::MergeLimits,
        message::Text,
    },
    Lie,
    net::{Data, Event, MAX_NODES, Net, Packet},
    node::Node,
    random::Random,
    script::{self, Weather},
};
use crate::cluster::NodeId;

/// After the last fault, everybody must be at rest within this.
pub(super) const PATIENCE: u64 = 15_000;
/// Between two looks whether everybody is.
pub(super) const LOOK: u64 = 60;
/// So long after its start a node need not have got what was sent meanwhile, where it was not yet.
pub(super) const GRACE: u64 = 250;

/// What does not change from run to run.
pub(super) struct Names {
    pub(super) nodes: Vec<NodeId>,
    pub(super) transports: Vec<Text>,
    pub(super) emitter: NodeId,
    pub(super) start: Instant,
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

    pub(super) fn transport(&self, name: &str) -> usize {
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
    /// Those of them in which signposts are kept.
    pub(super) apart_with_signpost: u64,
}

pub(super) struct World<'a> {
    pub(super) names: &'a Names,
    pub(super) random: Random,
    pub(super) net: Net,
    pub(super) nodes: Vec<Node>,
    pub(super) weather: Weather,
    pub(super) timing: Timing,
    pub(super) limits: MergeLimits,
    pub(super) lie: Option<Lie>,
    /// Messages travel as text.
    pub(super) writes: bool,
    pub(super) is_over: bool,
    /// Applications send no more.
    pub(super) is_quiet: bool,
    pub(super) ends_at: u64,
    pub(super) actions: Vec<Action>,
    pub(super) out: Vec<Data>,
    pub(super) trace: Option<String>,
    pub(super) tally: Tally,
    pub(super) failure: Option<String>,
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

    pub(super) fn happen(&mut self, event: Event) -> bool {
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
}
