//! The parts of a configuration that are no more than data: which transport, where compiled code
//! is kept, the connections, and what is set for one transport.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{Deserialize, Deserializer, de::Visitor};
use serde_json::{Map, Value};

use super::{ClusterName, ConnectionName, Grants, InvalidName, LimitOverrides, PluginName};
use crate::{
    capabilities::{
        bus::BusOptions, postgres::PostgresOptions, redis::RedisOptions, tcp::TcpOptions,
    },
    plugins::Digest,
};

/// Which transport joins this server to its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `"none"`: no cluster, a single server.
    None,
    /// A plugin.
    Plugin(PluginName),
}

impl Default for Transport {
    /// The plugin `local`.
    fn default() -> Self {
        Self::Plugin(PluginName::local())
    }
}

impl std::str::FromStr for Transport {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text {
            "none" => Ok(Self::None),
            name => name.parse().map(Self::Plugin),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Plugin(name) => fmt::Display::fmt(name, f),
        }
    }
}

impl<'de> Deserialize<'de> for Transport {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Where compiled plugins are kept, so that the next start is quick. Whoever can write there can
/// run code as this server: the folder must belong to its user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// The user's own cache folder: `$XDG_CACHE_HOME/switchboard` or `~/.cache/switchboard`;
    /// nowhere when neither variable is set.
    #[default]
    User,
    /// `false` or `""`: nowhere.
    Off,
    /// This folder.
    Folder(PathBuf),
}

impl Cache {
    /// The folder; none when nothing is to be kept. It may not exist yet.
    pub fn folder(&self) -> Option<PathBuf> {
        match self {
            Self::User => user_cache(std::env::var_os("XDG_CACHE_HOME"), std::env::home_dir()),
            Self::Off => None,
            Self::Folder(path) => Some(path.clone()),
        }
    }
}

fn user_cache(xdg: Option<std::ffi::OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    // The XDG specification: relative paths are to be ignored.
    let xdg = xdg.map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || {
        home.filter(|path| path.is_absolute())
            .map(|path| path.join(".cache"))
    };
    Some(xdg.or_else(home)?.join("switchboard"))
}

impl<'de> Deserialize<'de> for Cache {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PathOrFalse;

        impl Visitor<'_> for PathOrFalse {
            type Value = Cache;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a folder, or `false`")
            }

            fn visit_bool<E>(self, on: bool) -> Result<Cache, E> {
                Ok(if on { Cache::User } else { Cache::Off })
            }

            fn visit_str<E>(self, path: &str) -> Result<Cache, E> {
                Ok(if path.is_empty() {
                    Cache::Off
                } else {
                    Cache::Folder(path.into())
                })
            }
        }

        deserializer.deserialize_any(PathOrFalse)
    }
}

/// The operator's way into the running server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// A Unix socket on which this server tells how it stands (`switchboard status`). It belongs to
    /// the server's user alone, as must its folder, which is made if it is missing. Each server of a
    /// machine needs one of its own. Default: none.
    pub socket: Option<PathBuf>,
}

/// Connections to backends, by capability and name. Addresses and secrets stay here: plugins
/// know the names only.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Connections {
    /// `[connections.bus.NAME]`: buses between the processes of this machine.
    ///
    /// `main` exists without being named here. Where no `path` is given it is
    /// [`BusOptions::default_path`] of the cluster's name for `main`, and of the cluster's name, a
    /// hyphen and the connection's name for the others.
    pub bus: BTreeMap<ConnectionName, BusOptions>,
    /// `[connections.redis.NAME]`: Redis servers, clusters, and masters that sentinels watch. None
    /// exists without being named here.
    pub redis: BTreeMap<ConnectionName, RedisOptions>,
    /// `[connections.postgres.NAME]`: PostgreSQL databases. None exists without being named here.
    pub postgres: BTreeMap<ConnectionName, PostgresOptions>,
    /// `[connections.tcp.NAME]`: servers that plugins speak with over TCP. None exists without being
    /// named here.
    pub tcp: BTreeMap<ConnectionName, TcpOptions>,
}

impl Connections {
    /// The names of the buses that a plugin could be granted.
    pub(super) fn bus_names(&self) -> Vec<ConnectionName> {
        let main = ConnectionName::main();
        let implied = (!self.bus.contains_key(&main)).then_some(main);
        self.bus.keys().cloned().chain(implied).collect()
    }

    /// The options of a bus, with its path; none when there is no such bus.
    pub(super) fn bus(&self, cluster: &ClusterName, name: &ConnectionName) -> Option<BusOptions> {
        let is_main = *name == ConnectionName::main();
        let unset = BusOptions::default();
        let mut options = match self.bus.get(name) {
            Some(options) => options.clone(),
            None if is_main => unset.clone(),
            None => return None,
        };
        if options.path == unset.path {
            options.path = match is_main {
                true => BusOptions::default_path(cluster.as_str()),
                false => BusOptions::default_path(&format!("{cluster}-{name}")),
            };
        }
        Some(options)
    }
}

/// What is set for one transport in `[transports.NAME]`. It goes before the plugin's manifest.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransportConfig {
    /// For the plugin itself, which checks the keys. Merged over the manifest's: tables key by
    /// key, everything else is replaced.
    pub options: Map<String, Value>,
    /// What the plugin may use; none: what is allowed without saying, see [`super::Resolved`].
    pub grants: Option<Grants>,
    /// Other limits than those of `[limits]`.
    pub limits: LimitOverrides,
    /// The only file that is accepted for this plugin.
    pub digest: Option<Digest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_cache_folder_follows_the_xdg_rules() {
        let home = || Some(PathBuf::from("/home/u"));
        for (xdg, home, expected) in [
            (Some("/x"), home(), Some("/x/switchboard")),
            (None, home(), Some("/home/u/.cache/switchboard")),
            (Some("relative"), home(), Some("/home/u/.cache/switchboard")),
            (None, Some(PathBuf::from("relative")), None),
            (None, None, None),
        ] {
            assert_eq!(
                user_cache(xdg.map(Into::into), home),
                expected.map(PathBuf::from)
            );
        }
    }
}
