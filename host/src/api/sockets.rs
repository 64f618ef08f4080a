//! Sockets of any server, Rust or Node.js, as values.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::Value;

use super::{Acks, AnswerError, ApiError, IntoRooms, Operators};
use crate::{
    cluster::{NodeId, Payload, Room, SocketInfo},
    payload,
};

/// A socket's id: 20 characters from a Node.js server, 16 from socketioxide, opaque in any case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(Arc<str>);

impl SocketId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SocketId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl From<String> for SocketId {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}

impl From<Arc<str>> for SocketId {
    fn from(id: Arc<str>) -> Self {
        Self(id)
    }
}

impl From<&SocketId> for SocketId {
    fn from(id: &SocketId) -> Self {
        id.clone()
    }
}

impl From<socketioxide_core::Sid> for SocketId {
    fn from(id: socketioxide_core::Sid) -> Self {
        Self(id.as_str().into())
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for SocketId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SocketId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// A socket of any server of the cluster, as that server described it, and a way to act on it.
///
/// What acts on it goes to the room of its id: to this socket, **and to every socket that has joined
/// a room of that name**, as in Node.js. The wire knows sockets by their rooms only. So let clients
/// choose no room names that could be ids.
///
/// ```no_run
/// # async fn run(board: switchboard::Board) -> Result<(), switchboard::ApiError> {
/// for socket in board.of("/").fetch_sockets().await?.items {
///     if socket.handshake().query("version") == Some("1") {
///         socket.emit("upgrade", &"please").await?;
///         socket.join("outdated").await?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RemoteSocket {
    id: SocketId,
    node: NodeId,
    rooms: Vec<Room>,
    handshake: Handshake,
    data: Payload,
    /// The room of its id.
    operators: Operators,
}

impl RemoteSocket {
    pub(super) fn new(whole: Operators, node: NodeId, info: SocketInfo) -> Self {
        let SocketInfo {
            id,
            rooms,
            handshake,
            data,
        } = info;
        Self {
            operators: whole.to(&*id),
            id: id.into(),
            node,
            rooms,
            handshake: Handshake::new(handshake),
            data,
        }
    }

    /// Its id. Also a room on every server; see [above](Self) who else may be in it.
    pub fn id(&self) -> &SocketId {
        &self.id
    }

    /// The server that it is connected to; empty over a transport whose answers do not say.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// The rooms it was in, its own id among them.
    pub fn rooms(&self) -> &[Room] {
        &self.rooms
    }

    /// How it connected. Empty when its server does not say, or when there were more sockets than it
    /// describes in one answer (`cluster.max_description_bytes`).
    pub fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    /// The application's data: `socket.data` of a Node.js server; of a Rust server what its author
    /// chose with [`Board::socket_data`](crate::Board::socket_data), `{}` if nothing, or when there
    /// were more sockets than it describes in one answer (`cluster.max_description_bytes`).
    ///
    /// # Errors
    /// [`AnswerError::Unreadable`] when it is not of this type.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, AnswerError> {
        payload::to_value(&self.data).map_err(|error| AnswerError::Unreadable(error.to_string()))
    }

    /// Makes it join rooms, and every socket that has joined a room named like its id.
    ///
    /// # Errors
    /// [`ApiError::Cluster`] when its server could not be told.
    pub async fn join(&self, rooms: impl IntoRooms) -> Result<(), ApiError> {
        self.operators.join(rooms).await
    }

    /// Makes it leave rooms, and every socket that has joined a room named like its id.
    ///
    /// # Errors
    /// [`ApiError::Cluster`] when its server could not be told.
    pub async fn leave(&self, rooms: impl IntoRooms) -> Result<(), ApiError> {
        self.operators.leave(rooms).await
    }

    /// Sends it an event, and every socket that has joined a room named like its id; see
    /// [`Operators::emit`].
    ///
    /// # Errors
    /// As [`Operators::emit`].
    pub async fn emit<T: Serialize + ?Sized>(&self, event: &str, data: &T) -> Result<(), ApiError> {
        self.operators.emit(event, data).await
    }

    /// Sends it an event and waits for its acknowledgement, `timeout` at most. Every socket that has
    /// joined a room named like its id gets the event and is waited for, too.
    ///
    /// # Errors
    /// As [`Operators::emit_with_ack`].
    pub async fn emit_with_ack<A, T>(
        &self,
        event: &str,
        data: &T,
        timeout: Duration,
    ) -> Result<Acks<A>, ApiError>
    where
        A: DeserializeOwned,
        T: Serialize + ?Sized,
    {
        let operators = self.operators.clone().timeout(timeout);
        operators.emit_with_ack(event, data).await
    }

    /// Disconnects it from the namespace; with `close` from its whole connection, if its server can
    /// do that: a Rust server must be attached to its board
    /// ([`Board::layer`](crate::Board::layer) does it). Also disconnects every socket that has
    /// joined a room named like its id.
    ///
    /// `Ok` says that its server was told, or has done it as far as it could: a socket whose buffer
    /// is full stays connected, and the log of its server says so.
    ///
    /// # Errors
    /// [`ApiError::Cluster`] when its server could not be told.
    pub async fn disconnect(&self, close: bool) -> Result<(), ApiError> {
        self.operators.disconnect(close).await
    }
}

/// How a socket connected: the request that opened its connection, as its server told it. What a
/// server does not know (or will not tell) is missing, and so is a member that cannot be read: a
/// client may have chosen what it holds.
#[derive(Clone)]
pub struct Handshake {
    payload: Payload,
    /// Read when it is first looked into: most of them never are.
    members: OnceLock<Arc<HashMap<String, Value>>>,
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without headers and query: they hold cookies and tokens, and this ends up in logs.
        f.debug_struct("Handshake")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

impl Handshake {
    fn new(payload: Payload) -> Self {
        Self {
            payload,
            members: OnceLock::new(),
        }
    }

    fn member(&self, name: &str) -> Option<&Value> {
        self.members
            .get_or_init(|| Arc::new(payload::members(&self.payload).unwrap_or_default()))
            .get(name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.member(name)?.as_str()
    }

    /// A header of the request, by its name in lower case; the first one, if there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        match self.member("headers")?.get(name)? {
            Value::Array(several) => several.first()?.as_str(),
            one => one.as_str(),
        }
    }

    /// A parameter of the request's query; the last one, if there are several, as engine.io has it.
    pub fn query(&self, name: &str) -> Option<&str> {
        match self.member("query")?.get(name)? {
            Value::Array(several) => several.last()?.as_str(),
            one => one.as_str(),
        }
    }

    /// The client's address, without a port on Node.js servers.
    pub fn address(&self) -> Option<&str> {
        self.text("address")
    }

    /// Path and query of the request.
    pub fn url(&self) -> Option<&str> {
        self.text("url")
    }

    /// When it was, as text in the server's own words.
    pub fn time(&self) -> Option<&str> {
        self.text("time")
    }

    /// When it was, in milliseconds since 1970-01-01 UTC.
    pub fn issued_ms(&self) -> Option<u64> {
        self.member("issued")?.as_u64()
    }

    /// Over TLS.
    pub fn secure(&self) -> Option<bool> {
        self.member("secure")?.as_bool()
    }

    /// From a page of another origin.
    pub fn xdomain(&self) -> Option<bool> {
        self.member("xdomain")?.as_bool()
    }

    /// What the client sent as `auth`. None when there is nothing, when it is not of this type, or
    /// when it nests 128 or more arrays and objects. Halves of characters, which JavaScript can
    /// send, are replaced by U+FFFD.
    pub fn auth<T: DeserializeOwned>(&self) -> Option<T> {
        self.get("auth")
    }

    /// Any member by its name, also those that middleware of a Node.js server added. None when it
    /// is not there, or not of this type. Binary parts inside are not resolved.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        T::deserialize(self.member(name)?).ok()
    }

    /// All of it, as the text of a JSON object, as its server sent it. A part of it may be the
    /// client's choice: `serde_json` may refuse it, where the methods here find the rest.
    pub fn as_json(&self) -> &str {
        &self.payload.json
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_handshake_is_read_member_by_member() {
        let handshake = Handshake::new(Payload::text(
            r#"{"headers":{"host":"a","x":["1","2"]},"query":{"v":"7","w":["1","2"]},"address":"::1",
                "issued":1700000000000,"secure":true,"auth":{"token":"t"},"mine":[1]}"#
                .to_owned(),
        ));
        assert_eq!(handshake.header("host"), Some("a"));
        assert_eq!(handshake.header("x"), Some("1"));
        assert_eq!(handshake.query("v"), Some("7"));
        assert_eq!(handshake.query("w"), Some("2"));
        assert_eq!(handshake.query("x"), None);
        assert_eq!(handshake.issued_ms(), Some(1_700_000_000_000));
        assert_eq!(handshake.secure(), Some(true));
        assert_eq!(
            handshake.xdomain(),
            None,
            "what is not told is not invented"
        );
        assert_eq!(handshake.get::<Vec<u8>>("mine"), Some(vec![1]));
        assert_eq!(handshake.time(), None);
        assert!(!format!("{handshake:?}").contains("token"));
    }

    #[test]
    fn a_client_cannot_hide_how_it_connected_behind_an_auth_that_cannot_be_read() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(130), "]".repeat(130));
        for auth in [r#"{"n":"\ud83d"}"#, deep.as_str(), "{\"n\":1e999}"] {
            let handshake = Handshake::new(Payload::text(format!(
                r#"{{"headers":{{"host":"a"}},"query":{{"v":"7"}},"address":"::1","auth":{auth}}}"#
            )));
            assert_eq!(handshake.address(), Some("::1"), "{auth}");
            assert_eq!(handshake.header("host"), Some("a"), "{auth}");
            assert_eq!(handshake.query("v"), Some("7"), "{auth}");
            let readable = auth.contains("ud83d").then(|| json!({"n": "\u{fffd}"}));
            assert_eq!(handshake.auth::<Value>(), readable, "{auth}");
        }
    }

    #[test]
    fn a_handshake_that_is_no_object_has_no_members() {
        for odd in ["[]", "null", "{", ""] {
            let handshake = Handshake::new(Payload::text(odd.to_owned()));
            assert_eq!(handshake.address(), None, "{odd}");
        }
    }
}
