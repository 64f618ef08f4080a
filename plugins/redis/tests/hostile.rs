//! Whatever arrives is read or refused, but never worse: no panic, and no more memory than a
//! small multiple of what was sent.
//!
//! Runs for two seconds; FUZZ_SECONDS sets another time, FUZZ_SEED the
//! first seed. A failure prints its seed.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use support::{Vector, decode, vectors};
use switchboard_plugin::types::{Body, Message, Payload, Room, Target};

/// Bytes that one message may hold for each byte that was sent: a small number makes a double
/// as long as a room, an empty binary part a mark and a vector.
const GROWTH: usize = 64;
/// And besides, for the records themselves. (Descriptions of sockets may grow more, but their
/// number has a limit; a damaged message has few.)
const BASE_BYTES: usize = 4096;

/// xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Bytes that mean something in one of the formats.
const TELLING: &[u8] = b"{}[]\",:\\u0-.e\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc4\xc6\xc7\xc9\xca\xcb\xcf\xd3\xd4\xd7\xd8\xd9\xdb\xdc\xdd\xde\xdf\xff\x00";

fn damage(random: &mut Random, payload: &mut Vec<u8>, other: &[u8]) {
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

fn check(vector: &Vector, channel: &str, payload: &[u8]) -> bool {
    let decoded = decode(vector, "me", channel, payload);
    let Ok(decoded) = decoded else { return false };
    if let Some(message) = &decoded.message {
        let (held, limit) = (held(message), BASE_BYTES + GROWTH * payload.len());
        assert!(held <= limit, "{held} bytes of {}", payload.len());
    }
    // What was read can be shown, so its JSON is valid, and published again or refused.
    if let Some(message) = &decoded.message {
        support::show(message);
        let _ = vector.encoder().encode(message, &mut Vec::new());
    }
    decoded.message.is_some()
}

/// How many bytes a message keeps allocated.
fn held(message: &Message) -> usize {
    fn bytes<T>(list: &Vec<T>) -> usize {
        list.capacity() * size_of::<T>()
    }
    fn payload(payload: &Payload) -> usize {
        let parts = payload.attachments.iter().map(bytes).sum::<usize>();
        payload.json.capacity() + bytes(&payload.attachments) + parts
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
        rooms(&target.rooms) + rooms(&target.except) + flags
    }
    match &message.body {
        Body::Broadcast(broadcast) => target(&broadcast.target) + payload(&broadcast.data),
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

#[test]
fn damaged_messages_are_read_or_refused_but_never_worse() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seconds = number("FUZZ_SECONDS").unwrap_or(2);
    let first_seed = number("FUZZ_SEED").unwrap_or(1);
    let vectors = vectors();
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut read, mut runs) = (0u64, 0u64);
    let mut seed = first_seed;
    while Instant::now() < end || runs == 0 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let vector = &vectors[random.below(vectors.len())];
        let other = &vectors[random.below(vectors.len())];
        let mut payload = match random.below(10) {
            0 => (0..random.below(60)).map(|_| random.next() as u8).collect(),
            1 => (0..random.below(60))
                .map(|_| TELLING[random.below(TELLING.len())])
                .collect(),
            _ => vector.payload.clone(),
        };
        damage(&mut random, &mut payload, &other.payload);
        // Also where it does not belong.
        let same_wire = vector.sharded == other.sharded && vector.prefix() == other.prefix();
        let channel = if same_wire && random.below(8) == 0 {
            &other.channel
        } else {
            &vector.channel
        };
        let result = std::panic::catch_unwind(|| check(vector, channel, &payload));
        match result {
            Ok(was_read) => read += u64::from(was_read),
            Err(_) => panic!(
                "seed {seed}: {} on {channel}: {}",
                vector.name(),
                String::from_utf8_lossy(&payload)
            ),
        }
        runs += 1;
        seed += 1;
    }
    println!("{runs} messages, {read} of them read");
    assert!(
        read * 20 > runs,
        "the test reaches the interesting part: {read} of {runs}"
    );
}

#[test]
fn messages_made_to_grow_stay_in_bounds() {
    let vector = vectors()
        .into_iter()
        .find(|vector| vector.case == "mp-minimal")
        .unwrap();
    let classic = vectors()
        .into_iter()
        .find(|vector| vector.case == "emit-text")
        .unwrap();
    let envelope = |data: &[u8]| {
        let mut payload =
            b"\x84\xa4type\x09\xa3uid\xa1x\xa3nsp\xa1/\xa4data\x81\xa6packet".to_vec();
        payload.extend(data);
        payload
    };
    // Arrays that promise four billion elements, thousands of empty parts, control characters.
    let mut read = 0;
    for data in [
        vec![0xdd, 255, 255, 255, 255],
        [vec![0xdc, 0x27, 0x10], [0xc4, 0].repeat(10_000)].concat(),
        [vec![0xdc, 0xff, 0xff], vec![0xe0; 65_535]].concat(),
        [vec![0x91, 0xda, 0xff, 0xff], vec![1; 65_535]].concat(),
        [0x91; 60_000].to_vec(),
        [0xdd, 255, 255, 255, 255].repeat(10_000),
    ] {
        read += usize::from(check(&vector, &vector.channel, &envelope(&data)));
    }
    assert_eq!(read, 3, "what is large but right is read");
    let deep = b"{\"type\":9,\"data\":".repeat(10_000);
    check(&vector, &vector.channel, &deep);
    check(&classic, &classic.channel, &[0x93; 50_000]);
}
