//! The conformance kit: what every transport must do, checked from outside with real server
//! processes and real Socket.IO clients.
//!
//! What every transport must do is in [`scenarios`]. What carries them out: [`Cluster`], which starts
//! servers and asks them, [`Clients`], and [`Proxy`], which cuts a backend off. The servers, the
//! emitters and the clients are programs that take commands on their standard input ([`protocol`]);
//! which programs those are is said in [`programs`], and what ours do is in [`subject`], [`sender`] and
//! [`client`]. Nothing else here knows how Switchboard works inside: a server is started, asked and
//! stopped from outside, so that a Node.js server could stand in its place.
//!
//! The command `switchboard check` runs all of this for one plugin ([`check`]); Switchboard's own
//! tests run the scenarios for its own transports, with `socket.io-client` as the clients.
//!
//! ```no_run
//! # async fn story() -> Result<(), switchboard_kit::Error> {
//! use serde_json::json;
//! use switchboard_kit::{Clients, Cluster, Connect, Select};
//!
//! let cluster = Cluster::builder().transport("mine").plugins("plugins").nodes(2).start().await?;
//! let clients = Clients::start().await?;
//! let ada = clients.connect(cluster.node(1).url(), Connect::default()).await?;
//!
//! cluster.node(0).broadcast(&Select::all(), "hello", json!(["world"])).await?;
//! assert_eq!(ada.wait_for("hello", 1).await?, [json!(["world"])]);
//! # Ok(())
//! # }
//! ```

pub mod check;
pub mod client;
mod clients;
mod cluster;
pub mod console;
mod emitter;
mod error;
mod lines;
mod log;
mod port;
mod process;
pub mod programs;
pub mod promises;
pub mod protocol;
mod proxy;
pub mod scenarios;
pub mod sender;
mod server;
pub mod subject;
pub mod transport;
pub mod value;
mod wait;
mod whole_cluster;

pub use clients::{Answer, Client, ClientSession, Clients, Connect, Resume, Tally, Way};
pub use cluster::{Cluster, ClusterBuilder};
pub use emitter::{Emitter, switchboard_command};
pub use error::Error;
pub use log::Log;
pub use port::Port;
pub use process::Process;
pub use protocol::{
    Ack, Acks, Answers, Binary, ClientAck, Flood, FloodReport, Looked, NodeAnswer, NodeEvent,
    NodeSeen, Parser, Partial, RemoteAction, RemoteSocket, Select, ServerEvent, Socket,
};
pub use proxy::{Proxy, Traffic};
pub use server::{Launch, Server};
pub use transport::Transport;
pub use value::bytes;
pub use wait::{DEADLINE, until};
