//! What Redis tells about a stream (`XINFO STREAM`).

use super::id::EntryId;
use crate::capabilities::redis::{
    connect::text,
    wire::{self, Frame, Value},
};

/// A stream as it is at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    /// The id of the last entry that was ever added, also if it is gone.
    pub(super) last: EntryId,
    /// The first entry that is there.
    pub(super) first: Option<EntryId>,
    /// Entries that are there.
    pub(super) length: u64,
    /// How many were ever added. Redis 7 and later.
    pub(super) added: Option<u64>,
    /// The highest id that was deleted one by one; trimming does not count. Redis 7 and later.
    pub(super) deleted: EntryId,
}

impl Info {
    /// Reads the reply. None: it is none.
    pub(super) fn read(frame: &Frame) -> Option<Self> {
        let Frame::Array(values) = frame else {
            return None;
        };
        let mut info = Self::default();
        let mut last = None;
        let mut values = values.iter();
        while let Some(key) = values.next() {
            let key = text(key)?;
            let value = values.next()?;
            let id = || EntryId::read(text(value)?.as_bytes());
            match key {
                "last-generated-id" => last = id(),
                "max-deleted-entry-id" => info.deleted = id()?,
                "length" => info.length = number(value)?,
                "entries-added" => info.added = Some(number(value)?),
                "first-entry" => info.first = first(value, &mut values)?,
                _ => {
                    if let Value::Array(inner) = value {
                        wire::skip(&mut values, *inner)?;
                    }
                }
            }
        }
        info.last = last?;
        Some(info)
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// The id of an entry, whose parts follow.
fn first<'a>(
    value: &Value,
    values: &mut impl Iterator<Item = &'a Value>,
) -> Option<Option<EntryId>> {
    let Value::Array(parts) = value else {
        return Some(None);
    };
    let id = EntryId::read(text(values.next()?)?.as_bytes())?;
    wire::skip(values, parts.checked_sub(1)?)?;
    Some(Some(id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::BytesMut;

    use super::*;
    use crate::capabilities::redis::wire::Scan;

    fn read(text: &str) -> Option<Info> {
        let mut buffer = BytesMut::from(text);
        Info::read(&Scan::new(10_000).next(&mut buffer).unwrap().unwrap())
    }

    const ENTRY: &str = "*2\r\n$3\r\n4-0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n";

    #[test]
    fn what_redis_7_tells_is_read() {
        let text = format!(
            "*12\r\n$6\r\nlength\r\n:3\r\n$17\r\nlast-generated-id\r\n$3\r\n6-0\r\n\
             $20\r\nmax-deleted-entry-id\r\n$3\r\n2-0\r\n$13\r\nentries-added\r\n:6\r\n\
             $11\r\nfirst-entry\r\n{ENTRY}$10\r\nlast-entry\r\n{ENTRY}"
        );
        let id = |text: &str| EntryId::read(text.as_bytes()).unwrap();
        let expected = Info {
            last: id("6-0"),
            first: Some(id("4-0")),
            length: 3,
            added: Some(6),
            deleted: id("2-0"),
        };
        assert_eq!(read(&text), Some(expected));
    }

    #[test]
    fn older_servers_and_empty_streams_tell_less() {
        let info = read(
            "*6\r\n$6\r\nlength\r\n:0\r\n$17\r\nlast-generated-id\r\n$3\r\n6-0\r\n\
             $11\r\nfirst-entry\r\n$-1\r\n",
        )
        .unwrap();
        assert_eq!((info.first, info.added), (None, None));
        assert_eq!(read("*2\r\n$6\r\nlength\r\n:0\r\n"), None);
        assert_eq!(read("+OK\r\n"), None);
    }
}
