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
}
