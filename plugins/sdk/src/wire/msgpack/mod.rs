//! Msgpack in the dialect of notepack.io, which Node's Redis adapters use.
//!
//! Both directions stream from one text to the other without a tree between them: binary becomes
//! an attachment, dates become ISO 8601 text, unknown extensions become `[type, binary]`. Nothing
//! here panics, recurses without a limit or writes much more than it reads, whatever the bytes.
//!
//! We write what every decoder of Node reads: shortest forms, UTF-8, floats
//! for what is no 64-bit integer; notepack.io itself destroys whole numbers from 2^64 on.

mod date;
mod from_json;
mod head;
mod read;
mod to_json;

pub use from_json::write_json;
pub use head::{write_array_len, write_float, write_map_len, write_text, write_unsigned};
pub use read::{Reader, Token, to_text};
pub use to_json::{Json, key_text};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
