//! What the tests of several transports share: messages and captured trees in one form, so that they
//! can be compared. Included by path.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, missing_docs)]

use serde_json::{Map, Value, json};
use switchboard_plugin::types::{Body, Message, Payload, Room, Socket, Target};

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
        Body::Again(data) => ("again", show_payload(data)),
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
        "rooms": show_rooms(&target.rooms), "except": show_rooms(target.excepted()), "flags": flags,
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
    if !payload.parts().is_empty() {
        attach(&mut tree, payload.parts());
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

/// What [`show`] makes of the message that a tree of ClusterAdapter means: its kind and its body.
pub fn expected_of_envelope(tree: &Value) -> (&'static str, Value) {
    let data = &tree["data"];
    let (kind, body) = match tree["type"].as_f64().unwrap() as u32 {
        1 => ("initial-heartbeat", Value::Null),
        2 => ("heartbeat", Value::Null),
        3 => ("broadcast", broadcast(data)),
        4 => (
            "join",
            json!({ "opts": opts(&data["opts"]), "rooms": data["rooms"] }),
        ),
        5 => (
            "leave",
            json!({ "opts": opts(&data["opts"]), "rooms": data["rooms"] }),
        ),
        6 => (
            "disconnect",
            json!({ "opts": opts(&data["opts"]), "close": data["close"] }),
        ),
        7 => (
            "fetch",
            json!({ "request": request(data), "opts": opts(&data["opts"]) }),
        ),
        8 => ("sockets", sockets(data)),
        9 => (
            "server-event",
            json!({ "data": data["packet"], "request": request(data) }),
        ),
        10 => ("value", value(data, "packet")),
        11 => ("count", count(data)),
        12 => ("ack", ack(data)),
        13 => ("adapter-close", Value::Null),
        other => panic!("type {other}"),
    };
    (kind, body)
}

pub fn broadcast(data: &Value) -> Value {
    let packet = &data["packet"];
    json!({
        "opts": opts(&data["opts"]), "data": packet["data"], "id": packet.get("id"),
        "request": request(data),
    })
}

pub fn opts(opts: &Value) -> Value {
    let list = |key: &str| match &opts[key] {
        Value::Null => json!([]),
        rooms => rooms.clone(),
    };
    let flags = match &opts["flags"] {
        Value::Null => json!({}),
        flags => flags.clone(),
    };
    json!({ "rooms": list("rooms"), "except": list("except"), "flags": flags })
}

/// An id of a request; `null` is folded.
pub fn request(data: &Value) -> Value {
    match data.get("requestId") {
        Some(Value::Null) => json!("~~null"),
        Some(id) => id.clone(),
        None => Value::Null,
    }
}

pub fn sockets(data: &Value) -> Value {
    let sockets: Vec<Value> = data["sockets"].as_array().unwrap().clone();
    json!({ "request": data["requestId"], "sockets": sockets })
}

pub fn count(data: &Value) -> Value {
    let clients = data["clientCount"].as_f64().unwrap() as u32;
    json!({ "request": data["requestId"], "clients": clients })
}

pub fn ack(data: &Value) -> Value {
    let arguments: Vec<&Value> = data.get("packet").into_iter().collect();
    json!({ "request": data["requestId"], "socket": null, "data": arguments, "error": null })
}

pub fn value(data: &Value, key: &str) -> Value {
    json!({
        "request": data["requestId"], "data": data.get(key), "error": null,
        "present": data.get(key).is_some(),
    })
}
