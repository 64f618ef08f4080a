//! What the server of an application can do in the whole cluster, beyond socketioxide's own
//! operators: the counterpart of Node.js's `io.of("/chat")`, and of its emitters.
//!
//! - `operators`: which sockets, and what to do with them. `rooms`: how rooms are named there.
//! - `sockets`: sockets of any server as values. `lookup`: one socket by its id, wherever it is.
//! - `server_events`: events and questions from server to server. `handlers`: what answers them.
//! - `recovery`: sessions of clients that may come back, with `sessions` and `private_id`.
//! - `emitter`: the same for a process that is no server.
//!
//! Everything here is a thin layer over the cluster core: it chooses targets, encodes values and
//! adds what this server itself has. Nothing here waits for a plugin or knows a backend.

mod answers;
mod emitter;
mod error;
mod handlers;
mod lookup;
mod operators;
mod private_id;
mod recovery;
mod rooms;
mod server_events;
mod sessions;
mod sockets;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use self::{
    answers::{Acks, AnswerError, ClientAnswer, NodeAnswer},
    emitter::{Emitter, EmitterOperators},
    error::ApiError,
    handlers::{Answer, FromCall, IntoReply, NoAnswer, ServerContext, ServerHandler},
    operators::Operators,
    private_id::{InvalidPrivateId, PrivateId},
    rooms::IntoRooms,
    sessions::{MissedPacket, RestoredSession, Session},
    sockets::{Handshake, RemoteSocket, SocketId},
};
