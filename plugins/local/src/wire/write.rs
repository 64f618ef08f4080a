//! Messages to frames.

use switchboard_plugin::{
    MessageRef,
    types::{Body, Payload, Room, Socket, Target},
};

use super::{VERSION, kind};

/// Writes messages into as few frames as possible, each closed once it has reached `target`
/// bytes. `node` is the sender that need not be named.
pub fn frames<'m>(
    messages: impl IntoIterator<Item: Into<MessageRef<'m>>>,
    node: &str,
    target: usize,
) -> Vec<Vec<u8>> {
    let mut frames = Vec::with_capacity(1);
    let mut frame = Writer::default();
    for message in messages {
        if frame.0.is_empty() {
            frame.0.push(VERSION);
        }
        frame.message(message.into(), node);
        if frame.0.len() >= target {
            frames.push(std::mem::take(&mut frame.0));
        }
    }
    if !frame.0.is_empty() {
        frames.push(frame.0);
    }
    frames
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn message(&mut self, message: MessageRef<'_>, node: &str) {
        // Payloads are nearly all of a message: reserve once, so that large ones are not moved.
        self.0.reserve(payload_len(message.body) + 256);
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        self.0.push(kind_of(message.body));
        self.text(message.namespace);
        self.text(if message.sender == node {
            ""
        } else {
            message.sender
        });
        self.optional_text(message.recipient);
        self.body(message);
        let len = (self.0.len() - start - 4) as u32;
        if let Some(prefix) = self.0.get_mut(start..start + 4) {
            prefix.copy_from_slice(&len.to_le_bytes());
        }
    }

    fn body(&mut self, message: MessageRef<'_>) {
        if let Some(event) = message.broadcast() {
            self.target(event.target);
            self.payload(event.data);
            self.optional_text(event.packet_id);
            self.optional_text(event.request);
            return;
        }
        match message.body {
            Body::InitialHeartbeat | Body::Heartbeat | Body::AdapterClose => {}
            // Written above, unless the broadcast before it is missing, which the host never does.
            Body::Broadcast(_) | Body::Again(_) => {}
            Body::SocketsJoin(change) | Body::SocketsLeave(change) => {
                self.target(&change.target);
                self.list(&change.rooms, Self::room);
            }
            Body::DisconnectSockets(d) => {
                self.target(&d.target);
                self.0.push(u8::from(d.close));
            }
            Body::FetchSockets(query) | Body::FetchRooms(query) => {
                self.text(&query.request);
                self.target(&query.target);
            }
            Body::ServerEvent(event) => {
                self.payload(&event.data);
                self.optional_text(event.request.as_deref());
            }
            Body::CustomQuery(query) => {
                self.text(&query.request);
                self.text(&query.kind);
                self.payload(&query.data);
            }
            Body::SocketsAnswer(answer) => {
                self.text(&answer.request);
                self.list(&answer.sockets, Self::socket);
            }
            Body::RoomsAnswer(answer) => {
                self.text(&answer.request);
                self.list(&answer.rooms, Self::room);
            }
            Body::ClientCount(answer) => {
                self.text(&answer.request);
                self.number(answer.clients);
            }
            Body::ClientAck(answer) => {
                self.text(&answer.request);
                self.optional_text(answer.socket.as_deref());
                self.payload(&answer.data);
                self.optional_text(answer.error.as_deref());
            }
            Body::ServerEventAnswer(answer) | Body::CustomAnswer(answer) => {
                self.text(&answer.request);
                self.0.push(u8::from(answer.data.is_some()));
                if let Some(data) = &answer.data {
                    self.payload(data);
                }
                self.optional_text(answer.error.as_deref());
            }
        }
    }

    fn socket(&mut self, socket: &Socket) {
        self.text(&socket.id);
        self.list(&socket.rooms, Self::room);
        self.payload(&socket.handshake);
        self.payload(&socket.data);
    }

    fn target(&mut self, target: &Target) {
        self.list(&target.rooms, Self::room);
        self.list(target.excepted(), Self::room);
        self.0.push(u8::from(target.volatile));
        self.optional_text(target.other_flags.as_deref());
    }

    fn room(&mut self, room: &Room) {
        match room {
            Room::Text(text) => {
                self.0.push(0);
                self.text(text);
            }
            Room::Number(number) => {
                self.0.push(1);
                self.0.extend_from_slice(&number.to_le_bytes());
            }
        }
    }

    fn payload(&mut self, payload: &Payload) {
        self.text(&payload.json);
        self.list(payload.parts(), |w, bytes: &Vec<u8>| w.bytes(bytes));
    }

    fn list<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.number(items.len() as u32);
        for item in items {
            write(self, item);
        }
    }

    fn optional_text(&mut self, text: Option<&str>) {
        self.0.push(u8::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u32);
        self.0.extend_from_slice(bytes);
    }

    /// LEB128.
    fn number(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

fn payload_len(body: &Body) -> usize {
    let len = |p: &Payload| p.json.len() + p.parts().iter().map(Vec::len).sum::<usize>();
    match body {
        Body::Broadcast(b) => len(&b.data),
        Body::Again(data) => len(data),
        Body::ServerEvent(e) => len(&e.data),
        Body::ClientAck(a) => len(&a.data),
        Body::ServerEventAnswer(a) | Body::CustomAnswer(a) => a.data.as_ref().map_or(0, len),
        _ => 0,
    }
}

fn kind_of(body: &Body) -> u8 {
    match body {
        Body::InitialHeartbeat => kind::INITIAL_HEARTBEAT,
        Body::Heartbeat => kind::HEARTBEAT,
        Body::AdapterClose => kind::ADAPTER_CLOSE,
        Body::Broadcast(_) | Body::Again(_) => kind::BROADCAST,
        Body::SocketsJoin(_) => kind::SOCKETS_JOIN,
        Body::SocketsLeave(_) => kind::SOCKETS_LEAVE,
        Body::DisconnectSockets(_) => kind::DISCONNECT_SOCKETS,
        Body::FetchSockets(_) => kind::FETCH_SOCKETS,
        Body::ServerEvent(_) => kind::SERVER_EVENT,
        Body::FetchRooms(_) => kind::FETCH_ROOMS,
        Body::CustomQuery(_) => kind::CUSTOM_QUERY,
        Body::SocketsAnswer(_) => kind::SOCKETS_ANSWER,
        Body::ClientCount(_) => kind::CLIENT_COUNT,
        Body::ClientAck(_) => kind::CLIENT_ACK,
        Body::ServerEventAnswer(_) => kind::SERVER_EVENT_ANSWER,
        Body::RoomsAnswer(_) => kind::ROOMS_ANSWER,
        Body::CustomAnswer(_) => kind::CUSTOM_ANSWER,
    }
}
