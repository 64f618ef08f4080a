//! Which node of a Redis Cluster owns what: hash slots, and the map of slots to nodes. No I/O.

use std::collections::BTreeSet;

use super::{
    connect::text,
    url::Address,
    wire::{Frame, Value, skip},
};

/// Slots of every cluster.
const SLOTS: u16 = 16384;

/// The slot of a key or shard channel: CRC16 (XMODEM) of it, or of what stands between the first
/// `{` and the next `}` if that is not empty.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = match crc & 0x8000 {
                0 => crc << 1,
                _ => (crc << 1) ^ 0x1021,
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let index = usize::from((crc >> 8) as u8 ^ byte);
        (crc << 8) ^ TABLE.get(index).copied().unwrap_or_default()
    })
}

/// Who owns what, as one node saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SlotMap {
    /// First and last slot, and the master.
    ranges: Vec<(u16, u16, Address)>,
    replicas: BTreeSet<Address>,
}

impl SlotMap {
    /// Reads the reply of `CLUSTER SLOTS` that came from `asked`. None: it is none.
    pub(super) fn read(frame: &Frame, asked: &Address) -> Option<Self> {
        let Frame::Array(values) = frame else {
            return None;
        };
        let mut map = Self::default();
        let mut values = values.iter().peekable();
        while let Some(value) = values.next() {
            let Value::Array(parts) = value else {
                return None;
            };
            let first = number(values.next()?)?;
            let last = number(values.next()?)?;
            for index in 2..*parts {
                let Value::Array(fields) = values.next()? else {
                    return None;
                };
                let host = values.next()?;
                let port = number(values.next()?)?;
                skip(&mut values, fields.checked_sub(2)?)?;
                let Some(address) = address(host, port, asked) else {
                    continue;
                };
                match index {
                    2 => map.ranges.push((first, last, address)),
                    _ => {
                        map.replicas.insert(address);
                    }
                }
            }
        }
        map.ranges.sort();
        (!map.ranges.is_empty()).then_some(map)
    }

    /// The master that owns the slot.
    pub(super) fn owner(&self, slot: u16) -> Option<&Address> {
        let after = self.ranges.partition_point(|(first, _, _)| *first <= slot);
        let (_, last, address) = self.ranges.get(after.checked_sub(1)?)?;
        (slot <= *last).then_some(address)
    }

    /// All masters, each once.
    pub(super) fn masters(&self) -> BTreeSet<&Address> {
        self.ranges.iter().map(|(_, _, address)| address).collect()
    }

    /// All nodes, each once.
    pub(super) fn nodes(&self) -> BTreeSet<&Address> {
        self.masters().into_iter().chain(&self.replicas).collect()
    }
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Integer(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

/// A node that does not know its own host is meant to be where it was asked.
fn address(host: &Value, port: u16, asked: &Address) -> Option<Address> {
    let host = match (text(host), asked) {
        (Some("?"), _) => return None,
        (Some("") | None, Address::Tcp { host, .. }) => host.clone(),
        (Some(host), _) => host.to_owned(),
        (None, Address::Unix(_)) => return None,
    };
    Some(Address::Tcp { host, port })
}

/// Where a `MOVED` or `ASK` reply sends a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    Moved(Address),
    Ask(Address),
}

impl Redirect {
    /// Reads an error that came from `from`. None: it is another one.
    pub(super) fn read(error: &[u8], from: &Address) -> Option<Self> {
        let text = std::str::from_utf8(error).ok()?;
        let mut words = text.split(' ');
        let kind = words
            .next()
            .filter(|word| matches!(*word, "MOVED" | "ASK"))?;
        let (host, port) = words.nth(1)?.rsplit_once(':')?;
        let host = match (host, from) {
            ("", Address::Tcp { host, .. }) => host,
            (host, _) => host.trim_start_matches('[').trim_end_matches(']'),
        };
        let address = Address::Tcp {
            host: host.to_owned(),
            port: port.parse().ok()?,
        };
        Some(match kind {
            "ASK" => Self::Ask(address),
            _ => Self::Moved(address),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;

    use super::*;

    fn at(host: &str, port: u16) -> Address {
        let host = host.to_owned();
        Address::Tcp { host, port }
    }

    #[test]
    fn slots_are_those_of_redis() {
        // As `CLUSTER KEYSLOT` of Redis 7.0.15 says.
        for (key, slot) in [
            ("", 0),
            ("123456789", 12739),
            ("foo", 12182),
            ("{user1000}.following", slot_of(b"user1000")),
            ("foo{}{bar}", slot_of(b"foo{}{bar}")),
            ("foo{{bar}}zap", slot_of(b"{bar")),
            ("foo{bar}{zap}", 5061),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_ne!(slot_of(b"foo{}{bar}"), slot_of(b"bar"));
    }

    #[test]
    fn a_slot_map_is_read_with_its_gaps() {
        let text = |text: &'static str| Value::Bulk(Bytes::from_static(text.as_bytes()));
        let frame = Frame::Array(vec![
            Value::Array(3),
            Value::Integer(101),
            Value::Integer(16383),
            Value::Array(4),
            text("10.0.0.2"),
            Value::Integer(2),
            text("id"),
            Value::Array(2),
            text("hostname"),
            text("h"),
            Value::Array(4),
            Value::Integer(0),
            Value::Integer(99),
            Value::Array(3),
            Value::Nil,
            Value::Integer(1),
            text("id"),
            Value::Array(2),
            text("10.0.0.3"),
            Value::Integer(3),
        ]);
        let map = SlotMap::read(&frame, &at("seed", 9)).unwrap();
        let port = |slot| map.owner(slot).cloned();
        assert_eq!(port(0), Some(at("seed", 1)));
        assert_eq!(port(99), Some(at("seed", 1)));
        assert_eq!(port(100), None);
        assert_eq!(port(16383), Some(at("10.0.0.2", 2)));
        assert_eq!(map.masters().len(), 2);
        assert!(map.nodes().contains(&at("10.0.0.3", 3)));
        assert_eq!(SlotMap::read(&Frame::One(Value::Nil), &at("s", 1)), None);
    }

    #[test]
    fn redirections_are_told_from_other_errors() {
        let from = at("seed", 9);
        let read = |text: &str| Redirect::read(text.as_bytes(), &from);
        assert_eq!(read("MOVED 7 h:1"), Some(Redirect::Moved(at("h", 1))));
        assert_eq!(read("MOVED 7 :1"), Some(Redirect::Moved(at("seed", 1))));
        assert_eq!(read("ASK 7 ::1:2"), Some(Redirect::Ask(at("::1", 2))));
        assert_eq!(read("ERR MOVED 7 h:1"), None);
        assert_eq!(read("MOVED 7"), None);
    }
}
