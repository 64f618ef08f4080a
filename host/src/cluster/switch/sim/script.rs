//! What goes wrong in a run, and what the operators want, drawn from the seed.

use super::{net::Event, world::World};

/// What kinds of things happen in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// Nothing but operators and transports that do not open.
    Calm,
    /// Nodes die, and everybody is told.
    Deaths,
    /// Nodes come, with the first configuration or today's.
    Newcomers,
    /// Backends are away or lose messages.
    Backends,
    /// Nodes do not hear each other, and are told that others are gone that are not.
    Cuts,
    /// All of it.
    Storm,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Begin {
        node: usize,
        to: usize,
    },
    Abort {
        node: usize,
    },
    Crash {
        node: usize,
    },
    Gone {
        at: usize,
        node: usize,
    },
    Join {
        with_old_configuration: bool,
    },
    Cut {
        is_cut: bool,
    },
    Down {
        transport: usize,
        is_down: bool,
    },
    Lossy {
        transport: usize,
        one_in: u64,
    },
    /// From now on nothing goes wrong any more.
    Over,
}

impl Weather {
    pub(super) fn has_deaths(self) -> bool {
        matches!(self, Self::Deaths | Self::Storm)
    }

    pub(super) fn has_newcomers(self) -> bool {
        matches!(self, Self::Newcomers | Self::Storm)
    }

    pub(super) fn has_cuts(self) -> bool {
        matches!(self, Self::Cuts | Self::Storm)
    }

    pub(super) fn has_losses(self) -> bool {
        matches!(self, Self::Backends | Self::Storm)
    }

    /// Nodes that live through it get everything, in order, and nobody reports a gap.
    pub(super) fn is_strict(self) -> bool {
        matches!(self, Self::Calm | Self::Deaths)
    }
}

/// Puts a run's events into the queue.
pub(super) fn write(world: &mut World) {
    let founders = world.nodes.len();
    let length = world.random.between(150, 900);
    let transports = super::net::TRANSPORTS;
    // Most begin at the start: what comes later meets a switch.
    let begins = world.random.between(1, 3);
    for turn in 0..begins {
        let at = world.random.below(if turn == 0 { 40 } else { length });
        let node = world.random.index(founders);
        let to = world.random.index(transports);
        fault(world, at, Fault::Begin { node, to });
        if world.random.one_in(5) {
            let again = at + world.random.below(60);
            let (node, to) = (world.random.index(founders), world.random.index(transports));
            fault(world, again, Fault::Begin { node, to });
        }
        if world.random.one_in(6) {
            let again = at + world.random.below(200);
            fault(world, again, Fault::Abort { node });
        }
    }
    let weather = world.weather;
    if weather.has_deaths() {
        for _ in 0..world.random.between(1, 2) {
            let at = world.random.below(length);
            let node = world.random.index(founders);
            fault(world, at, Fault::Crash { node });
        }
    }
    if weather.has_newcomers() {
        for _ in 0..world.random.between(1, 2) {
            let at = world.random.below(length);
            let with_old_configuration = !world.random.one_in(3);
            let join = Fault::Join {
                with_old_configuration,
            };
            fault(world, at, join);
        }
    }
    if weather.has_cuts() {
        for _ in 0..world.random.between(1, 3) {
            let at = world.random.below(length);
            fault(world, at, Fault::Cut { is_cut: true });
            let until = at + world.random.between(20, 700);
            fault(world, until, Fault::Cut { is_cut: false });
        }
        for _ in 0..world.random.below(3) {
            let at_time = world.random.below(length);
            let (at, node) = (world.random.index(founders), world.random.index(founders));
            fault(world, at_time, Fault::Gone { at, node });
        }
    }
    if weather.has_losses() {
        for _ in 0..world.random.between(1, 2) {
            let at = world.random.below(length);
            let until = at + world.random.between(20, 700);
            let transport = world.random.index(transports);
            if world.random.one_in(2) {
                let one_in = world.random.between(1, 4);
                fault(world, at, Fault::Lossy { transport, one_in });
                let one_in = 0;
                fault(world, until, Fault::Lossy { transport, one_in });
            } else {
                for (at, is_down) in [(at, true), (until, false)] {
                    fault(world, at, Fault::Down { transport, is_down });
                }
            }
        }
    }
    fault(world, length, Fault::Over);
}

fn fault(world: &mut World, at: u64, fault: Fault) {
    world.net.schedule_at(at, Event::Fault(fault));
}
