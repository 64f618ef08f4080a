//! Several servers that form one cluster, in a folder of their own: configuration, bus socket and
//! free ports, so that any number of tests can run at the same time.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;
use tokio::net::UnixStream;
use toml::{Table, Value};

use crate::{
    Error, Launch, Nats, NodeLaunch, Parser, Postgres, Redis, RedisCluster, Sentinel, Server,
    Transport,
    backend::{Running, bus_path, text},
    built,
    transport::Started,
    until,
};

/// Packets that wait for one client of a test server: more than any test sends to one at once.
const BUFFER: usize = 256 * 1024;

/// How to start a cluster: three servers with the `local` transport unless said otherwise.
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `start`"]
pub struct ClusterBuilder {
    nodes: usize,
    node_js: Vec<NodeLaunch>,
    parser: Parser,
    transport: Transport,
    toml: Vec<String>,
    buffer: usize,
    env: Vec<(String, String)>,
    wait_for_all: bool,
}

impl ClusterBuilder {
    /// How many servers of ours.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// A Node.js server as well, after ours and those named before. It gets the cluster's parser and
    /// a number in the order of all servers.
    pub fn node_js(mut self, launch: NodeLaunch) -> Self {
        self.node_js.push(launch);
        self
    }

    /// How they talk to clients.
    pub fn parser(mut self, parser: Parser) -> Self {
        self.parser = parser;
        self
    }

    /// Which transport they use; a name stands for the plugin of that name.
    pub fn transport(mut self, transport: impl Into<Transport>) -> Self {
        self.transport = transport.into();
        self
    }

    /// Another folder with plugins.
    pub fn plugins(mut self, folder: impl Into<PathBuf>) -> Self {
        self.transport = self.transport.folder(folder);
        self
    }

    /// Further configuration, merged over what is generated: tables are merged, other values
    /// replaced. May be called several times.
    pub fn toml(mut self, text: impl Into<String>) -> Self {
        self.toml.push(text.into());
        self
    }

    /// Packets that wait for one client before they are dropped.
    pub fn buffer(mut self, packets: usize) -> Self {
        self.buffer = packets;
        self
    }

    /// A further environment variable for the servers.
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Does not wait until the servers know each other, for plugins that cannot bring them together.
    pub fn without_waiting(mut self) -> Self {
        self.wait_for_all = false;
        self
    }

    /// Starts the servers, one after the other, and waits until each knows all others.
    ///
    /// # Errors
    /// [`Error::Setup`] if the plugin is not built, [`Error::Test`] if the further configuration is
    /// not TOML, else what [`Server::start`] says.
    pub async fn start(self) -> Result<Cluster, Error> {
        // Short, because a Unix socket's path has room for about a hundred bytes.
        let folder = tempfile::Builder::new()
            .prefix("sb-")
            .tempdir()
            .map_err(Error::system("cannot make a temporary folder"))?;
        let (config, backend) = self.config(self.transport.start(folder.path()).await?)?;
        let path = folder.path().join("switchboard.toml");
        fs::write(&path, config.to_string()).map_err(Error::system("cannot write the config"))?;

        let mut cluster = Cluster {
            wait_for_all: self.wait_for_all,
            launch: Launch {
                name: String::new(),
                config: path,
                parser: self.parser,
                buffer: self.buffer,
                env: self.env,
            },
            nodes: Vec::new(),
            backend,
            folder,
        };
        for _ in 0..self.nodes {
            cluster.add_node().await?;
        }
        for launch in self.node_js {
            cluster.add_node_js(launch).await?;
        }
        Ok(cluster)
    }

    fn config(&self, transport: Started) -> Result<(Table, Running), Error> {
        let Started {
            mut config,
            more,
            backend,
        } = transport;
        // One for all tests: each plugin is compiled once, not once for each server.
        config.insert("cache".into(), text(&built::cache())?);
        for more in std::iter::once(&more).chain(&self.toml) {
            let more = more
                .parse::<Table>()
                .map_err(|error| Error::Test(format!("not TOML: {error}")))?;
            merge(&mut config, more);
        }
        Ok((config, backend))
    }
}

/// Running servers; all are killed and the folder is removed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    // First, so that the servers are gone before their folder.
    nodes: Vec<Arc<Server>>,
    launch: Launch,
    wait_for_all: bool,
    backend: Running,
    folder: TempDir,
}

impl Cluster {
    /// A cluster to be started.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder {
            nodes: 3,
            node_js: Vec::new(),
            parser: Parser::Common,
            transport: Transport::local(),
            toml: Vec::new(),
            buffer: BUFFER,
            env: Vec::new(),
            wait_for_all: true,
        }
    }

    /// The server that was started as number `index`, from 0; it may have been killed since.
    ///
    /// # Panics
    /// If no server with this number was started.
    pub fn node(&self, index: usize) -> &Arc<Server> {
        &self.nodes[index]
    }

    /// All servers that were started, in order.
    pub fn nodes(&self) -> &[Arc<Server>] {
        &self.nodes
    }

    /// Starts one more server and waits until it and all others know each other.
    ///
    /// # Errors
    /// What [`Server::start`] says.
    pub async fn add_node(&mut self) -> Result<&Arc<Server>, Error> {
        self.add_node_with(&[]).await
    }

    /// The same with environment variables of its own, which go before the configuration:
    /// `("SWITCHBOARD_CONNECTIONS__REDIS__MAIN__URL", "redis://…")`.
    ///
    /// # Errors
    /// What [`Server::start`] says.
    pub async fn add_node_with(&mut self, env: &[(&str, &str)]) -> Result<&Arc<Server>, Error> {
        let mut launch = self.launch.clone();
        launch.name = format!("node {}", self.nodes.len());
        let own = env.iter().map(|&(key, value)| (key.into(), value.into()));
        launch.env.extend(own);
        self.add(Server::start(&launch).await?).await
    }

    /// The same with a configuration file of its own.
    ///
    /// # Errors
    /// What [`Server::start`] says.
    pub async fn add_node_of(&mut self, config: impl Into<PathBuf>) -> Result<&Arc<Server>, Error> {
        let mut launch = self.launch.clone();
        launch.name = format!("node {}", self.nodes.len());
        launch.config = config.into();
        self.add(Server::start(&launch).await?).await
    }

    /// The same with a Node.js server.
    ///
    /// # Errors
    /// What [`NodeLaunch::start`] says.
    pub async fn add_node_js(&mut self, launch: NodeLaunch) -> Result<&Arc<Server>, Error> {
        let launch = launch
            .name(format!("node {} (Node.js)", self.nodes.len()))
            .parser(self.launch.parser);
        let server = launch.start().await?;
        self.add(server).await
    }

    async fn add(&mut self, server: Server) -> Result<&Arc<Server>, Error> {
        let index = self.nodes.len();
        self.nodes.push(Arc::new(server));
        if self.wait_for_all {
            self.wait_until_complete("/").await?;
        }
        Ok(&self.nodes[index])
    }

    /// Waits until every running server knows every other one in a namespace.
    ///
    /// # Errors
    /// [`Error::Deadline`] with the counts of those that differ.
    pub async fn wait_until_complete(&self, nsp: &str) -> Result<(), Error> {
        let running: Vec<_> = self.nodes.iter().filter(|node| !node.has_ended()).collect();
        for node in &running {
            let all = running.len();
            until(
                format!("{} to know {all} servers in {nsp}", node.name()),
                || node.server_count(nsp),
                |&count| count == all,
            )
            .await?;
        }
        Ok(())
    }

    /// The server that serves the bus `main`: the process that answers at its socket.
    ///
    /// # Errors
    /// [`Error::Deadline`] if none of ours does.
    pub async fn bus_server(&self) -> Result<&Arc<Server>, Error> {
        let path = bus_path(self.folder());
        let pid = until(
            "one of our servers to serve the bus",
            || async { Ok(pid_behind(&path).await) },
            |pid| self.nodes.iter().any(|node| Some(node.pid()) == *pid),
        )
        .await?;
        self.nodes
            .iter()
            .find(|node| Some(node.pid()) == pid)
            .ok_or_else(|| Error::Test("the bus server vanished from the list".into()))
    }

    /// The Redis server that its servers meet at, if they do.
    pub fn redis(&self) -> Option<&Redis> {
        match &self.backend {
            Running::Redis(redis) => Some(redis),
            _ => None,
        }
    }

    /// The Postgres server that its servers meet at, if they do.
    pub fn postgres(&self) -> Option<&Postgres> {
        match &self.backend {
            Running::Postgres(postgres) => Some(postgres),
            _ => None,
        }
    }

    /// The NATS server that its servers meet at, if they do.
    pub fn nats(&self) -> Option<&Nats> {
        match &self.backend {
            Running::Nats(nats) => Some(nats),
            _ => None,
        }
    }

    /// The Redis Cluster that its servers meet at, if they do.
    pub fn redis_cluster(&self) -> Option<&RedisCluster> {
        match &self.backend {
            Running::RedisCluster(cluster) => Some(cluster),
            _ => None,
        }
    }

    /// The Sentinels of the Redis server that its servers meet at, if there are any.
    pub fn sentinel(&self) -> Option<&Sentinel> {
        match &self.backend {
            Running::Sentinel(sentinel) => Some(sentinel),
            _ => None,
        }
    }

    /// The folder of this cluster, with `switchboard.toml` in it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration of all servers.
    pub fn config(&self) -> &Path {
        &self.launch.config
    }
}

async fn pid_behind(socket: &Path) -> Option<u32> {
    let stream = UnixStream::connect(socket).await.ok()?;
    u32::try_from(stream.peer_cred().ok()?.pid()?).ok()
}

fn merge(into: &mut Table, more: Table) {
    for (key, value) in more {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(more)) => merge(into, more),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use toml::Table;

    use super::{Cluster, ClusterBuilder, Error};

    async fn config(builder: &ClusterBuilder) -> Result<Table, Error> {
        let started = builder.transport.start(Path::new("/here")).await?;
        builder.config(started).map(|(config, _)| config)
    }

    #[tokio::test]
    async fn further_configuration_is_merged_over_the_generated_one() {
        let builder = Cluster::builder()
            .transport("stuck")
            .plugins("/plugins")
            .toml("cache = \"mine\"\n[cluster]\nrequest_timeout_ms = 1")
            .toml("[connections.bus.main]\nsend_timeout_ms = 2");
        let config = config(&builder).await.unwrap();
        assert_eq!(config["transport"].as_str(), Some("stuck"));
        assert_eq!(config["plugins"].as_str(), Some("/plugins"));
        assert_eq!(config["cache"].as_str(), Some("mine"));
        assert_eq!(
            config["cluster"]["request_timeout_ms"].as_integer(),
            Some(1)
        );
        let bus = &config["connections"]["bus"]["main"];
        assert_eq!(bus["path"].as_str(), Some("/here/bus.sock"));
        assert_eq!(bus["send_timeout_ms"].as_integer(), Some(2));
    }

    #[tokio::test]
    async fn configuration_that_is_not_toml_is_the_fault_of_the_test() {
        let builder = Cluster::builder().plugins("/plugins").toml("= 1");
        let error = config(&builder).await.unwrap_err();
        assert!(
            error.to_string().starts_with("the test itself is wrong"),
            "{error}"
        );
    }
}
