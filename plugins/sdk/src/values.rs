//! Shorthands for the values of the contract.

use crate::types::{Payload, Room, Target};

/// A list as the contract has those that are seldom there: none if it is empty.
pub fn unless_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

impl Payload {
    /// JSON text, and the binary parts that its marks name.
    pub fn new(json: impl Into<String>, parts: Vec<Vec<u8>>) -> Self {
        Self {
            json: json.into(),
            attachments: unless_empty(parts),
        }
    }

    /// The binary parts; empty if there are none.
    pub fn parts(&self) -> &[Vec<u8>] {
        self.attachments.as_deref().unwrap_or_default()
    }
}

impl Target {
    /// The rooms whose sockets are left out; empty if there are none.
    pub fn excepted(&self) -> &[Room] {
        self.except.as_deref().unwrap_or_default()
    }

    /// Whether both say the same: the same rooms in the same order, and the same flags.
    pub fn is_like(&self, other: &Self) -> bool {
        let same_rooms = |a: &[Room], b: &[Room]| {
            let same = |(a, b): (&Room, &Room)| match (a, b) {
                (Room::Text(a), Room::Text(b)) => a == b,
                (Room::Number(a), Room::Number(b)) => a.to_bits() == b.to_bits(),
                _ => false,
            };
            a.len() == b.len() && a.iter().zip(b).all(same)
        };
        same_rooms(&self.rooms, &other.rooms)
            && same_rooms(self.excepted(), other.excepted())
            && (self.volatile, &self.other_flags) == (other.volatile, &other.other_flags)
    }
}
