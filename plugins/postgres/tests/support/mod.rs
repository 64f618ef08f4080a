//! What the tests with captured vectors share: the vectors, and how they are read.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, missing_docs)]

#[path = "../../../sdk/tests/support/damage.rs"]
pub mod damage;
#[path = "../../../sdk/tests/support/trees.rs"]
pub mod trees;

use serde_json::Value;
use switchboard_plugin::{types::Message, wire::WireError};
use switchboard_transport_postgres::wire::inbox::{Arrival, Inbox};
use trees::{from_base64, normal};

pub const PREFIX: &str = "socket.io";

/// One captured or hand-made message.
#[derive(Clone)]
pub struct Vector {
    pub file: &'static str,
    pub case: String,
    pub channel: String,
    pub notification: String,
    /// What the notification names.
    pub row: Option<Vec<u8>>,
    /// The message as a tree, in the normal form of [`normal`]; of the row, if there is one.
    pub envelope: Value,
}

const FILES: &[(&str, &str)] = &[
    (
        "postgres-adapter",
        include_str!("../vectors/postgres-adapter.json"),
    ),
    (
        "postgres-primary",
        include_str!("../vectors/postgres-primary.json"),
    ),
    (
        "injected-postgres",
        include_str!("../vectors/injected-postgres.json"),
    ),
    ("packet-id", include_str!("../vectors/packet-id.json")),
];

pub fn vectors() -> Vec<Vector> {
    let mut vectors = Vec::new();
    for (file, text) in FILES {
        let entries: Vec<Value> = serde_json::from_str(text).unwrap();
        for entry in &entries {
            // Without one it is SQL, a row (which comes with its notification), or an observation.
            let is_notification = entry["payload_utf8"].is_string() && entry["channel"].is_string();
            let is_ours = entry["adapter"].as_str().unwrap().starts_with("postgres");
            if is_notification && is_ours {
                vectors.push(vector(file, entry, &entries));
            }
        }
    }
    assert_eq!(vectors.len(), 172, "no vector is left out");
    vectors
}

fn vector(file: &'static str, entry: &Value, all: &[Value]) -> Vector {
    let text = |key: &str| entry[key].as_str().map(str::to_owned);
    let notification = text("payload_utf8").unwrap();
    let header: Value = serde_json::from_str(&notification).unwrap_or_default();
    let id = match &header["attachmentId"] {
        Value::Null => None,
        Value::String(id) => Some(id.clone()),
        other => Some(other.to_string()),
    };
    let mut envelope = entry["decoded"].clone();
    let row = id.and_then(|id| {
        if let Some(bytes) = entry["attachment_base64"].as_str() {
            envelope = entry["attachment_decoded"].clone();
            return Some(from_base64(bytes));
        }
        let is_row = |row: &&Value| {
            row["payload_base64"].is_string() && row["attachment_id"].as_str() == Some(&id)
        };
        let row = all.iter().find(is_row)?;
        envelope = row["decoded"].clone();
        Some(from_base64(row["payload_base64"].as_str().unwrap()))
    });
    Vector {
        file,
        case: text("case").unwrap(),
        channel: text("channel").unwrap(),
        notification,
        row,
        envelope: normal(&envelope),
    }
}

/// What a node makes of a message.
#[allow(clippy::large_enum_variant)]
pub enum Read {
    Nothing,
    Message(Message),
    NoRow,
}

impl Vector {
    pub fn name(&self) -> String {
        format!("{}: {}", self.file, self.case)
    }

    pub fn is_captured(&self) -> bool {
        !self.file.starts_with("injected") && !self.case.starts_with("injected")
    }

    /// The namespace that is served: the one of the channel.
    pub fn namespace(&self) -> &str {
        self.channel.strip_prefix("socket.io#").unwrap()
    }

    pub fn header(&self) -> Value {
        serde_json::from_str(&self.notification).unwrap_or_default()
    }

    /// The node that reads it: who asked, or somebody else.
    pub fn node(&self) -> &str {
        self.envelope["requesterUid"]
            .as_str()
            .unwrap_or("reader-of-vectors")
    }

    pub fn decode(&self) -> Result<Read, WireError> {
        self.decode_as(self.node())
    }

    pub fn decode_as(&self, node: &str) -> Result<Read, WireError> {
        let mut inbox = Inbox::new(PREFIX, node);
        let channel = inbox.enter(self.namespace());
        assert_eq!(channel, self.channel, "{}", self.name());
        read(
            &inbox,
            &self.channel,
            &self.notification,
            self.row.as_deref(),
        )
    }
}

pub fn read(
    inbox: &Inbox,
    channel: &str,
    notification: &str,
    row: Option<&[u8]>,
) -> Result<Read, WireError> {
    Ok(match inbox.notification(channel, notification)? {
        Arrival::Nothing => Read::Nothing,
        Arrival::Message { message, .. } => Read::Message(message),
        Arrival::Attachment(attachment) if !attachment.is_wanted => Read::Nothing,
        Arrival::Attachment(attachment) => match row {
            None => Read::NoRow,
            Some(row) => match inbox.row(row, &attachment.namespace)?.message {
                Some(message) => Read::Message(message),
                None => Read::Nothing,
            },
        },
    })
}
