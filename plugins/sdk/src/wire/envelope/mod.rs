//! The messages of Node's ClusterAdapter: `type`, `data`, `uid`,
//! `nsp`. Its adapters for Postgres and sharded Redis exchange them whole, that for Redis Streams
//! in parts.
//!
//! Kinds from 34 on are ours. Node ignores unknown kinds.

mod read;
mod write;

pub use read::{Envelope, read, read_parts, tail};
pub use write::{
    Parts, is_binary, kind_number, payload_bytes, write, write_as, write_parts, write_with,
};

/// The kinds, as numbered by ClusterAdapter; ours from 34 on.
mod kind {
    pub(super) const INITIAL_HEARTBEAT: u32 = 1;
    pub(super) const HEARTBEAT: u32 = 2;
    pub(super) const BROADCAST: u32 = 3;
    pub(super) const SOCKETS_JOIN: u32 = 4;
    pub(super) const SOCKETS_LEAVE: u32 = 5;
    pub(super) const DISCONNECT_SOCKETS: u32 = 6;
    pub(super) const FETCH_SOCKETS: u32 = 7;
    pub(super) const SOCKETS_ANSWER: u32 = 8;
    pub(super) const SERVER_EVENT: u32 = 9;
    pub(super) const SERVER_EVENT_ANSWER: u32 = 10;
    pub(super) const CLIENT_COUNT: u32 = 11;
    pub(super) const CLIENT_ACK: u32 = 12;
    pub(super) const ADAPTER_CLOSE: u32 = 13;
    pub(super) const CUSTOM_QUERY: u32 = 34;
    pub(super) const CUSTOM_ANSWER: u32 = 35;
    /// A client that will not acknowledge: Node would count a 12 as an acknowledgement.
    pub(super) const CLIENT_ACK_ERROR: u32 = 36;
    /// A node that cannot answer: Node would count a 10 as an answer.
    pub(super) const SERVER_EVENT_ERROR: u32 = 37;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
