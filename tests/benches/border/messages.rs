//! The batches that cross the border: broadcasts to two rooms, as the cluster core holds them and
//! as a plugin takes them.

use criterion::Throughput;
use switchboard::cluster::{Body, Broadcast, Message, Namespace, NodeId, Payload, Room, Target};
use switchboard_plugin::{types, unless_empty};

/// How many messages of which size.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Messages in the batch.
    pub(crate) count: usize,
    /// Length of each one's JSON text.
    pub(crate) json_bytes: usize,
}

/// What is measured: small messages in batches up to the largest that a plugin must take, and large
/// ones in batches just below the default limit of 1 MiB.
pub(crate) const SHAPES: [Shape; 6] = [
    small(1),
    small(8),
    small(64),
    small(512),
    Shape {
        count: 64,
        json_bytes: 8 * 1024,
    },
    Shape {
        count: 8,
        json_bytes: 100 * 1024,
    },
];

const fn small(count: usize) -> Shape {
    Shape {
        count,
        json_bytes: SMALL_BYTES,
    }
}

/// JSON text of a small message.
const SMALL_BYTES: usize = 200;

impl Shape {
    /// How Criterion calls it.
    pub(crate) fn name(self) -> String {
        format!("{}x{}B", self.count, self.json_bytes)
    }

    /// What Criterion counts: messages if they are small, else bytes.
    pub(crate) fn throughput(self) -> Throughput {
        if self.json_bytes == SMALL_BYTES {
            Throughput::Elements(self.count as u64)
        } else {
            Throughput::Bytes((self.count * self.json_bytes) as u64)
        }
    }

    /// A batch as the outbox hands it to a transport.
    pub(crate) fn batch(self, node: &NodeId) -> Vec<Message> {
        let namespace = Namespace::from("/");
        (0..self.count)
            .map(|_| Message {
                namespace: namespace.clone(),
                sender: node.clone(),
                recipient: None,
                body: Body::Broadcast(Broadcast {
                    target: Target {
                        rooms: [Room::from("the-first-room"), Room::from("the-second-room")]
                            .into_iter()
                            .collect(),
                        ..Target::default()
                    },
                    data: Payload::text(json(self.json_bytes)),
                    packet_id: None,
                    request: None,
                }),
            })
            .collect()
    }
}

/// An event of exactly so many bytes.
fn json(bytes: usize) -> String {
    let frame = r#"["measured",""]"#.len();
    format!(
        r#"["measured","{}"]"#,
        "x".repeat(bytes.saturating_sub(frame))
    )
}

/// The batch as a plugin gets it: owned copies. Messages other than broadcasts are left out.
pub(crate) fn for_plugin(batch: &[Message]) -> Vec<types::Message> {
    let broadcast = |message: &Message| match &message.body {
        Body::Broadcast(broadcast) => Some(for_plugin_one(message, broadcast)),
        _ => None,
    };
    batch.iter().filter_map(broadcast).collect()
}

fn for_plugin_one(message: &Message, broadcast: &Broadcast) -> types::Message {
    types::Message {
        namespace: message.namespace.to_string(),
        sender: message.sender.to_string(),
        recipient: message.recipient.as_ref().map(NodeId::to_string),
        body: types::Body::Broadcast(types::Broadcast {
            target: types::Target {
                rooms: rooms(&broadcast.target.rooms),
                except: unless_empty(rooms(&broadcast.target.except)),
                volatile: broadcast.target.volatile,
                other_flags: broadcast.target.flags.as_deref().map(str::to_owned),
            },
            data: types::Payload::new(
                broadcast.data.json.as_str(),
                broadcast
                    .data
                    .attachments
                    .iter()
                    .map(|bytes| bytes.to_vec())
                    .collect(),
            ),
            packet_id: broadcast.packet_id.as_deref().map(str::to_owned),
            request: broadcast.request.as_ref().map(|id| id.as_str().to_owned()),
        }),
    }
}

fn rooms(rooms: &[Room]) -> Vec<types::Room> {
    rooms
        .iter()
        .map(|room| match room {
            Room::Text(text) => types::Room::Text(text.to_string()),
            Room::Number(number) => types::Room::Number(*number),
        })
        .collect()
}
