//! From configuration to a transport at work: finds the plugin's file, compiles it, opens its
//! instances.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use socketioxide_core::Uid;

use super::{
    InstanceReport, InstanceStatus, NoTransport, NodeView, PluginPublisher, PluginSource,
    PluginSubscriber, Recovery, RestartPolicy, TransportPlugin,
};
use crate::{
    Error,
    capabilities::{
        Connections, Granted, bus::BusStatus, postgres::PostgresStatus, redis::RedisStatus,
    },
    cluster::{Cluster, NodeId, Publisher, Subscriber},
    config::{self, Config},
    runtime::{Limits, Runtime},
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
    plugin: Arc<TransportPlugin>,
    instances: Vec<Arc<InstanceStatus>>,
    recovery: Option<Arc<Recovery>>,
    // Held so that the engine's clock ticks as long as instances may run.
    _runtime: Runtime,
}

/// How a plugin does.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct TransportStatus {
    /// Its name.
    pub name: String,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
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
        let Parts {
            mut handle,
            runtime,
            plugin,
        } = Parts::load(identity, config).await?;
        let Some((runtime, plugin)) = runtime.zip(plugin) else {
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
        instances.extend(recovery.as_deref().map(Recovery::status));
        handle.opened(runtime, plugin, instances, recovery);
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
        let Parts {
            mut handle,
            runtime,
            plugin,
        } = Parts::load(Identity::new(), config).await?;
        let Some((runtime, plugin)) = runtime.zip(plugin) else {
            return Ok((Box::new(NoTransport), handle));
        };
        let mut publisher = PluginPublisher::new(Arc::clone(&plugin));
        publisher.open().await?;
        let instances = vec![publisher.status()];
        handle.opened(runtime, plugin, instances, None);
        Ok((Box::new(publisher), handle))
    }
}

/// What there is before an instance is opened.
struct Parts {
    handle: TransportHandle,
    runtime: Option<Runtime>,
    plugin: Option<Arc<TransportPlugin>>,
}

impl Parts {
    async fn load(identity: Identity, config: Config) -> Result<Self, Error> {
        let Identity { node, view } = identity;
        let connections = Arc::new(Connections::new(Arc::from(node.as_str())));

        // Reading, checking and compiling take a while: not on a thread that serves others.
        let (at, to) = (node.clone(), Arc::clone(&connections));
        let loaded = tokio::task::spawn_blocking(move || load(&config, at, to, view)).await;
        // A panic in the compiler is passed on; the task is never cancelled.
        let loaded =
            loaded.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let (runtime, plugin) = loaded.unzip();
        let handle = TransportHandle {
            node,
            connections,
            plugin: None,
        };
        Ok(Self {
            handle,
            runtime,
            plugin: plugin.map(Arc::new),
        })
    }
}

impl TransportHandle {
    fn opened(
        &mut self,
        runtime: Runtime,
        plugin: Arc<TransportPlugin>,
        instances: Vec<Arc<InstanceStatus>>,
        recovery: Option<Arc<Recovery>>,
    ) {
        tracing::info!(
            plugin = plugin.name,
            digest = plugin.digest,
            "the transport is open"
        );
        self.plugin = Some(LoadedPlugin {
            plugin,
            instances,
            recovery,
            _runtime: runtime,
        });
    }

    /// The id under which it publishes.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Plugin and instances; none with `transport = "none"`.
    pub fn status(&self) -> Option<TransportStatus> {
        let loaded = self.plugin.as_ref()?;
        Some(TransportStatus {
            name: loaded.plugin.name.clone(),
            digest: loaded.plugin.digest.clone(),
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

fn load(
    config: &Config,
    node: NodeId,
    connections: Arc<Connections>,
    view: Arc<NodeView>,
) -> Result<Option<(Runtime, TransportPlugin)>, Error> {
    config.check()?;
    let config::Transport::Plugin(name) = &config.transport else {
        return Ok(None);
    };
    let file = config.folder().find(name)?;
    let resolved = config.resolve(&file)?;
    for warning in &resolved.warnings {
        tracing::warn!(plugin = %file.name, "{warning}");
    }
    let runtime = Runtime::new(config.cache.folder())?;
    let source = PluginSource {
        name: file.name.to_string(),
        file: file.path.display().to_string(),
        digest: file.digest.to_string(),
        wasm: file.bytes,
        options: resolved.options.clone(),
        limits: limits(&resolved.limits),
        restarts: restarts(&resolved.limits),
        granted: Granted {
            resolved,
            connections,
        },
    };
    let plugin = TransportPlugin::load(&runtime, source, node, view)?;
    Ok(Some((runtime, plugin)))
}

fn limits(limits: &config::Limits) -> Limits {
    Limits {
        memory_bytes: limits.memory_bytes,
        cpu: limits.cpu,
        call_timeout: limits.call_timeout,
        log_lines_per_second: limits.log_lines_per_second,
        allow_wasi: limits.allow_wasi,
        recycle_memory_bytes: limits.recycle_memory_bytes,
    }
}

fn restarts(limits: &config::Limits) -> RestartPolicy {
    RestartPolicy {
        backoff_min: limits.restart_backoff_min,
        backoff_max: limits.restart_backoff_max,
        max_restarts: usize::try_from(limits.max_restarts).unwrap_or(usize::MAX),
        window: limits.restart_window,
    }
}
