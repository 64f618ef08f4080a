//! Configuration: `switchboard.toml`, environment variables, and the same settings in code.
//!
//! What lives here: the settings and their defaults, where they are read from, whether they make
//! sense together, and what they come to for one plugin ([`Resolved`]). What does not: how text
//! becomes typed values with good error messages (`document/`), and what the parts mean
//! (`cluster`, `capabilities` and `runtime` own their options). Nothing here opens a connection or
//! runs a plugin.
//!
//! Later beats earlier: defaults, the file, the environment, changes in code.

mod builder;
mod changes;
mod check;
pub(crate) mod document;
mod granted;
mod grants;
mod limits;
mod names;
mod resolve;
mod settings;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Deserializer};

pub(crate) use self::changes::Changes;
use self::document::{Document, Origin, Problems};
pub use self::{
    builder::ConfigBuilder,
    document::{ConfigError, Problem},
    granted::Denied,
    grants::{Grant, Grants, PostgresGrant, RedisGrant, TcpGrant, Which},
    limits::{LimitOverrides, Limits},
    names::{ClusterName, ConnectionName, InvalidName, MAX_NAME_BYTES, PluginName},
    resolve::Resolved,
    settings::{Admin, Cache, Connections, Transport, TransportConfig},
};
use crate::{
    cluster::ClusterOptions,
    plugins::{PluginFolder, Stamp},
};

/// The file that [`Config::load`] reads when `SWITCHBOARD_CONFIG` names no other.
pub const DEFAULT_FILE: &str = "switchboard.toml";

/// The variable that names the file.
const FILE_VARIABLE: &str = "SWITCHBOARD_CONFIG";

/// Everything that can be set. Every setting has a default: an empty configuration joins the
/// processes of this machine through the plugin `local`.
///
/// ```toml
/// name = "chat"
/// transport = "local"
///
/// [cluster]
/// heartbeat_interval_ms = 2000
///
/// [connections.bus.main]
/// path = "/run/chat/bus.sock"
///
/// [transports.local]
/// grants = { bus = ["main"] }
/// ```
///
/// Environment variables say the same: `SWITCHBOARD_CLUSTER__HEARTBEAT_INTERVAL_MS=2000` (two
/// underscores between a table and its key, in any case, `_` for the hyphens of names). A value
/// is read as TOML, and as text if it is none. Every variable that starts with `SWITCHBOARD_` must
/// be a setting, besides `SWITCHBOARD_CONFIG` (the file), `SWITCHBOARD_LOG` and
/// `SWITCHBOARD_TEST_*` (for programs), and those that Kubernetes makes of a service called
/// `switchboard`.
///
/// Relative paths are relative to the file that they stand in; from the environment and from code,
/// to the working directory.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Names the cluster on this machine. Default `default`.
    pub name: ClusterName,
    /// Which transport joins this server to its cluster. Default `local`; `none` for a server
    /// without a cluster.
    pub transport: Transport,
    /// The folder with the plugins. Default `plugins`.
    pub plugins: PathBuf,
    /// How often the plugin folder and the configuration file are looked at for changes: a new
    /// version of the running transport takes over, and another `transport` in the file moves the
    /// cluster, when the file has not changed between two looks. Default 1 s; 0 for never, else 10 ms
    /// to an hour.
    #[serde(rename = "watch_plugins_ms", deserialize_with = "milliseconds")]
    pub watch_plugins: Duration,
    /// Where compiled plugins are kept. Default: in the user's cache folder.
    pub cache: Cache,
    /// Limits and times of the cluster core.
    pub cluster: ClusterOptions,
    /// Limits on every plugin.
    pub limits: Limits,
    /// Connections that plugins can be granted.
    pub connections: Connections,
    /// What is set for single transports, by the plugin's name.
    pub transports: BTreeMap<PluginName, TransportConfig>,
    /// How the operator reaches the running server; not at all unless this says so.
    pub admin: Admin,
    /// The file that it was read from.
    #[serde(skip)]
    pub(crate) file: Option<Source>,
}

/// A file that a configuration was read from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Source {
    /// Absolute.
    pub(crate) path: PathBuf,
    /// What the file was like before it was read; none when it was not there then.
    pub(crate) stamp: Option<Stamp>,
    /// What it said, with the environment over it and nothing that was set in code.
    pub(crate) said: Arc<Config>,
}

impl Default for Config {
    /// The configuration of an empty file in the working directory.
    fn default() -> Self {
        Self {
            name: ClusterName::default(),
            transport: Transport::default(),
            plugins: PathBuf::from("plugins"),
            watch_plugins: Duration::from_secs(1),
            cache: Cache::default(),
            cluster: ClusterOptions::default(),
            limits: Limits::default(),
            connections: Connections::default(),
            transports: BTreeMap::new(),
            admin: Admin::default(),
            file: None,
        }
    }
}

impl Config {
    /// Reads the file that `SWITCHBOARD_CONFIG` names, else `switchboard.toml` in the working
    /// directory if it is there, and the environment over it.
    ///
    /// # Errors
    /// Everything that is wrong, with its place. The fault is the configuration's.
    pub fn load() -> Result<Self, ConfigError> {
        match env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty()) {
            Some(path) => Self::from_file(path),
            None if is_there(Path::new(DEFAULT_FILE)) => Self::from_file(DEFAULT_FILE),
            None => read(|_| Document::default(), Path::new(""), env::vars_os()),
        }
    }

    /// Reads this file, and the environment over it.
    ///
    /// # Errors
    /// As [`load`](Self::load); also if the file cannot be read.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let stamp = Stamp::of(path);
        let base = path.parent().unwrap_or(Path::new(""));
        let mut config = read(
            |problems| Document::read(path, problems),
            base,
            env::vars_os(),
        )?;
        // Fails only without a working directory, and then it cannot be read again.
        config.file = std::path::absolute(path).ok().map(|path| Source {
            path,
            stamp,
            said: Arc::new(config.clone()),
        });
        Ok(config)
    }

    /// Reads TOML text as if it stood in a file in `base_dir`. The environment is left out.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_toml(text: &str, base_dir: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let parse = |problems: &mut Problems| Document::parse(text, DEFAULT_FILE, problems);
        read(parse, base_dir.as_ref(), [])
    }

    /// Settings in code, over the defaults. To set something over a file, start from what was
    /// read: `Config::load()?.into_builder()`.
    pub fn builder() -> ConfigBuilder {
        Self::default().into_builder()
    }

    /// Settings in code, over these.
    pub fn into_builder(self) -> ConfigBuilder {
        ConfigBuilder::new(self)
    }

    /// Are the settings within their limits, and do they fit together? What was read or built has
    /// been checked; ask again after changing fields.
    ///
    /// # Errors
    /// Everything that is wrong. The fault is the configuration's.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        check::check(self, &Document::default(), &mut problems);
        problems.into_result()
    }

    /// The plugin folder.
    pub fn folder(&self) -> PluginFolder {
        PluginFolder::new(&self.plugins)
    }
}

fn milliseconds<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    u64::deserialize(from).map(Duration::from_millis)
}

/// A file that is there and cannot be read must not pass for one that is absent.
pub(crate) fn is_there(path: &Path) -> bool {
    std::fs::symlink_metadata(path)
        .err()
        .map(|error| error.kind())
        != Some(std::io::ErrorKind::NotFound)
}

fn read(
    written: impl FnOnce(&mut Problems) -> Document,
    base: &Path,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Config, ConfigError> {
    let mut problems = Problems::default();
    let mut document = written(&mut problems);
    document.apply_environment(variables, &mut problems);
    let mut config: Config = document.decode(&mut problems).unwrap_or_default();
    anchor_paths(&mut config, &document, base);
    check::check(&config, &document, &mut problems);
    problems.into_result()?;
    Ok(config)
}

/// Makes the paths absolute, so that they survive a change of the working directory.
fn anchor_paths(config: &mut Config, document: &Document, base: &Path) {
    let anchor = |path: &mut PathBuf, key: &[&str]| {
        let joined = match document.origin(key) {
            Some(Origin::Variable(_)) => path.clone(),
            _ => base.join(&path),
        };
        // Fails only without a working directory, and then a relative path does not work either.
        *path = std::path::absolute(&joined).unwrap_or(joined);
    };
    anchor(&mut config.plugins, &["plugins"]);
    if let Cache::Folder(folder) = &mut config.cache {
        anchor(folder, &["cache"]);
    }
    if let Some(socket) = &mut config.admin.socket {
        anchor(socket, &["admin", "socket"]);
    }
    for (name, options) in &mut config.connections.bus {
        let key = ["connections", "bus", name.as_str(), "path"];
        if document.origin(&key).is_some() {
            anchor(&mut options.path, &key);
        }
    }
    for (name, options) in &mut config.connections.redis {
        let key = ["connections", "redis", name.as_str(), "tls", "ca_file"];
        if let Some(path) = &mut options.tls.ca_file {
            anchor(path, &key);
        }
    }
    for (name, options) in &mut config.connections.postgres {
        let key = ["connections", "postgres", name.as_str(), "tls", "ca_file"];
        if let Some(path) = &mut options.tls.ca_file {
            anchor(path, &key);
        }
    }
    for (name, options) in &mut config.connections.tcp {
        let key = ["connections", "tcp", name.as_str(), "tls", "ca_file"];
        if let Some(path) = &mut options.tls.ca_file {
            anchor(path, &key);
        }
    }
}
