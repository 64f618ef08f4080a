//! Frames to messages.

use std::fmt;

use switchboard_plugin::{
    types::{
        AckAnswer, Body, Broadcast, CountAnswer, CustomQuery, Disconnection, Message, Payload,
        Query, Room, RoomChange, RoomsAnswer, ServerEvent, Socket, SocketsAnswer, Target,
        ValueAnswer,
    },
    unless_empty,
};

use super::{VERSION, kind};

/// Why a frame cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Written by another version of this transport.
    Version(u8),
    /// Ends before it should.
    Short,
    /// A text is not UTF-8.
    Text,
    /// A number or a tag is out of range.
    Value,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(
                f,
                "it has format {version}, this plugin reads format {VERSION}: use one version of \
                 local.wasm on all nodes"
            ),
            Self::Short => f.write_str("it ends too early"),
            Self::Text => f.write_str("it holds a text that is not UTF-8"),
            Self::Value => f.write_str("it holds a value out of range"),
        }
    }
}

/// Reads the messages of a frame whose namespace is wanted. Unknown kinds are passed over.
///
/// # Errors
/// When any part of the frame is malformed: a frame comes whole from one process, so a damaged one
/// is not trusted in part.
pub fn read(
    frame: &[u8],
    sender: &str,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Message>, Malformed> {
    let mut frame = Reader(frame);
    match frame.byte()? {
        VERSION => {}
        other => return Err(Malformed::Version(other)),
    }
    let mut messages = Vec::new();
    while !frame.0.is_empty() {
        let len = u32::from_le_bytes(frame.array()?) as usize;
        let mut message = Reader(frame.take(len)?);
        let kind = message.byte()?;
        let namespace = message.str()?;
        if wanted(namespace) {
            messages.extend(message.message(kind, namespace, sender)?);
        }
    }
    Ok(messages)
}

struct Reader<'a>(&'a [u8]);

type Result<T, E = Malformed> = std::result::Result<T, E>;

impl<'a> Reader<'a> {
    fn message(&mut self, kind: u8, namespace: &str, sender: &str) -> Result<Option<Message>> {
        let named = self.str()?;
        let sender = if named.is_empty() { sender } else { named }.to_owned();
        let recipient = self.optional_text()?;
        let Some(body) = self.body(kind)? else {
            return Ok(None);
        };
        Ok(Some(Message {
            namespace: namespace.to_owned(),
            sender,
            recipient,
            body,
        }))
    }

    fn body(&mut self, kind: u8) -> Result<Option<Body>> {
        Ok(Some(match kind {
            kind::INITIAL_HEARTBEAT => Body::InitialHeartbeat,
            kind::HEARTBEAT => Body::Heartbeat,
            kind::ADAPTER_CLOSE => Body::AdapterClose,
            kind::BROADCAST => Body::Broadcast(Broadcast {
                target: self.target()?,
                data: self.payload()?,
                packet_id: self.optional_text()?,
                request: self.optional_text()?,
            }),
            kind::SOCKETS_JOIN => Body::SocketsJoin(self.room_change()?),
            kind::SOCKETS_LEAVE => Body::SocketsLeave(self.room_change()?),
            kind::DISCONNECT_SOCKETS => Body::DisconnectSockets(Disconnection {
                target: self.target()?,
                close: self.bool()?,
            }),
            kind::FETCH_SOCKETS => Body::FetchSockets(self.query()?),
            kind::FETCH_ROOMS => Body::FetchRooms(self.query()?),
            kind::SERVER_EVENT => Body::ServerEvent(ServerEvent {
                data: self.payload()?,
                request: self.optional_text()?,
            }),
            kind::CUSTOM_QUERY => Body::CustomQuery(CustomQuery {
                request: self.text()?,
                kind: self.text()?,
                data: self.payload()?,
            }),
            kind::SOCKETS_ANSWER => Body::SocketsAnswer(SocketsAnswer {
                request: self.text()?,
                sockets: self.list(Self::socket)?,
            }),
            kind::ROOMS_ANSWER => Body::RoomsAnswer(RoomsAnswer {
                request: self.text()?,
                rooms: self.list(Self::room)?,
            }),
            kind::CLIENT_COUNT => Body::ClientCount(CountAnswer {
                request: self.text()?,
                clients: self.number()?,
            }),
            kind::CLIENT_ACK => Body::ClientAck(AckAnswer {
                request: self.text()?,
                socket: self.optional_text()?,
                data: self.payload()?,
                error: self.optional_text()?,
            }),
            kind::SERVER_EVENT_ANSWER => Body::ServerEventAnswer(self.value_answer()?),
            kind::CUSTOM_ANSWER => Body::CustomAnswer(self.value_answer()?),
            _ => return Ok(None),
        }))
    }

    fn value_answer(&mut self) -> Result<ValueAnswer> {
        Ok(ValueAnswer {
            request: self.text()?,
            data: if self.bool()? {
                Some(self.payload()?)
            } else {
                None
            },
            error: self.optional_text()?,
        })
    }

    fn room_change(&mut self) -> Result<RoomChange> {
        Ok(RoomChange {
            target: self.target()?,
            rooms: self.list(Self::room)?,
        })
    }

    fn query(&mut self) -> Result<Query> {
        Ok(Query {
            request: self.text()?,
            target: self.target()?,
        })
    }

    fn socket(&mut self) -> Result<Socket> {
        Ok(Socket {
            id: self.text()?,
            rooms: self.list(Self::room)?,
            handshake: self.payload()?,
            data: self.payload()?,
        })
    }

    fn target(&mut self) -> Result<Target> {
        Ok(Target {
            rooms: self.list(Self::room)?,
            except: unless_empty(self.list(Self::room)?),
            volatile: self.bool()?,
            other_flags: self.optional_text()?,
        })
    }

    fn room(&mut self) -> Result<Room> {
        match self.byte()? {
            0 => Ok(Room::Text(self.text()?)),
            1 => Ok(Room::Number(f64::from_le_bytes(self.array()?))),
            _ => Err(Malformed::Value),
        }
    }

    fn payload(&mut self) -> Result<Payload> {
        Ok(Payload {
            json: self.text()?,
            attachments: unless_empty(self.list(|r| Ok(r.bytes()?.to_vec()))?),
        })
    }

    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.number()? as usize;
        // Each item takes a byte at least, so a count beyond the rest of the message is a lie.
        if count > self.0.len() {
            return Err(Malformed::Short);
        }
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    fn optional_text(&mut self) -> Result<Option<String>> {
        Ok(if self.bool()? {
            Some(self.text()?)
        } else {
            None
        })
    }

    fn text(&mut self) -> Result<String> {
        Ok(self.str()?.to_owned())
    }

    fn str(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::Text)
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.number()? as usize;
        self.take(len)
    }

    fn number(&mut self) -> Result<u32> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                return Err(Malformed::Value);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Value)
    }

    fn bool(&mut self) -> Result<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Value),
        }
    }

    fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Malformed::Short)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(taken)
    }
}
