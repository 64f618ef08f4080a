//! What one message may hold.

/// Bytes of one message, either way. Redis itself stops at 512 MiB; a guest's memory much earlier.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// A payload with this many containers inside each other is refused: the limit of the JSON
/// readers behind it, so nothing that they can read is refused here.
pub const MAX_DEPTH: usize = 128;

/// Binary parts of one payload. What socketioxide takes from a client by default; it keeps
/// two-byte parts from growing into large ones.
pub const MAX_ATTACHMENTS: usize = 10_000;

/// Sockets in one answer. A socket's description takes at least 500 bytes when Node writes it, but
/// two bytes can be made to stand for one.
pub const MAX_SOCKETS: usize = 100_000;

/// Rooms in one list. A node lists all its sockets' ids among its rooms, so this is far more than
/// a server can hold.
pub const MAX_ROOMS: usize = 1_000_000;

/// Bytes of a node's id, as the contract has it.
pub const MAX_NODE_ID_BYTES: usize = 128;

/// Bytes of a request id on the wire. Node's have 6 or 16.
pub const MAX_REQUEST_ID_BYTES: usize = 256;

/// How much deeper than its payload a whole message may nest: envelope, data, packet and the
/// like.
pub const ENVELOPE_DEPTH: usize = 8;
