//! What the tests with captured vectors share: the vectors, and how they are read.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, missing_docs)]

#[path = "../../../sdk/tests/support/damage.rs"]
pub mod damage;
#[path = "../../../sdk/tests/support/trees.rs"]
pub mod trees;

use serde_json::{Value, json};
use switchboard_plugin::{
    types::Message,
    wire::{WireError, pubsub::Inbox},
};
use switchboard_transport_redis_streams::wire::entry::{Parts, Reader};
use trees::{from_base64, normal};

pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// One captured or hand-made message.
pub struct Vector {
    pub file: &'static str,
    pub case: String,
    pub from: Source,
    /// The message as a tree, in the normal form of [`normal`]; `type` is a number.
    pub envelope: Value,
}

#[derive(Clone)]
pub enum Source {
    Stream { name: String, fields: Fields },
    Channel { name: String, payload: Vec<u8> },
}

const FILES: &[(&str, &str)] = &[
    (
        "redis-streams",
        include_str!("../vectors/redis-streams.json"),
    ),
    (
        "redis-streams-3",
        include_str!("../vectors/redis-streams-3.json"),
    ),
    (
        "redis-streams-csr",
        include_str!("../vectors/redis-streams-csr.json"),
    ),
    (
        "injected-streams",
        include_str!("../vectors/injected-streams.json"),
    ),
];

pub fn vectors() -> Vec<Vector> {
    let mut vectors = Vec::new();
    for (file, text) in FILES {
        for entry in entries(text) {
            // Sessions are another matter.
            if entry.get("key").is_none() {
                vectors.push(vector(file, &entry));
            }
        }
    }
    assert_eq!(vectors.len(), 144, "no vector is left out");
    vectors
}

pub fn entries(text: &str) -> Vec<Value> {
    serde_json::from_str(text).unwrap()
}

fn vector(file: &'static str, entry: &Value) -> Vector {
    let text = |key: &str| entry[key].as_str().map(str::to_owned);
    let (from, envelope) = match entry.get("fields") {
        Some(fields) => {
            let texts: Vec<(String, String)> = serde_json::from_value(fields.clone()).unwrap();
            let envelope = envelope(&texts, &entry["decoded"]);
            let bytes = |(name, value): (String, String)| (name.into_bytes(), value.into_bytes());
            let fields = texts.into_iter().map(bytes).collect();
            let name = text("stream").unwrap();
            (Source::Stream { name, fields }, envelope)
        }
        None => {
            let payload = match text("payload_utf8") {
                Some(text) => text.into_bytes(),
                None => from_base64(&text("payload_base64").unwrap()),
            };
            let name = text("channel").unwrap();
            (Source::Channel { name, payload }, entry["decoded"].clone())
        }
    };
    Vector {
        file,
        case: text("case").unwrap(),
        from,
        envelope: normal(&envelope),
    }
}

/// An entry as one tree. The vectors hold what stands in base64 decoded.
fn envelope(fields: &[(String, String)], decoded: &Value) -> Value {
    let mut envelope = json!({});
    for (name, value) in fields {
        envelope[name] = match name.as_str() {
            "type" => {
                let digits: String = value
                    .trim()
                    .chars()
                    .take_while(char::is_ascii_digit)
                    .collect();
                json!(digits.parse::<f64>().unwrap())
            }
            "data" if value.starts_with('{') => serde_json::from_str(value).unwrap(),
            "data" => decoded["data"].clone(),
            _ => json!(value),
        };
    }
    envelope
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
            "redis-streams-3" => "cp",
            _ => "socket.io",
        }
    }

    pub fn namespace(&self) -> &str {
        self.envelope["nsp"].as_str().unwrap_or("/")
    }

    /// The node whose private channel this came on, if it is one.
    pub fn private_node(&self) -> Option<&str> {
        match &self.from {
            Source::Stream { .. } => None,
            Source::Channel { name, .. } => {
                let all = format!("{}#{}#", self.prefix(), self.namespace());
                name.strip_prefix(&all)?.strip_suffix('#')
            }
        }
    }

    /// The node that reads it: who asked, or somebody else.
    pub fn node(&self) -> &str {
        self.private_node().unwrap_or("reader-of-vectors")
    }

    pub fn decode(&self) -> Result<Option<Message>, WireError> {
        self.decode_as(self.node(), &self.from)
    }

    /// Reads something as `node`, with this vector's settings.
    pub fn decode_as(&self, node: &str, from: &Source) -> Result<Option<Message>, WireError> {
        match from {
            Source::Stream { fields, .. } => {
                let mut reader = Reader::new(node);
                reader.enter(self.namespace());
                let read = reader.read(0, &Parts::of(fields))?;
                Ok(read.map(Message::from))
            }
            Source::Channel { name, payload } => {
                let mut inbox = Inbox::new(self.prefix(), node);
                inbox.enter(self.namespace());
                inbox.channel(name.as_bytes()).read(payload)
            }
        }
    }
}
