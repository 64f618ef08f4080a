//! What can be wrong with a message, on either way.

use super::limits::{
    MAX_ATTACHMENTS, MAX_DEPTH, MAX_MESSAGE_BYTES, MAX_NODE_ID_BYTES, MAX_REQUEST_ID_BYTES,
    MAX_ROOMS, MAX_SOCKETS,
};

/// Why a message that arrived cannot be read. The other messages are not to blame: drop this one
/// and say so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Over [`MAX_MESSAGE_BYTES`].
    #[error("it has {0} bytes, over the limit of {MAX_MESSAGE_BYTES}: send large data in parts")]
    TooLarge(usize),
    /// It ends in the middle of a value.
    #[error("it ends in the middle of a value: another program publishes on this channel")]
    Truncated,
    /// Bytes after the value.
    #[error("{0} bytes follow its value: another program publishes on this channel")]
    Trailing(usize),
    /// 0xC1, which msgpack does not use.
    #[error("it uses msgpack's reserved marker 0xC1: another program publishes on this channel")]
    ReservedMarker,
    /// Not JSON, although it begins like JSON.
    #[error("it is not valid JSON (byte {0}): another program publishes on this channel")]
    Json(usize),
    /// JSON text that is not UTF-8, or a channel's name.
    #[error("its text is not UTF-8")]
    NotUtf8,
    /// [`MAX_DEPTH`] or more containers inside each other.
    #[error("it nests {MAX_DEPTH} or more arrays and objects: flatten it")]
    TooDeep,
    /// More than [`MAX_ATTACHMENTS`] binary parts.
    #[error("it holds more than {MAX_ATTACHMENTS} binary parts: join them")]
    TooManyAttachments,
    /// More than [`MAX_SOCKETS`] sockets in an answer.
    #[error("it describes more than {MAX_SOCKETS} sockets: ask for fewer at a time")]
    TooManySockets,
    /// More than [`MAX_ROOMS`] rooms in a list.
    #[error("it lists more than {MAX_ROOMS} rooms: the sender is no known Socket.IO adapter")]
    TooManyRooms,
    /// A member that the message cannot do without.
    #[error("its member `{0}` is missing: the sender is no Socket.IO adapter of a known version")]
    Missing(&'static str),
    /// A member of another type than every version of the adapters writes.
    #[error("its member `{field}` is not {expected}: the sender is no known Socket.IO adapter")]
    Unexpected {
        /// Which member.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A node id over [`MAX_NODE_ID_BYTES`].
    #[error("its sender's id is longer than {MAX_NODE_ID_BYTES} bytes")]
    LongNodeId,
    /// A request id over [`MAX_REQUEST_ID_BYTES`].
    #[error("its request id is longer than {MAX_REQUEST_ID_BYTES} bytes")]
    LongRequestId,
}

/// Why a message can never go over this wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// The data is not JSON, or nests too deep: the text of the error says which.
    #[error("its data cannot be encoded: {0}")]
    Data(#[from] WireError),
    /// A mark names a binary part that is not there, or all of them were used before.
    #[error("its data refers to a binary part that is missing or already used")]
    NoSuchAttachment,
    /// Over [`MAX_MESSAGE_BYTES`].
    #[error("it has {0} bytes, over the limit of {MAX_MESSAGE_BYTES}: send large data in parts")]
    TooLarge(usize),
    /// This wire has no form for such a message, and Node's servers could not answer it.
    #[error("Node's servers on this wire cannot answer a {0}")]
    NoSuchForm(&'static str),
}

impl WireError {
    /// Whether a server of the cluster may have sent the message, so that something is missing
    /// here. Garbage of other programs is none of ours, and Node's servers pass over it as well.
    pub fn may_be_of_a_peer(&self) -> bool {
        match self {
            Self::TooLarge(_)
            | Self::TooDeep
            | Self::TooManyAttachments
            | Self::TooManySockets
            | Self::TooManyRooms
            | Self::LongNodeId
            | Self::LongRequestId => true,
            Self::Truncated
            | Self::Trailing(_)
            | Self::ReservedMarker
            | Self::Json(_)
            | Self::NotUtf8
            | Self::Missing(_)
            | Self::Unexpected { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_message_that_a_server_may_have_sent_counts_as_missed() {
        // Over a limit of ours: Node would have read it.
        assert!(WireError::TooDeep.may_be_of_a_peer());
        assert!(WireError::TooLarge(1).may_be_of_a_peer());
        // No adapter writes this.
        assert!(!WireError::Json(0).may_be_of_a_peer());
        assert!(!WireError::Missing("opts").may_be_of_a_peer());
    }
}
