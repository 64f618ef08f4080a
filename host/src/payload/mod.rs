//! Payloads: what events, answers and the data of sockets carry through the cluster, which is always
//! JSON text with marks for its binary parts ([`Payload`]).
//!
//! `codec` translates to and from the form of a socketioxide server's parser, with `msgpack/` for
//! the one that needs it. `write` and `read` (by way of `tree`) do the same for values of Rust; `shape`
//! knows which of them are several arguments. `members` takes an object of another server apart. `date`
//! is how JavaScript prints points in time. Who gets a payload is not decided here.

mod codec;
pub(crate) mod date;
mod members;
mod msgpack;
mod read;
mod shape;
mod surrogates;
#[cfg(test)]
mod tests;
mod tree;
mod write;

pub(crate) use self::{
    codec::{Codec, encode, encode_one_untrusted, encode_untrusted},
    members::members,
    read::{to_ack, to_args, to_value},
    write::{from_event, from_value},
};
#[cfg(doc)]
use crate::cluster::message::Payload;

/// A value with this many containers inside each other is refused. The limit of `serde_json` and
/// of socketioxide's own parsers, so nothing that they can read is refused here.
const DEPTH_LIMIT: usize = 128;

/// A value with more binary parts than this is refused. The number that socketioxide accepts from a
/// client by default; it keeps two-byte parts from growing into large ones.
const MAX_ATTACHMENTS: usize = 10_000;

/// Characters of an error that quotes a payload, which can be as long as its sender likes.
const MAX_QUOTE_CHARS: usize = 200;

/// Why a payload cannot be carried. On the way out the fault is the application's (or, in an
/// acknowledgement, the client's); on the way in it is the sending node's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The outermost value is not an array, so it is neither an event nor an acknowledgement.
    #[error("the payload is not an array: send an event's name and its arguments in one")]
    NotAnArray,
    /// The JSON text has a raw control character, which could break up a client's frames.
    #[error("the payload's JSON text holds a raw control character: escape it")]
    ControlCharacter,
    /// The text is not JSON.
    #[error("the payload is not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON has no form for the value: a map's key is a container, or its own serialisation failed.
    #[error("the value cannot be written as JSON: {0}")]
    NotJson(serde_json::Error),
    /// The msgpack ends in the middle of a value.
    #[error("the payload's msgpack ends in the middle of a value")]
    Truncated,
    /// There are bytes after the msgpack value.
    #[error("the payload's msgpack is followed by {0} more bytes")]
    Trailing(usize),
    /// 0xC1, which msgpack does not use.
    #[error("the payload's msgpack uses the reserved marker 0xC1")]
    ReservedMarker,
    /// A msgpack string is not UTF-8.
    #[error("a msgpack string of the payload is not UTF-8: send it as binary")]
    NotUtf8,
    /// A map's key is an array, a map or an extension, which JSON cannot express.
    #[error("a map's key is a container or an extension: use a string, a number or a boolean")]
    UnsupportedKey,
    /// 128 or more containers inside each other.
    #[error("the payload nests {DEPTH_LIMIT} or more arrays and objects: flatten it")]
    TooDeep,
    /// More than 10,000 binary parts in one value.
    #[error("the payload holds more than {MAX_ATTACHMENTS} binary parts: join them")]
    TooManyAttachments,
    /// A mark names a binary part that is not there, or one that was used before.
    #[error("the payload refers to a binary part that is missing or already used")]
    NoSuchAttachment,
}

/// A text in at most `max_chars` characters; one that was longer ends with `…`.
pub(crate) fn shortened(text: impl std::fmt::Display, max_chars: usize) -> String {
    let text = text.to_string();
    match text.char_indices().nth(max_chars) {
        None => text,
        Some(_) => {
            let head = text.chars().take(max_chars.saturating_sub(1));
            head.chain(['…']).collect()
        }
    }
}

/// How many containers stand inside each other at most, in text that is known to be JSON.
fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
