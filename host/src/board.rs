//! The switchboard of one server: its plugin, its cluster, and what an operator may ask of it.

mod file;
mod operator;

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, sleep};

use self::{file::FileFollow, operator::Operator};
use crate::{
    Error, NodeStatus, Rates, Status,
    adapter::Attachment,
    admin::{AdminPlace, AdminSocket},
    api::Operators,
    cluster::{
        Cluster, ClusterNode, Namespace, NodeEvents, NodeId, Switch, SwitchError, Switchable,
        Switched,
    },
    config::{Config, Transport},
    plugins::PluginFolder,
    status::millis,
    task::OwnedTask,
    transport::{Follower, LineOpener, Lines, Recovery},
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
    lines: Arc<Lines>,
    /// None with `transport = "none"`.
    switch: Option<Switch>,
    /// Lets new versions of the transports' plugins take over.
    follower: Follower,
    folder: PluginFolder,
    /// Lets changes of the configuration file take effect.
    file: OnceLock<OwnedTask>,
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
        let written = config.clone();
        let has_cluster = !matches!(config.transport, Transport::None);
        let (lines, publisher, subscriber) = Lines::open_home(config, Switchable::HOME).await?;
        let node = lines.identity().node().clone();
        if options.connection_state_recovery && lines.recovery().is_none() {
            tracing::warn!(
                transport = name,
                "cluster.connection_state_recovery is on, but this transport keeps no sessions: \
                 events get no offsets, and no client can recover; choose a transport that does \
                 (redis-streams, or postgres with `durable`), or turn it off"
            );
            options.connection_state_recovery = false;
        }
        let (cluster, switch) = if has_cluster {
            let (publisher, subscriber, switchable) =
                Switchable::new(node.clone(), publisher, subscriber);
            let cluster = Cluster::start(node.clone(), options, publisher, subscriber);
            let opener = LineOpener(Arc::clone(&lines));
            let switch = switchable.start(&cluster, &name, Arc::new(opener));
            (cluster, Some(switch))
        } else {
            let cluster = Cluster::start(node.clone(), options, publisher, subscriber);
            (cluster, None)
        };
        lines.identity().attach(&cluster);
        tracing::info!(%node, transport = name, "joined the cluster");
        let running = Arc::clone(&lines);
        let follower = Follower::start(written.watch_plugins, move || running.upgradable());
        let board = Self(Arc::new(Inner {
            cluster,
            lines,
            switch,
            follower,
            folder,
            file: OnceLock::new(),
            admin: OnceLock::new(),
            started: Instant::now(),
            attachment: Attachment::default(),
        }));
        // These two ask this board, so they can only be made now: nobody has set them before.
        if let Some(follow) = FileFollow::of(&board, &written) {
            let _ = board.0.file.set(OwnedTask::spawn(follow.run()));
        }
        if let Some(place) = admin {
            let socket = AdminSocket::start(place, Arc::new(Operator::new(&board)));
            let _ = board.0.admin.set(socket);
        }
        Ok(board)
    }

    /// This server's id in the cluster.
    pub fn node(&self) -> &NodeId {
        self.0.lines.identity().node()
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
    pub(crate) fn session_store(&self) -> Option<Arc<Recovery>> {
        self.0.lines.recovery()
    }

    /// Moves the whole cluster to another transport, with nothing lost, repeated or reordered: all
    /// servers open it and listen on both, each then ends the old one with a mark and goes on over
    /// the new one, and what comes over the new one waits for the marks. Returns when every server
    /// has left the old transport. May be called on any server, one switch at a time.
    ///
    /// `transport` is the name of a plugin in the folder, configured on every server as usual
    /// (`[transports.NAME]`, connections, grants). A server that cannot open it, or cannot hear
    /// another one there, ends the switch for all, and everything stays as it was. Node.js servers
    /// cannot come along; the switch is refused when there are any, unless `force` says to leave
    /// them behind.
    ///
    /// Dropping the future does not end the switch; [`abort_switch`](Self::abort_switch) does, as
    /// long as nothing is decided.
    ///
    /// # Errors
    /// [`SwitchError`]: the transport is the same as before, everywhere.
    pub async fn switch_to(&self, transport: &str, force: bool) -> Result<Switched, SwitchError> {
        let switch = self.0.switch.as_ref().ok_or(SwitchError::NoCluster)?;
        self.0
            .lines
            .config_for(transport)
            .map_err(SwitchError::Name)?;
        switch.to(transport, force).await
    }

    /// Ends the switch that is being prepared, if there is one and this server has asked for it:
    /// everything stays as it was. Once the servers have begun to leave the old transport it is too
    /// late. True: there was one.
    pub async fn abort_switch(&self) -> bool {
        match &self.0.switch {
            Some(switch) => switch.abort().await,
            None => false,
        }
    }

    /// How this server stands: plugin, instances, other nodes, queues, counters, last errors.
    pub fn status(&self) -> Status {
        let now = SystemTime::now();
        let nodes = self.nodes().into_iter();
        let home = self.0.lines.home();
        let others = self.0.lines.others();
        Status {
            node: self.node().to_string(),
            uptime_ms: millis(self.0.started.elapsed()),
            transport: home.as_ref().and_then(|line| line.status()),
            other_transports: others.iter().filter_map(|line| line.status()).collect(),
            switch: self.0.switch.as_ref().map(Switch::report),
            nodes: nodes.map(|node| NodeStatus::new(node, now)).collect(),
            cluster: self.0.cluster.stats(),
            rates: None,
            buses: home.as_ref().map(|line| line.buses()).unwrap_or_default(),
            redis: home.as_ref().map(|line| line.redis()).unwrap_or_default(),
            postgres: home
                .as_ref()
                .map(|line| line.postgres())
                .unwrap_or_default(),
            tcp: home.as_ref().map(|line| line.tcp()).unwrap_or_default(),
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
        if let Some(file) = self.0.file.get() {
            file.close().await;
        }
        self.0.follower.close().await;
        if let Some(switch) = &self.0.switch {
            switch.close().await;
        }
        self.0.cluster.close().await;
        self.0.lines.close().await;
        tracing::info!(node = %self.node(), "left the cluster");
    }
}
