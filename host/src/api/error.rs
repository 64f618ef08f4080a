//! Why a call of the server-side API failed. A node that does not answer is never an error: the
//! result says that it is missing.

use super::SocketId;
use crate::{
    cluster::{NodeId, SendError},
    payload::PayloadError,
};

/// A call of the server-side API was not, or not wholly, carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The cluster did not take the message; the sockets of this server were reached. Its own
    /// error says why and whose fault that is.
    #[error("the other servers were not reached: {0}")]
    Cluster(#[from] SendError),
    /// The caller's: the value has no form that the other servers could read. Nothing was done.
    #[error("nothing was sent: {0}")]
    Payload(#[from] PayloadError),
    /// The caller's: an event of this name would disturb the receivers. Nothing was done.
    #[error("`{name}` is not an event that can be sent: {why}")]
    ReservedEvent {
        /// The name.
        name: String,
        /// What it would do.
        why: &'static str,
    },
    /// All other servers got the event, but some sockets of this one did not, because their
    /// buffers are full.
    #[error(
        "{dropped} sockets of this server lost the event, because their buffers are full: a client \
         reads too slowly, or the server's per-socket buffer (max_buffer_size) is too small"
    )]
    SocketsFull {
        /// How many.
        dropped: usize,
    },
    /// Every server has answered, and none has this socket.
    #[error("no server has the socket {id}: it has disconnected, or the id is wrong")]
    NoSuchSocket {
        /// Which one.
        id: SocketId,
    },
    /// No server that answered has this socket, but some did not answer in time. What was asked
    /// for was sent to them all the same.
    #[error(
        "it is not known whether the socket {id} exists: {} servers did not answer in time ({}); \
         what was asked for was sent to them",
        missing.len() + missing_unknown,
        names(missing)
    )]
    Unanswered {
        /// Which one.
        id: SocketId,
        /// Who did not answer.
        missing: Vec<NodeId>,
        /// How many more did not, whose names are not known.
        missing_unknown: usize,
    },
}

fn names(nodes: &[NodeId]) -> String {
    match nodes {
        [] => "their names are not known".to_owned(),
        nodes => nodes
            .iter()
            .map(NodeId::as_str)
            .collect::<Vec<_>>()
            .join(", "),
    }
}
