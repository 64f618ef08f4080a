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
    /// The cluster did not take the message; the sockets of this server were reached, but for those
    /// whose buffers are full (counted in [`Stats`](crate::cluster::Stats), and in the log). Its own
    /// error says why and whose fault that is.
    #[error("the other servers were not reached: {0}")]
    Cluster(SendError),
    /// The caller's: a question in a namespace that this server does not serve, so that no answer
    /// would arrive. Nothing was asked.
    #[error(
        "this server does not serve the namespace {namespace}, so no answer would reach it: serve it \
         (`io.ns(\"{namespace}\", …)`) before asking in it, ask on a server that does, or ask for \
         sockets of this server only (`.local()`). If it is served here, `cluster.max_namespaces` is \
         reached: the log says so"
    )]
    NotServed {
        /// Which one.
        namespace: String,
    },
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
    /// The machine's: the operating system has no random numbers.
    #[error("the operating system has no random numbers: {0}")]
    NoRandomness(String),
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
    /// Every server that is known has answered, and none has this socket. Right after this server
    /// has started, or entered the namespace, it knows no other.
    #[error(
        "no server that is known has the socket {id}: it has disconnected, the id is wrong, or its \
         server has not been heard yet"
    )]
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

impl From<SendError> for ApiError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NotServed { namespace } => Self::NotServed {
                namespace: namespace.to_string(),
            },
            error => Self::Cluster(error),
        }
    }
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
