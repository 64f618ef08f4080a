//! What is kept of a client that may come back, and what it missed meanwhile, as values.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use socketioxide::socket::DisconnectReason;

use super::{AnswerError, IntoRooms, PrivateId, SocketId};
use crate::{
    adapter::PayloadError,
    cluster::{Offset, Payload, Room, event_name},
    payload,
    transport::Missed,
};

/// What is kept of a client: enough to go on as if it had never been away, on any server of the
/// cluster, Rust or Node.js.
///
/// [`Board::session_of`](crate::Board::session_of) makes one of a socket,
/// [`Board::persist_session`](crate::Board::persist_session) keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    pub(super) pid: PrivateId,
    pub(super) sid: SocketId,
    pub(super) rooms: Vec<Room>,
    pub(super) data: Payload,
}

impl Session {
    /// Of a socket in these rooms, without data. Its id is a room too, named or not.
    pub fn new(pid: PrivateId, sid: impl Into<SocketId>, rooms: impl IntoRooms) -> Self {
        let (sid, mut rooms) = (sid.into(), rooms.into_rooms());
        let own = Room::from(sid.as_str());
        if !rooms.contains(&own) {
            rooms.push(own);
        }
        Self {
            pid,
            sid,
            rooms,
            data: Payload::text("{}"),
        }
    }

    /// With this data, the counterpart of `socket.data` in Node.js. Bytes (as serde knows them) stay
    /// binary.
    ///
    /// # Errors
    /// The value has no form that other servers could read.
    pub fn with_data<T: Serialize + ?Sized>(mut self, data: &T) -> Result<Self, PayloadError> {
        self.data = payload::from_value(data)?;
        Ok(self)
    }

    /// Its private id.
    pub fn pid(&self) -> &PrivateId {
        &self.pid
    }

    /// The id of the socket that it was. A Node.js server gives it to the new socket; under
    /// socketioxide that one has an id of its own, and can join the room of the old one.
    pub fn sid(&self) -> &SocketId {
        &self.sid
    }

    /// The rooms that it was in, its own id among them.
    pub fn rooms(&self) -> &[Room] {
        &self.rooms
    }

    /// The rooms that a socket of socketioxide can join: those with text for a name.
    pub fn room_names(&self) -> Vec<String> {
        let names = self.rooms.iter().filter_map(|room| match room {
            Room::Text(name) => Some(name.to_string()),
            Room::Number(_) => None,
        });
        names.collect()
    }

    /// The application's data.
    ///
    /// # Errors
    /// [`AnswerError::Unreadable`] when it is not of this type.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, AnswerError> {
        payload::to_value(&self.data).map_err(|error| AnswerError::Unreadable(error.to_string()))
    }

    /// Is a client that was lost for this reason likely to come back? Node.js keeps sessions in
    /// these cases only: when the connection broke, or the server shuts down.
    pub fn is_recoverable(reason: DisconnectReason) -> bool {
        match reason {
            DisconnectReason::TransportClose
            | DisconnectReason::TransportError
            | DisconnectReason::HeartbeatTimeout
            | DisconnectReason::ClosingServer => true,
            DisconnectReason::MultipleHttpPollingError
            | DisconnectReason::PacketParsingError
            | DisconnectReason::ClientNSDisconnect
            | DisconnectReason::ServerNSDisconnect => false,
        }
    }
}

/// A session that was taken back.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RestoredSession {
    /// The session.
    pub session: Session,
    /// The events that its rooms got since, oldest first.
    pub missed: Vec<MissedPacket>,
}

/// An event that a client did not get while it was away.
#[derive(Clone, Debug, PartialEq)]
pub struct MissedPacket {
    event: String,
    data: Payload,
    offset: Offset,
}

impl MissedPacket {
    /// None: what other servers wrote is no event.
    pub(super) fn new(missed: Missed) -> Option<Self> {
        let data = missed.broadcast.data;
        Some(Self {
            event: event_name(&data)?.into_owned(),
            data,
            offset: missed.offset,
        })
    }

    /// The name of the event.
    pub fn event(&self) -> &str {
        &self.event
    }

    /// Its arguments: a tuple (also an array or a tuple struct) is several, anything else the first
    /// one. Binary parts are bytes, as serde knows them.
    ///
    /// # Errors
    /// [`AnswerError::Unreadable`] when they are not of this type.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, AnswerError> {
        payload::to_args(&self.data).map_err(|error| AnswerError::Unreadable(error.to_string()))
    }

    /// All of it as the text of a JSON array, the name first. Each binary part is
    /// `{"_placeholder":true,"num":n}`, if there are [`attachments`](Self::attachments); with none
    /// such a text is data.
    pub fn as_json(&self) -> &str {
        &self.data.json
    }

    /// The binary parts, in order of their numbers.
    pub fn attachments(&self) -> &[Bytes] {
        &self.data.attachments
    }

    /// Its place in the log. A Socket.IO client takes it from the last argument of an event, and
    /// tells the last one that it has got when it comes back.
    pub fn offset(&self) -> &Offset {
        &self.offset
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::{Broadcast, Target};

    fn pid() -> PrivateId {
        "0123456789abcdef".parse().unwrap()
    }

    fn missed(json: &'static str, attachments: Vec<Bytes>) -> Missed {
        let json = json.into();
        Missed {
            broadcast: Broadcast {
                target: Target::default(),
                data: Payload { json, attachments },
                packet_id: None,
                request: None,
            },
            offset: Offset::from("7-0"),
        }
    }

    #[test]
    fn a_sessions_own_id_is_one_of_its_rooms_once() {
        let own = Session::new(pid(), "sid", ["a", "sid"]);
        assert_eq!(own.rooms(), [Room::from("a"), Room::from("sid")]);
        let added = Session::new(pid(), "sid", [Room::Number(4.0), Room::from("a")]);
        assert_eq!(added.rooms().len(), 3);
        assert_eq!(added.room_names(), ["a", "sid"]);
    }

    #[test]
    fn data_comes_back_as_it_was_with_binary_and_all() {
        let session = Session::new(pid(), "sid", "a");
        assert_eq!(session.data(), Ok(json!({})));
        let data = (Bytes::from_static(&[0, 255]), "ada".to_owned());
        let session = session.with_data(&data).unwrap();
        assert_eq!(session.data(), Ok(data));
        assert!(matches!(
            session.data::<u32>(),
            Err(AnswerError::Unreadable(_))
        ));
    }

    #[test]
    fn a_missed_event_is_read_like_any_other() {
        let parts = vec![Bytes::from_static(b"xyz")];
        let json = r#"["news",{"_placeholder":true,"num":0},2]"#;
        let packet = MissedPacket::new(missed(json, parts.clone())).unwrap();
        assert_eq!(packet.event(), "news");
        assert_eq!(packet.args(), Ok((parts[0].clone(), 2)));
        assert_eq!(packet.offset().as_str(), "7-0");
        assert_eq!((packet.as_json(), packet.attachments()), (json, &parts[..]));

        let packet = MissedPacket::new(missed(r#"["one",[1,2]]"#, Vec::new())).unwrap();
        assert_eq!(packet.args::<Value>(), Ok(json!([1, 2])));
        assert!(packet.args::<String>().is_err());
        assert_eq!(MissedPacket::new(missed("[42]", Vec::new())), None);
    }

    #[test]
    fn a_client_that_left_on_purpose_does_not_come_back() {
        assert!(Session::is_recoverable(DisconnectReason::HeartbeatTimeout));
        assert!(Session::is_recoverable(DisconnectReason::ClosingServer));
        assert!(!Session::is_recoverable(
            DisconnectReason::ClientNSDisconnect
        ));
        assert!(!Session::is_recoverable(
            DisconnectReason::PacketParsingError
        ));
    }
}
