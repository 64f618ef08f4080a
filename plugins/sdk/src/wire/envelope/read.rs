//! Bytes to messages.

use std::borrow::Cow;

use crate::types::{
    AckAnswer, Body, Broadcast, CountAnswer, CustomQuery, Disconnection, Message, Query,
    RoomChange, ServerEvent, SocketsAnswer, ValueAnswer,
};

use super::kind;
use crate::wire::{
    cursor::{Cursor, Kind, unexpected},
    error::WireError,
    json, msgpack, request_id, values,
};

/// A custom request's kind has at most this many bytes, as the contract has it.
const MAX_KIND_BYTES: usize = 128;

type Result<T> = std::result::Result<T, WireError>;

/// Reads one message.
///
/// None for what is to be ignored: a namespace that is not `wanted`, messages of `own`, kinds that
/// are not known, and answers to ids that cannot be ours. Their data is not decoded.
///
/// # Errors
/// When it is malformed.
pub fn read(
    payload: &[u8],
    own: &str,
    wanted: impl FnOnce(&str) -> bool,
) -> Result<Option<Message>> {
    let mut cursor = Cursor::of_message(payload)?;
    let envelope = Envelope::open(&mut cursor, |_, _| Ok(()))?;
    cursor.end()?;
    match envelope.namespace.as_deref() {
        Some(namespace) if envelope.sender != own && wanted(namespace) => {}
        _ => return Ok(None),
    }
    let message = envelope.message("")?;
    Ok(message.map(|message| Message {
        recipient: None,
        ..message
    }))
}

/// A message whose data is not decoded yet.
#[derive(Debug)]
pub struct Envelope<'a> {
    kind: Option<u32>,
    data: Option<Cursor<'a>>,
    /// `uid`: the node that sent it; empty if it does not say.
    pub sender: String,
    /// `nsp`. An emitter for Postgres leaves it out.
    pub namespace: Option<Cow<'a, str>>,
    /// `requesterUid`: the node whose request it answers, where the sender says so.
    pub recipient: Option<String>,
}

impl<'a> Envelope<'a> {
    /// Reads all that is around the data. `more` gets the members that are not an envelope's.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn open(
        cursor: &mut Cursor<'a>,
        mut more: impl FnMut(&str, &mut Cursor<'a>) -> Result<()>,
    ) -> Result<Self> {
        let mut envelope = Self {
            kind: None,
            data: None,
            sender: String::new(),
            namespace: None,
            recipient: None,
        };
        cursor.object("message", |key, cursor| {
            match key {
                "type" => envelope.kind = cursor.kind_number()?,
                "data" => envelope.data = Some(cursor.take()?),
                "uid" => envelope.sender = values::read_node(cursor)?,
                "nsp" if cursor.kind()? == Kind::Text => {
                    envelope.namespace = Some(cursor.text("nsp")?);
                }
                "nsp" => envelope.namespace = None,
                "requesterUid" if cursor.kind()? == Kind::Text => {
                    envelope.recipient = Some(values::read_node(cursor)?);
                }
                key => more(key, cursor)?,
            }
            Ok(())
        })?;
        Ok(envelope)
    }

    /// Decodes the data. `namespace` is meant where the sender names none. None for kinds that are
    /// not known, and answers to ids that cannot be ours.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn message(mut self, namespace: &str) -> Result<Option<Message>> {
        let Some(kind) = self.kind else {
            return Ok(None);
        };
        let body = read_body(kind, self.data.as_mut())?;
        let named = self.namespace.map(Cow::into_owned);
        Ok(body.map(|body| Message {
            namespace: named.unwrap_or_else(|| namespace.to_owned()),
            sender: self.sender,
            recipient: self.recipient,
            body,
        }))
    }
}

/// How everything that `own` sends ends in each format. It is the last of the message, so what
/// ends like this need not be read to be known as one's own.
pub fn tail(own: &str, namespace: &str) -> [Vec<u8>; 2] {
    let mut text = b",\"uid\":".to_vec();
    json::write_text(&mut text, own);
    text.extend_from_slice(b",\"nsp\":");
    json::write_text(&mut text, namespace);
    text.push(b'}');
    let mut binary = Vec::new();
    for part in ["uid", own, "nsp", namespace] {
        msgpack::write_text(&mut binary, part);
    }
    [text, binary]
}

/// Reads a message whose parts a backend keeps apart: its kind's number, and its data, which is
/// all that the cursor holds. None for what is to be ignored: kinds that are not known, and answers
/// to ids that cannot be ours.
///
/// # Errors
/// When it is malformed.
pub fn read_parts(kind: u32, mut data: Option<Cursor<'_>>) -> Result<Option<Body>> {
    let body = read_body(kind, data.as_mut())?;
    match (&body, data) {
        // Nothing of it was read.
        (None | Some(Body::InitialHeartbeat | Body::Heartbeat | Body::AdapterClose), _) => {}
        (Some(_), Some(rest)) => rest.end()?,
        (Some(_), None) => {}
    }
    Ok(body)
}

fn read_body(kind: u32, data: Option<&mut Cursor<'_>>) -> Result<Option<Body>> {
    let data = || data.ok_or(WireError::Missing("data"));
    match kind {
        kind::INITIAL_HEARTBEAT => Ok(Some(Body::InitialHeartbeat)),
        kind::HEARTBEAT => Ok(Some(Body::Heartbeat)),
        kind::ADAPTER_CLOSE => Ok(Some(Body::AdapterClose)),
        kind::BROADCAST => broadcast(data()?),
        kind::SOCKETS_JOIN => Ok(Some(Body::SocketsJoin(room_change(data()?)?))),
        kind::SOCKETS_LEAVE => Ok(Some(Body::SocketsLeave(room_change(data()?)?))),
        kind::DISCONNECT_SOCKETS => disconnection(data()?),
        kind::FETCH_SOCKETS => fetch_sockets(data()?),
        kind::SERVER_EVENT => server_event(data()?),
        kind::CUSTOM_QUERY => custom_query(data()?),
        kind::SOCKETS_ANSWER => sockets_answer(data()?),
        kind::CLIENT_COUNT => client_count(data()?),
        kind::CLIENT_ACK | kind::CLIENT_ACK_ERROR => client_ack(data()?),
        kind::SERVER_EVENT_ANSWER | kind::SERVER_EVENT_ERROR => {
            Ok(value_answer(data()?)?.map(Body::ServerEventAnswer))
        }
        kind::CUSTOM_ANSWER => Ok(value_answer(data()?)?.map(Body::CustomAnswer)),
        _ => Ok(None),
    }
}

fn broadcast(data: &mut Cursor<'_>) -> Result<Option<Body>> {
    let (mut packet, mut target, mut request) = (None, None, None);
    data.object("data", |key, cursor| {
        match key {
            "packet" => packet = Some(values::read_packet(cursor)?),
            "opts" => target = Some(values::read_target(cursor)?),
            "requestId" => request = Some(request_id::read_request(cursor, false)?),
            _ => {}
        }
        Ok(())
    })?;
    let packet = packet.ok_or(WireError::Missing("packet"))?;
    Ok(Some(Body::Broadcast(Broadcast {
        target: target.ok_or(WireError::Missing("opts"))?,
        data: packet.data,
        packet_id: packet.id,
        request,
    })))
}

fn room_change(data: &mut Cursor<'_>) -> Result<RoomChange> {
    let (mut target, mut rooms) = (None, None);
    data.object("data", |key, cursor| {
        match key {
            "opts" => target = Some(values::read_target(cursor)?),
            "rooms" => rooms = Some(values::read_rooms(cursor)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(RoomChange {
        target: target.ok_or(WireError::Missing("opts"))?,
        rooms: rooms.ok_or(WireError::Missing("rooms"))?,
    })
}

fn disconnection(data: &mut Cursor<'_>) -> Result<Option<Body>> {
    let (mut target, mut close) = (None, false);
    data.object("data", |key, cursor| {
        match key {
            "opts" => target = Some(values::read_target(cursor)?),
            "close" => close = cursor.is_true()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(Some(Body::DisconnectSockets(Disconnection {
        target: target.ok_or(WireError::Missing("opts"))?,
        close,
    })))
}

fn fetch_sockets(data: &mut Cursor<'_>) -> Result<Option<Body>> {
    let (mut target, mut request) = (None, None);
    data.object("data", |key, cursor| {
        match key {
            "opts" => target = Some(values::read_target(cursor)?),
            "requestId" => request = Some(request_id::read_request(cursor, false)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(Some(Body::FetchSockets(Query {
        request: request.ok_or(WireError::Missing("requestId"))?,
        target: target.ok_or(WireError::Missing("opts"))?,
    })))
}

fn server_event(data: &mut Cursor<'_>) -> Result<Option<Body>> {
    let (mut packet, mut request) = (None, None);
    data.object("data", |key, cursor| {
        match key {
            "packet" => packet = Some(values::read_event(cursor)?),
            "requestId" => request = Some(request_id::read_request(cursor, false)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(Some(Body::ServerEvent(ServerEvent {
        data: packet.ok_or(WireError::Missing("packet"))?,
        request,
    })))
}

fn custom_query(data: &mut Cursor<'_>) -> Result<Option<Body>> {
    let (mut payload, mut request, mut kind) = (None, None, None);
    data.object("data", |key, cursor| {
        match key {
            "packet" => payload = Some(cursor.payload()?),
            "requestId" => request = Some(request_id::read_request(cursor, false)?),
            "kind" => kind = Some(cursor.text("kind")?.into_owned()),
            _ => {}
        }
        Ok(())
    })?;
    let kind = kind.ok_or(WireError::Missing("kind"))?;
    if kind.is_empty() || kind.len() > MAX_KIND_BYTES {
        return Err(unexpected("kind", "a text of 1 to 128 bytes"));
    }
    Ok(Some(Body::CustomQuery(CustomQuery {
        request: request.ok_or(WireError::Missing("requestId"))?,
        kind,
        data: payload.ok_or(WireError::Missing("packet"))?,
    })))
}

fn sockets_answer(data: &mut Cursor<'_>) -> Result<Option<Body>> {
    let (mut request, mut sockets) = (None, None);
    data.object("data", |key, cursor| {
        match key {
            "requestId" => request = request_id::read_answer(cursor)?,
            "sockets" => sockets = Some(values::read_sockets(cursor)?),
            _ => {}
        }
        Ok(())
    })?;
    let Some(request) = request else {
        return Ok(None);
    };
    Ok(Some(Body::SocketsAnswer(SocketsAnswer {
        request: request.into_owned(),
        sockets: sockets.ok_or(WireError::Missing("sockets"))?,
    })))
}

fn client_count(data: &mut Cursor<'_>) -> Result<Option<Body>> {
    let (mut request, mut clients) = (None, None);
    data.object("data", |key, cursor| {
        match key {
            "requestId" => request = request_id::read_answer(cursor)?,
            "clientCount" => clients = Some(values::read_count(cursor)?),
            _ => {}
        }
        Ok(())
    })?;
    let Some(request) = request else {
        return Ok(None);
    };
    Ok(Some(Body::ClientCount(CountAnswer {
        request: request.into_owned(),
        clients: clients.ok_or(WireError::Missing("clientCount"))?,
    })))
}

fn client_ack(data: &mut Cursor<'_>) -> Result<Option<Body>> {
    let (mut request, mut first, mut more) = (None, None, None);
    let (mut socket, mut error) = (None, None);
    data.object("data", |key, cursor| {
        match key {
            "requestId" => request = request_id::read_answer(cursor)?,
            "packet" => first = Some(cursor.take()?),
            "more" => more = Some(cursor.take()?),
            "socket" => socket = Some(cursor.text("socket")?.into_owned()),
            "error" => error = Some(cursor.text("error")?.into_owned()),
            _ => {}
        }
        Ok(())
    })?;
    let Some(request) = request else {
        return Ok(None);
    };
    Ok(Some(Body::ClientAck(AckAnswer {
        request: request.into_owned(),
        socket,
        data: values::read_acknowledgement(first, more)?,
        error,
    })))
}

fn value_answer(data: &mut Cursor<'_>) -> Result<Option<ValueAnswer>> {
    let (mut request, mut value, mut error) = (None, None, None);
    data.object("data", |key, cursor| {
        match key {
            "requestId" => request = request_id::read_answer(cursor)?,
            "packet" => value = Some(cursor.payload()?),
            "error" => error = Some(cursor.text("error")?.into_owned()),
            _ => {}
        }
        Ok(())
    })?;
    Ok(request.map(|request| ValueAnswer {
        request: request.into_owned(),
        data: value,
        error,
    }))
}
