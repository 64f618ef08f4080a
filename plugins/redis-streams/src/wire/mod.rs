//! What stands in Redis, as bytes. Pure: no I/O, no host.
//!
//! * [`entry`]: messages as entries of a stream; [`mark`] is what ours carry beside Node's fields.
//! * [`names`]: which namespace uses which stream.
//! * [`session`]: sessions for connection state recovery.
//! * [`base64`]: as Node reads it.
//! * `plaintext`: binary parts as `JSON.stringify` writes a Buffer.
//!
//! What goes over Pub/Sub is an envelope, see `switchboard_plugin::wire`.
//!
//! Whatever arrives is untrusted: nothing here panics, recurses without a limit, or holds more than
//! a small multiple of what was sent.

pub mod base64;
pub mod entry;
mod events;
pub mod mark;
pub mod names;
mod plaintext;
pub mod session;

use switchboard_plugin::{types::Body, wire::is_answer};

/// Whether a message goes into the stream; the others go over Pub/Sub.
///
/// Requests go into the stream, unlike Node's, so that they keep their order with what is sent
/// before and after them, and outlast an absence of Redis. Node's servers answer them all the same.
/// Heartbeats do not: an idle cluster must not push what is worth keeping out of the stream. Nobody
/// waits for an answer for long, and only one server wants it.
pub fn is_kept(body: &Body) -> bool {
    !is_answer(body) && !matches!(body, Body::InitialHeartbeat | Body::Heartbeat)
}
