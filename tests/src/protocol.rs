//! The commands that a test server takes and what it answers. Only data: how they are carried is
//! `process`'s work, how they are carried out that of the `test-server` binary.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How packets are encoded between a server and its clients; both must agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parser {
    /// Socket.IO's own: JSON text and binary frames.
    #[default]
    Common,
    /// `socket.io-msgpack-parser`.
    Msgpack,
}

impl fmt::Display for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Common => "common",
            Self::Msgpack => "msgpack",
        })
    }
}

impl FromStr for Parser {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "common" => Ok(Self::Common),
            "msgpack" => Ok(Self::Msgpack),
            _ => Err(format!(
                "the parsers are `common` and `msgpack`, not `{text}`"
            )),
        }
    }
}

/// Which sockets an operation is for: what a user writes as `io.of("/chat").to("room").except(…)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Select {
    /// In which namespace.
    pub nsp: String,
    /// Sockets in any of these; empty: all.
    pub rooms: Vec<String>,
    /// But none that is in any of these.
    pub except: Vec<String>,
    /// Only sockets of the asked server.
    pub local: bool,
    /// They may miss it.
    pub volatile: bool,
    /// A local socket in whose name the operation is done, as with `socket.to("room")`.
    pub from: Option<String>,
    /// How long to wait for acknowledgements, in milliseconds; else the server's default.
    pub timeout_ms: Option<u64>,
}

impl Default for Select {
    fn default() -> Self {
        Self {
            nsp: "/".into(),
            rooms: Vec::new(),
            except: Vec::new(),
            local: false,
            volatile: false,
            from: None,
            timeout_ms: None,
        }
    }
}

impl Select {
    /// Every socket of the namespace `/`.
    pub fn all() -> Self {
        Self::default()
    }

    /// Every socket of a namespace.
    pub fn nsp(nsp: impl Into<String>) -> Self {
        Self {
            nsp: nsp.into(),
            ..Self::default()
        }
    }

    /// Only sockets in this room, or in one of those named before.
    pub fn to(mut self, room: impl Into<String>) -> Self {
        self.rooms.push(room.into());
        self
    }

    /// No socket that is in this room.
    pub fn except(mut self, room: impl Into<String>) -> Self {
        self.except.push(room.into());
        self
    }

    /// Only sockets of the asked server.
    pub fn local(mut self) -> Self {
        self.local = true;
        self
    }

    /// They may miss it.
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// In the name of a socket of the asked server.
    pub fn from(mut self, socket: impl Into<String>) -> Self {
        self.from = Some(socket.into());
        self
    }

    /// Waits so long for acknowledgements.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout_ms = Some(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        self
    }
}

/// What a test server can be asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// The node's id in the cluster, text.
    Node,
    /// What the server says about itself, any JSON.
    Status,
    /// How many servers serve the namespace, this one included: a number.
    ServerCount {
        /// Which namespace.
        nsp: String,
    },
    /// Emits an event.
    Broadcast {
        /// To whom.
        select: Select,
        /// Its name.
        event: String,
        /// Its arguments (see [`crate::value`]).
        args: Vec<Value>,
    },
    /// Emits an event and collects what is acknowledged: a list of [`Ack`].
    BroadcastWithAck {
        /// To whom.
        select: Select,
        /// Its name.
        event: String,
        /// Its arguments.
        args: Vec<Value>,
    },
    /// A list of [`Socket`].
    FetchSockets {
        /// Which ones.
        select: Select,
        /// An event for everyone in the namespace that is sent as soon as the request is on its
        /// way: who has got it knows that.
        marker: Option<String>,
    },
    /// The rooms of sockets, a list of text.
    Rooms {
        /// Of which ones.
        select: Select,
    },
    /// Makes sockets join rooms.
    Join {
        /// Which ones.
        select: Select,
        /// Which rooms.
        rooms: Vec<String>,
    },
    /// Makes sockets leave rooms.
    Leave {
        /// Which ones.
        select: Select,
        /// Which rooms.
        rooms: Vec<String>,
    },
    /// Disconnects sockets.
    Disconnect {
        /// Which ones.
        select: Select,
    },
    /// Does something with one socket that `fetch_sockets` found, on whatever server it is.
    Remote(Remote),
    /// Emits many numbered events, each after the other has been accepted: a [`FloodReport`].
    Flood(Flood),
}

/// One client's acknowledgement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// Whose.
    pub socket: String,
    /// Its arguments, or why there are none.
    pub answer: Result<Vec<Value>, String>,
}

/// One socket of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Socket {
    /// Its id.
    pub id: String,
    /// The server that has it, as socketioxide names it.
    pub server: String,
    /// Its namespace.
    pub nsp: String,
}

/// An action on one socket, wherever it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remote {
    /// In which namespace.
    pub nsp: String,
    /// Its id.
    pub socket: String,
    /// What to do.
    pub action: RemoteAction,
}

/// What can be done with one remote socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RemoteAction {
    /// Emits an event to it.
    Emit {
        /// Its name.
        event: String,
        /// Its arguments.
        args: Vec<Value>,
    },
    /// Emits an event to it and returns the list of [`Ack`]s, at most one.
    EmitWithAck {
        /// Its name.
        event: String,
        /// Its arguments.
        args: Vec<Value>,
    },
    /// Makes it join rooms.
    Join(Vec<String>),
    /// Makes it leave rooms.
    Leave(Vec<String>),
    /// Returns its rooms.
    Rooms,
    /// Disconnects it.
    Disconnect,
}

/// Numbered events, named [`Flood::EVENT`] with the arguments stream, number, size and payload. The
/// payload's content follows from the number, so a client sees whether it got the right one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flood {
    /// To whom; `rooms` stays empty if `rooms_in_turn` is used.
    pub select: Select,
    /// Each event goes to the next one of these rooms only.
    #[serde(default)]
    pub rooms_in_turn: Vec<String>,
    /// Distinguishes the floods that one client receives.
    pub stream: String,
    /// The first number.
    #[serde(default)]
    pub first: u64,
    /// How many events.
    pub count: u64,
    /// Bytes of their payloads, in turn; at least one, at most 8 MiB each.
    pub sizes: Vec<usize>,
    /// Which payloads are binary.
    #[serde(default)]
    pub binary: Binary,
}

impl Flood {
    /// The event's name.
    pub const EVENT: &'static str = "flood";
    /// Limit for each of [`Flood::sizes`].
    pub const MAX_SIZE_BYTES: usize = 8 * 1024 * 1024;

    /// A flood of text payloads of one size.
    pub fn new(select: Select, stream: impl Into<String>, count: u64, size: usize) -> Self {
        Self {
            select,
            rooms_in_turn: Vec::new(),
            stream: stream.into(),
            first: 0,
            count,
            sizes: vec![size],
            binary: Binary::Never,
        }
    }

    /// Payloads of these sizes in turn, every other one binary.
    pub fn mixed(mut self, sizes: &[usize]) -> Self {
        self.sizes = sizes.to_vec();
        self.binary = Binary::EveryOther;
        self
    }
}

/// Which payloads of a [`Flood`] are binary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binary {
    /// All are text.
    #[default]
    Never,
    /// Those with odd numbers.
    EveryOther,
    /// All.
    Always,
}

/// How a [`Flood`] ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloodReport {
    /// Events that the server accepted, from the first.
    pub accepted: u64,
    /// Why the next one was not accepted.
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}
