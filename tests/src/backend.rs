//! What the servers of a cluster meet at: which kind, how it is started, and what the servers'
//! configuration says of it.

use std::path::Path;

use toml::{Table, Value};

use crate::{
    Cluster, Error, Nats, Postgres, Redis, RedisCluster, Sentinel,
    transport::{bus_path, text},
};

/// Masters of a Redis Cluster: fewer are no cluster to most programs.
const MASTERS: usize = 3;

/// What servers meet at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// No server: a bus, whose socket is in the cluster's folder.
    Bus,
    /// A Redis server of the cluster's own.
    Redis,
    /// The same, which has written to disk what it answers and reads it when it is restarted.
    PersistentRedis,
    /// A Redis Cluster of three masters.
    RedisCluster,
    /// Two Redis servers under the watch of three Sentinels.
    Sentinel,
    /// A Postgres server of the cluster's own.
    Postgres,
    /// A NATS server of the cluster's own.
    Nats,
}

/// One that runs; it ends with this value.
#[derive(Debug)]
pub(crate) enum Running {
    Bus,
    Redis(Box<Redis>),
    RedisCluster(RedisCluster),
    Sentinel(Box<Sentinel>),
    Postgres(Box<Postgres>),
    Nats(Box<Nats>),
}

impl Backend {
    pub(crate) async fn start(self) -> Result<Running, Error> {
        Ok(match self {
            Self::Bus => Running::Bus,
            Self::Redis => Running::Redis(Box::new(Redis::start().await?)),
            Self::PersistentRedis => {
                let redis = Redis::builder().persistent().start().await?;
                Running::Redis(Box::new(redis))
            }
            Self::RedisCluster => Running::RedisCluster(RedisCluster::start(MASTERS).await?),
            Self::Sentinel => Running::Sentinel(Box::new(Sentinel::start().await?)),
            Self::Postgres => Running::Postgres(Box::new(Postgres::start().await?)),
            Self::Nats => Running::Nats(Box::new(Nats::start().await?)),
        })
    }
}

impl Running {
    /// The kind of its connections, and how the one to it is configured.
    pub(crate) fn connection(&self, folder: &Path) -> Result<(&'static str, Table), Error> {
        Ok(match self {
            Self::Bus => ("bus", entry("path", text(&bus_path(folder))?)),
            Self::Redis(redis) => ("redis", entry("url", Value::String(redis.url()))),
            Self::RedisCluster(cluster) => ("redis", entry("cluster", list(cluster.urls()))),
            Self::Sentinel(sentinel) => {
                let mut at = entry("urls", list(sentinel.urls()));
                at.insert("master".into(), Value::String(Sentinel::MASTER.into()));
                ("redis", entry("sentinel", Value::Table(at)))
            }
            Self::Postgres(postgres) => ("postgres", entry("url", Value::String(postgres.url()))),
            Self::Nats(nats) => (
                "tcp",
                entry("addresses", list(vec![nats.addr().to_string()])),
            ),
        })
    }
}

/// The backend that a cluster's servers meet at, whichever of ours it is.
pub trait Backends {
    /// The Redis server, if it is one.
    fn redis(&self) -> Option<&Redis>;
    /// The Postgres server, if it is one.
    fn postgres(&self) -> Option<&Postgres>;
    /// The NATS server, if it is one.
    fn nats(&self) -> Option<&Nats>;
    /// The Redis Cluster, if it is one.
    fn redis_cluster(&self) -> Option<&RedisCluster>;
    /// The Sentinels of the Redis server, if there are any.
    fn sentinel(&self) -> Option<&Sentinel>;
}

impl Backends for Cluster {
    fn redis(&self) -> Option<&Redis> {
        match self.backend::<Running>()? {
            Running::Redis(redis) => Some(redis),
            _ => None,
        }
    }

    fn postgres(&self) -> Option<&Postgres> {
        match self.backend::<Running>()? {
            Running::Postgres(postgres) => Some(postgres),
            _ => None,
        }
    }

    fn nats(&self) -> Option<&Nats> {
        match self.backend::<Running>()? {
            Running::Nats(nats) => Some(nats),
            _ => None,
        }
    }

    fn redis_cluster(&self) -> Option<&RedisCluster> {
        match self.backend::<Running>()? {
            Running::RedisCluster(cluster) => Some(cluster),
            _ => None,
        }
    }

    fn sentinel(&self) -> Option<&Sentinel> {
        match self.backend::<Running>()? {
            Running::Sentinel(sentinel) => Some(sentinel),
            _ => None,
        }
    }
}

fn entry(key: &str, value: Value) -> Table {
    Table::from_iter([(key.to_owned(), value)])
}

fn list(urls: Vec<String>) -> Value {
    Value::Array(urls.into_iter().map(Value::String).collect())
}
