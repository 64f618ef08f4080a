//! Messages to bytes.

use crate::{
    MessageRef,
    types::{Body, Payload, Query, RoomChange, ValueAnswer},
};

use super::kind;
use crate::wire::{
    error::Rejected,
    request_id::Unfolded,
    values::{self, Acknowledgement},
    writer::{Format, Writer},
};

/// One more event for the clients of a broadcast that is not there.
const NOBODY: Rejected = Rejected::NoSuchForm("event that does not say for whom it is");
/// Room for everything but the payload.
const OVERHEAD_BYTES: usize = 256;

/// Writes one message, in JSON unless it holds binary.
///
/// # Errors
/// When its data cannot be encoded, or Node's servers have no form for it.
pub fn write<'m>(message: impl Into<MessageRef<'m>>) -> Result<Vec<u8>, Rejected> {
    let message = message.into();
    write_as(message, Format::for_binary(is_binary(message.body)))
}

/// Writes one message in a format. As JSON, binary parts are lost.
///
/// # Errors
/// As [`write()`].
pub fn write_as<'m>(
    message: impl Into<MessageRef<'m>>,
    format: Format,
) -> Result<Vec<u8>, Rejected> {
    write_with(message, format, &[])
}

/// Writes one message with more members, whose values are texts.
///
/// # Errors
/// As [`write()`].
pub fn write_with<'m>(
    message: impl Into<MessageRef<'m>>,
    format: Format,
    more: &[(&str, &str)],
) -> Result<Vec<u8>, Rejected> {
    let message = message.into();
    let mut writer = Writer::new(format, payload_bytes(message.body) + OVERHEAD_BYTES);
    let (kind, has_data) = kind_of(message.body)?;
    writer.object(3 + usize::from(has_data) + more.len());
    writer.key("type").number(kind.into());
    if has_data {
        writer.key("data");
        write_data(&mut writer, message)?;
    }
    for (key, text) in more {
        writer.key(key).text(text);
    }
    // These two last, in this order: see `tail`.
    writer.key("uid").text(message.sender);
    writer.key("nsp").text(message.namespace);
    writer.end_object();
    writer.finish()
}

/// What a backend keeps in fields of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// The kind, as ClusterAdapter numbers it.
    pub kind: u32,
    /// What goes into `data`, in `format`; none for kinds that have no data.
    pub data: Option<Vec<u8>>,
    /// How the data is written: JSON unless it holds binary.
    pub format: Format,
}

/// Writes the parts of one message, without its sender and its namespace.
///
/// # Errors
/// As [`write()`].
pub fn write_parts<'m>(message: impl Into<MessageRef<'m>>) -> Result<Parts, Rejected> {
    let message = message.into();
    let body = message.body;
    let format = Format::for_binary(is_binary(body));
    let (kind, has_data) = kind_of(body)?;
    let data = if has_data {
        let mut writer = Writer::new(format, payload_bytes(body) + OVERHEAD_BYTES);
        write_data(&mut writer, message)?;
        Some(writer.finish()?)
    } else {
        None
    };
    Ok(Parts { kind, data, format })
}

fn write_data(writer: &mut Writer, message: MessageRef<'_>) -> Result<(), Rejected> {
    match message.body {
        Body::Broadcast(_) | Body::Again(_) => {
            let broadcast = message.broadcast().ok_or(NOBODY)?;
            writer.object(2 + usize::from(broadcast.request.is_some()));
            let packet = writer.key("packet");
            values::write_packet(packet, broadcast.data, broadcast.packet_id, None)?;
            write_request(writer, broadcast.request)?;
            values::write_target(writer.key("opts"), broadcast.target)?;
        }
        Body::SocketsJoin(RoomChange { target, rooms })
        | Body::SocketsLeave(RoomChange { target, rooms }) => {
            writer.object(2);
            values::write_target(writer.key("opts"), target)?;
            values::write_rooms(writer.key("rooms"), rooms);
        }
        Body::DisconnectSockets(disconnection) => {
            writer.object(2);
            values::write_target(writer.key("opts"), &disconnection.target)?;
            writer.key("close").bool(disconnection.close)?;
        }
        Body::FetchSockets(Query { request, target }) => {
            writer.object(2);
            values::write_target(writer.key("opts"), target)?;
            write_request(writer, Some(request))?;
        }
        Body::ServerEvent(event) => {
            writer.object(1 + usize::from(event.request.is_some()));
            write_request(writer, event.request.as_deref())?;
            writer.key("packet").payload(&event.data)?;
        }
        Body::CustomQuery(query) => {
            writer.object(3);
            write_request(writer, Some(&query.request))?;
            writer.key("kind").text(&query.kind);
            writer.key("packet").payload(&query.data)?;
        }
        Body::SocketsAnswer(answer) => {
            writer.object(2);
            write_request(writer, Some(&answer.request))?;
            values::write_sockets(writer.key("sockets"), &answer.sockets)?;
        }
        Body::ClientCount(answer) => {
            writer.object(2);
            write_request(writer, Some(&answer.request))?;
            writer.key("clientCount").number(answer.clients.into());
        }
        Body::ClientAck(answer) => {
            let arguments = Acknowledgement::of(&answer.data)?;
            let ours = usize::from(answer.socket.is_some()) + usize::from(answer.error.is_some());
            writer.object(1 + arguments.members() + ours);
            write_request(writer, Some(&answer.request))?;
            arguments.write(writer)?;
            write_text(writer, "socket", answer.socket.as_deref());
            write_text(writer, "error", answer.error.as_deref());
        }
        Body::ServerEventAnswer(answer) | Body::CustomAnswer(answer) => {
            write_value(writer, answer)?;
        }
        Body::InitialHeartbeat
        | Body::Heartbeat
        | Body::AdapterClose
        | Body::FetchRooms(_)
        | Body::RoomsAnswer(_) => writer.object(0),
    }
    writer.end_object();
    Ok(())
}

fn write_value(writer: &mut Writer, answer: &ValueAnswer) -> Result<(), Rejected> {
    let members = 1 + usize::from(answer.data.is_some()) + usize::from(answer.error.is_some());
    writer.object(members);
    write_request(writer, Some(&answer.request))?;
    if let Some(data) = &answer.data {
        writer.key("packet").payload(data)?;
    }
    write_text(writer, "error", answer.error.as_deref());
    Ok(())
}

fn write_request(writer: &mut Writer, request: Option<&str>) -> Result<(), Rejected> {
    match request {
        Some(request) => Unfolded::of(request).write(writer.key("requestId")),
        None => Ok(()),
    }
}

fn write_text(writer: &mut Writer, key: &str, text: Option<&str>) {
    if let Some(text) = text {
        writer.key(key).text(text);
    }
}

/// The kind's number, and whether it has data.
fn kind_of(body: &Body) -> Result<(u32, bool), Rejected> {
    Ok(match body {
        Body::InitialHeartbeat => (kind::INITIAL_HEARTBEAT, false),
        Body::Heartbeat => (kind::HEARTBEAT, false),
        Body::AdapterClose => (kind::ADAPTER_CLOSE, false),
        Body::Broadcast(_) | Body::Again(_) => (kind::BROADCAST, true),
        Body::SocketsJoin(_) => (kind::SOCKETS_JOIN, true),
        Body::SocketsLeave(_) => (kind::SOCKETS_LEAVE, true),
        Body::DisconnectSockets(_) => (kind::DISCONNECT_SOCKETS, true),
        Body::FetchSockets(_) => (kind::FETCH_SOCKETS, true),
        Body::ServerEvent(_) => (kind::SERVER_EVENT, true),
        Body::CustomQuery(_) => (kind::CUSTOM_QUERY, true),
        Body::SocketsAnswer(_) => (kind::SOCKETS_ANSWER, true),
        Body::ClientCount(_) => (kind::CLIENT_COUNT, true),
        Body::ClientAck(answer) if answer.error.is_some() => (kind::CLIENT_ACK_ERROR, true),
        Body::ClientAck(_) => (kind::CLIENT_ACK, true),
        Body::ServerEventAnswer(a) if a.error.is_some() => (kind::SERVER_EVENT_ERROR, true),
        Body::ServerEventAnswer(_) => (kind::SERVER_EVENT_ANSWER, true),
        Body::CustomAnswer(_) => (kind::CUSTOM_ANSWER, true),
        Body::FetchRooms(_) => return Err(Rejected::NoSuchForm("question about rooms")),
        Body::RoomsAnswer(_) => return Err(Rejected::NoSuchForm("list of rooms")),
    })
}

fn payload(body: &Body) -> Option<&Payload> {
    match body {
        Body::Broadcast(broadcast) => Some(&broadcast.data),
        Body::Again(data) => Some(data),
        Body::ServerEvent(event) => Some(&event.data),
        Body::CustomQuery(query) => Some(&query.data),
        Body::ClientAck(answer) => Some(&answer.data),
        Body::ServerEventAnswer(answer) | Body::CustomAnswer(answer) => answer.data.as_ref(),
        _ => None,
    }
}

/// The number of a message's kind, as ClusterAdapter has it.
///
/// # Errors
/// When Node's servers have no form for it.
pub fn kind_number(body: &Body) -> Result<u32, Rejected> {
    kind_of(body).map(|(kind, _)| kind)
}

/// Whether a message holds binary, so that JSON has no form for it.
pub fn is_binary(body: &Body) -> bool {
    match body {
        Body::SocketsAnswer(answer) => values::sockets_are_binary(&answer.sockets),
        _ => payload(body).is_some_and(|payload| !payload.parts().is_empty()),
    }
}

/// Bytes of a message's payload, as text and binary parts; 0 for what has no payload.
pub fn payload_bytes(body: &Body) -> usize {
    payload(body).map_or(0, |payload| {
        let attached: usize = payload.parts().iter().map(Vec::len).sum();
        payload.json.len() + attached
    })
}
