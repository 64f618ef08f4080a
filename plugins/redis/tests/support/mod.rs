//! What the tests with captured vectors share: the vectors, and messages in a form that can be
//! compared with them.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, missing_docs)]

#[path = "../../../sdk/tests/support/damage.rs"]
pub mod damage;
#[path = "../../../sdk/tests/support/trees.rs"]
pub mod trees;

use serde_json::Value;
use switchboard_plugin::{
    types::{Message, Room},
    wire::WireError,
};
use switchboard_transport_redis::wire::{
    Decoder, Encoder, Local, Publication, Subscription, SubscriptionMode, Wire,
};
use trees::{from_base64, normal};

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

    pub fn decode(&self) -> Result<Delivered, WireError> {
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
) -> Result<Delivered, WireError> {
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
        .map(|decoded| Delivered {
            message: decoded.message.map(Message::from),
            reply: decoded.reply,
        })
}

/// What came of a payload that is gone.
pub struct Delivered {
    pub message: Option<Message>,
    pub reply: Option<Publication>,
}

/// A server with a socket in every room but one.
pub struct Server;

impl Local for Server {
    fn has_room(&self, _: &str, room: &Room) -> bool {
        !matches!(room, Room::Text(name) if name == "nobody")
    }
}
