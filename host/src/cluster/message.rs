//! The cluster protocol as values: what nodes tell each other.
//!
//! These mirror `wit/transport/messages.wit` and are documented there in full; each says all of what it
//! means, so there is no `again`. They are cheap to clone, because one message goes to local sockets, the
//! outbox and a retry. Everything in them that came from another node is untrusted input.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use smallvec::SmallVec;
pub use socketioxide_core::Str;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl<T: Into<Arc<str>>> From<T> for $name {
            fn from(text: T) -> Self {
                Self(text.into())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

text_id! {
    /// Identity of one server in the cluster (Socket.IO's *uid*), opaque. Empty when a wire does
    /// not say who sent a message.
    NodeId
}
text_id! {
    /// A namespace with its leading slash, verbatim.
    Namespace
}
impl Namespace {
    /// The namespace that Node.js means by this name: a leading slash is added where it is missing,
    /// so that `chat` is `/chat`, and nothing is `/`.
    pub fn of(name: impl Into<Self>) -> Self {
        let name = name.into();
        match name.as_str().starts_with('/') {
            true => name,
            false => Self::from(format!("/{name}")),
        }
    }
}

text_id! {
    /// Ties answers to their request; opaque, unique per asking node.
    RequestId
}
text_id! {
    /// A position in the backend's log.
    Offset
}

/// A room. Node.js compares rooms by type and value: `42` and `"42"` are two rooms.
#[derive(Clone, PartialEq)]
pub enum Room {
    /// The usual kind, and the only one that socketioxide's sockets can join.
    Text(Str),
    /// Only sockets of Node.js servers can be in one of these.
    Number(f64),
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.debug_tuple("Text").field(&text.as_str()).finish(),
            Self::Number(number) => f.debug_tuple("Number").field(number).finish(),
        }
    }
}
impl From<&str> for Room {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned().into())
    }
}
impl From<String> for Room {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}
impl From<Arc<str>> for Room {
    fn from(text: Arc<str>) -> Self {
        Self::from(&*text)
    }
}
impl From<Str> for Room {
    fn from(text: Str) -> Self {
        Self::Text(text)
    }
}

/// JSON text in which binary parts are `{"_placeholder":true,"num":n}`, and those parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    /// JSON text.
    pub json: Str,
    /// Binary parts, in order of their numbers.
    pub attachments: Vec<Bytes>,
}

impl Payload {
    /// A payload without binary parts.
    pub fn text(json: impl Into<Str>) -> Self {
        Self {
            json: json.into(),
            attachments: Vec::new(),
        }
    }

    /// Bytes that this payload holds, for queue limits.
    pub fn len(&self) -> usize {
        self.json.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// No text and no binary parts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Which sockets a message is for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// Sockets in any of these (a socket id is a room too); empty: every socket. Usually one.
    pub rooms: SmallVec<[Room; 1]>,
    /// But none that is in any of these.
    pub except: Vec<Room>,
    /// Clients that cannot take the packet now may miss it.
    pub volatile: bool,
    /// Every other flag, as the text of a JSON object.
    pub flags: Option<Arc<str>>,
}

/// An event for clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Broadcast {
    /// For whom.
    pub target: Target,
    /// JSON array: the event's name, then its arguments.
    pub data: Payload,
    /// The packet's `id` as JSON text, if the wire had one.
    pub packet_id: Option<Arc<str>>,
    /// Acknowledgements are wanted, under this id.
    pub request: Option<RequestId>,
}

/// One socket, as `fetch_sockets` describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct SocketInfo {
    /// 20 characters from Node.js, 16 from socketioxide.
    pub id: Arc<str>,
    /// The rooms it is in.
    pub rooms: Vec<Room>,
    /// JSON object: headers, time, address, url, query, auth, …
    pub handshake: Payload,
    /// The application's own data.
    pub data: Payload,
}

/// What a message says. The numbers are those of Node's ClusterAdapter.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// \[1\] I am here, who else is?
    InitialHeartbeat,
    /// \[2\] I am still here.
    Heartbeat,
    /// \[13\] I am leaving this namespace.
    AdapterClose,
    /// \[3\] An event for clients.
    Broadcast(Broadcast),
    /// \[4\] Sockets join rooms.
    SocketsJoin {
        /// Which sockets.
        target: Target,
        /// Which rooms.
        rooms: Vec<Room>,
    },
    /// \[5\] Sockets leave rooms.
    SocketsLeave {
        /// Which sockets.
        target: Target,
        /// Which rooms.
        rooms: Vec<Room>,
    },
    /// \[6\] Sockets to disconnect.
    DisconnectSockets {
        /// Which sockets.
        target: Target,
        /// Also close the underlying connection.
        close: bool,
    },
    /// \[7\] Asks for the sockets that match.
    FetchSockets {
        /// Under which id to answer.
        request: RequestId,
        /// Which sockets.
        target: Target,
    },
    /// \[9\] An event for the other servers.
    ServerEvent {
        /// JSON array: the event's name, then its arguments.
        data: Payload,
        /// An answer is wanted, under this id.
        request: Option<RequestId>,
    },
    /// Asks for the rooms of the sockets that match.
    FetchRooms {
        /// Under which id to answer.
        request: RequestId,
        /// Which sockets.
        target: Target,
    },
    /// A request of any other kind.
    CustomQuery {
        /// Under which id to answer.
        request: RequestId,
        /// What is asked.
        kind: Arc<str>,
        /// Its arguments.
        data: Payload,
    },
    /// \[8\] Answer to [`Body::FetchSockets`].
    SocketsAnswer {
        /// The request.
        request: RequestId,
        /// The sockets that match; empty when none does.
        sockets: Vec<SocketInfo>,
    },
    /// \[11\] First answer to a broadcast with acknowledgements.
    ClientCount {
        /// The request.
        request: RequestId,
        /// How many clients got the event here.
        clients: u32,
    },
    /// \[12\] One client's acknowledgement.
    ClientAck {
        /// The request.
        request: RequestId,
        /// Which socket, if the wire says.
        socket: Option<Arc<str>>,
        /// JSON array of the acknowledgement's arguments.
        data: Payload,
        /// That socket will not answer: the error as JSON text.
        error: Option<Arc<str>>,
    },
    /// \[10\] Answer to a server event.
    ServerEventAnswer {
        /// The request.
        request: RequestId,
        /// The value; none when the handler answered without one.
        data: Option<Payload>,
        /// The node could not answer, and why.
        error: Option<Arc<str>>,
    },
    /// Answer to [`Body::FetchRooms`].
    RoomsAnswer {
        /// The request.
        request: RequestId,
        /// The rooms.
        rooms: Vec<Room>,
    },
    /// Answer to [`Body::CustomQuery`].
    CustomAnswer {
        /// The request.
        request: RequestId,
        /// The value.
        data: Option<Payload>,
        /// The node could not answer, and why.
        error: Option<Arc<str>>,
    },
}

/// One message of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// In which namespace.
    pub namespace: Namespace,
    /// Who sent it; empty if the wire does not say.
    pub sender: NodeId,
    /// Answers only: the node that asked.
    pub recipient: Option<NodeId>,
    /// What it says.
    pub body: Body,
}

/// What a message costs in a queue besides its payload: envelope, names, bookkeeping.
const MESSAGE_OVERHEAD_BYTES: usize = 128;
/// The same for each socket of a [`Body::SocketsAnswer`].
const SOCKET_OVERHEAD_BYTES: usize = 64;
/// The same for each room in a list.
const ROOM_OVERHEAD_BYTES: usize = 24;

impl Message {
    /// Roughly how many bytes the message holds, for queue limits: never less than its payload.
    pub fn size(&self) -> usize {
        MESSAGE_OVERHEAD_BYTES + self.body.size()
    }
}

impl Body {
    /// Does it mean the same whatever came before it? A sign of life does, and an answer, which is matched
    /// with its request. Node's adapters send these apart from the rest, over ways that may overtake it.
    pub(super) fn stands_alone(&self) -> bool {
        match self {
            Self::InitialHeartbeat
            | Self::Heartbeat
            | Self::SocketsAnswer { .. }
            | Self::ClientCount { .. }
            | Self::ClientAck { .. }
            | Self::ServerEventAnswer { .. }
            | Self::CustomAnswer { .. }
            | Self::RoomsAnswer { .. } => true,
            Self::AdapterClose
            | Self::Broadcast(_)
            | Self::SocketsJoin { .. }
            | Self::SocketsLeave { .. }
            | Self::DisconnectSockets { .. }
            | Self::FetchSockets { .. }
            | Self::FetchRooms { .. }
            | Self::ServerEvent { .. }
            | Self::CustomQuery { .. } => false,
        }
    }

    /// What kind of message this is, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::InitialHeartbeat => "initial-heartbeat",
            Self::Heartbeat => "heartbeat",
            Self::AdapterClose => "adapter-close",
            Self::Broadcast(_) => "broadcast",
            Self::SocketsJoin { .. } => "sockets-join",
            Self::SocketsLeave { .. } => "sockets-leave",
            Self::DisconnectSockets { .. } => "disconnect-sockets",
            Self::FetchSockets { .. } => "fetch-sockets",
            Self::ServerEvent { .. } => "server-event",
            Self::FetchRooms { .. } => "fetch-rooms",
            Self::CustomQuery { .. } => "custom-query",
            Self::SocketsAnswer { .. } => "sockets-answer",
            Self::ClientCount { .. } => "client-count",
            Self::ClientAck { .. } => "client-ack",
            Self::ServerEventAnswer { .. } => "server-event-answer",
            Self::RoomsAnswer { .. } => "rooms-answer",
            Self::CustomAnswer { .. } => "custom-answer",
        }
    }

    /// Answers only: the request that this answers.
    pub fn answers(&self) -> Option<&RequestId> {
        match self {
            Self::SocketsAnswer { request, .. }
            | Self::ClientCount { request, .. }
            | Self::ClientAck { request, .. }
            | Self::ServerEventAnswer { request, .. }
            | Self::RoomsAnswer { request, .. }
            | Self::CustomAnswer { request, .. } => Some(request),
            _ => None,
        }
    }

    /// Questions only: somebody waits for answers.
    pub(super) fn asks(&self) -> bool {
        match self {
            Self::FetchSockets { .. } | Self::FetchRooms { .. } | Self::CustomQuery { .. } => true,
            Self::Broadcast(broadcast) => broadcast.request.is_some(),
            Self::ServerEvent { request, .. } => request.is_some(),
            _ => false,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::InitialHeartbeat | Self::Heartbeat | Self::AdapterClose => 0,
            Self::Broadcast(b) => b.target.size() + b.data.len(),
            Self::SocketsJoin { target, rooms } | Self::SocketsLeave { target, rooms } => {
                target.size() + rooms_size(rooms)
            }
            Self::DisconnectSockets { target, .. }
            | Self::FetchSockets { target, .. }
            | Self::FetchRooms { target, .. } => target.size(),
            Self::ServerEvent { data, .. } | Self::CustomQuery { data, .. } => data.len(),
            Self::SocketsAnswer { sockets, .. } => sockets
                .iter()
                .map(|s| {
                    SOCKET_OVERHEAD_BYTES + rooms_size(&s.rooms) + s.handshake.len() + s.data.len()
                })
                .sum(),
            Self::ClientCount { .. } => 0,
            Self::ClientAck { data, error, .. } => {
                data.len() + error.as_ref().map_or(0, |e| e.len())
            }
            Self::ServerEventAnswer { data, error, .. }
            | Self::CustomAnswer { data, error, .. } => {
                data.as_ref().map_or(0, Payload::len) + error.as_ref().map_or(0, |e| e.len())
            }
            Self::RoomsAnswer { rooms, .. } => rooms_size(rooms),
        }
    }
}

impl Target {
    fn size(&self) -> usize {
        rooms_size(&self.rooms)
            + rooms_size(&self.except)
            + self.flags.as_ref().map_or(0, |f| f.len())
    }
}

fn rooms_size(rooms: &[Room]) -> usize {
    rooms
        .iter()
        .map(|room| match room {
            Room::Text(text) => ROOM_OVERHEAD_BYTES + text.len(),
            Room::Number(_) => ROOM_OVERHEAD_BYTES,
        })
        .sum()
}
