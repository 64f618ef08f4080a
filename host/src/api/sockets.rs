//! Sockets of any server, Rust or Node.js, as values.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::{Map, Value};

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
    /// This socket alone.
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

    /// Its id.
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

    /// How it connected.
    pub fn handshake(&self) -> &Handshake {
        &self.handshake
    }

    /// The application's data: `socket.data` of a Node.js server; of a Rust server what its author
    /// chose with [`Board::socket_data`](crate::Board::socket_data), `{}` if nothing.
    ///
    /// # Errors
    /// [`AnswerError::Unreadable`] when it is not of this type.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, AnswerError> {
        payload::to_value(&self.data).map_err(|error| AnswerError::Unreadable(error.to_string()))
    }

    /// Makes it join rooms.
    ///
    /// # Errors
    /// [`ApiError::Cluster`] when its server could not be told.
    pub async fn join(&self, rooms: impl IntoRooms) -> Result<(), ApiError> {
        self.operators.join(rooms).await
    }

    /// Makes it leave rooms.
    ///
    /// # Errors
    /// [`ApiError::Cluster`] when its server could not be told.
    pub async fn leave(&self, rooms: impl IntoRooms) -> Result<(), ApiError> {
        self.operators.leave(rooms).await
    }

    /// Sends it an event; see [`Operators::emit`].
    ///
    /// # Errors
    /// As [`Operators::emit`].
    pub async fn emit<T: Serialize + ?Sized>(&self, event: &str, data: &T) -> Result<(), ApiError> {
        self.operators.emit(event, data).await
    }

    /// Sends it an event and waits for its acknowledgement, `timeout` at most.
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

    /// Disconnects it from the namespace; with `close` from its whole connection.
    ///
    /// # Errors
    /// [`ApiError::Cluster`] when its server could not be told.
    pub async fn disconnect(&self, close: bool) -> Result<(), ApiError> {
        self.operators.disconnect(close).await
    }
}

/// How a socket connected: the request that opened its connection, as its server told it. What a
/// server does not know (or will not tell) is missing.
#[derive(Clone)]
pub struct Handshake {
    payload: Payload,
    /// Read when it is first looked into: most of them never are.
    members: OnceLock<Arc<Map<String, Value>>>,
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
            .get_or_init(|| Arc::new(serde_json::from_str(&self.payload.json).unwrap_or_default()))
            .get(name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.member(name)?.as_str()
    }

    /// A header of the request, by its name in lower case; the first one, if there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        first_text(self.member("headers")?.get(name)?)
    }

    /// A parameter of the request's query; the first one, if there are several.
    pub fn query(&self, name: &str) -> Option<&str> {
        first_text(self.member("query")?.get(name)?)
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

    /// What the client sent as `auth`. None when there is nothing, or not of this type.
    pub fn auth<T: DeserializeOwned>(&self) -> Option<T> {
        self.get("auth")
    }

    /// Any member by its name, also those that middleware of a Node.js server added. None when it
    /// is not there, or not of this type. Binary parts inside are not resolved.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        T::deserialize(self.member(name)?).ok()
    }

    /// All of it, as the text of a JSON object.
    pub fn as_json(&self) -> &str {
        &self.payload.json
    }
}

fn first_text(value: &Value) -> Option<&str> {
    match value {
        Value::Array(several) => several.first()?.as_str(),
        one => one.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_read_member_by_member() {
        let handshake = Handshake::new(Payload::text(
            r#"{"headers":{"host":"a","x":["1","2"]},"query":{"v":"7"},"address":"::1",
                "issued":1700000000000,"secure":true,"auth":{"token":"t"},"mine":[1]}"#
                .to_owned(),
        ));
        assert_eq!(handshake.header("host"), Some("a"));
        assert_eq!(handshake.header("x"), Some("1"));
        assert_eq!(handshake.query("v"), Some("7"));
        assert_eq!(handshake.query("w"), None);
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
    fn a_handshake_that_is_no_object_has_no_members() {
        for odd in ["[]", "null", "{", ""] {
            let handshake = Handshake::new(Payload::text(odd.to_owned()));
            assert_eq!(handshake.address(), None, "{odd}");
        }
    }
}
