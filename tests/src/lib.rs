//! Helpers for Switchboard's own tests across processes: backends, Node.js servers, our transports.
//!
//! The tests themselves are in `tests/tests`. Servers, clients and the scenarios that every transport
//! is held to are those of the conformance kit, `switchboard_kit`, all of which is found here too.
//!
//! ```no_run
//! # async fn story() -> Result<(), switchboard_tests::Error> {
//! use serde_json::json;
//! use switchboard_tests::{Clients, Cluster, Connect, Select, Transport};
//!
//! let cluster = Cluster::builder().transport(Transport::local()).nodes(2).start().await?;
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
mod guard;
mod nats;
mod node_emitter;
mod node_script;
mod node_server;
mod postgres;
mod redis;
pub mod transport;

pub use backend::{Backend, Backends};
pub use nats::Nats;
pub use node_emitter::NodeEmitter;
pub(crate) use node_script::node_script;
pub use node_server::{NodeAdapter, NodeLaunch, NodeServers};
pub use postgres::Postgres;
pub use redis::{Redis, RedisBuilder, RedisCluster, Reply, Sentinel};
pub use switchboard_kit::*;
pub use transport::Transport;
