//! What test servers answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One client's acknowledgement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// Whose.
    pub socket: String,
    /// Its arguments, or why there are none.
    pub answer: Result<Vec<Value>, String>,
}

/// What clients acknowledged, and what is not there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acks {
    /// What came.
    pub answers: Vec<ClientAck>,
    /// Servers that did not answer, or not for all their clients.
    pub missing: Vec<String>,
    /// How many more of those there are, whose names are not known.
    pub missing_unknown: usize,
    /// Clients of other servers that did not acknowledge.
    pub unacknowledged: u64,
    /// Answers that came and were dropped.
    pub dropped: u64,
}

/// One client's acknowledgement, and where it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientAck {
    /// The client's server; empty if the transport does not say.
    pub node: String,
    /// Its socket, if the answer says.
    pub socket: Option<String>,
    /// Its arguments, or why there are none.
    pub answer: Result<Vec<Value>, String>,
}

/// One socket of the cluster, as socketioxide lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Socket {
    /// Its id.
    pub id: String,
    /// The server that has it, as socketioxide names it.
    pub server: String,
    /// Its namespace.
    pub nsp: String,
}

/// One socket of the cluster, with all that is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoteSocket {
    /// Its id.
    pub id: String,
    /// The server that has it; a server of Node.js cannot tell.
    pub node: Option<String>,
    /// Its rooms, text or numbers.
    pub rooms: Vec<Value>,
    /// The application's data.
    pub data: Value,
    /// How it connected.
    pub handshake: Value,
}

/// What was found before the time was over, and who did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partial<T> {
    /// What was found.
    pub items: Vec<T>,
    /// Servers that did not answer.
    pub missing: Vec<String>,
    /// How many more there are, whose names are not known.
    pub missing_unknown: usize,
}

/// What servers answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    /// What came.
    pub answers: Vec<NodeAnswer>,
    /// Servers that did not answer.
    pub missing: Vec<String>,
    /// How many more there are, whose names are not known.
    pub missing_unknown: usize,
}

/// What one server answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeAnswer {
    /// Which one; none if that is not known.
    pub node: Option<String>,
    /// Its answer; null also when it answered without a value.
    #[serde(default)]
    pub value: Value,
    /// It could not answer, and why.
    pub error: Option<String>,
}

/// What came of looking for one socket in the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Looked<T> {
    /// It was found.
    Found(T),
    /// No server has it.
    NoSuchSocket,
    /// No server that answered has it.
    Unanswered {
        /// Those that did not answer.
        missing: Vec<String>,
        /// How many more there are, whose names are not known.
        missing_unknown: usize,
    },
}

/// An event that another server sent to this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerEvent {
    /// Its name.
    pub event: String,
    /// Its arguments.
    pub args: Vec<Value>,
    /// Who sent it; none if that is not known.
    pub from: Option<String>,
}

/// Another server, as one server sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeSeen {
    /// Its node id.
    pub id: String,
    /// Where it is; only the asked one, when one namespace was asked for.
    pub namespaces: Vec<String>,
    /// Since when it has been known, in milliseconds since 1970-01-01 UTC.
    pub since_ms: u64,
    /// When it was heard last.
    pub last_heard_ms: u64,
}

/// Something that became known of another server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeEvent {
    /// It is there.
    Joined {
        /// Who.
        node: String,
        /// Where.
        nsp: String,
    },
    /// It is gone.
    Left {
        /// Who.
        node: String,
        /// From where.
        nsp: String,
        /// `goodbye`, `reported_gone` or `silent`.
        reason: String,
    },
    /// So many were not recorded, because they came too quickly.
    Missed(u64),
}
