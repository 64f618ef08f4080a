//! The wire of `createAdapter`: broadcasts in msgpack, requests and
//! their answers mostly in JSON, each on channels of its own.
//!
//! What this wire has no form for (heartbeats, farewells, custom requests, errors) goes as an
//! envelope (`envelope`) over a channel that Node's servers do not subscribe to. Answers of
//! ours name their sender in members that Node's servers pass over.

mod broadcast;
mod channels;
mod request;
mod response;

use switchboard_plugin::{
    MessageRef,
    types::Body,
    wire::{Rejected, WireError, envelope},
};

use super::{Affixes, Decoded, Local, Publication, Subscription};
pub use broadcast::peek_sender;
pub(super) use channels::Channels;
pub(super) use channels::Place;

/// The kinds of requests and answers.
mod kind {
    pub(super) const SOCKETS: u32 = 0;
    pub(super) const ALL_ROOMS: u32 = 1;
    pub(super) const REMOTE_JOIN: u32 = 2;
    pub(super) const REMOTE_LEAVE: u32 = 3;
    pub(super) const REMOTE_DISCONNECT: u32 = 4;
    pub(super) const REMOTE_FETCH: u32 = 5;
    pub(super) const SERVER_SIDE_EMIT: u32 = 6;
    pub(super) const BROADCAST: u32 = 7;
    pub(super) const BROADCAST_CLIENT_COUNT: u32 = 8;
    pub(super) const BROADCAST_ACK: u32 = 9;
}

/// The way out.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    channels: Channels,
    opts: broadcast::LastOpts,
}

impl Writer {
    pub(super) fn new(prefix: &str, specific_responses: bool) -> Self {
        Self {
            channels: Channels::new(prefix, specific_responses),
            opts: broadcast::LastOpts::default(),
        }
    }

    pub(super) fn count_channel(&self, namespace: &str) -> String {
        self.channels.request(namespace)
    }

    pub(super) fn write(
        &self,
        message: MessageRef<'_>,
        out: &mut Publication,
    ) -> Result<(), Rejected> {
        let namespace = message.namespace;
        if let Some(broadcast) = message.broadcast()
            && broadcast.request.is_none()
        {
            // There are many of these.
            let sender = message.sender;
            broadcast::write(sender, namespace, broadcast, &self.opts, &mut out.payload)?;
            self.channels
                .broadcast(namespace, broadcast.target, &mut out.channel);
            return Ok(());
        }
        (out.channel, out.payload) = match message.body {
            Body::Broadcast(_)
            | Body::Again(_)
            | Body::SocketsJoin(_)
            | Body::SocketsLeave(_)
            | Body::DisconnectSockets(_)
            | Body::FetchSockets(_)
            | Body::FetchRooms(_)
            | Body::ServerEvent(_) => (self.channels.request(namespace), request::write(message)?),
            _ if !response::has_form(message.body) => {
                (self.channels.own(namespace), envelope::write(message)?)
            }
            _ => {
                let (channel, specific) = self.channels.response(namespace, message.recipient);
                (channel, response::write(message, !specific)?)
            }
        };
        Ok(())
    }
}

/// The way in.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    channels: Channels,
    node: String,
    places: channels::Places,
    opts: broadcast::LastOpts,
}

impl Reader {
    pub(super) fn new(prefix: &str, specific_responses: bool, node: &str) -> Self {
        Self {
            channels: Channels::new(prefix, specific_responses),
            node: node.to_owned(),
            places: channels::Places::default(),
            opts: broadcast::LastOpts::default(),
        }
    }

    pub(super) fn enter(&mut self, namespace: &str) -> Vec<Subscription> {
        self.places.enter(&self.channels, namespace, &self.node)
    }

    pub(super) fn leave(&mut self, namespace: &str) -> Vec<Subscription> {
        self.places.leave(&self.channels, namespace, &self.node)
    }

    pub(super) fn own(&self) -> Affixes {
        Affixes {
            beginnings: vec![broadcast::beginning(&self.node)],
            endings: Vec::new(),
        }
    }

    pub(super) fn places<'r>(
        &'r self,
        pattern: Option<&[u8]>,
        channel: &[u8],
        local: &impl Local,
    ) -> Vec<&'r Place> {
        let is_for_somebody = |place: &&'r Place| match place {
            Place::Broadcasts { namespace, prefix } => match channels::room(prefix, channel) {
                Some("") => true,
                Some(room) => has_room(local, namespace, room),
                None => false,
            },
            _ => true,
        };
        let places = self.places.of(pattern, channel);
        places.filter(is_for_somebody).collect()
    }

    pub(super) fn read<'a>(
        &self,
        places: &[&'a Place],
        payload: &'a [u8],
        local: &impl Local,
    ) -> Result<Decoded<'a>, WireError> {
        for place in places {
            let decoded = self.read_at(place, payload, local)?;
            if decoded.message.is_some() {
                return Ok(decoded);
            }
        }
        Ok(Decoded::default())
    }

    fn read_at<'a>(
        &self,
        place: &'a Place,
        payload: &'a [u8],
        local: &impl Local,
    ) -> Result<Decoded<'a>, WireError> {
        match place {
            Place::Broadcasts { namespace, .. } => {
                broadcast::read(payload, namespace, &self.node, &self.opts).map(Decoded::from)
            }
            Place::Requests { namespace } => {
                request::read(payload, namespace, &self.node, &self.channels, local)
            }
            Place::Responses { namespace, own } => {
                let recipient = own.then_some(self.node.as_str());
                response::read(payload, namespace, &self.node, recipient).map(Decoded::from)
            }
            Place::Own { namespace } => {
                envelope::read(payload, &self.node, |name| name == namespace).map(Decoded::from)
            }
        }
    }
}

/// A room in a channel's name may have been a text or a number.
fn has_room(local: &impl Local, namespace: &str, name: &str) -> bool {
    channels::rooms_of(name).any(|room| local.has_room(namespace, &room))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
