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

use crate::{Error, Launch, Parser, Server, built, until};

/// Packets that wait for one client of a test server: more than any test sends to one at once.
const BUFFER: usize = 256 * 1024;

/// How to start a cluster: three servers with the `local` transport unless said otherwise.
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `start`"]
pub struct ClusterBuilder {
    nodes: usize,
    parser: Parser,
    transport: String,
    plugins: Option<PathBuf>,
    toml: Vec<String>,
    buffer: usize,
    env: Vec<(String, String)>,
    wait_for_all: bool,
}

impl ClusterBuilder {
    /// How many servers.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// How they talk to clients.
    pub fn parser(mut self, parser: Parser) -> Self {
        self.parser = parser;
        self
    }

    /// Which transport they use.
    pub fn transport(mut self, name: impl Into<String>) -> Self {
        self.transport = name.into();
        self
    }

    /// Another folder with plugins.
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
        let plugins = match &self.plugins {
            Some(plugins) => plugins.clone(),
            None => built::plugins(&self.transport)?,
        };
        let config = self.config(folder.path(), &plugins)?;
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
            folder,
        };
        for _ in 0..self.nodes {
            cluster.add_node().await?;
        }
        Ok(cluster)
    }

    fn config(&self, folder: &Path, plugins: &Path) -> Result<Table, Error> {
        let mut bus = Table::new();
        bus.insert("path".into(), text(&bus_path(folder))?);
        let bus = Table::from_iter([("main".to_owned(), Value::Table(bus))]);
        let connections = Table::from_iter([("bus".to_owned(), Value::Table(bus))]);

        let mut config = Table::new();
        config.insert("transport".into(), Value::String(self.transport.clone()));
        config.insert("plugins".into(), text(plugins)?);
        // One for all tests: each plugin is compiled once, not once for each server.
        config.insert("cache".into(), text(&built::cache())?);
        config.insert("connections".into(), Value::Table(connections));
        for more in &self.toml {
            let more = more
                .parse::<Table>()
                .map_err(|error| Error::Test(format!("not TOML: {error}")))?;
            merge(&mut config, more);
        }
        Ok(config)
    }
}

/// Running servers; all are killed and the folder is removed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    // First, so that the servers are gone before their folder.
    nodes: Vec<Arc<Server>>,
    launch: Launch,
    wait_for_all: bool,
    folder: TempDir,
}

impl Cluster {
    /// A cluster to be started.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder {
            nodes: 3,
            parser: Parser::Common,
            transport: "local".into(),
            plugins: None,
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
        let index = self.nodes.len();
        self.launch.name = format!("node {index}");
        self.nodes
            .push(Arc::new(Server::start(&self.launch).await?));
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

fn bus_path(folder: &Path) -> PathBuf {
    folder.join("bus.sock")
}

fn text(path: &Path) -> Result<Value, Error> {
    path.to_str()
        .map(|path| Value::String(path.to_owned()))
        .ok_or_else(|| Error::Test(format!("{} is not UTF-8", path.display())))
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

    use super::Cluster;

    #[test]
    fn further_configuration_is_merged_over_the_generated_one() {
        let config = Cluster::builder()
            .transport("stuck")
            .toml("plugins = \"mine\"\n[cluster]\nrequest_timeout_ms = 1")
            .toml("[connections.bus.main]\nsend_timeout_ms = 2")
            .config(Path::new("/here"), Path::new("/plugins"))
            .unwrap();
        assert_eq!(config["transport"].as_str(), Some("stuck"));
        assert_eq!(config["plugins"].as_str(), Some("mine"));
        assert_eq!(
            config["cluster"]["request_timeout_ms"].as_integer(),
            Some(1)
        );
        let bus = &config["connections"]["bus"]["main"];
        assert_eq!(bus["path"].as_str(), Some("/here/bus.sock"));
        assert_eq!(bus["send_timeout_ms"].as_integer(), Some(2));
    }

    #[test]
    fn configuration_that_is_not_toml_is_the_fault_of_the_test() {
        let error = Cluster::builder()
            .toml("= 1")
            .config(Path::new("/here"), Path::new("/plugins"))
            .unwrap_err();
        assert!(
            error.to_string().starts_with("the test itself is wrong"),
            "{error}"
        );
    }
}
