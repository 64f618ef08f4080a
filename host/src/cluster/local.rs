//! What the cluster core needs of the server it runs in: the local side of one namespace.
//!
//! `adapter/` implements it over socketioxide's `CoreLocalAdapter`. All of it is synchronous and
//! quick: the inbox calls it in order, one message after the other.

use std::{sync::Arc, time::Duration};

use futures_util::stream::BoxStream;

use super::message::{Broadcast, Namespace, Payload, Room, SocketInfo, Target};

/// One local client's answer to a broadcast with acknowledgement.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalAck {
    /// Which socket.
    pub socket: Arc<str>,
    /// JSON array of the acknowledgement's arguments, or why there is none (JSON text).
    pub data: Result<Payload, Arc<str>>,
}

/// One namespace of this server.
pub trait Local: Send + Sync + 'static {
    /// Its name.
    fn namespace(&self) -> &Namespace;

    /// Gives an event to the local sockets that match. Returns how many packets had to be dropped
    /// because a socket's buffer was full.
    fn broadcast(&self, broadcast: Broadcast) -> usize;

    /// Gives an event to the local sockets that match and returns how many there are and what
    /// they acknowledge. The stream ends after `timeout` at the latest.
    fn broadcast_with_ack(
        &self,
        broadcast: &Broadcast,
        timeout: Duration,
    ) -> (u32, BoxStream<'static, LocalAck>);

    /// Makes the local sockets that match join rooms.
    fn join(&self, target: &Target, rooms: &[Room]);

    /// Makes the local sockets that match leave rooms.
    fn leave(&self, target: &Target, rooms: &[Room]);

    /// Disconnects the local sockets that match.
    fn disconnect(&self, target: &Target, close: bool);

    /// Describes the local sockets that match.
    fn sockets(&self, target: &Target) -> Vec<SocketInfo>;

    /// The ids of the local sockets that match: much cheaper than describing them.
    fn socket_ids(&self, target: &Target) -> Vec<Arc<str>> {
        let sockets = self.sockets(target).into_iter();
        sockets.map(|socket| socket.id).collect()
    }

    /// The rooms that the local sockets that match have joined, without those of their own ids.
    fn rooms(&self, target: &Target) -> Vec<Room>;

    /// Is a local socket in this room, or has it this id?
    fn has_room(&self, room: &Room) -> bool;
}
