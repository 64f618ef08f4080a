//! What the cluster core needs of a transport, and nothing more: a way out and a way in.
//!
//! The core knows no backend and no Wasm. `transport/` implements these traits over a plugin; the
//! unit tests of the core implement them over memory.

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;

use super::message::{Message, Namespace, NodeId, Offset};

/// How the core knows whom to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Membership {
    /// All nodes send heartbeats; those heard are counted.
    #[default]
    Heartbeats,
    /// Some nodes send none: [`Publisher::count_nodes`] says how many answers to wait for.
    Counted,
}

/// What a transport can carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportInfo {
    /// How nodes are counted.
    pub membership: Membership,
    /// `FetchRooms` and its answer can be sent; else `FetchSockets` is asked instead.
    pub rooms_query: bool,
    /// `CustomQuery` and its answer can be sent.
    pub custom_query: bool,
    /// A member that dies is reported at once.
    pub reports_leaving: bool,
}

/// Why a batch did not go out whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The backend or the plugin is away: keep the messages and try again, in order.
    Unavailable(String),
    /// The plugin died over this batch (already being replaced). Try again with less: a message
    /// that kills it alone, twice, is given up.
    Faulted(String),
    /// The first message that was not accepted can never go: report it, go on after it.
    Rejected(String),
    /// There is no way out any more until the operator replaces the plugin: nothing that is sent
    /// can be kept for ever, so it is given up and counted.
    GivenUp(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why)
            | Self::Faulted(why)
            | Self::Rejected(why)
            | Self::GivenUp(why) => f.write_str(why),
        }
    }
}

/// A batch that did not go out whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishFailure {
    /// Messages accepted from the front of the batch; these must never be published again.
    pub accepted: usize,
    /// Their offsets, or empty.
    pub offsets: Vec<Offset>,
    /// What happened to the next one.
    pub reason: Failure,
}

/// The way out. Futures may be dropped: an implementation recovers on its next call.
pub trait Publisher: Send + 'static {
    /// Publishes in order. Ok: all were accepted; the offsets are one per message or none at all.
    ///
    /// `first` is the number of the first message, and the others count on from there: how many
    /// messages this publisher was given and rid of before, accepted or given up. A message that is
    /// given again has the number that it had, whatever has become of the instance that got it
    /// first.
    fn publish<'a>(
        &'a mut self,
        batch: &'a [Message],
        first: u64,
    ) -> BoxFuture<'a, Result<Vec<Offset>, PublishFailure>>;

    /// How many nodes serve the namespace, this one included, when membership is counted.
    fn count_nodes<'a>(
        &'a mut self,
        namespace: &'a Namespace,
    ) -> BoxFuture<'a, Result<Option<u32>, Failure>>;

    /// What the transport can carry. Known once it has opened; the default before.
    fn info(&self) -> TransportInfo;

    /// Ends the way out; what was accepted is on its way afterwards.
    fn close(&mut self) -> BoxFuture<'_, ()>;
}

/// Something that arrived.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are messages")]
pub enum Event {
    /// A message of another node (an own one that came back is dropped by the inbox).
    Message(Message, Option<Offset>),
    /// The backend knows that this node is gone.
    NodeLeft(NodeId),
    /// Messages were missed here.
    Lagged {
        /// How many, if known.
        missed: Option<u32>,
        /// Why.
        reason: String,
    },
}

/// The way in. Futures may be dropped: events not yet returned are returned by the next poll.
pub trait Subscriber: Send + 'static {
    /// This server now serves the namespace. Remembered across restarts of the plugin.
    fn enter(&mut self, namespace: Namespace) -> BoxFuture<'_, Result<(), Failure>>;

    /// This server no longer serves the namespace.
    fn leave<'a>(&'a mut self, namespace: &'a Namespace) -> BoxFuture<'a, ()>;

    /// Waits up to `timeout` for events, oldest first; empty when there is none.
    fn poll(
        &mut self,
        timeout: Duration,
        max_events: usize,
    ) -> BoxFuture<'_, Result<Vec<Event>, Failure>>;

    /// Ends the way in.
    fn close(&mut self) -> BoxFuture<'_, ()>;
}
