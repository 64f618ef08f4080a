//! What goes into the machine and what comes out of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::super::message::{ControlMessage, Phase, Plan, Text, Version};
use crate::cluster::NodeId;

/// Number of a line, unique within one machine. The machine hands them out in [`Action::Open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LineId(pub(crate) u32);

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// All members must be ready within this, or the coordinator aborts. Members that hear nothing
    /// give the coordinator up after three times this, and abort alone after six times.
    pub(crate) prepare: Duration,
    /// The old line must take the mark within this, or the node goes over without it.
    pub(crate) leave: Duration,
    /// How long to wait for a sender's mark, from when it says that it has left.
    pub(crate) drain: Duration,
    /// How long the old line stays open for those that come late. Zero: until all members have
    /// drained, and `answer` longer for what is on its way.
    pub(crate) signpost: Duration,
    /// How often a node tells its State while something is going on.
    pub(crate) gossip: Duration,
    /// How often it does so otherwise, once there was a switch.
    pub(crate) idle_gossip: Duration,
    /// At most one answer to nodes that are behind in this time.
    pub(crate) answer: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            prepare: Duration::from_secs(10),
            leave: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            signpost: Duration::from_secs(600),
            gossip: Duration::from_millis(200),
            idle_gossip: Duration::from_secs(5),
            answer: Duration::from_secs(1),
        }
    }
}

/// What happened. Inputs about lines that the machine has closed are ignored.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// The operator wants all nodes on this transport. Answered by exactly one
    /// [`Action::Finished`]. `members`: the other Switchboard nodes that are known; those that the
    /// machine has heard itself are added.
    Begin {
        /// The transport's name.
        to: Text,
        /// The other nodes, if known.
        members: Vec<NodeId>,
    },
    /// The operator wants the plan that was begun here given up. Too late once it is decided.
    Abort,
    /// A line is open: it receives, and what is told on it is published.
    Opened(LineId),
    /// A line could not be opened, and why. It needs no `Close`.
    OpenFailed(LineId, String),
    /// A message about switching arrived; of any node, on any line, as soon as it arrives. Marks
    /// go to the merge first.
    Heard {
        /// Its sender.
        from: NodeId,
        /// On which line.
        line: LineId,
        /// What it says.
        said: Arc<ControlMessage>,
    },
    /// Answer to [`Action::Leave`] and [`Action::LeaveNow`]: what is published from now on goes on
    /// the new line. `forced`: without the mark on the old one.
    Left {
        /// Without the mark.
        forced: bool,
    },
    /// The registry says that this node is gone.
    Gone(NodeId),
    /// The registry has a new node, which should hear how things stand.
    Joined,
    /// [`Machine::wake_at`](super::Machine::wake_at) has come.
    Tick,
}

/// What is to be done, in this order.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Open a line; answered by [`Input::Opened`] or [`Input::OpenFailed`]. Nothing that it
    /// receives may be handed out before the [`Action::MergeStart`] that follows the answer;
    /// messages about switching are.
    Open {
        /// Its number from now on.
        line: LineId,
        /// Which transport.
        transport: Text,
    },
    /// Close a line, also one that is still being opened. Not an error if there is none.
    Close(LineId),
    /// Tell all nodes, on this line, beside its queue of messages. Failures do not matter. What is
    /// told on a line goes out there before what is published on it after a later `Leave`.
    Tell {
        /// On which line.
        line: LineId,
        /// What.
        say: Arc<ControlMessage>,
    },
    /// Send the mark as the last message of the old line, then publish on the new one; answered by
    /// [`Input::Left`].
    Leave {
        /// The new line.
        to: LineId,
        /// The mark.
        mark: Arc<ControlMessage>,
    },
    /// Do not wait for the mark any longer: go over between two publish calls. Answered by
    /// [`Input::Left`] too (once, if both answers cross).
    LeaveNow,
    /// Both lines are merged from now on, until [`Action::MergeEnd`].
    MergeStart {
        /// The old line.
        old: LineId,
        /// The new line.
        new: LineId,
        /// Marks of this version or a lower one are of an earlier switch.
        after: Version,
        /// Whose marks on the old line are to come.
        awaited: Vec<NodeId>,
    },
    /// A mark of this node is to come: [`Merge::wait_for`](super::super::merge::Merge::wait_for).
    Expect {
        /// Which node.
        node: NodeId,
        /// The version of the mark.
        version: Version,
    },
    /// Wait no longer for this node: [`Merge::ended`](super::super::merge::Merge::ended).
    Ended {
        /// Which node.
        node: NodeId,
        /// It left without its mark: what still arrives on the old line is not to be delivered.
        forced: bool,
    },
    /// One of the two lines is about to be closed: [`Merge::finish`](super::super::merge::Merge::finish).
    MergeEnd,
    /// Messages may have been missed here: count and report it.
    Gap {
        /// Why, for people.
        why: String,
    },
    /// What became of [`Input::Begin`].
    Finished(Outcome),
    /// For the log.
    Log {
        /// Worth a warning.
        warn: bool,
        /// For people.
        text: String,
    },
}

/// What became of a switch that was begun here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All living members have moved.
    Switched {
        /// The version that they have now.
        version: Version,
        /// The transport that they are on.
        to: Text,
        /// Members that went away meanwhile.
        gone: Vec<NodeId>,
        /// Members that had not said that they are done when this node stopped waiting.
        unfinished: Vec<NodeId>,
    },
    /// It was given up before it was decided; nothing has changed.
    Aborted {
        /// Why, for people.
        why: String,
    },
    /// It was not even begun. What was in progress goes on.
    Refused {
        /// Why, for people.
        why: String,
    },
}

/// How things stand, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// The decision that this node follows.
    pub(crate) version: Version,
    /// Where it leads.
    pub(crate) home: Text,
    /// Where this node publishes.
    pub(crate) on: Text,
    /// How far it is.
    pub(crate) phase: Phase,
    /// The plan in progress; also one that is decided, until all its members are done.
    pub(crate) plan: Option<Arc<Plan>>,
    /// Whose marks are awaited.
    pub(crate) awaited: Vec<NodeId>,
    /// The transport of the old line that is kept open.
    pub(crate) signpost: Option<Text>,
    /// The other nodes that were heard and are not gone, sorted.
    pub(crate) peers: Vec<PeerReport>,
}

/// What another node said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerReport {
    /// Which node.
    pub(crate) node: NodeId,
    /// The decision that it follows.
    pub(crate) version: Version,
    /// Where it publishes.
    pub(crate) on: Text,
    /// How far it is.
    pub(crate) phase: Phase,
    /// Since when, as far as was heard.
    pub(crate) since: Instant,
    /// Why its new line does not open.
    pub(crate) failed: Option<Text>,
}
