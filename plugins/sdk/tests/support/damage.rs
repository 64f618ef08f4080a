//! What the tests with damaged messages share. Included by path.

#![allow(dead_code, unreachable_pub, missing_docs)]

use switchboard_plugin::types::{Body, Message, Payload, Room, Target};

/// Bytes that one message may hold for each byte that was sent: a small number makes a double
/// as long as a room, an empty binary part a mark and a vector.
pub const GROWTH: usize = 64;
/// And besides, for the records themselves. (Descriptions of sockets may grow more, but their
/// number has a limit; a damaged message has few.)
pub const BASE_BYTES: usize = 4096;

/// xorshift.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Bytes that mean something in one of the formats.
pub const TELLING: &[u8] = b"{}[]\",:\\u0-.e\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc4\xc6\xc7\xc9\xca\xcb\xcf\xd3\xd4\xd7\xd8\xd9\xdb\xdc\xdd\xde\xdf\xff\x00";

pub fn damage(random: &mut Random, payload: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.below(2) {
        let at = random.below(payload.len());
        match random.below(7) {
            0 => payload.truncate(at),
            1 => payload.insert(at.min(payload.len()), TELLING[random.below(TELLING.len())]),
            2 if !payload.is_empty() => drop(payload.remove(at)),
            3 => {
                let from = random.below(other.len());
                let to = from + random.below(other.len() - from + 1);
                let tail = payload.split_off(at.min(payload.len()));
                payload.extend(&other[from..to]);
                payload.extend(tail);
            }
            4 => {
                let repeated = payload.get(at..).unwrap_or_default().to_vec();
                for _ in 0..random.below(8) {
                    payload.extend(&repeated);
                }
                payload.truncate(1 << 16);
            }
            _ if !payload.is_empty() => payload[at] = TELLING[random.below(TELLING.len())],
            _ => payload.push(random.next() as u8),
        }
    }
}

/// How many bytes a message keeps allocated.
pub fn held(message: &Message) -> usize {
    fn bytes<T>(list: &Vec<T>) -> usize {
        list.capacity() * size_of::<T>()
    }
    fn payload(payload: &Payload) -> usize {
        let parts = |parts: &Vec<Vec<u8>>| bytes(parts) + parts.iter().map(bytes).sum::<usize>();
        payload.json.capacity() + payload.attachments.as_ref().map_or(0, parts)
    }
    fn rooms(rooms: &Vec<Room>) -> usize {
        let text = |room: &Room| match room {
            Room::Text(text) => text.capacity(),
            Room::Number(_) => 0,
        };
        bytes(rooms) + rooms.iter().map(text).sum::<usize>()
    }
    fn target(target: &Target) -> usize {
        let flags = target.other_flags.as_ref().map_or(0, String::capacity);
        rooms(&target.rooms) + target.except.as_ref().map_or(0, rooms) + flags
    }
    match &message.body {
        Body::Broadcast(broadcast) => target(&broadcast.target) + payload(&broadcast.data),
        Body::Again(data) => payload(data),
        Body::SocketsJoin(change) | Body::SocketsLeave(change) => {
            target(&change.target) + rooms(&change.rooms)
        }
        Body::DisconnectSockets(disconnection) => target(&disconnection.target),
        Body::FetchSockets(query) | Body::FetchRooms(query) => target(&query.target),
        Body::ServerEvent(event) => payload(&event.data),
        Body::CustomQuery(query) => payload(&query.data),
        Body::SocketsAnswer(answer) => {
            let socket = |s: &switchboard_plugin::types::Socket| {
                s.id.capacity() + rooms(&s.rooms) + payload(&s.handshake) + payload(&s.data)
            };
            bytes(&answer.sockets) + answer.sockets.iter().map(socket).sum::<usize>()
        }
        Body::RoomsAnswer(answer) => rooms(&answer.rooms),
        Body::ClientAck(answer) => payload(&answer.data),
        Body::ServerEventAnswer(answer) | Body::CustomAnswer(answer) => {
            answer.data.as_ref().map_or(0, payload)
        }
        Body::ClientCount(_) | Body::InitialHeartbeat | Body::Heartbeat | Body::AdapterClose => 0,
    }
}
