//! Requests.

use switchboard_plugin::{
    MessageRef,
    types::{
        Body, Broadcast, Disconnection, Message, Payload, Query, Room, RoomChange, ServerEvent,
        Target,
    },
};

use super::{Channels, kind};
use crate::wire::{Decoded, Local, Publication};
use switchboard_plugin::wire::{
    Cursor, Format, Kind, Rejected, WireError, Writer,
    request_id::{self, Unfolded},
    values,
};

/// The sender of what processes publish that are no servers.
const EMITTER: &str = "emitter";
/// Room for everything but the payload.
const OVERHEAD_BYTES: usize = 256;

type Result<T> = std::result::Result<T, WireError>;

/// A request's members, not decoded.
#[derive(Default)]
struct Members<'a> {
    kind: Option<u32>,
    sender: String,
    request: Option<Cursor<'a>>,
    opts: Option<Cursor<'a>>,
    rooms: Option<Cursor<'a>>,
    close: Option<Cursor<'a>>,
    data: Option<Cursor<'a>>,
    packet: Option<Cursor<'a>>,
    sid: Option<Cursor<'a>>,
    room: Option<Cursor<'a>>,
}

impl<'a> Members<'a> {
    fn of(payload: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor::of_message(payload)?;
        let mut members = Self::default();
        cursor.object("request", |key, cursor| {
            let member = match key {
                "type" => {
                    members.kind = cursor.kind_number()?;
                    return Ok(());
                }
                "uid" => {
                    members.sender = values::read_node(cursor)?;
                    return Ok(());
                }
                "requestId" => &mut members.request,
                "opts" => &mut members.opts,
                "rooms" => &mut members.rooms,
                "close" => &mut members.close,
                "data" => &mut members.data,
                "packet" => &mut members.packet,
                "sid" => &mut members.sid,
                "room" => &mut members.room,
                _ => return Ok(()),
            };
            *member = Some(cursor.take()?);
            Ok(())
        })?;
        cursor.end()?;
        Ok(members)
    }

    fn target(&self) -> Result<Target> {
        values::read_target(&mut self.opts.ok_or(WireError::Missing("opts"))?)
    }

    fn rooms(&self) -> Result<Vec<Room>> {
        values::read_rooms(&mut self.rooms.ok_or(WireError::Missing("rooms"))?)
    }

    /// Presence decides, `null` counts as present.
    fn optional_request(&self) -> Result<Option<String>> {
        self.request
            .map(|mut id| request_id::read_request(&mut id, false))
            .transpose()
    }

    fn request(&self, ids_only: bool) -> Result<String> {
        let mut id = self.request.ok_or(WireError::Missing("requestId"))?;
        request_id::read_request(&mut id, ids_only)
    }

    fn close(&self) -> Result<bool> {
        self.close.map_or(Ok(false), |mut close| close.is_true())
    }

    /// The form for many sockets has `opts`; without (or with `null`) it is the old one for one
    /// socket.
    fn is_old(&self) -> Result<bool> {
        match self.opts {
            Some(mut opts) => Ok(opts.kind()? == Kind::Null),
            None => Ok(true),
        }
    }
}

/// Reads a request. Nothing comes of what this node sent itself and of unknown kinds, and of the
/// old forms when their socket is elsewhere.
pub(super) fn read(
    payload: &[u8],
    namespace: &str,
    node: &str,
    channels: &Channels,
    local: &impl Local,
) -> Result<Decoded<'static>> {
    let members = Members::of(payload)?;
    if members.sender == node {
        return Ok(Decoded::default());
    }
    let Some(kind) = members.kind else {
        return Ok(Decoded::default());
    };
    if let kind::REMOTE_JOIN | kind::REMOTE_LEAVE | kind::REMOTE_DISCONNECT = kind
        && members.is_old()?
    {
        return read_old(kind, &members, namespace, channels, local);
    }
    let body = match kind {
        kind::SOCKETS => Body::FetchSockets(Query {
            request: members.request(true)?,
            target: target_of(match members.rooms {
                Some(_) => members.rooms()?,
                None => Vec::new(),
            }),
        }),
        kind::ALL_ROOMS => Body::FetchRooms(Query {
            request: members.request(false)?,
            target: target_of(Vec::new()),
        }),
        kind::REMOTE_JOIN => Body::SocketsJoin(RoomChange {
            target: members.target()?,
            rooms: members.rooms()?,
        }),
        kind::REMOTE_LEAVE => Body::SocketsLeave(RoomChange {
            target: members.target()?,
            rooms: members.rooms()?,
        }),
        kind::REMOTE_DISCONNECT => Body::DisconnectSockets(Disconnection {
            target: members.target()?,
            close: members.close()?,
        }),
        kind::REMOTE_FETCH => Body::FetchSockets(Query {
            request: members.request(false)?,
            target: members.target()?,
        }),
        kind::SERVER_SIDE_EMIT => Body::ServerEvent(ServerEvent {
            data: values::read_event(&mut members.data.ok_or(WireError::Missing("data"))?)?,
            request: members.optional_request()?,
        }),
        kind::BROADCAST => {
            // The packet's namespace is not looked at.
            let mut packet = members.packet.ok_or(WireError::Missing("packet"))?;
            let packet = values::read_packet(&mut packet)?;
            Body::Broadcast(Broadcast {
                target: members.target()?,
                data: packet.data,
                packet_id: packet.id,
                request: Some(members.request(false)?),
            })
        }
        _ => return Ok(Decoded::default()),
    };
    Ok(Decoded::from(Some(message(
        namespace,
        members.sender,
        body,
    ))))
}

/// The old forms for one socket: only the node that has it acts and answers.
fn read_old(
    kind: u32,
    members: &Members<'_>,
    namespace: &str,
    channels: &Channels,
    local: &impl Local,
) -> Result<Decoded<'static>> {
    let mut sid = members.sid.ok_or(WireError::Missing("opts"))?;
    let socket = Room::Text(sid.text("sid")?.into_owned());
    if !local.has_room(namespace, &socket) {
        return Ok(Decoded::default());
    }
    let target = target_of(vec![socket]);
    let rooms = |room: Option<Cursor<'_>>| -> Result<Vec<Room>> {
        let mut room = room.ok_or(WireError::Missing("room"))?;
        match room.kind()? {
            Kind::Array => values::read_rooms(&mut room),
            _ => Ok(vec![values::read_room(&mut room)?]),
        }
    };
    let body = match kind {
        kind::REMOTE_JOIN => Body::SocketsJoin(RoomChange {
            target,
            rooms: rooms(members.room)?,
        }),
        kind::REMOTE_LEAVE => Body::SocketsLeave(RoomChange {
            target,
            rooms: rooms(members.room)?,
        }),
        _ => Body::DisconnectSockets(Disconnection {
            target,
            close: members.close()?,
        }),
    };
    let asker = Some(members.sender.as_str()).filter(|sender| !sender.is_empty());
    let (channel, _) = channels.response(namespace, asker);
    let reply = match members.request {
        Some(mut id) => id.plain_json()?.map(|id| Publication {
            channel,
            payload: format!("{{\"requestId\":{id}}}").into_bytes(),
        }),
        None => None,
    };
    Ok(Decoded {
        message: Some(message(namespace, members.sender.clone(), body).into()),
        reply,
    })
}

fn message(namespace: &str, sender: String, body: Body) -> Message {
    Message {
        namespace: namespace.to_owned(),
        sender,
        recipient: None,
        body,
    }
}

fn target_of(rooms: Vec<Room>) -> Target {
    Target {
        rooms,
        except: None,
        volatile: false,
        other_flags: None,
    }
}

/// Writes a request.
pub(super) fn write(message: MessageRef<'_>) -> std::result::Result<Vec<u8>, Rejected> {
    let sender = message.sender;
    // The emitter names itself only where a receiver looks at it.
    let named = (sender != EMITTER && !sender.is_empty()).then_some(sender);
    match message.body {
        Body::Broadcast(broadcast) => {
            let capacity = bytes(&broadcast.data) + OVERHEAD_BYTES;
            let mut writer = Writer::new(Format::Msgpack, capacity);
            let request = broadcast.request.as_deref();
            head(&mut writer, Some(sender), request, kind::BROADCAST, 2)?;
            let packet_id = broadcast.packet_id.as_deref();
            let namespace = Some(message.namespace);
            values::write_packet(writer.key("packet"), &broadcast.data, packet_id, namespace)?;
            values::write_target(writer.key("opts"), &broadcast.target)?;
            end(writer)
        }
        Body::SocketsJoin(change) => room_change(named, kind::REMOTE_JOIN, change),
        Body::SocketsLeave(change) => room_change(named, kind::REMOTE_LEAVE, change),
        Body::DisconnectSockets(disconnection) => {
            let mut writer = Writer::new(Format::Json, OVERHEAD_BYTES);
            head(&mut writer, named, None, kind::REMOTE_DISCONNECT, 2)?;
            write_opts(&mut writer, &disconnection.target)?;
            writer.key("close").bool(disconnection.close)?;
            end(writer)
        }
        Body::FetchSockets(query) => fetch(sender, &query.request, &query.target),
        Body::FetchRooms(query) if is_everybody(&query.target) => {
            let mut writer = Writer::new(Format::Json, OVERHEAD_BYTES);
            head(
                &mut writer,
                Some(sender),
                Some(&query.request),
                kind::ALL_ROOMS,
                0,
            )?;
            end(writer)
        }
        // The wire asks for all rooms or for none. So the sockets are asked for, under an id that
        // makes rooms of the answers when they arrive.
        Body::FetchRooms(query) => {
            let request = request_id::as_rooms_question(&query.request);
            fetch(sender, &request, &query.target)
        }
        Body::ServerEvent(event) => {
            // Node has JSON only, but reads msgpack, in which binary stays binary.
            let format = Format::for_binary(!event.data.parts().is_empty());
            let mut writer = Writer::new(format, bytes(&event.data) + OVERHEAD_BYTES);
            let request = event.request.as_deref();
            head(
                &mut writer,
                Some(sender),
                request,
                kind::SERVER_SIDE_EMIT,
                1,
            )?;
            writer.key("data").payload(&event.data)?;
            end(writer)
        }
        _ => Err(Rejected::NoSuchForm("message of this kind")),
    }
}

fn room_change(
    sender: Option<&str>,
    kind: u32,
    change: &RoomChange,
) -> std::result::Result<Vec<u8>, Rejected> {
    let mut writer = Writer::new(Format::Json, OVERHEAD_BYTES);
    head(&mut writer, sender, None, kind, 2)?;
    write_opts(&mut writer, &change.target)?;
    values::write_rooms(writer.key("rooms"), &change.rooms);
    end(writer)
}

fn fetch(sender: &str, request: &str, target: &Target) -> std::result::Result<Vec<u8>, Rejected> {
    let mut writer = Writer::new(Format::Json, OVERHEAD_BYTES);
    head(
        &mut writer,
        Some(sender),
        Some(request),
        kind::REMOTE_FETCH,
        1,
    )?;
    write_opts(&mut writer, target)?;
    end(writer)
}

/// The members that all requests begin with; `more` others follow.
fn head(
    writer: &mut Writer,
    sender: Option<&str>,
    request: Option<&str>,
    kind: u32,
    more: usize,
) -> std::result::Result<(), Rejected> {
    let optional = usize::from(sender.is_some()) + usize::from(request.is_some());
    writer.object(optional + 1 + more);
    if let Some(sender) = sender {
        writer.key("uid").text(sender);
    }
    if let Some(request) = request {
        Unfolded::of(request).write(writer.key("requestId"))?;
    }
    writer.key("type").number(kind.into());
    Ok(())
}

/// `opts` of requests have no flags, but flags that there are do no harm.
fn write_opts(writer: &mut Writer, target: &Target) -> std::result::Result<(), Rejected> {
    if target.volatile || target.other_flags.is_some() {
        return values::write_target(writer.key("opts"), target);
    }
    writer.key("opts").object(2);
    values::write_rooms(writer.key("rooms"), &target.rooms);
    values::write_rooms(writer.key("except"), target.excepted());
    writer.end_object();
    Ok(())
}

fn end(mut writer: Writer) -> std::result::Result<Vec<u8>, Rejected> {
    writer.end_object();
    writer.finish()
}

fn is_everybody(target: &Target) -> bool {
    target.rooms.is_empty() && target.excepted().is_empty()
}

fn bytes(payload: &Payload) -> usize {
    payload.json.len() + payload.parts().iter().map(Vec::len).sum::<usize>()
}
