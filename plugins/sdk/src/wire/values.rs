//! What messages of all kinds are made of: rooms, targets, packets, descriptions of sockets.

use crate::{
    types::{Payload, Room, Socket, Target},
    unless_empty,
};

use super::{
    cursor::{Cursor, Kind, finish, unexpected},
    error::{Rejected, WireError},
    json,
    limits::{MAX_NODE_ID_BYTES, MAX_ROOMS, MAX_SOCKETS},
    msgpack,
    writer::{Writer, split},
};

type Result<T, E = WireError> = std::result::Result<T, E>;

/// Packets are always of this type; receivers find out about binary themselves.
const PACKET_EVENT: f64 = 2.0;

/// A sender's id. Missing ones, and `null`, are empty.
pub fn read_node(cursor: &mut Cursor<'_>) -> Result<String> {
    if cursor.kind()? == Kind::Null {
        return Ok(String::new());
    }
    let node = cursor.text("uid")?;
    if node.len() > MAX_NODE_ID_BYTES {
        return Err(WireError::LongNodeId);
    }
    Ok(node.into_owned())
}

/// Text or number; anything else would be no room of anybody, and leaving it out would make an
/// empty list, which means everybody.
pub fn read_room(cursor: &mut Cursor<'_>) -> Result<Room> {
    match cursor.kind()? {
        Kind::Text => Ok(Room::Text(cursor.text("rooms")?.into_owned())),
        Kind::Number => match cursor.number("rooms")? {
            number if number.is_finite() => Ok(Room::Number(number)),
            _ => Err(unexpected("rooms", "a list of texts and finite numbers")),
        },
        _ => Err(unexpected("rooms", "a list of texts and finite numbers")),
    }
}

/// A list of rooms; `null` is empty.
pub fn read_rooms(cursor: &mut Cursor<'_>) -> Result<Vec<Room>> {
    let mut rooms = Vec::new();
    if cursor.kind()? == Kind::Null {
        return Ok(rooms);
    }
    cursor.array("rooms", |cursor| {
        if rooms.len() >= MAX_ROOMS {
            return Err(WireError::TooManyRooms);
        }
        rooms.push(read_room(cursor)?);
        Ok(())
    })?;
    Ok(rooms)
}

/// `opts`.
pub fn read_target(cursor: &mut Cursor<'_>) -> Result<Target> {
    let mut target = Target {
        rooms: Vec::new(),
        except: None,
        volatile: false,
        other_flags: None,
    };
    cursor.object("opts", |key, cursor| {
        match key {
            "rooms" => target.rooms = read_rooms(cursor)?,
            "except" => target.except = unless_empty(read_rooms(cursor)?),
            "flags" => (target.volatile, target.other_flags) = read_flags(cursor)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(target)
}

/// Whether `volatile` is `true`, and all other flags. Flags with binary do not exist; such are
/// left out.
fn read_flags(cursor: &mut Cursor<'_>) -> Result<(bool, Option<String>)> {
    let (mut volatile, mut others) = (false, Vec::new());
    if cursor.kind()? == Kind::Null {
        return Ok((false, None));
    }
    cursor.object("flags", |key, cursor| {
        if key == "volatile" {
            let mut value = *cursor;
            volatile = value.is_true()?;
            if volatile {
                return Ok(());
            }
        }
        if let Some(value) = cursor.plain_json()? {
            others.push(if others.is_empty() { b'{' } else { b',' });
            json::write_text(&mut others, key);
            others.push(b':');
            others.extend_from_slice(value.as_bytes());
        }
        Ok(())
    })?;
    if others.is_empty() {
        return Ok((volatile, None));
    }
    others.push(b'}');
    let others = String::from_utf8(others).map_err(|_| WireError::NotUtf8)?;
    Ok((volatile, Some(others)))
}

/// A broadcast's packet.
pub struct Packet {
    /// A JSON array: the event's name, then its arguments.
    pub data: Payload,
    /// The `id` member as JSON text; `null` counts as present.
    pub id: Option<String>,
    /// What its `nsp` says.
    pub namespace: PacketNamespace,
}

/// The packet's `nsp` member, which only the classic wire has.
#[derive(Debug, PartialEq, Eq)]
pub enum PacketNamespace {
    /// There is no such member.
    Absent,
    /// `null` or no text: no namespace has this name.
    None,
    /// A string.
    Name(String),
}

/// Reads a `packet`.
///
/// # Errors
/// When it is malformed.
pub fn read_packet(cursor: &mut Cursor<'_>) -> Result<Packet> {
    let (mut data, mut id, mut namespace) = (None, None, PacketNamespace::Absent);
    cursor.object("packet", |key, cursor| {
        match key {
            "data" => data = Some(read_event(cursor)?),
            "id" => id = cursor.plain_json()?,
            "nsp" if cursor.kind()? == Kind::Text => {
                namespace = PacketNamespace::Name(cursor.text("nsp")?.into_owned());
            }
            "nsp" => namespace = PacketNamespace::None,
            _ => {}
        }
        Ok(())
    })?;
    Ok(Packet {
        data: data.ok_or(WireError::Missing("packet.data"))?,
        id,
        namespace,
    })
}

/// An event: its name, then its arguments.
pub fn read_event(cursor: &mut Cursor<'_>) -> Result<Payload> {
    match cursor.kind()? {
        Kind::Array => cursor.payload(),
        _ => Err(unexpected("data", "an array")),
    }
}

/// A client's acknowledgement: `first` is what Node has, `more` are the further arguments that
/// our nodes add.
pub fn read_acknowledgement(
    first: Option<Cursor<'_>>,
    more: Option<Cursor<'_>>,
) -> Result<Payload> {
    let mut payload = msgpack::Json::default();
    payload.text.push(b'[');
    if let Some(mut first) = first {
        first.append_payload(&mut payload)?;
        if let Some(mut more) = more {
            more.array("more", |cursor| {
                payload.text.push(b',');
                cursor.append_payload(&mut payload)
            })?;
        }
    }
    payload.text.push(b']');
    Ok(finish(payload))
}

/// A socket as `fetchSockets` describes it, or only its id.
pub fn read_socket(cursor: &mut Cursor<'_>) -> Result<Socket> {
    let empty = || Payload {
        json: "{}".to_owned(),
        attachments: None,
    };
    let mut socket = Socket {
        id: String::new(),
        rooms: Vec::new(),
        handshake: empty(),
        data: empty(),
    };
    if cursor.kind()? == Kind::Text {
        socket.id = cursor.text("sockets")?.into_owned();
        return named(socket);
    }
    cursor.object("sockets", |key, cursor| {
        match key {
            "id" => socket.id = cursor.text("id")?.into_owned(),
            "rooms" => socket.rooms = read_rooms(cursor)?,
            "handshake" => socket.handshake = cursor.payload()?,
            "data" => socket.data = cursor.payload()?,
            _ => {}
        }
        Ok(())
    })?;
    named(socket)
}

fn named(socket: Socket) -> Result<Socket> {
    if socket.id.is_empty() {
        return Err(WireError::Missing("sockets.id"));
    }
    Ok(socket)
}

/// Reads the `sockets` of an answer.
///
/// # Errors
/// When it is malformed, and over the limits.
pub fn read_sockets(cursor: &mut Cursor<'_>) -> Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    cursor.array("sockets", |cursor| {
        if sockets.len() >= MAX_SOCKETS {
            return Err(WireError::TooManySockets);
        }
        sockets.push(read_socket(cursor)?);
        Ok(())
    })?;
    Ok(sockets)
}

/// How many clients got an event.
pub fn read_count(cursor: &mut Cursor<'_>) -> Result<u32> {
    let count = cursor.number("clientCount")?;
    if count.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&count) {
        Ok(count as u32)
    } else {
        Err(unexpected("clientCount", "a count"))
    }
}

/// Writes a list of rooms.
pub fn write_rooms(writer: &mut Writer, rooms: &[Room]) {
    writer.array(rooms.len());
    for room in rooms {
        match room {
            Room::Text(text) => writer.text(text),
            Room::Number(number) => writer.number(*number),
        }
    }
    writer.end_array();
}

/// `opts` with all three members, as Node writes broadcasts.
pub fn write_target(writer: &mut Writer, target: &Target) -> Result<(), Rejected> {
    writer.object(3);
    write_rooms(writer.key("rooms"), &target.rooms);
    write_rooms(writer.key("except"), target.excepted());
    write_flags(writer.key("flags"), target)?;
    writer.end_object();
    Ok(())
}

/// Writes the `flags` of `opts`.
///
/// # Errors
/// When the other flags are not JSON.
pub fn write_flags(writer: &mut Writer, target: &Target) -> Result<(), Rejected> {
    let others = target.other_flags.as_deref().unwrap_or("{}");
    match (target.volatile, others) {
        (false, "{}") => {
            writer.object(0);
            writer.end_object();
            Ok(())
        }
        (false, others) => writer.json(others),
        (true, others) => {
            let inside = others
                .trim()
                .strip_prefix('{')
                .and_then(|rest| rest.strip_suffix('}'))
                .map_or("", str::trim);
            let comma = if inside.is_empty() { "" } else { "," };
            writer.json(&format!("{{\"volatile\":true{comma}{inside}}}"))
        }
    }
}

/// A packet; `namespace` only on the classic wire.
pub fn write_packet(
    writer: &mut Writer,
    data: &Payload,
    id: Option<&str>,
    namespace: Option<&str>,
) -> Result<(), Rejected> {
    writer.object(2 + usize::from(id.is_some()) + usize::from(namespace.is_some()));
    writer.key("type").number(PACKET_EVENT);
    writer.key("data").payload(data)?;
    if let Some(id) = id {
        writer.key("id").json(id)?;
    }
    if let Some(namespace) = namespace {
        writer.key("nsp").text(namespace);
    }
    writer.end_object();
    Ok(())
}

/// The arguments of an acknowledgement, ready to be written.
pub struct Acknowledgement<'a> {
    data: &'a Payload,
    first: Option<&'a str>,
    more: Vec<&'a str>,
}

impl<'a> Acknowledgement<'a> {
    /// Takes the arguments of an acknowledgement apart.
    pub fn of(data: &'a Payload) -> Result<Self, Rejected> {
        let split = split(&data.json)?;
        Ok(Self {
            data,
            first: split.first,
            more: split.more,
        })
    }

    /// How many members [`Self::write`] writes.
    pub fn members(&self) -> usize {
        usize::from(self.first.is_some()) + usize::from(!self.more.is_empty())
    }

    /// The first argument as `packet`, where Node looks for it, and the others beside it.
    pub fn write(&self, writer: &mut Writer) -> Result<(), Rejected> {
        let attachments = self.data.parts();
        if let Some(first) = self.first {
            writer.key("packet").json_with(first, attachments)?;
        }
        if !self.more.is_empty() {
            writer.key("more").array(self.more.len());
            for argument in &self.more {
                writer.json_with(argument, attachments)?;
            }
            writer.end_array();
        }
        Ok(())
    }
}

/// Writes the `sockets` of an answer.
///
/// # Errors
/// When a description is not JSON, or refers to a missing attachment.
pub fn write_sockets(writer: &mut Writer, sockets: &[Socket]) -> Result<(), Rejected> {
    writer.array(sockets.len());
    for socket in sockets {
        writer.object(4);
        writer.key("id").text(&socket.id);
        writer.key("handshake").payload(&socket.handshake)?;
        write_rooms(writer.key("rooms"), &socket.rooms);
        writer.key("data").payload(&socket.data)?;
        writer.end_object();
    }
    writer.end_array();
    Ok(())
}

/// Whether any of the sockets' descriptions holds binary.
pub fn sockets_are_binary(sockets: &[Socket]) -> bool {
    let binary = |payload: &Payload| !payload.parts().is_empty();
    sockets
        .iter()
        .any(|socket| binary(&socket.handshake) || binary(&socket.data))
}

/// A room's name as JavaScript prints it in a channel's name.
pub fn room_name(room: &Room) -> std::borrow::Cow<'_, str> {
    match room {
        Room::Text(text) => text.into(),
        Room::Number(number) => json::javascript(*number).into(),
    }
}
