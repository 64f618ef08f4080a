//! The same settings in code.

use std::{path::PathBuf, time::Duration};

use super::{
    Cache, ClusterName, Config, ConfigError, ConnectionName, InvalidName, Limits, PluginName,
    Transport, TransportConfig, document::Problems,
};
use crate::{capabilities::bus::BusOptions, cluster::ClusterOptions};

/// Settings in code. Each call replaces what was set before; all are checked by
/// [`build`](Self::build), so that everything that is wrong is reported together.
///
/// ```
/// # use switchboard::config::{Config, ConfigError};
/// # fn main() -> Result<(), ConfigError> {
/// let config = Config::builder().name("chat").transport("none").build()?;
/// assert_eq!(config.name.as_str(), "chat");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is set until `build` is called"]
pub struct ConfigBuilder {
    config: Config,
    problems: Problems,
}

impl ConfigBuilder {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            problems: Problems::default(),
        }
    }

    /// See [`Config::name`].
    pub fn name(self, name: &str) -> Self {
        self.set("name", name, name.parse::<ClusterName>(), |config, name| {
            config.name = name
        })
    }

    /// See [`Config::transport`]: the name of a plugin, or `none`.
    pub fn transport(self, name: &str) -> Self {
        self.set(
            "transport",
            name,
            name.parse::<Transport>(),
            |config, transport| {
                config.transport = transport;
            },
        )
    }

    /// See [`Config::plugins`].
    pub fn plugins(mut self, folder: impl Into<PathBuf>) -> Self {
        self.config.plugins = folder.into();
        self
    }

    /// See [`Config::watch_plugins`].
    pub fn watch_plugins(mut self, every: Duration) -> Self {
        self.config.watch_plugins = every;
        self
    }

    /// See [`Config::cache`].
    pub fn cache(mut self, cache: Cache) -> Self {
        self.config.cache = cache;
        self
    }

    /// See [`Config::cluster`].
    pub fn cluster(mut self, options: ClusterOptions) -> Self {
        self.config.cluster = options;
        self
    }

    /// See [`ClusterOptions::connection_state_recovery`].
    pub fn connection_state_recovery(mut self, on: bool) -> Self {
        self.config.cluster.connection_state_recovery = on;
        self
    }

    /// See [`Config::limits`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// See [`Admin::socket`](super::Admin::socket).
    pub fn admin_socket(mut self, socket: impl Into<PathBuf>) -> Self {
        self.config.admin.socket = Some(socket.into());
        self
    }

    /// A bus: `[connections.bus.NAME]`.
    pub fn bus(self, name: &str, options: BusOptions) -> Self {
        let key = "connections.bus";
        self.set(key, name, name.parse::<ConnectionName>(), |config, name| {
            config.connections.bus.insert(name, options);
        })
    }

    /// What is set for one transport: `[transports.NAME]`.
    pub fn transport_config(self, name: &str, settings: TransportConfig) -> Self {
        let key = "transports";
        self.set(key, name, name.parse::<PluginName>(), |config, name| {
            config.transports.insert(name, settings);
        })
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// Everything that is wrong. The fault is with who called the setters.
    pub fn build(mut self) -> Result<Config, ConfigError> {
        super::check::check(
            &self.config,
            &super::Document::default(),
            &mut self.problems,
        );
        self.problems.into_result()?;
        Ok(self.config)
    }

    fn set<T>(
        mut self,
        key: &str,
        text: &str,
        value: Result<T, InvalidName>,
        apply: impl FnOnce(&mut Config, T),
    ) -> Self {
        match value {
            Ok(value) => apply(&mut self.config, value),
            Err(why) => self
                .problems
                .add(None, format!("`{key}` cannot be {text:?}: {why}")),
        }
        self
    }
}
