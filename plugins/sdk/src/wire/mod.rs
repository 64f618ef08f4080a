//! What Node's official adapters write, as pure functions over bytes: no I/O, no host.
//!
//! A transport whose backend has a Node.js adapter builds on this; one with a wire of its own needs
//! none of it. [`envelope`] is a whole message, as most of those adapters have it; [`values`] are
//! the parts that all of them share; [`Cursor`] and [`Writer`] read and write JSON and msgpack
//! alike, binary parts included.
//!
//! Whatever arrives is untrusted: nothing here panics, recurses without a limit, or holds more
//! than a small multiple of what was sent.

mod cursor;
pub mod envelope;
mod error;
pub mod json;
mod limits;
pub mod msgpack;
pub mod pubsub;
pub mod request_id;
mod same;
pub mod session;
pub mod values;
mod writer;

use crate::types::Body;

pub use cursor::{Cursor, Kind, unexpected};
pub use error::{Rejected, WireError};
pub use limits::{
    ENVELOPE_DEPTH, MAX_ATTACHMENTS, MAX_DEPTH, MAX_MESSAGE_BYTES, MAX_NODE_ID_BYTES,
    MAX_REQUEST_ID_BYTES, MAX_ROOMS, MAX_SOCKETS,
};
pub use same::is_same;
pub use writer::{Format, Split, Writer, split};

/// Whether a message answers a request.
pub fn is_answer(body: &Body) -> bool {
    matches!(
        body,
        Body::SocketsAnswer(_)
            | Body::ClientCount(_)
            | Body::ClientAck(_)
            | Body::ServerEventAnswer(_)
            | Body::RoomsAnswer(_)
            | Body::CustomAnswer(_)
    )
}

#[cfg(test)]
mod testing;
