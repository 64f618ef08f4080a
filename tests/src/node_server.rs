//! A Node.js server in the place of one of ours: `tests/node/server.mjs`, which takes the same
//! commands, so its handle is a [`Server`] too. What it cannot answer is said there.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::process::Command;

use crate::{Cluster, Error, Parser, Server, node_script};

/// The package without which it does not run; if it is there, so are the others.
const PACKAGE: &str = "socket.io";

/// An official adapter, each over the client library that it is used with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAdapter {
    /// Socket.IO's own: the server knows no others.
    None,
    /// `@socket.io/redis-adapter`, classic, over `redis`.
    Redis,
    /// The same over `ioredis`.
    RedisIoredis,
    /// `@socket.io/redis-adapter`, sharded, over `redis`; Redis 7 and later.
    Sharded,
    /// The same over `ioredis`.
    ShardedIoredis,
    /// `@socket.io/redis-streams-adapter` over `redis`.
    Streams,
    /// The same over `ioredis`.
    StreamsIoredis,
    /// `@socket.io/postgres-adapter` 0.5 over `pg`.
    Postgres,
    /// The same, version 0.4.
    Postgres04,
}

impl NodeAdapter {
    /// All that need a Redis server.
    pub const REDIS: [Self; 6] = [
        Self::Redis,
        Self::RedisIoredis,
        Self::Sharded,
        Self::ShardedIoredis,
        Self::Streams,
        Self::StreamsIoredis,
    ];

    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Redis => "redis",
            Self::RedisIoredis => "redis-ioredis",
            Self::Sharded => "sharded",
            Self::ShardedIoredis => "sharded-ioredis",
            Self::Streams => "streams",
            Self::StreamsIoredis => "streams-ioredis",
            Self::Postgres => "postgres",
            Self::Postgres04 => "postgres-0.4",
        }
    }
}

/// How to start a Node.js server.
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `start`"]
pub struct NodeLaunch {
    name: String,
    parser: Parser,
    adapter: NodeAdapter,
    urls: Vec<String>,
    /// Arguments that say what the addresses are those of.
    kind: Vec<String>,
    options: Value,
    client_options: Value,
    server_options: Value,
}

impl NodeLaunch {
    /// A server with an adapter; all but [`NodeAdapter::None`] need an address.
    pub fn new(adapter: NodeAdapter) -> Self {
        let none = || Value::Object(Map::new());
        Self {
            name: "a Node.js server".into(),
            parser: Parser::Common,
            adapter,
            urls: Vec::new(),
            kind: Vec::new(),
            options: none(),
            client_options: none(),
            server_options: none(),
        }
    }

    /// What it is called in messages, and in its answers to other servers.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How it talks to clients.
    pub fn parser(mut self, parser: Parser) -> Self {
        self.parser = parser;
        self
    }

    /// Its backend: one Redis server, or Postgres.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.urls = vec![url.into()];
        self.kind.clear();
        self
    }

    /// Its backend: a Redis Cluster with these nodes, `RedisCluster::urls`.
    pub fn redis_cluster(mut self, urls: Vec<String>) -> Self {
        self.urls = urls;
        self.kind = vec!["--cluster".into()];
        self
    }

    /// Its backend: the Redis server that these Sentinels, `Sentinel::urls`, call `master`.
    pub fn sentinel(mut self, urls: Vec<String>, master: impl Into<String>) -> Self {
        self.urls = urls;
        self.kind = vec!["--sentinel".into(), master.into()];
        self
    }

    /// Options of the adapter, a JSON object: `{"requestsTimeout": 1000}`.
    pub fn options(mut self, options: Value) -> Self {
        self.options = options;
        self
    }

    /// Options of the backend's client, a JSON object: of `redis`, of `ioredis`, or of the pool of
    /// `pg`. (That has ten connections by default, so what one server sends over Postgres may
    /// arrive in another order.)
    pub fn client_options(mut self, options: Value) -> Self {
        self.client_options = options;
        self
    }

    /// Options of Socket.IO, a JSON object: `{"connectionStateRecovery": {}}`.
    pub fn server_options(mut self, options: Value) -> Self {
        self.server_options = options;
        self
    }

    /// Starts it and waits until it hears other servers and takes connections.
    ///
    /// # Errors
    /// [`Error::Setup`] if the npm packages are not installed; else like `Process::start`.
    pub async fn start(&self) -> Result<Server, Error> {
        Server::from_command(&self.name, self.command()?).await
    }

    fn command(&self) -> Result<Command, Error> {
        let mut command = node_script("server.mjs", PACKAGE)?;
        command
            .arg("--exit-with-stdin")
            .args(["--name", &self.name])
            .args(["--parser", &self.parser.to_string()])
            .args(["--adapter", self.adapter.as_str()])
            .args(["--options", &self.options.to_string()])
            .args(["--client-options", &self.client_options.to_string()])
            .args(["--server-options", &self.server_options.to_string()])
            .args(&self.kind);
        if !self.urls.is_empty() {
            command.args(["--url", &self.urls.join(",")]);
        }
        Ok(command)
    }
}

/// Node.js servers in a cluster of ours.
pub trait NodeServers {
    /// Starts one more server, and waits until it and all others know each other. It gets the
    /// cluster's parser and a number in the order of all servers.
    ///
    /// # Errors
    /// What [`NodeLaunch::start`] says.
    fn add_node_js(
        &mut self,
        launch: NodeLaunch,
    ) -> impl Future<Output = Result<&Arc<Server>, Error>>;
}

impl NodeServers for Cluster {
    async fn add_node_js(&mut self, launch: NodeLaunch) -> Result<&Arc<Server>, Error> {
        let launch = launch
            .name(format!("node {} (Node.js)", self.nodes().len()))
            .parser(self.parser());
        let server = launch.start().await?;
        self.add(server).await
    }
}
