//! What must be true in the end.

use super::{
    super::{machine::Report, message::Phase},
    net::TRANSPORTS,
    node::Node,
    world::World,
};

impl World<'_> {
    /// Nodes that can hear each other are at rest, on one transport, with one version.
    pub(super) fn why_not_at_rest(&mut self) -> Option<String> {
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
        let has_signpost = !self.timing.signpost.is_zero();
        self.tally.apart_with_signpost = u64::from(is_apart && has_signpost);
        None
    }

    /// Was anything lost, without being reported?
    pub(super) fn losses(&self) -> Option<String> {
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
