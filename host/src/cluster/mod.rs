//! The cluster protocol, without a backend and without Wasm: who is in the cluster, what goes out
//! and in which order, what arrives and what it does, which request waits for which answer.
//!
//! ```text
//! adapter/ -> handle, ask -> outbox -> publish -> link::Publisher      (transport/)
//! adapter/ <- local       <- dispatch <- inbox <- link::Subscriber     (transport/)
//! ```
//!
//! - [`message`] what nodes tell each other; [`link`] what is needed of a transport; [`local`]
//!   what is needed of the server.
//! - `handle`, `ask`: the [`Cluster`] itself. `shared`: what its tasks share.
//! - `outbox`, `publish`: the way out. `inbox`, `dispatch`, `collect`: the way in.
//! - `namespaces`, `nodes`, `heartbeat`: who is where. `requests`, `expected`, `acks`: who waits
//!   for what.
//! - `tests`: stories of several clusters, joined in memory by `testing`.
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
mod collect;
mod dispatch;
mod error;
mod expected;
mod flags;
mod handle;
mod health;
mod heartbeat;
mod inbox;
mod namespaces;
mod nodes;
mod options;
mod outbox;
mod publish;
mod random;
mod requests;
mod shared;
mod stats;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::{
    acks::{RemoteAck, RemoteAcks},
    ask::Partial,
    error::SendError,
    handle::{Cluster, WeakCluster},
    link::{Event, Failure, Membership, PublishFailure, Publisher, Subscriber, TransportInfo},
    local::{Local, LocalAck},
    message::{
        Body, Broadcast, Message, Namespace, NodeId, Offset, Payload, RequestId, Room, SocketInfo,
        Target,
    },
    nodes::NodeInfo,
    options::{ClusterOptions, InboxOptions, InvalidOption, OutboxFull, OutboxOptions},
    stats::Stats,
};

/// How long each direction of a transport may take to close, once there is nothing more to do.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
