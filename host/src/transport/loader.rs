//! From a plugin's file to code that can be opened, for one server: everything that its plugins have
//! in common.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    RestartPolicy,
    node::NodeView,
    plugin::{PluginSource, TransportPlugin},
};
use crate::{
    Error,
    capabilities::{Connections, Granted},
    cluster::NodeId,
    config::{self, Config, PluginName, Resolved},
    plugins::{PluginFile, PluginFolder},
    runtime::{Limits, Runtime},
};

/// Loads plugins into one engine, onto one server's connections.
pub(crate) struct Loader {
    /// As of now: the file may change while the server runs.
    config: Mutex<Config>,
    runtime: Runtime,
    node: NodeId,
    view: Arc<NodeView>,
    connections: Arc<Connections>,
}

impl Loader {
    /// Starts an engine. Makes folders: call it on a thread that may block.
    pub(super) fn new(
        config: Config,
        node: NodeId,
        view: Arc<NodeView>,
        connections: Arc<Connections>,
    ) -> Result<Self, Error> {
        let runtime = Runtime::new(config.cache.folder())?;
        Ok(Self {
            config: Mutex::new(config),
            runtime,
            node,
            view,
            connections,
        })
    }

    /// The folder with the plugins.
    pub(crate) fn folder(&self) -> PluginFolder {
        self.config().folder()
    }

    /// Plugins are loaded with these settings from now on. Engine and folder stay.
    pub(crate) fn renew(&self, config: &Config) {
        let mut mine = self.config();
        mine.connections = config.connections.clone();
        mine.transports = config.transports.clone();
        mine.limits = config.limits.clone();
    }

    fn config(&self) -> MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a plugin from the folder and loads it. Takes long: call it on a thread that may block.
    pub(crate) fn find_and_load(&self, name: &PluginName) -> Result<TransportPlugin, Error> {
        let file = self.folder().find(name)?;
        let resolved = self.resolve(&file)?;
        self.load(file, resolved)
    }

    /// What the configuration comes to for this file.
    pub(crate) fn resolve(&self, file: &PluginFile) -> Result<Resolved, Error> {
        Ok(self.config().resolve(file)?)
    }

    /// Compiles a plugin. Takes tenths of a second when it is not in the cache: call it on a thread
    /// that may block.
    pub(crate) fn load(
        &self,
        file: PluginFile,
        resolved: Resolved,
    ) -> Result<TransportPlugin, Error> {
        for warning in &resolved.warnings {
            tracing::warn!(plugin = %file.name, "{warning}");
        }
        let source = PluginSource {
            name: file.name.to_string(),
            file: file.path.display().to_string(),
            digest: file.digest.to_string(),
            version: file.manifest.version,
            wasm: file.bytes,
            options: resolved.options.clone(),
            wants_offsets: self.config().cluster.connection_state_recovery,
            limits: limits(&resolved.limits),
            restarts: restarts(&resolved.limits),
            granted: Granted {
                resolved,
                connections: Arc::clone(&self.connections),
            },
        };
        let (node, view) = (self.node.clone(), Arc::clone(&self.view));
        Ok(TransportPlugin::load(&self.runtime, source, node, view)?)
    }
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
