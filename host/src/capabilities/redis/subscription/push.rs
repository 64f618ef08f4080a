//! What Redis sends on a connection with subscriptions, read.

use bytes::Bytes;

use super::{RedisEvent, names::Kind};
use crate::capabilities::redis::{
    trouble::Trouble,
    wire::{self, Value},
};

/// One thing that arrived.
#[derive(Debug, PartialEq)]
pub(super) enum Push {
    Message(RedisEvent),
    /// A name was subscribed to (true) or left.
    Confirmed(Kind, bool, Bytes),
    Pong,
    /// The oldest command that is not confirmed is refused.
    Error(Bytes),
}

/// Reads a whole reply.
pub(super) fn read(mut whole: Bytes) -> Result<Push, Trouble> {
    let mut next = || wire::value(&mut whole).map_err(|bad| Trouble::away(bad.to_string()));
    let parts = match next()? {
        Value::Array(parts) => parts,
        Value::Error(text) => return Ok(Push::Error(text)),
        // Without any subscription, `PING` is answered like this.
        Value::Status(_) => return Ok(Push::Pong),
        _ => return strange(),
    };
    let Value::Bulk(what) = next()? else {
        return strange();
    };
    let message = |kind, pattern, channel, payload| {
        Ok(Push::Message(RedisEvent::Message {
            kind,
            pattern,
            channel,
            payload,
        }))
    };
    match (&what[..], parts) {
        (b"message" | b"smessage", 3) => match (next()?, next()?) {
            (Value::Bulk(channel), Value::Bulk(payload)) => {
                let kind = match what.len() {
                    7 => Kind::Channel,
                    _ => Kind::Shard,
                };
                message(kind, None, channel, payload)
            }
            _ => strange(),
        },
        (b"pmessage", 4) => match (next()?, next()?, next()?) {
            (Value::Bulk(pattern), Value::Bulk(channel), Value::Bulk(payload)) => {
                message(Kind::Pattern, Some(pattern), channel, payload)
            }
            _ => strange(),
        },
        (b"pong", 2) => Ok(Push::Pong),
        (what, 3) => {
            let (kind, is_added) = match what {
                b"subscribe" => (Kind::Channel, true),
                b"psubscribe" => (Kind::Pattern, true),
                b"ssubscribe" => (Kind::Shard, true),
                b"unsubscribe" => (Kind::Channel, false),
                b"punsubscribe" => (Kind::Pattern, false),
                b"sunsubscribe" => (Kind::Shard, false),
                _ => return strange(),
            };
            match next()? {
                Value::Bulk(name) => Ok(Push::Confirmed(kind, is_added, name)),
                _ => strange(),
            }
        }
        _ => strange(),
    }
}

fn strange<T>() -> Result<T, Trouble> {
    Err(Trouble::away(
        "Redis sent something that is no Pub/Sub message",
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn push(text: &'static str) -> Result<Push, Trouble> {
        read(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn messages_of_all_kinds_are_read() {
        let message = |kind, pattern: Option<&'static str>| {
            Push::Message(RedisEvent::Message {
                kind,
                pattern: pattern.map(|text| Bytes::from_static(text.as_bytes())),
                channel: Bytes::from_static(b"c"),
                payload: Bytes::from_static(b"hi\r\n"),
            })
        };
        for (text, expected) in [
            (
                "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\nhi\r\n\r\n",
                message(Kind::Channel, None),
            ),
            (
                "*3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$4\r\nhi\r\n\r\n",
                message(Kind::Shard, None),
            ),
            (
                "*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$1\r\nc\r\n$4\r\nhi\r\n\r\n",
                message(Kind::Pattern, Some("c*")),
            ),
            ("*2\r\n$4\r\npong\r\n$0\r\n\r\n", Push::Pong),
            ("+PONG\r\n", Push::Pong),
            (
                "*3\r\n$12\r\nsunsubscribe\r\n$1\r\nc\r\n:0\r\n",
                Push::Confirmed(Kind::Shard, false, Bytes::from_static(b"c")),
            ),
        ] {
            assert_eq!(push(text).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_does_not_belong_there_is_refused() {
        for text in [
            ":1\r\n",
            "*0\r\n",
            "*3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n",
            "$-1\r\n",
        ] {
            assert!(push(text).is_err(), "{text:?}");
        }
    }
}
