//! The cluster protocol, without a backend and without Wasm: who is in the cluster, what goes out
//! and in which order, what arrives and what it does, which request waits for which answer.
//!
//! ```text
//! adapter/ -> handle, ask, servers -> outbox -> publish -> link::Publisher      (transport/)
//! adapter/ <- local                <- dispatch <- inbox <- link::Subscriber     (transport/)
//!             handlers <- calls    <-
//! ```
//!
//! - [`message`] what nodes tell each other; [`link`] what is needed of a transport; [`local`]
//!   what is needed of the server.
//! - `handle`, `ask`, `servers`: the [`Cluster`] itself. `shared`: what its tasks share.
//! - `outbox`, `batch`, `publish`: the way out. `own`, `offsets`: what goes out and is for this
//!   server's sockets, too. `inbox`, `dispatch`, `collect`: the way in.
//! - `handlers`, `calls`, `call_task`, `event_data`: what this server does when others call it.
//! - `namespaces`, `nodes`, `node_events`, `heartbeat`: who is where. `requests`, `expected`,
//!   `acks`, `partial`: who waits for what.
//! - `tests`: stories of several clusters, joined in memory by `testing`.
//! - `switch`: from one transport to another, together with the other servers.
//! - `options`, `error`, `stats`, and the small tools `backoff`, `flags`, `health`, `random`.
//!
//! May depend on nothing else of this crate. Nothing here encodes or decodes a wire format, picks
//! a backend, or knows socketioxide's adapter.

pub mod link;
pub mod local;
pub mod message;

mod acks;
mod ask;
mod backoff;
mod batch;
mod call_task;
mod calls;
mod collect;
mod dispatch;
mod error;
mod event_data;
mod expected;
mod flags;
mod handle;
mod handlers;
mod health;
mod heartbeat;
mod inbox;
mod namespaces;
mod node_events;
mod nodes;
mod offsets;
mod options;
mod outbox;
mod own;
mod parked;
mod partial;
mod publish;
mod random;
mod requests;
mod servers;
mod shared;
mod stats;
mod switch;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub(crate) use self::event_data::event_name;
pub(crate) use self::parked::Admission;
pub(crate) use self::switch::{LineId, OpenLine, Opener, Switchable};
pub use self::{
    acks::{RemoteAck, RemoteAcks},
    error::SendError,
    event_data::QUERY_EVENT,
    handle::{Cluster, WeakCluster},
    handlers::{Call, Handler, Reply},
    link::{Event, Failure, Membership, PublishFailure, Publisher, Subscriber, TransportInfo},
    local::{Local, LocalAck},
    message::{
        Body, Broadcast, Message, Namespace, NodeId, Offset, Payload, RequestId, Room, SocketInfo,
        Target,
    },
    node_events::{LeftReason, NodeEvent, NodeEvents},
    nodes::{ClusterNode, EMITTER, NodeInfo},
    options::{
        ClusterOptions, InboxOptions, InvalidOption, OutboxFull, OutboxOptions, SwitchOptions,
    },
    partial::Partial,
    servers::Answer,
    stats::Stats,
    switch::{Switch, SwitchError, SwitchNode, SwitchPhase, SwitchReport, Switched},
};

/// How long each direction of a transport may take to close, once there is nothing more to do.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
