//! Answers.
//!
//! Only some carry a `type`; the others are told apart by what they hold. We add `uid`, who
//! answers, and on the shared channel `requesterUid`, who asked: Node passes over both.

use switchboard_plugin::{
    MessageRef,
    types::{
        AckAnswer, Body, CountAnswer, Message, Room, RoomsAnswer, Socket, SocketsAnswer,
        ValueAnswer,
    },
};

use super::kind;
use switchboard_plugin::wire::{
    Cursor, Format, Rejected, WireError, Writer,
    request_id::{self, Unfolded},
    values::{self, Acknowledgement},
};

/// Room for everything but the payload.
const OVERHEAD_BYTES: usize = 192;

type Result<T> = std::result::Result<T, WireError>;

/// Reads an answer. None: it was meant for another node, belongs to a request that cannot be ours,
/// or says nothing (the answer to an old form).
pub(super) fn read(
    payload: &[u8],
    namespace: &str,
    node: &str,
    recipient: Option<&str>,
) -> Result<Option<Message>> {
    let mut cursor = Cursor::of_message(payload)?;
    let (mut kind, mut request, mut sender) = (None, None, String::new());
    let mut asker = recipient.map(str::to_owned);
    let (mut sockets, mut rooms, mut clients) = (None, None, None);
    let (mut data, mut packet, mut more, mut socket) = (None, None, None, None);
    cursor.object("response", |key, cursor| {
        match key {
            "type" => kind = Some(cursor.kind_number()?),
            "requestId" => request = request_id::read_answer(cursor)?,
            "uid" => sender = values::read_node(cursor)?,
            "requesterUid" => {
                let named = values::read_node(cursor)?;
                if asker.is_none() && !named.is_empty() {
                    asker = Some(named);
                }
            }
            "sockets" => sockets = Some(cursor.take()?),
            "rooms" => rooms = Some(cursor.take()?),
            "clientCount" => clients = Some(cursor.take()?),
            "data" => data = Some(cursor.take()?),
            "packet" => packet = Some(cursor.take()?),
            "more" => more = Some(cursor.take()?),
            "socket" => socket = Some(cursor.take()?),
            _ => {}
        }
        Ok(())
    })?;
    cursor.end()?;
    let Some(request) = request else {
        return Ok(None);
    };
    if sender == node || asker.as_deref().is_some_and(|asker| asker != node) {
        return Ok(None);
    }
    let body = match kind {
        Some(Some(kind::BROADCAST_CLIENT_COUNT)) => {
            let mut clients = clients.ok_or(WireError::Missing("clientCount"))?;
            Body::ClientCount(CountAnswer {
                request: request.into_owned(),
                clients: values::read_count(&mut clients)?,
            })
        }
        Some(Some(kind::BROADCAST_ACK)) => Body::ClientAck(AckAnswer {
            request: request.into_owned(),
            socket: socket
                .map(|mut id| id.text("socket").map(Into::into))
                .transpose()?,
            data: values::read_acknowledgement(packet, more)?,
            error: None,
        }),
        Some(Some(kind::SERVER_SIDE_EMIT)) => Body::ServerEventAnswer(ValueAnswer {
            request: request.into_owned(),
            data: data
                .map(|mut data: Cursor<'_>| data.payload())
                .transpose()?,
            error: None,
        }),
        Some(_) => return Ok(None),
        None => match (sockets, rooms) {
            (Some(sockets), _) => described(&request, sockets)?,
            (None, Some(mut rooms)) => Body::RoomsAnswer(RoomsAnswer {
                request: request.into_owned(),
                rooms: values::read_rooms(&mut rooms)?,
            }),
            (None, None) => return Ok(None),
        },
    };
    Ok(Some(Message {
        namespace: namespace.to_owned(),
        sender,
        recipient: asker,
        body,
    }))
}

/// An answer that describes sockets, to whatever was asked with its id.
fn described(request: &str, mut sockets: Cursor<'_>) -> Result<Body> {
    let sockets = values::read_sockets(&mut sockets)?;
    Ok(match request_id::of_rooms_question(request) {
        Some(request) => Body::RoomsAnswer(RoomsAnswer {
            request: request.to_owned(),
            rooms: rooms_of(sockets),
        }),
        None => Body::SocketsAnswer(SocketsAnswer {
            request: request.to_owned(),
            sockets,
        }),
    })
}

/// The rooms of these sockets, each once, without the sockets' own ids.
fn rooms_of(sockets: Vec<Socket>) -> Vec<Room> {
    let mut seen = std::collections::HashSet::new();
    let mut rooms = Vec::new();
    for socket in sockets {
        for room in socket.rooms {
            let key = match &room {
                Room::Text(text) if *text == socket.id => continue,
                Room::Text(text) => (Some(text.clone()), 0),
                Room::Number(number) => (None, number.to_bits()),
            };
            if seen.insert(key) {
                rooms.push(room);
            }
        }
    }
    rooms
}

/// Whether this wire has a form for the answer. Errors have none: Node would count them as
/// answers.
pub(super) fn has_form(body: &Body) -> bool {
    match body {
        Body::SocketsAnswer(_) | Body::RoomsAnswer(_) | Body::ClientCount(_) => true,
        Body::ClientAck(answer) => answer.error.is_none(),
        Body::ServerEventAnswer(answer) => answer.error.is_none(),
        _ => false,
    }
}

/// Writes an answer. `shared`: all nodes will read it, so it says who asked.
pub(super) fn write(
    message: MessageRef<'_>,
    shared: bool,
) -> std::result::Result<Vec<u8>, Rejected> {
    let asker = message.recipient.filter(|_| shared);
    let tail = Tail {
        sender: message.sender,
        asker,
    };
    match message.body {
        Body::SocketsAnswer(answer) => {
            let unfolded = Unfolded::of(&answer.request);
            // Node has JSON only, but reads msgpack, in which binary stays binary.
            let binary = !unfolded.ids_only && values::sockets_are_binary(&answer.sockets);
            let mut writer = Writer::new(Format::for_binary(binary), OVERHEAD_BYTES);
            writer.object(2 + tail.members());
            unfolded.write(writer.key("requestId"))?;
            writer.key("sockets");
            if unfolded.ids_only {
                writer.array(answer.sockets.len());
                for socket in &answer.sockets {
                    writer.text(&socket.id);
                }
                writer.end_array();
            } else {
                values::write_sockets(&mut writer, &answer.sockets)?;
            }
            tail.end(writer)
        }
        Body::RoomsAnswer(answer) => {
            let mut writer = Writer::new(Format::Json, OVERHEAD_BYTES);
            writer.object(2 + tail.members());
            Unfolded::of(&answer.request).write(writer.key("requestId"))?;
            values::write_rooms(writer.key("rooms"), &answer.rooms);
            tail.end(writer)
        }
        Body::ClientCount(answer) => {
            let mut writer = Writer::new(Format::Json, OVERHEAD_BYTES);
            writer.object(3 + tail.members());
            head(&mut writer, kind::BROADCAST_CLIENT_COUNT, &answer.request)?;
            writer.key("clientCount").number(answer.clients.into());
            tail.end(writer)
        }
        Body::ClientAck(answer) => {
            let arguments = Acknowledgement::of(&answer.data)?;
            let capacity = answer.data.json.len() + OVERHEAD_BYTES;
            let mut writer = Writer::new(Format::Msgpack, capacity);
            let socket = usize::from(answer.socket.is_some());
            writer.object(2 + arguments.members() + socket + tail.members());
            head(&mut writer, kind::BROADCAST_ACK, &answer.request)?;
            arguments.write(&mut writer)?;
            if let Some(socket) = &answer.socket {
                writer.key("socket").text(socket);
            }
            tail.end(writer)
        }
        Body::ServerEventAnswer(answer) => {
            let data = answer.data.as_ref();
            let binary = data.is_some_and(|data| !data.parts().is_empty());
            let mut writer = Writer::new(Format::for_binary(binary), OVERHEAD_BYTES);
            writer.object(2 + usize::from(data.is_some()) + tail.members());
            head(&mut writer, kind::SERVER_SIDE_EMIT, &answer.request)?;
            if let Some(data) = data {
                writer.key("data").payload(data)?;
            }
            tail.end(writer)
        }
        _ => Err(Rejected::NoSuchForm("message of this kind")),
    }
}

fn head(writer: &mut Writer, kind: u32, request: &str) -> std::result::Result<(), Rejected> {
    writer.key("type").number(kind.into());
    Unfolded::of(request).write(writer.key("requestId"))
}

/// What we add to every answer.
struct Tail<'a> {
    sender: &'a str,
    asker: Option<&'a str>,
}

impl Tail<'_> {
    fn members(&self) -> usize {
        1 + usize::from(self.asker.is_some())
    }

    fn end(&self, mut writer: Writer) -> std::result::Result<Vec<u8>, Rejected> {
        writer.key("uid").text(self.sender);
        if let Some(asker) = self.asker {
            writer.key("requesterUid").text(asker);
        }
        writer.end_object();
        writer.finish()
    }
}
