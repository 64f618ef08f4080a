//! Grants: which connections a plugin may use. The same form says what a plugin asks for (in its
//! manifest) and what the operator allows (in `[transports.NAME]`); `resolve` takes the
//! intersection.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{ConnectionName, InvalidName};
use crate::capabilities::{
    Prefix,
    postgres::PostgresRights,
    redis::{CommandName, RedisRights},
    tcp::{EndpointPattern, TcpRights},
};

/// Most grants of one kind.
pub(super) const MAX_GRANTS: usize = 256;

/// Connections by capability. What is not named is not granted.
///
/// ```toml
/// grants = { bus = ["main"] }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// Connections of the `bus` capability, by their names in `[connections.bus]`.
    pub bus: Vec<Grant>,
    /// Connections of the `redis` capability, by their names in `[connections.redis]`.
    pub redis: Vec<RedisGrant>,
    /// Connections of the `postgres` capability, by their names in `[connections.postgres]`.
    pub postgres: Vec<PostgresGrant>,
    /// Connections of the `tcp` capability, by their names in `[connections.tcp]`.
    pub tcp: Vec<TcpGrant>,
}

/// One grant of connections over TCP: the name of a connection, for its configured addresses, or a
/// table that names more places, which the plugin may choose itself.
///
/// ```toml
/// tcp = ["main", { connection = "cluster", endpoints = ["*.nats.internal:4222"] }]
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpGrant {
    /// For which connection it is.
    pub connection: Which,
    /// What may be reached beyond its addresses.
    pub rights: TcpRights,
}

/// One grant of a Redis connection: its name, or a table that narrows what may be done there.
///
/// ```toml
/// redis = ["main", { connection = "log", commands = ["XADD", "XREAD"], keys = ["socket.io*"] }]
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisGrant {
    /// For which connection it is.
    pub connection: Which,
    /// What may be done there.
    pub rights: RedisRights,
}

/// One grant of a Postgres connection: its name, or a table that says what may be done there. Where
/// a plugin asks, a name alone asks for nothing.
///
/// ```toml
/// postgres = [{ connection = "main", tables = ["chat_*"], channels = ["chat#*"], create = true }]
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresGrant {
    /// For which connection it is.
    pub connection: Which,
    /// What may be done there.
    pub rights: PostgresRights,
}

/// One grant: the name of a connection, or a table that holds it as `connection` (and, for
/// capabilities that can be narrowed, what of it may be used).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// For which connection it is.
    pub connection: Which,
}

/// Which connections a grant is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// `"*"`: each one of its kind.
    Any,
    /// This one.
    Named(ConnectionName),
}

impl Grant {
    /// A grant of everything on the connections.
    pub fn new(connection: Which) -> Self {
        Self { connection }
    }
}

impl Which {
    /// Is this connection one of them?
    pub fn covers(&self, connection: &ConnectionName) -> bool {
        match self {
            Self::Any => true,
            Self::Named(name) => name == connection,
        }
    }
}

impl From<ConnectionName> for Grant {
    fn from(name: ConnectionName) -> Self {
        Self::new(Which::Named(name))
    }
}

impl std::str::FromStr for Which {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text {
            "*" => Ok(Self::Any),
            name => name.parse().map(Self::Named),
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Named(name) => fmt::Display::fmt(name, f),
        }
    }
}

impl<'de> Deserialize<'de> for Which {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    connection: Which,
}

impl<'de> Deserialize<'de> for Grant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Grant;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a connection, or a table with the key `connection`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Grant, E> {
                text.parse().map(Grant::new).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Grant, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Grant::new(table.connection))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RedisTable {
    connection: Which,
    commands: Option<Vec<CommandName>>,
    keys: Option<Vec<Prefix>>,
    channels: Option<Vec<Prefix>>,
}

impl<'de> Deserialize<'de> for RedisGrant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = RedisGrant;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "the name of a connection, or a table with the key `connection` and what of \
                     `commands`, `keys` and `channels` is narrowed",
                )
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RedisGrant, E> {
                let connection = text.parse().map_err(E::custom)?;
                let rights = RedisRights::default();
                Ok(RedisGrant { connection, rights })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RedisGrant, A::Error> {
                let table = RedisTable::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RedisGrant {
                    connection: table.connection,
                    rights: RedisRights {
                        commands: table.commands,
                        keys: table.keys,
                        channels: table.channels,
                    },
                })
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PostgresTable {
    connection: Which,
    tables: Option<Vec<Prefix>>,
    channels: Option<Vec<Prefix>>,
    create: Option<bool>,
    sql: Option<bool>,
}

impl<'de> Deserialize<'de> for PostgresGrant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = PostgresGrant;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "the name of a connection, or a table with the key `connection` and what of \
                     `tables`, `channels`, `create` and `sql` is granted",
                )
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PostgresGrant, E> {
                let connection = text.parse().map_err(E::custom)?;
                let rights = PostgresRights::default();
                Ok(PostgresGrant { connection, rights })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PostgresGrant, A::Error> {
                let table = PostgresTable::deserialize(MapAccessDeserializer::new(map))?;
                Ok(PostgresGrant {
                    connection: table.connection,
                    rights: PostgresRights {
                        tables: table.tables,
                        channels: table.channels,
                        create: table.create,
                        sql: table.sql,
                    },
                })
            }
        }

        deserializer.deserialize_any(Either)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TcpTable {
    connection: Which,
    endpoints: Option<Vec<EndpointPattern>>,
}

impl<'de> Deserialize<'de> for TcpGrant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = TcpGrant;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "the name of a connection, or a table with the key `connection` and the \
                     `endpoints` that may be reached besides",
                )
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TcpGrant, E> {
                let connection = text.parse().map_err(E::custom)?;
                let rights = TcpRights::default();
                Ok(TcpGrant { connection, rights })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TcpGrant, A::Error> {
                let table = TcpTable::deserialize(MapAccessDeserializer::new(map))?;
                Ok(TcpGrant {
                    connection: table.connection,
                    rights: TcpRights {
                        endpoints: table.endpoints.unwrap_or_default(),
                    },
                })
            }
        }

        deserializer.deserialize_any(Either)
    }
}
