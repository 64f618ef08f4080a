//! Our transports, as the conformance kit wants them: which plugin to load, what its servers meet at
//! (a [`Backend`], which lives as long as the cluster), and what may be expected of it.

use std::{
    env,
    path::{Path, PathBuf},
};

use futures_util::future::BoxFuture;
pub use switchboard_kit::transport::*;
use toml::{Table, Value};

use crate::{Backend, Error, built};

/// Restricts tests to the transport of this name.
const VARIABLE: &str = "SWITCHBOARD_TEST_TRANSPORT";

/// Hands the names of all transports that are tested to a macro: each is a function of
/// [`Transport`]. **This list is the one place that names them.**
#[macro_export]
macro_rules! each_transport {
    ($then:ident) => {
        $then! { local redis redis_sharded redis_streams postgres nats }
    };
}

/// How the servers of a cluster reach each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    label: String,
    plugin: String,
    plugins: Option<PathBuf>,
    backend: Backend,
    toml: String,
    can: Capabilities,
}

macro_rules! all {
    ($($name:ident)+) => {
        impl Transport {
            /// Every transport that is tested.
            pub fn all() -> Vec<Self> {
                vec![$(Self::$name()),+]
            }
        }
    };
}
each_transport!(all);

impl Transport {
    /// The plugin `local`: the processes of one machine on a bus.
    pub fn local() -> Self {
        Self::plugin("local").can(Capabilities::default().reports_deaths(true))
    }

    /// The plugin `redis`, as Node's `createAdapter`.
    pub fn redis() -> Self {
        Self::plugin("redis").backend(Backend::Redis)
    }

    /// The plugin `redis`, as Node's `createShardedAdapter`.
    pub fn redis_sharded() -> Self {
        Self::redis()
            .label("redis_sharded")
            .toml("[transports.redis.options]\nmode = \"sharded\"\nsubscriptionMode = \"static\"")
    }

    /// The plugin `redis-streams`, as Node's `@socket.io/redis-streams-adapter`.
    pub fn redis_streams() -> Self {
        Self::plugin("redis-streams")
            .label("redis_streams")
            .backend(Backend::Redis)
    }

    /// The same on a Redis that keeps its data over a restart. Not in [`Transport::all`].
    pub fn redis_streams_persistent() -> Self {
        let kept = Self::redis_streams().backend(Backend::PersistentRedis);
        kept.label("redis_streams_persistent")
    }

    /// The plugin `redis-streams` on a Redis Cluster of three masters. Not in [`Transport::all`].
    pub fn redis_streams_cluster() -> Self {
        let cluster = Self::redis_streams().backend(Backend::RedisCluster);
        cluster.label("redis_streams_cluster")
    }

    /// The same on a Redis Cluster of three masters. Not in [`Transport::all`]: what differs is
    /// where a message goes, and a choice of scenarios shows that.
    pub fn redis_cluster() -> Self {
        let cluster = Self::redis().backend(Backend::RedisCluster);
        cluster.label("redis_cluster")
    }

    /// The plugin `redis` as Node's `createShardedAdapter`, on a Redis Cluster of three masters.
    pub fn redis_sharded_cluster() -> Self {
        let cluster = Self::redis_sharded().backend(Backend::RedisCluster);
        cluster.label("redis_sharded_cluster")
    }

    /// The plugin `postgres`, as Node's `@socket.io/postgres-adapter`.
    pub fn postgres() -> Self {
        Self::plugin("postgres").backend(Backend::Postgres)
    }

    /// The same with all messages in the table.
    pub fn postgres_durable() -> Self {
        Self::postgres()
            .label("postgres_durable")
            .toml("[transports.postgres.options]\ndurable = true")
    }

    /// The plugin `nats`, which speaks NATS' protocol itself.
    pub fn nats() -> Self {
        Self::plugin("nats").backend(Backend::Nats)
    }

    /// Some plugin, on a bus, of which no more is expected than of every plugin.
    pub fn plugin(name: impl Into<String>) -> Self {
        let plugin = name.into();
        Self {
            label: plugin.clone(),
            plugin,
            plugins: None,
            backend: Backend::Bus,
            toml: String::new(),
            can: Capabilities::default(),
        }
    }

    /// The folder with the plugin, instead of the one where our own are built.
    pub fn folder(mut self, plugins: impl Into<PathBuf>) -> Self {
        self.plugins = Some(plugins.into());
        self
    }

    /// What its servers meet at.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// Configuration that it needs besides its name and its connection.
    pub fn toml(mut self, text: impl Into<String>) -> Self {
        self.toml = text.into();
        self
    }

    /// What may be expected of it.
    pub fn can(mut self, can: Capabilities) -> Self {
        self.can = can;
        self
    }

    /// What it is called in tests, where one plugin is used in several ways.
    fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Its name in tests: the plugin's, or one for a way to use it.
    pub fn name(&self) -> &str {
        &self.label
    }

    /// What may be expected of it.
    pub fn capabilities(&self) -> &Capabilities {
        &self.can
    }

    /// Is this one to be tested? Not if the variable `SWITCHBOARD_TEST_TRANSPORT` names another.
    ///
    /// # Errors
    /// [`Error::Setup`] if the variable names none that there is: then nothing would be tested.
    pub fn is_wanted(&self) -> Result<bool, Error> {
        let only = env::var(VARIABLE).ok();
        is_wanted(self.name(), only.as_deref())
    }

    /// Starts what its servers meet at, in this folder, and says how they find and use it.
    async fn start_in(&self, folder: &Path) -> Result<Started, Error> {
        let mut config = Table::new();
        config.insert("transport".into(), Value::String(self.plugin.clone()));
        let plugins = match &self.plugins {
            Some(plugins) => plugins.clone(),
            None => built::plugins(&self.plugin)?,
        };
        config.insert("plugins".into(), text(&plugins)?);
        // One for all tests: each plugin is compiled once, not once for each server.
        config.insert("cache".into(), text(&built::cache())?);
        let backend = self.backend.start().await?;
        let (kind, at) = backend.connection(folder)?;
        let connection = table(kind, table("main", Value::Table(at)));
        config.insert("connections".into(), connection);
        let granted = Value::Array(vec![Value::String("main".into())]);
        let grants = table("grants", table(kind, granted));
        config.insert("transports".into(), table(&self.plugin, grants));
        Ok(Started {
            config,
            more: self.toml.clone(),
            backend: Box::new(backend),
        })
    }
}

impl Meeting for Transport {
    fn start<'a>(&'a self, folder: &'a Path) -> BoxFuture<'a, Result<Started, Error>> {
        Box::pin(self.start_in(folder))
    }
}

impl From<Transport> for switchboard_kit::Transport {
    fn from(transport: Transport) -> Self {
        Self::new(transport.label.clone(), transport.can, transport)
    }
}

impl From<&Transport> for switchboard_kit::Transport {
    fn from(transport: &Transport) -> Self {
        transport.clone().into()
    }
}

impl From<&str> for Transport {
    fn from(plugin: &str) -> Self {
        Self::all()
            .into_iter()
            .find(|transport| transport.name() == plugin)
            .unwrap_or_else(|| Self::plugin(plugin))
    }
}

impl From<&Self> for Transport {
    fn from(transport: &Self) -> Self {
        transport.clone()
    }
}

fn is_wanted(name: &str, only: Option<&str>) -> Result<bool, Error> {
    let with_a_choice = [
        Transport::redis_cluster(),
        Transport::redis_sharded_cluster(),
        Transport::postgres_durable(),
    ];
    let known = Transport::all().into_iter().chain(with_a_choice);
    let names: Vec<_> = known.map(|transport| transport.label).collect();
    match only {
        Some(only) if !names.iter().any(|name| name == only) => Err(Error::Setup {
            what: format!("{VARIABLE} is {only}, and there is no such transport"),
            fix: format!("set it to one of: {}", names.join(", ")),
        }),
        Some(only) => Ok(only == name),
        None => Ok(true),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Transport, is_wanted};

    #[test]
    fn a_name_means_what_we_know_of_that_transport() {
        assert_eq!(Transport::from("local"), Transport::local());
        let unknown = Transport::from("theirs");
        assert_eq!(unknown.name(), "theirs");
        assert!(!unknown.capabilities().reports_deaths);
    }

    #[test]
    fn one_transport_can_be_chosen_and_a_wrong_name_is_refused() {
        assert!(is_wanted("local", None).unwrap());
        assert!(is_wanted("local", Some("local")).unwrap());
        assert!(!is_wanted("another", Some("local")).unwrap());
        let error = is_wanted("local", Some("locla")).unwrap_err();
        assert!(
            error.to_string().contains("set it to one of: local"),
            "{error}"
        );
    }
}
