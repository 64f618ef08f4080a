//! The switchboard of one server: its plugin, its cluster, and what an operator may ask of it.

mod operator;

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep};

use self::operator::Operator;
use crate::{
    Error, NodeStatus, Rates, Status,
    adapter::Attachment,
    admin::{AdminPlace, AdminSocket},
    api::Operators,
    cluster::{Cluster, ClusterNode, Namespace, NodeEvents, NodeId},
    config::Config,
    plugins::PluginFolder,
    status::millis,
    transport::{Follower, OpenTransport, Recovery, TransportHandle},
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
    /// Lets new versions of the transport's plugin take over.
    follower: Follower,
    folder: PluginFolder,
    /// The operator's socket, if there is one.
    admin: OnceLock<AdminSocket>,
    started: Instant,
    /// The server that joins through this board, once it is known.
    attachment: Attachment,
}

impl Board {
    /// Loads the transport, opens it and joins the cluster. A backend that cannot be reached is
    /// no error: local clients are served, and the cluster heals when it returns.
    ///
    /// # Errors
    /// When the configuration or the plugin is wrong; see [`Error::fault`].
    pub async fn open(config: Config) -> Result<Self, Error> {
        let folder = config.folder();
        let admin = config.admin.socket.clone().map(AdminPlace::prepare);
        let admin = admin.transpose()?;
        let mut options = config.cluster.clone();
        let name = config.transport.to_string();
        let watch_plugins = config.watch_plugins;
        let OpenTransport {
            publisher,
            subscriber,
            handle,
        } = OpenTransport::open(config).await?;
        let node = handle.node().clone();
        if options.connection_state_recovery && handle.recovery().is_none() {
            tracing::warn!(
                transport = name,
                "cluster.connection_state_recovery is on, but this transport keeps no sessions: \
                 events get no offsets, and no client can recover; choose a transport that does \
                 (redis-streams), or turn it off"
            );
            options.connection_state_recovery = false;
        }
        let cluster = Cluster::start(node.clone(), options, publisher, subscriber);
        handle.view().attach(&cluster);
        tracing::info!(%node, transport = name, "joined the cluster");
        let upgradable = handle.upgradable();
        let follower = Follower::start(watch_plugins, move || upgradable.iter().cloned().collect());
        let board = Self(Arc::new(Inner {
            cluster,
            transport: handle,
            follower,
            folder,
            admin: OnceLock::new(),
            started: Instant::now(),
            attachment: Attachment::default(),
        }));
        if let Some(place) = admin {
            // It asks this board, so it can only be made now: nobody has set it before.
            let socket = AdminSocket::start(place, Arc::new(Operator::new(&board)));
            let _ = board.0.admin.set(socket);
        }
        Ok(board)
    }

    /// This server's id in the cluster.
    pub fn node(&self) -> &NodeId {
        self.0.transport.node()
    }

    /// The cluster core: what the adapter uses, for those who need more.
    pub fn cluster(&self) -> &Cluster {
        &self.0.cluster
    }

    pub(crate) fn attachment(&self) -> &Attachment {
        &self.0.attachment
    }

    /// One namespace in the whole cluster: events, rooms, sockets and servers of all nodes. It
    /// concerns this server as far as it serves the namespace (`io.ns("/chat", …)`), now or later.
    pub fn of(&self, namespace: impl AsRef<str>) -> Operators {
        Operators::new(self.0.cluster.clone(), namespace.as_ref().to_owned())
    }

    /// The other nodes of the cluster: since when, last heard, in which namespaces. Over the
    /// classic Redis adapter, Node.js servers are counted and not named.
    ///
    /// ```no_run
    /// # fn run(board: switchboard::Board) {
    /// for node in board.nodes() {
    ///     println!("{} in {:?} since {:?}", node.id, node.namespaces, node.since);
    /// }
    /// # }
    /// ```
    pub fn nodes(&self) -> Vec<ClusterNode> {
        self.0.cluster.all_nodes()
    }

    /// Tells when a node joins, leaves or is given up, from now on.
    ///
    /// ```no_run
    /// # async fn run(board: switchboard::Board) {
    /// use switchboard::NodeEvent;
    ///
    /// let mut events = board.node_events();
    /// while let Some(event) = events.next().await {
    ///     match event {
    ///         NodeEvent::Joined { node, namespace } => println!("{node} joined {namespace}"),
    ///         NodeEvent::Left { node, namespace, reason } => {
    ///             println!("{node} left {namespace}: {reason:?}");
    ///         }
    ///         other => println!("{other:?}"),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn node_events(&self) -> NodeEvents {
        self.0.cluster.node_events()
    }

    /// How many servers serve a namespace, this one included, as far as is known now.
    pub async fn server_count(&self, namespace: &str) -> usize {
        self.0
            .cluster
            .count_servers(&Namespace::of(namespace))
            .await
    }

    /// The session store of the transport, if it has one.
    pub(crate) fn session_store(&self) -> Option<&Recovery> {
        self.0.transport.recovery()
    }

    /// How this server stands: plugin, instances, other nodes, queues, counters, last errors.
    pub fn status(&self) -> Status {
        let now = SystemTime::now();
        let nodes = self.nodes().into_iter();
        Status {
            node: self.node().to_string(),
            uptime_ms: millis(self.0.started.elapsed()),
            transport: self.0.transport.status(),
            nodes: nodes.map(|node| NodeStatus::new(node, now)).collect(),
            cluster: self.0.cluster.stats(),
            rates: None,
            buses: self.0.transport.buses(),
            redis: self.0.transport.redis(),
        }
    }

    /// The same at the end of this time, with the rates of messages in it. Nothing is measured when
    /// nobody asks.
    pub async fn measure(&self, time: Duration) -> Status {
        let (before, since) = (self.0.cluster.stats(), Instant::now());
        sleep(time).await;
        let mut status = self.status();
        status.rates = Some(Rates::between(&before, &status.cluster, since.elapsed()));
        status
    }

    /// Leaves the cluster: says so to the others, sends what is queued (for at most
    /// `cluster.close_timeout_ms`), closes the plugin and its connections. Local clients are not
    /// touched. Once is enough; more often does no harm.
    pub async fn close(&self) {
        // First, so that server and board let go of each other even if this future is dropped.
        self.0.attachment.close();
        if let Some(admin) = self.0.admin.get() {
            admin.close().await;
        }
        self.0.follower.close().await;
        self.0.cluster.close().await;
        self.0.transport.close().await;
        tracing::info!(node = %self.node(), "left the cluster");
    }
}
