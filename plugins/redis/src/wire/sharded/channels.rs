//! Which channel carries what.

use switchboard_plugin::{MessageRef, types::Room};

use switchboard_plugin::wire::{
    is_answer,
    pubsub::{private_channel, public_channel},
    values::room_name,
};

/// Node's socket ids have so many characters (UTF-16 units). In the mode `dynamic`, rooms whose
/// names have as many are taken for such.
const SOCKET_ID_UNITS: usize = 20;

/// Which rooms have channels of their own. All nodes of a cluster need the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SubscriptionMode {
    /// None: everything goes over one channel.
    Static,
    /// All that do not look like a socket's id. Node's default.
    #[default]
    Dynamic,
    /// All, the rooms of single sockets as well.
    DynamicPrivate,
}

/// The names of one cluster's channels.
#[derive(Debug, Clone)]
pub(super) struct Channels {
    prefix: String,
    mode: SubscriptionMode,
}

impl Channels {
    pub(super) fn new(prefix: &str, mode: SubscriptionMode) -> Self {
        Self {
            prefix: prefix.to_owned(),
            mode,
        }
    }

    pub(super) fn main(&self, namespace: &str) -> String {
        public_channel(&self.prefix, namespace)
    }

    /// The channel of a room, if rooms like it have one.
    ///
    /// Node's receivers leave out the ids of their sockets, its senders whatever has 20
    /// characters. The sender's rule serves both ways: other ids of sockets (socketioxide's have
    /// 16 characters) are published to like rooms, so they must be listened to like rooms.
    pub(super) fn room(&self, namespace: &str, room: &Room) -> Option<String> {
        let has_one = match (self.mode, room) {
            (SubscriptionMode::Static, _) => false,
            (SubscriptionMode::DynamicPrivate, _) | (_, Room::Number(_)) => true,
            (SubscriptionMode::Dynamic, Room::Text(text)) => {
                text.encode_utf16().count() != SOCKET_ID_UNITS
            }
        };
        has_one.then(|| format!("{}#{namespace}#{}#", self.prefix, room_name(room)))
    }

    /// Where a message goes.
    pub(super) fn of(&self, message: MessageRef<'_>) -> String {
        let namespace = message.namespace;
        let special = match (message.broadcast(), message.recipient) {
            (Some(broadcast), _) if broadcast.request.is_none() => {
                match broadcast.target.rooms.as_slice() {
                    [room] => self.room(namespace, room),
                    _ => None,
                }
            }
            (_, Some(asker)) if is_answer(message.body) => {
                Some(private_channel(&self.prefix, namespace, asker))
            }
            _ => None,
        };
        special.unwrap_or_else(|| self.main(namespace))
    }
}
