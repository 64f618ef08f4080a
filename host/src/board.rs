//! The switchboard of one server: its plugin, its cluster, and what an operator may ask of it.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use crate::{
    Error,
    capabilities::bus::BusStatus,
    cluster::{Cluster, NodeId, Stats},
    config::Config,
    transport::{OpenTransport, Recovery, TransportHandle, TransportStatus},
};

/// Joins one server to a cluster. Cheap to clone; give a clone to
/// `SocketIo::builder().with_adapter::<switchboard::Adapter<_>>(board)`.
///
/// ```no_run
/// # async fn run() -> Result<(), switchboard::Error> {
/// let config = switchboard::Config::builder().transport("none").build()?;
/// let board = switchboard::Board::open(config).await?;
/// println!("this node is {}", board.node());
/// // … serve …
/// board.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Board(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    transport: TransportHandle,
}

/// How a server stands in its cluster.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// This server's id.
    pub node: String,
    /// Its plugin; none with `transport = "none"`.
    pub transport: Option<TransportStatus>,
    /// Queues and counters.
    pub cluster: Stats,
    /// The buses that it is on, by connection name.
    pub buses: BTreeMap<String, BusStatus>,
}

impl Board {
    /// Loads the transport, opens it and joins the cluster. A backend that cannot be reached is
    /// no error: local clients are served, and the cluster heals when it returns.
    ///
    /// # Errors
    /// When the configuration or the plugin is wrong; see [`Error::fault`].
    pub async fn open(config: Config) -> Result<Self, Error> {
        let options = config.cluster.clone();
        let name = config.transport.to_string();
        let OpenTransport {
            publisher,
            subscriber,
            handle,
        } = OpenTransport::open(config).await?;
        let node = handle.node().clone();
        let cluster = Cluster::start(node.clone(), options, publisher, subscriber);
        handle.view().attach(&cluster);
        tracing::info!(%node, transport = name, "joined the cluster");
        Ok(Self(Arc::new(Inner {
            cluster,
            transport: handle,
        })))
    }

    /// This server's id in the cluster.
    pub fn node(&self) -> &NodeId {
        self.0.transport.node()
    }

    /// The cluster core: what the adapter uses, for those who need more.
    pub fn cluster(&self) -> &Cluster {
        &self.0.cluster
    }

    /// How many servers serve a namespace, this one included, as far as is known now.
    pub async fn server_count(&self, namespace: &str) -> usize {
        self.0.cluster.count_servers(&namespace.into()).await
    }

    /// The session store of the transport, if it has one.
    pub fn recovery(&self) -> Option<&Recovery> {
        self.0.transport.recovery()
    }

    /// How this server stands: plugin, instances, queues, counters, last errors.
    pub fn status(&self) -> Status {
        Status {
            node: self.node().to_string(),
            transport: self.0.transport.status(),
            cluster: self.0.cluster.stats(),
            buses: self.0.transport.buses(),
        }
    }

    /// Leaves the cluster: says so to the others, sends what is queued (for at most
    /// `cluster.close_timeout_ms`), closes the plugin and its connections. Local clients are not
    /// touched. Once is enough; more often does no harm.
    pub async fn close(&self) {
        self.0.cluster.close().await;
        self.0.transport.close().await;
        tracing::info!(node = %self.node(), "left the cluster");
    }
}
