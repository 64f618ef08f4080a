//! What the tests with captured vectors share: the vectors, and messages in a form that can be
//! compared with them.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, missing_docs)]

use serde_json::{Map, Value, json};
use switchboard_plugin::{
    types::{Body, Message, Payload, Room, Socket, Target},
    wire::WireError,
};
use switchboard_transport_redis::wire::{
    Decoded, Decoder, Encoder, Local, Subscription, SubscriptionMode, Wire,
};

/// One captured or hand-made message.
pub struct Vector {
    pub file: &'static str,
    pub case: String,
    pub channel: String,
    pub payload: Vec<u8>,
    /// The payload as a tree, in the normal form of [`normal`].
    pub decoded: Value,
    pub sharded: bool,
    pub text: bool,
}

const FILES: &[(&str, &str)] = &[
    (
        "redis-classic",
        include_str!("../vectors/redis-classic.json"),
    ),
    (
        "redis-classic-specific",
        include_str!("../vectors/redis-classic-specific.json"),
    ),
    (
        "redis-sharded-csr",
        include_str!("../vectors/redis-sharded-csr.json"),
    ),
    (
        "redis-sharded-dynamic",
        include_str!("../vectors/redis-sharded-dynamic.json"),
    ),
    (
        "redis-sharded-dynamic-private",
        include_str!("../vectors/redis-sharded-dynamic-private.json"),
    ),
    (
        "redis-sharded-static",
        include_str!("../vectors/redis-sharded-static.json"),
    ),
    ("packet-id", include_str!("../vectors/packet-id.json")),
    (
        "injected-classic",
        include_str!("../vectors/injected-classic.json"),
    ),
    (
        "injected-sharded",
        include_str!("../vectors/injected-sharded.json"),
    ),
];

pub fn vectors() -> Vec<Vector> {
    let mut vectors = Vec::new();
    for (file, text) in FILES {
        for entry in entries(text) {
            let text = |key: &str| entry[key].as_str().map(str::to_owned);
            let payload = match text("payload_utf8") {
                Some(text) => text.into_bytes(),
                None => from_base64(&text("payload_base64").unwrap()),
            };
            let is_json = payload.first() == Some(&b'{');
            let decoded = if is_json {
                serde_json::from_slice(&payload).unwrap_or(Value::Null)
            } else {
                entry["decoded"].clone()
            };
            vectors.push(Vector {
                file,
                case: text("case").unwrap(),
                channel: text("channel").unwrap(),
                payload,
                decoded: normal(&decoded),
                sharded: entry["adapter"] == "sharded",
                text: is_json,
            });
        }
    }
    assert_eq!(vectors.len(), 331, "no vector is left out");
    vectors
}

/// The cases of a file about msgpack: name, bytes, and the value (none: an error).
pub fn msgpack_vectors(text: &str) -> Vec<(String, Vec<u8>, Option<Value>)> {
    entries(text)
        .into_iter()
        .map(|entry| {
            let bytes = from_base64(entry["payload_base64"].as_str().unwrap());
            let value = entry
                .get("error")
                .is_none()
                .then(|| normal(&entry["decoded"]));
            (entry["case"].as_str().unwrap().to_owned(), bytes, value)
        })
        .collect()
}

fn entries(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

impl Vector {
    pub fn name(&self) -> String {
        format!("{}: {}", self.file, self.case)
    }

    pub fn is_captured(&self) -> bool {
        !self.file.starts_with("injected")
    }

    pub fn prefix(&self) -> &'static str {
        match self.file {
            "redis-classic-specific" => "custom",
            _ => "socket.io",
        }
    }

    pub fn wire(&self) -> Wire {
        if self.sharded {
            Wire::Sharded(match self.file {
                "redis-sharded-static" => SubscriptionMode::Static,
                "redis-sharded-dynamic-private" => SubscriptionMode::DynamicPrivate,
                _ => SubscriptionMode::Dynamic,
            })
        } else {
            Wire::Classic {
                specific_responses: self.file == "redis-classic-specific",
            }
        }
    }

    /// What stands behind the prefix: the namespace, then perhaps a room or a node.
    fn parts(&self) -> (&str, Option<&str>) {
        let rest = &self.channel[self.channel.find('#').unwrap() + 1..];
        let (namespace, rest) = rest.split_once('#').unwrap();
        (namespace, rest.strip_suffix('#'))
    }

    pub fn namespace(&self) -> &str {
        self.parts().0
    }

    /// The node whose private channel this is, if it is one.
    pub fn private_node(&self) -> Option<&str> {
        let (_, last) = self.parts();
        let kind = self.decoded["type"].as_f64().unwrap_or_default();
        let is_answer = [8.0, 10.0, 11.0, 12.0].contains(&kind);
        last.filter(|_| self.channel.contains("-response#") || (self.sharded && is_answer))
    }

    /// The node that reads it: who asked, or somebody else.
    pub fn node(&self) -> &str {
        self.private_node().unwrap_or("reader-of-vectors")
    }

    pub fn encoder(&self) -> Encoder {
        Encoder::new(self.prefix(), self.wire())
    }

    pub fn decode(&self) -> Result<Decoded, WireError> {
        decode(self, self.node(), &self.channel, &self.payload)
    }
}

/// Reads a payload as `node`, on the wire and the channel of a vector, with a backend that names
/// the pattern.
pub fn decode(
    vector: &Vector,
    node: &str,
    channel: &str,
    payload: &[u8],
) -> Result<Decoded, WireError> {
    let mut decoder = Decoder::new(vector.prefix(), vector.wire(), node);
    let subscriptions = decoder.enter(vector.namespace());
    let exact = subscriptions.iter().any(|subscription| match subscription {
        Subscription::Channel(name) | Subscription::Shard(name) => name == channel,
        Subscription::Pattern(_) => false,
    });
    let pattern = subscriptions
        .iter()
        .find_map(|subscription| match subscription {
            Subscription::Pattern(name) if !exact => Some(name.as_bytes()),
            _ => None,
        });
    decoder
        .channel(pattern, channel.as_bytes(), &Server)
        .decode(payload, &Server)
}

/// A server with a socket in every room but one.
pub struct Server;

impl Local for Server {
    fn has_room(&self, _: &str, room: &Room) -> bool {
        !matches!(room, Room::Text(name) if name == "nobody")
    }
}

/// A captured tree without the marks of the vector files: dates as text, numbers as doubles,
/// binary as `{"$bin": …}`.
pub fn normal(tree: &Value) -> Value {
    match tree {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(elements) => elements.iter().map(normal).collect(),
        Value::Object(members) => special(members).unwrap_or_else(|| {
            // Node loses this key, see the effect of `mp-int-keys`.
            let members = members.iter().filter(|(key, _)| *key != "__proto__");
            let members = members.map(|(key, value)| (key.clone(), normal(value)));
            Value::Object(members.collect())
        }),
        other => other.clone(),
    }
}

fn special(members: &Map<String, Value>) -> Option<Value> {
    if let Some(date) = members.get("$date") {
        return Some(date.clone());
    }
    if let Some(number) = members.get("$int").or_else(|| members.get("$float")) {
        let number: f64 = number
            .as_str()
            .map_or(f64::NAN, |text| text.parse().unwrap());
        // JSON has no NaN and no infinities.
        return Some(if number.is_finite() {
            json!(number)
        } else {
            Value::Null
        });
    }
    if let Some(bytes) = members.get("$arraybuffer") {
        return Some(json!({ "$bin": bytes }));
    }
    if members.contains_key("$undefined") {
        return Some(Value::Null);
    }
    if members.contains_key("$strbytes") {
        return Some(json!("\u{fffd}\u{fffd}"));
    }
    if let Some(kind) = members.get("$ext") {
        let raw = members["$raw"].as_str()?;
        return Some(match (kind.as_i64()?, raw) {
            (0, "AA==") => Value::Null,
            (0, "AAABjfTcVJU=") => json!("2024-02-29T12:34:56.789Z"),
            (0, raw) => json!({ "$bin": raw }),
            (kind, raw) => json!([kind as f64, { "$bin": raw }]),
        });
    }
    None
}

/// A message in the same form, for comparison.
pub fn show(message: &Message) -> Value {
    let (kind, body) = show_body(&message.body);
    json!({
        "nsp": message.namespace, "uid": message.sender, "to": message.recipient,
        "kind": kind, "body": body,
    })
}

fn show_body(body: &Body) -> (&'static str, Value) {
    match body {
        Body::InitialHeartbeat => ("initial-heartbeat", Value::Null),
        Body::Heartbeat => ("heartbeat", Value::Null),
        Body::AdapterClose => ("adapter-close", Value::Null),
        Body::Broadcast(b) => (
            "broadcast",
            json!({
                "opts": show_target(&b.target), "data": show_payload(&b.data),
                "id": b.packet_id.as_deref().map(tree), "request": b.request,
            }),
        ),
        Body::SocketsJoin(change) => (
            "join",
            json!({ "opts": show_target(&change.target), "rooms": show_rooms(&change.rooms) }),
        ),
        Body::SocketsLeave(change) => (
            "leave",
            json!({ "opts": show_target(&change.target), "rooms": show_rooms(&change.rooms) }),
        ),
        Body::DisconnectSockets(d) => (
            "disconnect",
            json!({ "opts": show_target(&d.target), "close": d.close }),
        ),
        Body::FetchSockets(q) => (
            "fetch",
            json!({ "request": q.request, "opts": show_target(&q.target) }),
        ),
        Body::FetchRooms(q) => (
            "fetch-rooms",
            json!({ "request": q.request, "opts": show_target(&q.target) }),
        ),
        Body::ServerEvent(e) => (
            "server-event",
            json!({ "data": show_payload(&e.data), "request": e.request }),
        ),
        Body::CustomQuery(q) => (
            "custom-query",
            json!({ "request": q.request, "kind": q.kind, "data": show_payload(&q.data) }),
        ),
        Body::SocketsAnswer(a) => (
            "sockets",
            json!({
                "request": a.request,
                "sockets": a.sockets.iter().map(show_socket).collect::<Vec<_>>(),
            }),
        ),
        Body::RoomsAnswer(a) => (
            "rooms",
            json!({ "request": a.request, "rooms": show_rooms(&a.rooms) }),
        ),
        Body::ClientCount(a) => (
            "count",
            json!({ "request": a.request, "clients": a.clients }),
        ),
        Body::ClientAck(a) => (
            "ack",
            json!({
                "request": a.request, "socket": a.socket, "data": show_payload(&a.data),
                "error": a.error,
            }),
        ),
        Body::ServerEventAnswer(a) => (
            "value",
            json!({
                "request": a.request, "data": a.data.as_ref().map(show_payload),
                "error": a.error, "present": a.data.is_some(),
            }),
        ),
        Body::CustomAnswer(a) => (
            "custom",
            json!({
                "request": a.request, "data": a.data.as_ref().map(show_payload),
                "error": a.error, "present": a.data.is_some(),
            }),
        ),
    }
}

fn show_socket(socket: &Socket) -> Value {
    json!({
        "id": socket.id, "rooms": show_rooms(&socket.rooms),
        "handshake": show_payload(&socket.handshake), "data": show_payload(&socket.data),
    })
}

fn show_target(target: &Target) -> Value {
    let mut flags = target
        .other_flags
        .as_deref()
        .map_or_else(|| json!({}), tree);
    if target.volatile {
        flags["volatile"] = json!(true);
    }
    json!({
        "rooms": show_rooms(&target.rooms), "except": show_rooms(&target.except), "flags": flags,
    })
}

fn show_rooms(rooms: &[Room]) -> Value {
    rooms
        .iter()
        .map(|room| match room {
            Room::Text(text) => json!(text),
            Room::Number(number) => json!(number),
        })
        .collect()
}

pub fn show_payload(payload: &Payload) -> Value {
    let mut tree = tree(&payload.json);
    if !payload.attachments.is_empty() {
        attach(&mut tree, &payload.attachments);
    }
    tree
}

fn tree(json: &str) -> Value {
    match serde_json::from_str(json) {
        Ok(tree) => normal(&tree),
        // JSON has no largest number; this reader has.
        Err(error) if error.to_string().contains("number out of range") => Value::Null,
        Err(error) => panic!("{error}: {json}"),
    }
}

fn attach(tree: &mut Value, attachments: &[Vec<u8>]) {
    if tree["_placeholder"] == json!(true) {
        let bytes = &attachments[tree["num"].as_f64().unwrap() as usize];
        *tree = json!({ "$bin": to_base64(bytes) });
        return;
    }
    match tree {
        Value::Array(elements) => elements.iter_mut().for_each(|e| attach(e, attachments)),
        Value::Object(members) => members.values_mut().for_each(|m| attach(m, attachments)),
        _ => {}
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let sextet = (word >> (18 - 6 * index)) & 63;
            let char = char::from(ALPHABET[sextet as usize]);
            text.push(if index <= chunk.len() { char } else { '=' });
        }
    }
    text
}

pub fn from_base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let text = text.trim_end_matches('=').as_bytes();
    for chunk in text.chunks(4) {
        let sextet = |c: &u8| ALPHABET.iter().position(|a| a == c).unwrap() as u32;
        let word = chunk.iter().fold(0, |word, c| word << 6 | sextet(c)) << (6 * (4 - chunk.len()));
        bytes.extend(&word.to_be_bytes()[1..chunk.len()]);
    }
    bytes
}
