//! What Redis sends on a connection with subscriptions, read: messages quickly ([`find`]), the rest
//! by the general way ([`read`]).

use std::sync::Arc;

use bytes::Bytes;

use super::{Source, names::Kind};
use crate::capabilities::redis::{
    trouble::Trouble,
    wire::{self, Value},
};

/// One thing that arrived and is no message.
#[derive(Debug, PartialEq)]
pub(super) enum Push {
    /// A name was subscribed to (true) or left.
    Confirmed(Kind, bool, Bytes),
    Pong,
    /// The oldest command that is not confirmed is refused.
    Error(Bytes),
}

/// A message as it stands in a reply: the payload is what ends it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    kind: Kind,
    pattern: Option<&'a [u8]>,
    channel: &'a [u8],
    pub(super) payload: &'a [u8],
}

/// Where the last message came from. Most come from the same place, which is not copied again.
#[derive(Debug, Default)]
pub(super) struct LastSource(Option<Arc<Source>>);

impl LastSource {
    /// Where this one comes from, as an event has it.
    pub(super) fn of(&mut self, found: Found<'_>) -> Arc<Source> {
        let is_known = |last: &Arc<Source>| {
            (last.kind, last.pattern.as_deref(), &*last.channel)
                == (found.kind, found.pattern, found.channel)
        };
        match &self.0 {
            Some(last) if is_known(last) => Arc::clone(last),
            _ => Arc::clone(self.0.insert(Arc::new(Source {
                kind: found.kind,
                pattern: found.pattern.map(Bytes::copy_from_slice),
                channel: Bytes::copy_from_slice(found.channel),
            }))),
        }
    }
}

/// Reads a whole reply if it is a message. Nothing is copied, and its parts get no handles of their own.
pub(super) fn find(whole: &[u8]) -> Option<Found<'_>> {
    let mut rest = whole;
    let parts = match wire::head(rest).ok()?? {
        (b'*', parts @ (3 | 4), head) => {
            rest = rest.get(head..)?;
            parts
        }
        _ => return None,
    };
    let mut next = || {
        let (b'$', len, head) = wire::head(rest).ok()?? else {
            return None;
        };
        let (bytes, after) = rest
            .get(head..)?
            .split_at_checked(usize::try_from(len).ok()?)?;
        rest = after.get(2..)?;
        Some(bytes)
    };
    let (kind, is_pattern) = match (next()?, parts) {
        (b"message", 3) => (Kind::Channel, false),
        (b"smessage", 3) => (Kind::Shard, false),
        (b"pmessage", 4) => (Kind::Pattern, true),
        _ => return None,
    };
    let found = Found {
        kind,
        pattern: match is_pattern {
            true => Some(next()?),
            false => None,
        },
        channel: next()?,
        payload: next()?,
    };
    rest.is_empty().then_some(found)
}

/// Reads a whole reply that is no message.
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
    match (&what[..], parts) {
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
    fn messages_of_all_kinds_are_found() {
        for (text, kind, pattern) in [
            (
                "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\nhi\r\n\r\n",
                Kind::Channel,
                None,
            ),
            (
                "*3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$4\r\nhi\r\n\r\n",
                Kind::Shard,
                None,
            ),
            (
                "*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$1\r\nc\r\n$4\r\nhi\r\n\r\n",
                Kind::Pattern,
                Some("c*"),
            ),
        ] {
            let found = find(text.as_bytes()).unwrap();
            assert_eq!(found.payload, b"hi\r\n", "{text:?}");
            let mut last = LastSource::default();
            let expected = Source {
                kind,
                pattern: pattern.map(Bytes::from),
                channel: Bytes::from("c"),
            };
            for _ in 0..2 {
                let found = find(text.as_bytes()).unwrap();
                assert_eq!(*last.of(found), expected, "{text:?}");
            }
        }
    }

    #[test]
    fn the_names_are_those_of_each_message() {
        let mut last = LastSource::default();
        let mut names = |text: &str| {
            let source = last.of(find(text.as_bytes()).unwrap());
            let (pattern, channel) = (source.pattern.clone(), source.channel.clone());
            (source.kind, pattern, channel)
        };
        let plain = |name: &'static str| (Kind::Channel, None, Bytes::from(name));
        let in_c = "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n";
        assert_eq!(names(in_c), plain("c"));
        assert_eq!(
            names("*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$2\r\ncc\r\n$0\r\n\r\n"),
            (Kind::Pattern, Some("c*".into()), "cc".into())
        );
        assert_eq!(names(in_c), plain("c"));
    }

    #[test]
    fn other_replies_are_read() {
        for (text, expected) in [
            ("*2\r\n$4\r\npong\r\n$0\r\n\r\n", Push::Pong),
            ("+PONG\r\n", Push::Pong),
            (
                "*3\r\n$12\r\nsunsubscribe\r\n$1\r\nc\r\n:0\r\n",
                Push::Confirmed(Kind::Shard, false, Bytes::from_static(b"c")),
            ),
            ("-ERR no\r\n", Push::Error(Bytes::from_static(b"ERR no"))),
        ] {
            assert!(find(text.as_bytes()).is_none(), "{text:?}");
            assert_eq!(push(text).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_does_not_belong_there_is_refused() {
        for text in [
            ":1\r\n",
            "*0\r\n",
            "*3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n",
            "*4\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n",
            "*3\r\n$8\r\npmessage\r\n$1\r\na\r\n$1\r\nb\r\n",
            "$-1\r\n",
        ] {
            assert!(find(text.as_bytes()).is_none(), "{text:?}");
            assert!(push(text).is_err(), "{text:?}");
        }
    }
}
