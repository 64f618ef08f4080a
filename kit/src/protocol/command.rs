//! What a test server can be asked.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Flood, Select, select::is_not};

/// What a test server can be asked. Servers of Node.js take those that they can carry out; what only
/// ours take is marked so.
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
    /// Emits an event and collects what is acknowledged: a list of [`Ack`](super::Ack), or with
    /// `select.board` [`Acks`](super::Acks).
    BroadcastWithAck {
        /// To whom.
        select: Select,
        /// Its name.
        event: String,
        /// Its arguments.
        args: Vec<Value>,
    },
    /// A list of [`Socket`](super::Socket), as socketioxide lists them.
    FetchSockets {
        /// Which ones.
        select: Select,
        /// An event for everyone in the namespace that is sent as soon as the request is on its
        /// way: who has got it knows that.
        marker: Option<String>,
    },
    /// A list of [`RemoteSocket`](super::RemoteSocket), as the cluster knows them.
    RemoteSockets {
        /// Which ones.
        select: Select,
    },
    /// Ours only. The ids of sockets: a [`Partial`](super::Partial) list of text.
    SocketIds {
        /// Of which ones.
        select: Select,
    },
    /// The rooms of sockets, a list of text.
    Rooms {
        /// Of which ones.
        select: Select,
    },
    /// Ours only. The same as the cluster knows them: a [`Partial`](super::Partial) list of text
    /// and numbers.
    AllRooms {
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
        /// Their whole connection; only with `select.board` on our servers.
        #[serde(default, skip_serializing_if = "is_not")]
        close: bool,
    },
    /// Does something with one socket that was found first, on whatever server it is.
    Remote(Remote),
    /// Ours only. The rooms of one socket: [`Looked`](super::Looked) up, a list.
    RoomsOf {
        /// In which namespace.
        nsp: String,
        /// Its id.
        socket: String,
    },
    /// Ours only. Makes one socket join rooms: [`Looked`](super::Looked) up.
    RemoteJoin {
        /// In which namespace.
        nsp: String,
        /// Its id.
        socket: String,
        /// Which rooms.
        rooms: Vec<String>,
    },
    /// Ours only. Makes one socket leave rooms: [`Looked`](super::Looked) up.
    RemoteLeave {
        /// In which namespace.
        nsp: String,
        /// Its id.
        socket: String,
        /// Which rooms.
        rooms: Vec<String>,
    },
    /// Ours only. Disconnects one socket: [`Looked`](super::Looked) up.
    RemoteDisconnect {
        /// In which namespace.
        nsp: String,
        /// Its id.
        socket: String,
        /// Its whole connection.
        close: bool,
    },
    /// Gives a socket of the asked server the application's data that other servers see.
    SetData {
        /// Which one.
        socket: String,
        /// What.
        data: Value,
    },
    /// Emits an event to the other servers.
    ServerSideEmit {
        /// In which namespace.
        nsp: String,
        /// Its name.
        event: String,
        /// Its arguments.
        args: Vec<Value>,
    },
    /// The same, and collects their [`Answers`](super::Answers).
    ServerSideEmitWithAck {
        /// In which namespace.
        nsp: String,
        /// Its name.
        event: String,
        /// Its arguments.
        args: Vec<Value>,
        /// How long to wait; else the server's default.
        timeout_ms: Option<u64>,
    },
    /// The events of other servers that have arrived here, oldest first: a list of
    /// [`ServerEvent`](super::ServerEvent).
    ServerEvents {
        /// In which namespace.
        nsp: String,
    },
    /// Ours only. Asks every server's custom hook, which answers with its node id and what it was
    /// asked: [`Answers`](super::Answers).
    CustomRequest {
        /// In which namespace.
        nsp: String,
        /// What is asked.
        data: Value,
        /// How long to wait; else the server's default.
        timeout_ms: Option<u64>,
    },
    /// Ours only. The other servers: a list of [`NodeSeen`](super::NodeSeen).
    Nodes {
        /// Those in one namespace; else all.
        nsp: Option<String>,
    },
    /// Ours only. What has become known of other servers since the start: a list of
    /// [`NodeEvent`](super::NodeEvent).
    NodeEvents,
    /// Ours only. Moves the whole cluster to another transport: how that went, JSON.
    SwitchTo {
        /// The plugin's name.
        transport: String,
        /// Although there are servers that cannot come along.
        #[serde(default, skip_serializing_if = "is_not")]
        force: bool,
    },
    /// Ours only. Calls that off: whether there was one.
    AbortSwitch,
    /// Emits many numbered events, each after the other has been accepted: a
    /// [`FloodReport`](super::FloodReport).
    Flood(Flood),
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
    /// With Switchboard's own operators instead of socketioxide's.
    #[serde(default, skip_serializing_if = "is_not")]
    pub board: bool,
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
    /// Emits an event to it and returns the list of [`Ack`](super::Ack)s, at most one.
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
    /// Ours only, with [`Remote::board`]. Disconnects it and closes its connection.
    Close,
}
