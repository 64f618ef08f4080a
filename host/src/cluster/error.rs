//! Why something could not be handed to the cluster.
//!
//! These are for the caller on this node. What a backend or a plugin does wrong later is retried
//! or reported by the outbox and never reaches a sender.

/// A message or a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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
