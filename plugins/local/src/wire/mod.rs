//! A frame of the `local` transport: several messages of one node. Pure: no I/O, no host.
//!
//! ```text
//! frame    version (1 byte, 1), then messages until the end
//! message  length (4 bytes, little endian) of what follows, kind (1 byte),
//!          namespace, sender (empty: the member that sent the frame), recipient?, fields of the kind
//! text     length (varint), UTF-8
//! x?       0, or 1 and x
//! list     count (varint), items
//! ```
//!
//! Every message has its length in front, so a reader skips kinds that it does not know and
//! fields that later versions append. Frames come from other processes: lengths are checked
//! before anything is allocated, and nothing here can panic.

mod read;
mod write;

pub use read::{Malformed, read};
pub use write::frames;

/// The first byte of every frame.
const VERSION: u8 = 1;

/// The kinds, as numbered by Node's ClusterAdapter; ours from 32 on.
mod kind {
    pub(super) const INITIAL_HEARTBEAT: u8 = 1;
    pub(super) const HEARTBEAT: u8 = 2;
    pub(super) const BROADCAST: u8 = 3;
    pub(super) const SOCKETS_JOIN: u8 = 4;
    pub(super) const SOCKETS_LEAVE: u8 = 5;
    pub(super) const DISCONNECT_SOCKETS: u8 = 6;
    pub(super) const FETCH_SOCKETS: u8 = 7;
    pub(super) const SOCKETS_ANSWER: u8 = 8;
    pub(super) const SERVER_EVENT: u8 = 9;
    pub(super) const SERVER_EVENT_ANSWER: u8 = 10;
    pub(super) const CLIENT_COUNT: u8 = 11;
    pub(super) const CLIENT_ACK: u8 = 12;
    pub(super) const ADAPTER_CLOSE: u8 = 13;
    pub(super) const FETCH_ROOMS: u8 = 32;
    pub(super) const ROOMS_ANSWER: u8 = 33;
    pub(super) const CUSTOM_QUERY: u8 = 34;
    pub(super) const CUSTOM_ANSWER: u8 = 35;
}

#[cfg(test)]
mod tests;
