//! Several servers that form one cluster, in a folder of their own: configuration, bus socket and
//! free ports, so that any number of tests can run at the same time.

use std::{
    any::Any,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;
use tokio::net::UnixStream;
use toml::{Table, Value};

use crate::{
    Error, Launch, Parser, Server, Transport,
    log::Logs,
    transport::{Started, bus_path, text},
    until,
};

/// Packets that wait for one client of a test server: more than any test sends to one at once.
const BUFFER: usize = 256 * 1024;

/// How to start a cluster: three servers with a transport `local` unless said otherwise.
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `start`"]
pub struct ClusterBuilder {
    nodes: usize,
    parser: Parser,
    transport: Transport,
    plugins: Option<PathBuf>,
    toml: Vec<String>,
    buffer: usize,
    env: Vec<(String, String)>,
    wait_for_all: bool,
    logs: Option<Logs>,
}

impl ClusterBuilder {
    /// How many servers of ours.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
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

    /// The folder with the plugins, instead of the one that the transport names.
    pub fn plugins(mut self, folder: impl Into<PathBuf>) -> Self {
        self.plugins = Some(folder.into());
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

    /// Keeps the servers' logs there.
    pub(crate) fn logs(mut self, logs: Option<Logs>) -> Self {
        self.logs = logs;
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
            logs: self.logs,
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
        Ok(cluster)
    }

    fn config(&self, transport: Started) -> Result<(Table, Backend), Error> {
        let Started {
            mut config,
            more,
            backend,
        } = transport;
        if let Some(plugins) = &self.plugins {
            config.insert("plugins".into(), text(plugins)?);
        }
        for more in std::iter::once(&more).chain(&self.toml) {
            let more = more
                .parse::<Table>()
                .map_err(|error| Error::Test(format!("not TOML: {error}")))?;
            merge(&mut config, more);
        }
        Ok((config, backend))
    }
}

/// What a transport has started for one cluster.
type Backend = Box<dyn Any + Send + Sync>;

/// Running servers; all are killed and the folder is removed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    // First, so that the servers are gone before their folder.
    nodes: Vec<Arc<Server>>,
    launch: Launch,
    wait_for_all: bool,
    logs: Option<Logs>,
    backend: Backend,
    folder: TempDir,
}

impl Cluster {
    /// A cluster to be started.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder {
            nodes: 3,
            parser: Parser::Common,
            transport: Transport::from("local"),
            plugins: None,
            toml: Vec::new(),
            buffer: BUFFER,
            env: Vec::new(),
            wait_for_all: true,
            logs: None,
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

    /// Adds a server that was started by other means, and waits until it and all others know each
    /// other.
    ///
    /// # Errors
    /// [`Error::Deadline`] if they do not.
    pub async fn add(&mut self, server: Server) -> Result<&Arc<Server>, Error> {
        let index = self.nodes.len();
        if let Some(logs) = &self.logs {
            logs.add(server.kept_log());
        }
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

    /// What its servers meet at, if it is of this type.
    pub fn backend<T: Any>(&self) -> Option<&T> {
        (*self.backend).downcast_ref()
    }

    /// The folder of this cluster, with `switchboard.toml` in it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How its servers talk to clients.
    pub fn parser(&self) -> Parser {
        self.launch.parser
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
