//! Whole clusters in virtual time, from a seed: what the rules of the switch do when nodes die,
//! come, do not hear each other, and when backends lose messages or are away.
//!
//! A run takes a cluster of two to five nodes through one to six switches in a second or so of
//! virtual time, while every node sends numbered messages. At each delivery: never twice, never out
//! of order. In the end: all nodes that can hear each other are at rest, on one transport, with one
//! version (in calm runs and in those where nodes only die: all nodes); where nothing was lost on the
//! way nobody lacks a message that is not reported as a gap, and in calm runs and in those where
//! nodes only die nobody lacks any, and nobody reports a gap.
//!
//! `SWITCH_RUNS` is the number of runs, `SWITCH_SEED` the first seed, and a failure prints its seed
//! and what happened in that run:
//!
//! ```sh
//! SWITCH_RUNS=1 SWITCH_SEED=1234 cargo test -p switchboard switch::sim
//! ```
//!
//! `script` is what happens in a run; `net` the backends; `node`, `traffic` and `driver` what is
//! around the machine, and what `publisher.rs`, `subscriber.rs` and `driver.rs` really do; `verdict`
//! what must be true.

/// Notes what happens, if somebody wants to know.
macro_rules! trace {
    ($world:expr, $($arg:tt)*) => {
        if let Some(trace) = &mut $world.trace {
            let _ = write!(trace, "{:>6} ", $world.net.now);
            let _ = writeln!(trace, $($arg)*);
        }
    };
}

mod driver;
mod faults;
mod net;
mod node;
mod random;
mod script;
mod traffic;
mod verdict;
mod world;

use self::{
    script::Weather,
    world::{Names, Tally, World},
};

/// Runs of the test of all weathers, if the environment does not say.
const RUNS: u64 = 10_000;
/// Runs within which a broken rule must be noticed.
const RUNS_TO_NOTICE: u64 = 3_000;

/// A rule that is broken, to see the simulation notice it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// Nothing is held on the new line.
    NoHold,
    /// A sender's messages are let go when it says that it has left, not when its mark is there.
    EarlyRelease,
    /// Nobody is told who is gone.
    ForgetGone,
    /// The coordinator takes everybody for ready.
    DecideUnready,
    /// What is decided is taken back.
    AbortDecided,
}

fn run(
    names: &Names,
    seed: u64,
    lie: Option<Lie>,
    weather: Option<Weather>,
) -> Result<Tally, String> {
    let mut world = World::new(names, seed, lie, weather);
    match world.run() {
        None => Ok(world.tally),
        Some(failure) => Err(failure),
    }
}

fn explain(names: &Names, seed: u64, failure: &str) -> String {
    let mut world = World::new(names, seed, None, None);
    world.trace = Some(String::new());
    world.run();
    format!(
        "{}\nseed {seed} ({:?}): {failure}\nrepeat it with SWITCH_RUNS=1 SWITCH_SEED={seed}",
        world.trace.unwrap_or_default(),
        world.weather,
    )
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_happens_the_cluster_ends_on_one_transport_and_in_order() {
    let names = Names::new();
    let first = number("SWITCH_SEED").unwrap_or(1);
    let mut sum = Tally::default();
    for seed in first..first + number("SWITCH_RUNS").unwrap_or(RUNS) {
        match run(&names, seed, None, None) {
            Ok(tally) => sum.add(tally),
            Err(failure) => panic!("{}", explain(&names, seed, &failure)),
        }
    }
    println!("{sum:?}");
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.transitions += other.transitions;
        self.delivered += other.delivered;
        self.held += other.held;
        self.switched += other.switched;
        self.aborted += other.aborted;
        self.refused += other.refused;
        self.forced += other.forced;
        self.gaps += other.gaps;
        self.dropped += other.dropped;
        self.apart += other.apart;
        self.apart_with_signpost += other.apart_with_signpost;
    }
}

fn notices(lie: Lie, weather: Weather) {
    let names = Names::new();
    let mut seeds = 1..RUNS_TO_NOTICE;
    let noticed = seeds.any(|seed| run(&names, seed, Some(lie), Some(weather)).is_err());
    assert!(noticed, "{lie:?} was not noticed in {RUNS_TO_NOTICE} runs");
}

#[test]
fn the_simulation_notices_when_nothing_is_held() {
    notices(Lie::NoHold, Weather::Calm);
}

#[test]
fn the_simulation_notices_when_messages_are_let_go_too_early() {
    notices(Lie::EarlyRelease, Weather::Calm);
}

#[test]
fn the_simulation_notices_when_nobody_is_told_who_is_gone() {
    notices(Lie::ForgetGone, Weather::Deaths);
}

#[test]
fn the_simulation_notices_when_it_is_decided_too_early() {
    notices(Lie::DecideUnready, Weather::Calm);
}

#[test]
fn the_simulation_notices_when_a_decision_is_taken_back() {
    notices(Lie::AbortDecided, Weather::Calm);
}
