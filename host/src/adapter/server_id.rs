//! Node ids, which are any text, as the server ids of socketioxide, which are 16 characters.

use sha2::{Digest as _, Sha256};
use socketioxide_core::Uid;

use crate::cluster::message::NodeId;

/// What a server id is made of, at 6 bits a character.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const SERVER_ID_LEN: usize = 16;

/// The id itself if it has that form, as ours and those of most Node.js adapters have; else one
/// derived from it, the same on every server.
pub(super) fn of(node: &NodeId) -> Uid {
    node.as_str().parse().unwrap_or_else(|_| {
        let derived: String = Sha256::digest(node.as_str())
            .iter()
            .take(SERVER_ID_LEN)
            .map(|byte| char::from(ALPHABET[usize::from(byte % 64)]))
            .collect();
        derived.parse().unwrap_or(Uid::ZERO)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_of_the_right_form_stay_and_others_are_derived() {
        let server = |id: &str| of(&NodeId::from(id)).to_string();
        assert_eq!(server("0123456789abcdef"), "0123456789abcdef");
        assert_eq!(server("aB3-_x").len(), SERVER_ID_LEN);
        assert_eq!(server("aB3-_x"), server("aB3-_x"));
        assert_ne!(server("aB3-_x"), server("aB3-_y"));
        assert_ne!(server(""), Uid::ZERO.to_string());
    }
}
