//! Helpers for tests that need more than one process: real servers, real Socket.IO clients.
//!
//! The tests themselves are in `tests/tests`; what one of their servers does is in the binary
//! `test-server` (`src/bin/test-server`), and of a process that only sends `test-emitter`. What every
//! transport must do is in [`scenarios`]. Nothing here knows how Switchboard works inside: a server
//! is started, asked and stopped from outside, so that a Node.js server could stand in its place.
//!
//! ```no_run
//! # async fn story() -> Result<(), switchboard_tests::Error> {
//! use serde_json::json;
//! use switchboard_tests::{Clients, Cluster, Connect, Select};
//!
//! let cluster = Cluster::builder().nodes(2).start().await?;
//! let clients = Clients::start().await?;
//! let ada = clients.connect(cluster.node(1).url(), Connect::default()).await?;
//!
//! cluster.node(0).broadcast(&Select::all(), "hello", json!(["world"])).await?;
//! assert_eq!(ada.wait_for("hello", 1).await?, [json!(["world"])]);
//! # Ok(())
//! # }
//! ```

mod backend;
pub mod built;
mod clients;
mod cluster;
pub mod console;
mod emitter;
mod error;
mod guard;
mod lines;
mod log;
mod nats;
mod node_emitter;
mod node_script;
mod node_server;
mod port;
mod postgres;
mod process;
pub mod protocol;
mod proxy;
mod redis;
pub mod scenarios;
mod server;
pub mod transport;
pub mod value;
mod wait;
mod whole_cluster;

pub use backend::Backend;
pub use clients::{Answer, Client, ClientSession, Clients, Connect, Resume, Tally, Way};
pub use cluster::{Cluster, ClusterBuilder};
pub use emitter::{Emitter, switchboard_command};
pub use error::Error;
pub use log::Log;
pub use nats::Nats;
pub use node_emitter::NodeEmitter;
pub(crate) use node_script::node_script;
pub use node_server::{NodeAdapter, NodeLaunch};
pub use postgres::Postgres;
pub use process::Process;
pub use protocol::{
    Ack, Acks, Answers, Binary, ClientAck, Flood, FloodReport, Looked, NodeAnswer, NodeEvent,
    NodeSeen, Parser, Partial, RemoteAction, RemoteSocket, Select, ServerEvent, Socket,
};
pub use proxy::{Proxy, Traffic};
pub use redis::{Redis, RedisBuilder, RedisCluster, Reply, Sentinel};
pub use server::{Launch, Server};
pub use transport::Transport;
pub use value::bytes;
pub use wait::{DEADLINE, until};
