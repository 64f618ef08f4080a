//! Join a [socketioxide](https://docs.rs/socketioxide) server to a Socket.IO cluster through a
//! *transport plugin*: a WebAssembly component in a folder, chosen by one line of configuration.
//!
//! ```no_run
//! use socketioxide::{SocketIo, extract::SocketRef};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let board = switchboard::Board::open(switchboard::Config::load()?).await?;
//! let (layer, io) = board.layer(SocketIo::builder());
//! io.ns("/", async |socket: SocketRef<switchboard::Adapter<_>>| {
//!     socket.join("everyone");
//!     socket.to("everyone").emit("joined", &socket.id).await.ok();
//! });
//! // … serve `layer` with axum, hyper, … then:
//! board.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! Handlers stay as they are, and socketioxide's operators reach every node. What they lack is at
//! [`Board::of`]: events and questions between servers, sockets of other nodes with rooms, data and
//! handshake, single sockets by id. [`Board::persist_session`] keeps a client's state for when it comes
//! back. A process that is no server sends with an [`Emitter`].
//!
//! The path of a packet: [`Adapter`] gives it to local sockets and to the [`cluster`], whose
//! outbox hands batches to a [`transport`], which is a plugin run by the [`runtime`]; the plugin
//! does its I/O through [`capabilities`] that the [`config`] grants. `host/ARCHITECTURE.md` in the
//! repository is the map.

mod bindings;
mod board;
mod error;
mod payload;
mod socket_place;
mod status;
mod suggest;
mod task;

pub mod adapter;
pub mod admin;
pub mod api;
pub mod capabilities;
pub mod cluster;
pub mod config;
pub mod plugins;
pub mod runtime;
pub mod transport;

pub use adapter::{Adapter, BoardLayer, HandshakeLayer, KeepAuth, PeerAddr, Secure};
pub use api::{
    Acks, Answer, AnswerError, ApiError, ClientAnswer, Emitter, EmitterOperators, FromCall,
    Handshake, IntoReply, IntoRooms, InvalidPrivateId, MissedPacket, NoAnswer, NodeAnswer,
    Operators, PrivateId, RemoteSocket, RestoredSession, ServerContext, ServerHandler, Session,
    SocketId,
};
pub use board::Board;
pub use cluster::{
    ClusterNode, LeftReason, NodeEvent, NodeEvents, NodeId, NodeInfo, Partial, Room, SendError,
    Stats, SwitchError, SwitchNode, SwitchPhase, SwitchReport, Switched,
};
pub use config::Config;
pub use error::{Error, Fault};
pub use status::{NodeStatus, Rates, Status};
pub use transport::RecoveryError;
