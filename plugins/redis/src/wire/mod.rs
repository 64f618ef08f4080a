//! What the transport publishes and receives, as bytes. Pure: no I/O, no host.
//!
//! Two wires, one for each of Node's Redis adapters: [classic] and [sharded]. [`Encoder`] and
//! [`Decoder`] hide which one it is. They live in separate instances and share no memory, so
//! whatever an answer needs of its request is folded into the request's id and the recipient.
//!
//! Whatever arrives is untrusted: nothing here panics, recurses without a limit, or holds more
//! than a small multiple of what was sent.

pub mod classic;
pub mod sharded;

use switchboard_plugin::{
    Heard, MessageRef,
    types::{Message, Room},
    wire::{Rejected, WireError, pubsub},
};

pub use sharded::SubscriptionMode;

/// Which of Node's adapters the cluster speaks with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// `createAdapter`: PUBLISH, SUBSCRIBE, PSUBSCRIBE.
    Classic {
        /// Answers go to the asking node alone, not to all. Nodes with either setting understand
        /// each other (Node's `publishOnSpecificResponseChannel`, there off).
        specific_responses: bool,
    },
    /// `createShardedAdapter`: SPUBLISH, SSUBSCRIBE (Redis 7 and later).
    Sharded(SubscriptionMode),
}

/// One message, ready to be published.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The channel for PUBLISH or SPUBLISH, see [`Encoder::is_sharded`].
    pub channel: String,
    /// What to publish.
    pub payload: Vec<u8>,
}

/// What to subscribe to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subscription {
    /// With SUBSCRIBE.
    Channel(String),
    /// With PSUBSCRIBE.
    Pattern(String),
    /// With SSUBSCRIBE. One command for each: they have different slots.
    Shard(String),
}

/// What the server itself knows: the plugin's import `node`.
pub trait Local {
    /// Whether a local socket is in this room, or has it as its id.
    fn has_room(&self, namespace: &str, room: &Room) -> bool;
}

/// What came of a delivery.
#[derive(Debug, Default)]
pub struct Decoded<'a> {
    /// For the host. None: there is nothing to do (this node's own message, another namespace, a
    /// room without local sockets, an unknown kind).
    pub message: Option<Heard<'a>>,
    /// To be published by the receiver itself, at once: an answer that the host has no message
    /// for. Only old Node servers ask for it, on the classic wire.
    pub reply: Option<Publication>,
}

impl<'a> From<Option<Heard<'a>>> for Decoded<'a> {
    fn from(message: Option<Heard<'a>>) -> Self {
        Self {
            message,
            reply: None,
        }
    }
}

impl From<Option<Message>> for Decoded<'_> {
    fn from(message: Option<Message>) -> Self {
        message.map(Heard::from).into()
    }
}

/// The way out: messages to publications. Holds no state but its options.
#[derive(Debug, Clone)]
pub struct Encoder(EncoderKind);

#[derive(Debug, Clone)]
enum EncoderKind {
    Classic(classic::Writer),
    Sharded(sharded::Writer),
}

impl Encoder {
    /// `prefix` is the classic adapter's `key`, the sharded one's `channelPrefix`; both
    /// `socket.io` by default.
    pub fn new(prefix: &str, wire: Wire) -> Self {
        Self(match wire {
            Wire::Classic { specific_responses } => {
                EncoderKind::Classic(classic::Writer::new(prefix, specific_responses))
            }
            Wire::Sharded(mode) => EncoderKind::Sharded(sharded::Writer::new(prefix, mode)),
        })
    }

    /// Whether to use SPUBLISH (and SHARDNUMSUB) instead of PUBLISH (and NUMSUB).
    pub fn is_sharded(&self) -> bool {
        matches!(self.0, EncoderKind::Sharded(_))
    }

    /// Whether questions about rooms can be asked (`Body::FetchRooms`).
    pub fn has_rooms_query(&self) -> bool {
        !self.is_sharded()
    }

    /// The channel whose subscribers are the servers of a namespace, this one included.
    pub fn count_channel(&self, namespace: &str) -> String {
        match &self.0 {
            EncoderKind::Classic(writer) => writer.count_channel(namespace),
            EncoderKind::Sharded(writer) => writer.count_channel(namespace),
        }
    }

    /// What is to be published for one message, written over `out`, whose memory is used again where
    /// that matters.
    ///
    /// # Errors
    /// When it can never go; what `out` holds then has no meaning.
    pub fn encode<'m>(
        &self,
        message: impl Into<MessageRef<'m>>,
        out: &mut Publication,
    ) -> Result<(), Rejected> {
        let message = message.into();
        match &self.0 {
            EncoderKind::Classic(writer) => writer.write(message, out),
            EncoderKind::Sharded(writer) => writer.write(message, out),
        }
    }
}

/// The way in: deliveries to messages. Holds which namespaces were entered.
#[derive(Debug, Clone)]
pub struct Decoder(DecoderKind);

#[derive(Debug, Clone)]
enum DecoderKind {
    Classic(classic::Reader),
    Sharded(sharded::Reader),
}

impl Decoder {
    /// `node` is this server's id; for the others see [`Encoder::new`].
    pub fn new(prefix: &str, wire: Wire, node: &str) -> Self {
        Self(match wire {
            Wire::Classic { specific_responses } => {
                DecoderKind::Classic(classic::Reader::new(prefix, specific_responses, node))
            }
            Wire::Sharded(mode) => DecoderKind::Sharded(sharded::Reader::new(prefix, mode, node)),
        })
    }

    /// From now on, messages of this namespace are read. Returns what to subscribe to; entering
    /// twice returns the same.
    pub fn enter(&mut self, namespace: &str) -> Vec<Subscription> {
        match &mut self.0 {
            DecoderKind::Classic(reader) => reader.enter(namespace),
            DecoderKind::Sharded(reader) => reader.enter(namespace),
        }
    }

    /// The opposite of [`Self::enter`]. Returns what to unsubscribe from.
    pub fn leave(&mut self, namespace: &str) -> Vec<Subscription> {
        match &mut self.0 {
            DecoderKind::Classic(reader) => reader.leave(namespace),
            DecoderKind::Sharded(reader) => reader.leave(namespace),
        }
    }

    /// What to subscribe to as long as a local socket is in this room (or has it as its id). None:
    /// nothing, what is sent to the room arrives anyhow.
    pub fn room_subscription(&self, namespace: &str, room: &Room) -> Option<Subscription> {
        match &self.0 {
            DecoderKind::Classic(_) => None,
            DecoderKind::Sharded(reader) => reader.room_subscription(namespace, room),
        }
    }

    /// How this node's own messages begin, and how they end: most of them, for the others are
    /// known when they are read.
    pub fn own(&self) -> Affixes {
        match &self.0 {
            DecoderKind::Classic(reader) => reader.own(),
            DecoderKind::Sharded(reader) => reader.own(),
        }
    }

    /// Finds out what the messages of one channel are. `pattern` is the one that matched, for a
    /// PSUBSCRIBE; without it a message may be read for each pattern that matches when one
    /// namespace begins with another's name and `#`. `local` is asked about a room that stands in
    /// the channel's name.
    pub fn channel<'d>(
        &'d self,
        pattern: Option<&[u8]>,
        channel: &[u8],
        local: &impl Local,
    ) -> Channel<'d> {
        Channel(match &self.0 {
            DecoderKind::Classic(reader) => {
                ChannelKind::Classic(reader, reader.places(pattern, channel, local))
            }
            DecoderKind::Sharded(reader) => ChannelKind::Sharded(reader.channel(channel)),
        })
    }
}

/// What a node knows its own messages by.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Affixes {
    /// How they begin.
    pub beginnings: Vec<Vec<u8>>,
    /// How they end.
    pub endings: Vec<Vec<u8>>,
}

/// One channel, or what is left of it for this node: nothing, if its room has no local socket.
#[derive(Debug)]
pub struct Channel<'d>(ChannelKind<'d>);

#[derive(Debug)]
enum ChannelKind<'d> {
    Classic(&'d classic::Reader, Vec<&'d classic::Place>),
    Sharded(pubsub::Channel<'d>),
}

impl<'d> Channel<'d> {
    /// Reads a message. `local` is asked about the socket of an old request.
    ///
    /// # Errors
    /// When it is malformed; the other messages are not to blame.
    pub fn decode<'a>(
        &self,
        payload: &'a [u8],
        local: &impl Local,
    ) -> Result<Decoded<'a>, WireError>
    where
        'd: 'a,
    {
        match &self.0 {
            ChannelKind::Classic(reader, places) => reader.read(places, payload, local),
            ChannelKind::Sharded(channel) => channel.read(payload).map(Decoded::from),
        }
    }
}
