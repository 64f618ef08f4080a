//! The switch as one node sees it: who publishes where, what was decided, who has to be waited for.
//! It does no I/O and has no clock; [`Machine::handle`] takes what happened and says what to do.
//!
//! # The rules
//!
//! **A line** is an open transport. A node publishes on one line, its *home*, and listens on one or
//! two. A sender's messages arrive in order on each line, but nothing is known about the order
//! between two lines; a line may lose messages when its backend dies.
//!
//! **A version** says what was decided. All that a node does comes from two kinds of messages that
//! can be lost, repeated and late: its *State*, told to everybody again and again, and its *mark*,
//! the last message on a line that it leaves. What a State with a higher version says is true for
//! everybody, whoever says it: decisions are never taken back.
//!
//! 1. *Prepare.* The coordinator tells a plan in its State. Who is at rest, on the transport and
//!    the version that the plan starts from, takes part: opens the new line, receives on both, and
//!    tells its State on both. It is ready when it has heard, on the new line, every living member
//!    that takes part. Nothing was decided, everybody publishes on the old line.
//! 2. *Decide.* Only the coordinator does, when all living members are ready for the plan's latest
//!    revision. It takes the plan's version. Who hears of that version, from anybody, takes it too.
//! 3. *Leave.* A node that has taken the version sends its mark as the last message of the old line,
//!    and then publishes on the new one. If the old line does not take the mark in time, the node
//!    goes over without it and says so (`forced`).
//! 4. *Drain.* From a member, messages of the new line are held until its mark was seen on the old
//!    one (`merge.rs` does that; [`Action::MergeStart`], `Expect` and `Ended` tell it for whom). A
//!    State that says "I have left", heard on the old line, counts as the mark: it was sent later.
//!    So marks that are lost are replaced. No wait is without end: a member that says that it has
//!    left and whose mark does not come is given up, and the gap is reported.
//! 5. *Rest.* The old line is kept as a **signpost**: a node that starts with the old configuration,
//!    or was cut off, hears there what was decided and moves **alone**: opens the line, leaves,
//!    reports a gap. The next plan closes the signpost before it opens its line; so none begins
//!    while a node that is known to be there has not followed, or somebody is not done.
//! 6. *Abort.* The coordinator gives its plan up, while it is not decided: somebody cannot open the
//!    line, is busy with another plan, or has not become ready in time; most members are gone; or the
//!    operator wants it. Members follow its word. An abort changes no version. A plan that was given
//!    up is remembered, and not taken up again.
//! 7. *The coordinator dies.* Who is not ready aborts, because without it nothing was decided. Who is
//!    ready cannot know. It stops believing the coordinator, tells whom it does not believe any more
//!    (`gone`), and aborts when every living member that it still believes has told the same and has
//!    not moved. If one of them was told to move, all hear it from that one. Members that die
//!    meanwhile join the list. So living members agree.
//! 8. *Death.* Who is reported gone is waited for no more, in that switch, and not listened to for a
//!    while: the last words of the dead may say that something was decided, to some and not to
//!    others. If it was not dead, it is heard again after that, and hears of the decision itself.
//! 9. *Two plans at once*: nodes take part in the first they hear of. Both coordinators hear that
//!    somebody is busy, and both may give up. If the cluster was cut in two and both were decided,
//!    the higher version wins when the halves hear each other.
//!
//! # What is not promised
//!
//! Between nodes that are not reported gone, on lines that lose nothing, and without a line that is
//! left by force, nothing is lost. Otherwise messages may be, and then it is reported: by a gap, or
//! as dropped by a merge. A sender's order holds in any case, with one exception that needs three
//! things at once: control messages that are lost, a node that is taken for dead and is not, or that
//! starts with an old configuration, and a cluster that returns to a transport which that node has
//! not left, or has left an instant ago. Whoever starts with a configuration that is older than the
//! signpost is not found by anybody.
//!
//! `preparing` is a plan before it is decided, `settling` one that is; `waits` is whose marks are to
//! come; `peers` is what others said last; `gossip` is when to tell. `hear`, `prepare` and `moves`
//! are the rules.

use std::{collections::VecDeque, sync::Arc, time::Instant};

pub(crate) use self::api::{Action, Input, LineId, Outcome, Report, Timing};
use self::{gossip::Gossip, peers::Peers, preparing::Preparing, settling::Settling, waits::Waits};
use super::message::{ControlMessage, Phase, Plan, State, Text, Version};
use crate::cluster::NodeId;

mod api;
mod gossip;
mod hear;
mod moves;
mod peers;
mod prepare;
mod preparing;
mod settling;
#[cfg(test)]
mod tests;
mod waits;

/// Plans that came to nothing and are remembered.
const MAX_REFUSED: usize = 64;

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine {
    me: NodeId,
    timing: Timing,
    last_line: u32,
    last_plan: u32,
    /// What was decided, and where that leads.
    version: Version,
    home: Text,
    /// Where this node publishes.
    line: Line,
    stage: Stage,
    /// It came to its line without a mark on the one before.
    forced: bool,
    /// The line that it left.
    signpost: Option<Signpost>,
    waits: Option<Waits>,
    settling: Option<Settling>,
    peers: Peers,
    refused: VecDeque<Version>,
    gossip: Gossip,
}

#[derive(Clone, Debug)]
struct Line {
    id: LineId,
    transport: Text,
}

#[derive(Debug)]
struct Signpost {
    line: Line,
    /// None: others' marks are awaited on it.
    until: Option<Instant>,
}

#[derive(Debug)]
enum Stage {
    /// On its home line; perhaps others' marks are awaited.
    Settled,
    /// Takes part in a plan that is not decided.
    Preparing(Preparing),
    /// Knows where to go; the line is not open.
    Moving(Moving),
    /// The line is open, the mark is on its way.
    Leaving(Leaving),
}

#[derive(Debug)]
struct Moving {
    /// The version before.
    after: Version,
    /// None: it could not be opened, and is tried again.
    opening: Option<LineId>,
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Leaving {
    to: Line,
    until: Instant,
    /// It was told not to wait.
    is_pressed: bool,
}

/// One call of [`Machine::handle`].
struct Step<'a> {
    now: Instant,
    actions: &'a mut Vec<Action>,
}

impl Step<'_> {
    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn log(&mut self, warn: bool, text: String) {
        self.act(Action::Log { warn, text });
    }

    fn gap(&mut self, why: String) {
        self.act(Action::Gap { why });
    }
}

impl Machine {
    /// A node that publishes on an open line of the transport `home`. It says who it is with the
    /// first [`Machine::handle`]: give it an [`Input::Tick`] at once.
    pub(crate) fn new(
        node: NodeId,
        home: Text,
        line: LineId,
        timing: Timing,
        now: Instant,
    ) -> Self {
        Self {
            me: node,
            timing,
            last_line: line.0,
            last_plan: 0,
            version: Version::default(),
            home: home.clone(),
            line: Line {
                id: line,
                transport: home,
            },
            stage: Stage::Settled,
            forced: false,
            signpost: None,
            waits: None,
            settling: None,
            peers: Peers::new(timing.drain),
            refused: VecDeque::new(),
            gossip: Gossip::new(now),
        }
    }

    /// Takes one input, and puts what is to be done at the end of `actions`. `now` must not go
    /// back.
    pub(crate) fn handle(&mut self, input: Input, now: Instant, actions: &mut Vec<Action>) {
        let step = &mut Step { now, actions };
        match input {
            Input::Begin { to, members } => self.begin(to, members, step),
            Input::Abort => self.abort_by_operator(step),
            Input::Opened(line) => self.opened(line, step),
            Input::OpenFailed(line, why) => self.open_failed(line, &why, step),
            Input::Heard { from, line, said } => self.heard(&from, line, &said, step),
            Input::Left { forced } => self.left(forced, step),
            Input::Gone(node) => self.gone(&node, step),
            Input::Joined => self.gossip.answer(self.timing.answer, now),
            Input::Tick => {}
        }
        self.timers(step);
        self.judge(step);
        self.rest(step);
        let due_at = self.gossip.due_at(self.pace());
        if self.gossip.is_due || due_at.is_some_and(|at| at <= now) {
            self.tell(step);
        }
    }

    /// When the next [`Input::Tick`] is due.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let stage = match &self.stage {
            Stage::Settled => None,
            Stage::Preparing(preparing) => self.prepare_until(preparing),
            Stage::Moving(moving) => moving.retry_at,
            Stage::Leaving(leaving) => (!leaving.is_pressed).then_some(leaving.until),
        };
        [
            stage,
            self.gossip.due_at(self.pace()),
            self.gossip.aborted.as_ref().map(|(_, until)| *until),
            self.waits.as_ref().and_then(Waits::until),
            self.settling.as_ref().map(|settling| settling.until),
            self.signpost.as_ref().and_then(|signpost| signpost.until),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// How things stand.
    pub(crate) fn report(&self) -> Report {
        let awaited = self.waits.iter().flat_map(Waits::nodes);
        Report {
            version: self.version.clone(),
            home: self.home.clone(),
            on: self.line.transport.clone(),
            phase: self.phase(),
            plan: self.plan().cloned(),
            awaited: awaited.cloned().collect(),
            signpost: self
                .signpost
                .as_ref()
                .map(|signpost| signpost.line.transport.clone()),
            peers: self.peers.report(),
        }
    }

    /// The plan in progress, decided or not.
    fn plan(&self) -> Option<&Arc<Plan>> {
        match &self.stage {
            Stage::Preparing(preparing) => Some(&preparing.plan),
            _ => self.settling.as_ref().map(|settling| &settling.plan),
        }
    }

    fn phase(&self) -> Phase {
        match &self.stage {
            Stage::Settled if self.is_drained() => Phase::Idle,
            Stage::Settled => Phase::Draining,
            Stage::Preparing(preparing) => preparing.phase(),
            Stage::Moving(_) => Phase::Moving,
            Stage::Leaving(_) => Phase::Leaving,
        }
    }

    fn is_drained(&self) -> bool {
        self.waits.as_ref().is_none_or(Waits::is_empty)
    }

    /// Nothing is going on here.
    fn is_at_rest(&self) -> bool {
        matches!(self.stage, Stage::Settled) && self.is_drained()
    }

    fn new_line(&mut self) -> LineId {
        self.last_line += 1;
        LineId(self.last_line)
    }

    /// How often to tell the State when nothing happens.
    fn pace(&self) -> Option<std::time::Duration> {
        let is_busy =
            !self.is_at_rest() || self.settling.is_some() || self.gossip.aborted.is_some();
        if is_busy {
            return Some(self.timing.gossip);
        }
        (self.version.epoch > 0).then_some(self.timing.idle_gossip)
    }

    /// Tells the State on all open lines.
    fn tell(&mut self, step: &mut Step<'_>) {
        let seq = self.gossip.told(step.now);
        let preparing = match &self.stage {
            Stage::Preparing(preparing) => Some(preparing),
            _ => None,
        };
        let coordinated = preparing.filter(|preparing| preparing.plan.coordinator == self.me);
        let aborted = self.gossip.aborted.as_ref();
        let state = State {
            seq,
            version: self.version.clone(),
            home: self.home.clone(),
            on: self.line.transport.clone(),
            phase: self.phase(),
            forced: self.forced,
            part: preparing.map(Preparing::part),
            plan: coordinated.map(|preparing| preparing.plan.clone()),
            aborted: aborted.map(|(aborted, _)| aborted.clone()),
        };
        let say = Arc::new(ControlMessage::State(state));
        let second = match &self.stage {
            Stage::Preparing(preparing) if preparing.is_open => Some(preparing.line.id),
            Stage::Leaving(leaving) => Some(leaving.to.id),
            _ => None,
        };
        let signpost = self.signpost.as_ref().map(|signpost| signpost.line.id);
        let lines = [Some(self.line.id), second, signpost];
        for line in lines.into_iter().flatten() {
            step.act(Action::Tell {
                line,
                say: say.clone(),
            });
        }
    }

    /// What is due without any input.
    fn timers(&mut self, step: &mut Step<'_>) {
        let now = step.now;
        let aborted = self.gossip.aborted.as_ref();
        if aborted.is_some_and(|(_, until)| *until <= now) {
            self.gossip.aborted = None;
        }
        match &self.stage {
            Stage::Preparing(_) => self.prepare_timers(step),
            Stage::Moving(moving) if moving.retry_at.is_some_and(|at| at <= now) => {
                self.open_decided(step);
            }
            Stage::Leaving(leaving) if !leaving.is_pressed && leaving.until <= now => {
                self.press(step);
            }
            _ => {}
        }
        self.give_up_overdue(step);
    }
}
