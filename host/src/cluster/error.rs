//! Why something could not be handed to the cluster.
//!
//! These are for the caller on this node. What a backend or a plugin does wrong later is retried
//! or reported by the outbox and never reaches a sender.

use super::message::Namespace;

/// A message or a request was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The outbox is full and its policy is to fail: the backend is slower than this server
    /// sends. Nothing is wrong with the message.
    #[error(
        "the cluster outbox is full: `{option}` is reached because the backend takes messages \
         slower than this server sends them; send less, raise it, or set \
         outbox.when_full = \"wait\""
    )]
    Full {
        /// The limit that was reached, as it stands in the configuration.
        option: &'static str,
    },
    /// There was no room in the outbox before the time of the caller was over: the backend is slower
    /// than this server sends, or away. Nothing was sent.
    #[error(
        "the cluster outbox had no room before the time was over, because the backend takes \
         messages slower than this server sends them, or is away; send less, wait longer, or raise \
         `outbox.max_messages` and `outbox.max_bytes`"
    )]
    NoRoomInTime,
    /// The caller's: a question in a namespace that this server has not entered. Its nodes are not
    /// known here, and their answers would not arrive. Nothing was asked.
    #[error(
        "this server is no member of the namespace {namespace} in the cluster, so answers would not \
         reach it: serve the namespace here before asking in it, or ask on a server that does (if \
         it is served here, `max_namespaces` is reached: the log says so)"
    )]
    NotServed {
        /// Where.
        namespace: Namespace,
    },
    /// The caller's: the cluster was closed before.
    #[error("the cluster is closed: send before closing it, or start another")]
    Closed,
    /// The caller's: too many requests wait for their answers.
    #[error(
        "{limit} requests wait for answers of other nodes: ask less often, use shorter timeouts, \
         or raise `max_pending_requests`"
    )]
    TooManyRequests {
        /// The limit.
        limit: usize,
    },
    /// The caller's: a custom query of a kind that has no name, or one that is too long.
    #[error(
        "the kind of a custom query must have 1 to {max} bytes, not {len}: choose another name"
    )]
    BadKind {
        /// Bytes of the kind's name.
        len: usize,
        /// The most that the contract with transports allows.
        max: usize,
    },
}
