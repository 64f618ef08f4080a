//! From configuration to a transport at work: finds the plugin's file, compiles it, opens its
//! instances.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use socketioxide_core::Uid;

use super::{
    InstanceReport, InstanceStatus, Loader, NoTransport, NodeView, PluginPublisher,
    PluginSubscriber, Recovery, TransportPlugin, Upgradable, Upgrader,
};
use crate::{
    Error,
    capabilities::{
        Connections, bus::BusStatus, postgres::PostgresStatus, redis::RedisStatus, tcp::TcpStatus,
    },
    cluster::{Cluster, NodeId, Publisher, Subscriber},
    config::{Config, Transport},
};

/// The two ways of a transport, and what goes with them. [`Board::open`](crate::Board::open) puts
/// a cluster on top; tools that test or measure a transport use it as it is.
pub struct OpenTransport {
    /// The way out.
    pub publisher: Box<dyn Publisher>,
    /// The way in.
    pub subscriber: Box<dyn Subscriber>,
    /// What stays when the two ways are given away.
    pub handle: TransportHandle,
}

/// A transport's identity, status, session store and connections.
pub struct TransportHandle {
    node: NodeId,
    connections: Arc<Connections>,
    plugin: Option<LoadedPlugin>,
}

struct LoadedPlugin {
    running: Running,
    instances: Vec<Arc<InstanceStatus>>,
    recovery: Option<Arc<Recovery>>,
    // Holds the engine, whose clock ticks as long as instances may run.
    loader: Arc<Loader>,
}

/// Which plugin it is.
enum Running {
    /// The same for ever: a process that only sends does not live long.
    Fixed(Arc<TransportPlugin>),
    /// Other versions of it may take over.
    Upgradable(Upgrader),
}

/// How a plugin does.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TransportStatus {
    /// Its name.
    pub name: String,
    /// Its author's name for this state of it, if the manifest says one.
    pub version: Option<String>,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// What it may use, in words: a line for each connection.
    pub grants: Vec<String>,
    /// Its instances: publisher, subscriber, and recovery if it has one.
    pub instances: Vec<InstanceReport>,
}

/// Who a server is to its transports, one after the other: its id does not change with them.
#[derive(Clone)]
pub(crate) struct Identity {
    node: NodeId,
    view: Arc<NodeView>,
}

impl Identity {
    pub(crate) fn new() -> Self {
        // As socketioxide's own server ids, so that remote sockets can name their server.
        let node = NodeId::from(Uid::new().to_string());
        let view = Arc::new(NodeView::new(node.clone()));
        Self { node, view }
    }

    pub(crate) fn node(&self) -> &NodeId {
        &self.node
    }

    /// From now on plugins see this cluster's namespaces.
    pub(crate) fn attach(&self, cluster: &Cluster) {
        self.view.attach(cluster);
    }
}

impl OpenTransport {
    /// Opens the transport that the configuration names, under a node id of its own. A backend
    /// that cannot be reached is no error.
    ///
    /// # Errors
    /// When the configuration or the plugin is wrong.
    pub async fn open(config: Config) -> Result<Self, Error> {
        Self::open_as(Identity::new(), config).await
    }

    /// The same for a server that may have several transports, one after the other.
    pub(crate) async fn open_as(identity: Identity, config: Config) -> Result<Self, Error> {
        let Parts { mut handle, loaded } = Parts::load(identity, config).await?;
        let Some((loader, plugin)) = loaded else {
            return Ok(Self {
                publisher: Box::new(NoTransport),
                subscriber: Box::new(NoTransport),
                handle,
            });
        };

        let mut publisher = PluginPublisher::new(Arc::clone(&plugin));
        publisher.open().await?;
        let subscriber = PluginSubscriber::open(Arc::clone(&plugin)).await?;
        let recovery = Recovery::new(Arc::clone(&plugin)).map(Arc::new);
        let mut instances = vec![publisher.status(), subscriber.status()];
        instances.extend(recovery.as_ref().map(|recovery| recovery.status()));
        let seats = (publisher.seat(), subscriber.seat(), recovery.clone());
        let upgrader = Upgrader::new(plugin, seats.0, seats.1, seats.2);
        handle.opened(LoadedPlugin {
            running: Running::Upgradable(upgrader),
            instances,
            recovery,
            loader,
        });
        Ok(Self {
            publisher: Box::new(publisher),
            subscriber: Box::new(subscriber),
            handle,
        })
    }

    /// Opens the way out alone, for a process that only sends.
    ///
    /// # Errors
    /// When the configuration or the plugin is wrong.
    pub async fn open_way_out(
        config: Config,
    ) -> Result<(Box<dyn Publisher>, TransportHandle), Error> {
        let Parts { mut handle, loaded } = Parts::load(Identity::new(), config).await?;
        let Some((loader, plugin)) = loaded else {
            return Ok((Box::new(NoTransport), handle));
        };
        let mut publisher = PluginPublisher::new(Arc::clone(&plugin));
        publisher.open().await?;
        handle.opened(LoadedPlugin {
            instances: vec![publisher.status()],
            running: Running::Fixed(plugin),
            recovery: None,
            loader,
        });
        Ok((Box::new(publisher), handle))
    }
}

/// What there is before an instance is opened.
struct Parts {
    handle: TransportHandle,
    /// None with `transport = "none"`.
    loaded: Option<(Arc<Loader>, Arc<TransportPlugin>)>,
}

impl Parts {
    async fn load(identity: Identity, config: Config) -> Result<Self, Error> {
        config.check()?;
        let Identity { node, view } = identity;
        let connections = Arc::new(Connections::new(Arc::from(node.as_str())));
        let handle = TransportHandle {
            node: node.clone(),
            connections: Arc::clone(&connections),
            plugin: None,
        };
        let Transport::Plugin(name) = config.transport.clone() else {
            return Ok(Self {
                handle,
                loaded: None,
            });
        };
        // Reading, checking and compiling take a while: not on a thread that serves others.
        let load = move || {
            let loader = Loader::new(config, node, view, connections)?;
            let plugin = loader.find_and_load(&name)?;
            Ok::<_, Error>((Arc::new(loader), Arc::new(plugin)))
        };
        let loaded = tokio::task::spawn_blocking(load).await;
        // A panic in the compiler is passed on; the task is never cancelled.
        let loaded =
            loaded.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        Ok(Self {
            handle,
            loaded: Some(loaded),
        })
    }
}

impl Running {
    fn plugin(&self) -> Arc<TransportPlugin> {
        match self {
            Self::Fixed(plugin) => Arc::clone(plugin),
            Self::Upgradable(upgrader) => upgrader.current(),
        }
    }
}

impl TransportHandle {
    fn opened(&mut self, loaded: LoadedPlugin) {
        let plugin = loaded.running.plugin();
        tracing::info!(
            plugin = plugin.name,
            digest = plugin.digest,
            "the transport is open"
        );
        self.plugin = Some(loaded);
    }

    /// What other versions of its plugin need to take over; none with `transport = "none"`, and where
    /// only the way out is open.
    pub(crate) fn upgradable(&self) -> Option<Upgradable> {
        let loaded = self.plugin.as_ref()?;
        match &loaded.running {
            Running::Fixed(_) => None,
            Running::Upgradable(upgrader) => Some(Upgradable {
                upgrader: upgrader.clone(),
                loader: Arc::clone(&loaded.loader),
            }),
        }
    }

    /// The id under which it publishes.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Plugin and instances; none with `transport = "none"`.
    pub fn status(&self) -> Option<TransportStatus> {
        let loaded = self.plugin.as_ref()?;
        let plugin = loaded.running.plugin();
        Some(TransportStatus {
            name: plugin.name.clone(),
            version: plugin.version.clone(),
            digest: plugin.digest.clone(),
            grants: plugin.grants(),
            instances: loaded
                .instances
                .iter()
                .map(|instance| instance.report())
                .collect(),
        })
    }

    /// The buses that it is on, by connection name.
    pub fn buses(&self) -> BTreeMap<String, BusStatus> {
        self.connections.bus_status()
    }

    /// Its Redis connections, by name.
    pub fn redis(&self) -> BTreeMap<String, RedisStatus> {
        self.connections.redis_status()
    }

    /// Its Postgres connections, by name.
    pub fn postgres(&self) -> BTreeMap<String, PostgresStatus> {
        self.connections.postgres_status()
    }

    /// Its connections over TCP, by name.
    pub fn tcp(&self) -> BTreeMap<String, TcpStatus> {
        self.connections.tcp_status()
    }

    /// The session store, if the plugin has one.
    pub fn recovery(&self) -> Option<&Arc<Recovery>> {
        self.plugin.as_ref()?.recovery.as_ref()
    }

    /// Closes the session store and the connections. The two ways are closed by their owner.
    pub async fn close(&self) {
        if let Some(recovery) = self.recovery() {
            recovery.close().await;
        }
        self.connections.close().await;
    }
}
