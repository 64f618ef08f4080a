//! What the nodes of a cluster tell each other about a switch of the backend, as values and as
//! JSON text.
//!
//! There are two kinds. A [`State`] is gossip: all that a node has to say about itself, told again
//! and again, so that losing one costs nothing. A *mark* is the last message that a node sends on
//! the line that it leaves; it goes through the node's ordinary queue, in order with its data.
//!
//! Both come from other nodes and are untrusted: [`decode`] takes nothing that is larger
//! than the limits here. What it does not know (members of an object, kinds, phases, versions of
//! the format) it ignores, so that nodes of different versions of this program get along.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::wire::{node, nodes, text};
use crate::cluster::NodeId;

mod wire;

/// Version of the format, `"v"` in each message.
const FORMAT: u32 = 1;
/// Nodes in one plan. More are refused, by who plans and by who hears of it.
pub(crate) const MAX_MEMBERS: usize = 10_000;
/// Bytes of a name, an id or a reason.
pub(crate) const MAX_TEXT_BYTES: usize = 512;
/// Bytes of a whole message.
pub(crate) const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// Names that a node gives of those whom it has not heard; the number is told in full.
pub(crate) const MAX_NAMED: usize = 16;

/// Which decision a node follows. The highest that anybody has wins.
///
/// A server starts with epoch 0 and an empty id, whatever its configured transport: nothing was
/// decided yet. Two plans that were decided by halves of a cluster that did not hear each other
/// have the same epoch; then the ids decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Version {
    /// How many decisions came before.
    pub(crate) epoch: u32,
    /// Id of the plan that was decided: `<coordinator>/<number>`.
    #[serde(with = "text")]
    pub(crate) id: Text,
}

/// A short text, cheap to clone.
pub(crate) type Text = Arc<str>;

/// A switch that is being prepared, as its coordinator tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The version that nodes will have once it is decided.
    pub(crate) version: Version,
    /// The version that it starts from: who has another one cannot take part.
    pub(crate) base: Version,
    /// The transport that is left.
    #[serde(with = "text")]
    pub(crate) from: Text,
    /// The transport that is moved to.
    #[serde(with = "text")]
    pub(crate) to: Text,
    /// Who decides.
    #[serde(with = "node")]
    pub(crate) coordinator: NodeId,
    /// Who takes part, the coordinator included; sorted, no one twice.
    #[serde(with = "nodes")]
    pub(crate) members: Vec<NodeId>,
    /// Grows when a newcomer becomes a member.
    pub(crate) revision: u32,
}

/// How far a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// Nothing to do.
    #[default]
    Idle,
    /// Takes part in a plan; its new line is not open yet.
    Opening,
    /// The new line is open, but not all living members were heard on it.
    Hearing,
    /// All living members were heard on the new line.
    Ready,
    /// It was decided that this node moves; its new line is not open yet.
    Moving,
    /// The new line is open, and this node's mark is on its way out on the old one.
    Leaving,
    /// Publishes on the new line, and waits for other nodes' marks on the old one.
    Draining,
}

impl Phase {
    /// It follows a decision, and publishes elsewhere still.
    pub(super) fn is_to_leave(self) -> bool {
        matches!(self, Self::Moving | Self::Leaving)
    }
}

/// A node's part in a plan that is not decided yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Which plan.
    pub(crate) plan: Version,
    /// Which revision of it.
    pub(crate) revision: u32,
    /// How many living members it has not heard on the new line.
    pub(crate) missing: u32,
    /// The first of those, up to [`MAX_NAMED`].
    #[serde(default, with = "nodes", skip_serializing_if = "Vec::is_empty")]
    pub(crate) missing_names: Vec<NodeId>,
    /// Why its new line does not open.
    #[serde(
        default,
        with = "text::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) failed: Option<Text>,
    /// Members that it takes for gone: it believes no word of theirs about this plan any more.
    #[serde(default, with = "nodes", skip_serializing_if = "Vec::is_empty")]
    pub(crate) gone: Vec<NodeId>,
}

/// A plan came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Aborted {
    /// Which plan.
    pub(crate) plan: Version,
    /// Why, for people.
    #[serde(with = "text")]
    pub(crate) why: Text,
}

/// All that a node tells about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Grows with each State that the node tells, so that an older one that arrives later, on
    /// another line, is known as such. The same State has the same number on all lines.
    pub(crate) seq: u32,
    /// The decision that the node follows. It may still be on its way: see `on`.
    pub(crate) version: Version,
    /// Where that decision leads.
    #[serde(with = "text")]
    pub(crate) home: Text,
    /// Where the node publishes now. Other than `home`: it has yet to leave.
    #[serde(with = "text")]
    pub(crate) on: Text,
    /// How far it is.
    pub(crate) phase: Phase,
    /// It left its last line without its mark, because that line did not take it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) forced: bool,
    /// Its part in a plan that is not decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) part: Option<Part>,
    /// That plan, told by its coordinator only.
    #[serde(default, with = "wire::plan", skip_serializing_if = "Option::is_none")]
    pub(crate) plan: Option<Arc<Plan>>,
    /// The last plan of which it knows that it came to nothing, told for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) aborted: Option<Aborted>,
}

/// A message about switching. Sent to all nodes, on a line, in a namespace of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum ControlMessage {
    /// Gossip.
    State(State),
    /// The sender publishes nothing on this line any more.
    Mark {
        /// Because it follows this decision.
        version: Version,
    },
}

/// The message as the text of a JSON object.
pub(crate) fn encode(message: &ControlMessage) -> String {
    wire::encode(message)
}

/// What a text says; none if it is not understood, or over a limit.
pub(crate) fn decode(text: &str) -> Option<ControlMessage> {
    wire::decode(text)
}

/// The text, cut to what a message may say.
pub(super) fn short(text: &str) -> Text {
    Text::from(&text[..text.floor_char_boundary(MAX_TEXT_BYTES)])
}

fn is_false(value: &bool) -> bool {
    !value
}
