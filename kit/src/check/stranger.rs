//! The configuration of servers that run somebody's plugin: what its author's `switchboard.toml` says
//! of connections, options and grants, and the rest ours, so that every cluster is on its own.
//!
//! Every cluster has a plugin folder and bus sockets in its own folder. A backend, though, is shared by
//! all of them, unless the configuration says `{run}` somewhere (in a key, a channel, the name of a
//! database), which becomes another word for each cluster. Without it clusters run one after the other.

use std::{
    fs,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use switchboard::{Config, config::DEFAULT_FILE, plugins::PluginFile};
use toml::{Table, Value};

use super::CheckError;
use crate::{
    Error, Proxy,
    transport::{Meeting, Started, table, text},
};

/// What becomes another word for each cluster.
const RUN: &str = "{run}";
/// How long a backend may take to accept a connection.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// What servers must not share, and what is ours to say.
const OURS: [&str; 4] = ["admin", "plugins", "cache", "name"];

/// A plugin of which nothing is known. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Stranger(Arc<Facts>, Ways);

#[derive(Debug)]
struct Facts {
    name: String,
    wasm: Bytes,
    manifest: Option<Vec<u8>>,
    config: Table,
}

/// How servers reach the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ways {
    Direct,
    /// Through proxies, which can be cut.
    Proxied,
}

impl Stranger {
    /// Reads what there is; `scratch` is a folder for compiled code.
    pub(super) fn new(
        file: &PluginFile,
        config: Option<&Path>,
        scratch: &Path,
    ) -> Result<Self, CheckError> {
        let name = file.name.to_string();
        let mut table = match config {
            Some(path) => read(path)?,
            None => bus_only(&name),
        };
        for key in OURS {
            table.remove(key);
        }
        table.insert("transport".into(), Value::String(name.clone()));
        table.insert("cache".into(), text(&scratch.join("cache"))?);
        let manifest = fs::read(file.manifest_path()).ok();
        Ok(Self(
            Arc::new(Facts {
                name,
                wasm: file.bytes.clone(),
                manifest,
                config: table,
            }),
            Ways::Direct,
        ))
    }

    /// May several clusters use it at the same time?
    pub(super) fn may_share_its_backend(&self) -> bool {
        let kinds = self.0.config.get("connections").and_then(Value::as_table);
        let mut kinds = kinds.into_iter().flat_map(Table::keys);
        kinds.all(|kind| kind == "bus") || self.0.config.to_string().contains(RUN)
    }

    /// The same through proxies, if there is a connection that one can stand in for.
    pub(super) fn proxied(&self) -> Option<Self> {
        let mut config = self.0.config.clone();
        let mut is_there = false;
        each_address(&mut config, |_| is_there = true);
        is_there.then(|| Self(Arc::clone(&self.0), Ways::Proxied))
    }

    /// Why no address of the backend takes connections; none if one does, or if that cannot be seen
    /// from here.
    pub(super) fn no_backend(&self) -> Option<String> {
        let mut config = self.0.config.clone();
        let mut addresses = Vec::new();
        let mut troubles = Vec::new();
        each_place(&mut config, |place| match place.target() {
            Some(address) => addresses.push(address),
            None => troubles.extend(
                place
                    .host_and_port()
                    .map(|place| format!("{place}: there is no such host")),
            ),
        });
        for address in addresses {
            match TcpStream::connect_timeout(&address, ANSWER_LIMIT) {
                Ok(_) => return None,
                Err(why) => troubles.push(format!("{address}: {why}")),
            }
        }
        (!troubles.is_empty()).then(|| troubles.join(", "))
    }

    async fn begin(&self, folder: &Path) -> Result<Started, Error> {
        static RUNS: AtomicU64 = AtomicU64::new(0);

        let Self(facts, ways) = self;
        let plugins = folder.join("plugins");
        let write = |ending: &str, bytes: &[u8]| {
            fs::write(plugins.join(format!("{}.{ending}", facts.name)), bytes)
        };
        fs::create_dir(&plugins)
            .and_then(|()| write("wasm", &facts.wasm))
            .and_then(|()| {
                facts
                    .manifest
                    .as_ref()
                    .map_or(Ok(()), |toml| write("toml", toml))
            })
            .map_err(Error::system("cannot copy the plugin"))?;

        let mut config = facts.config.clone();
        let number = RUNS.fetch_add(1, Ordering::Relaxed);
        let run = format!("run{}n{number}", process::id());
        each_text(&mut config, &mut |text| {
            if text.contains(RUN) {
                *text = text.replace(RUN, &run);
            }
        });
        give_buses(&mut config, folder)?;
        config.insert("plugins".into(), text(&plugins)?);
        let mut proxies = Vec::new();
        if *ways == Ways::Proxied {
            let mut addresses = Vec::new();
            each_address(&mut config, |address| addresses.extend(address.target()));
            for address in addresses {
                proxies.push(Proxy::start(address).await?);
            }
            let mut next = proxies.iter();
            each_address(&mut config, |address| {
                if let Some(proxy) = next.next() {
                    address.redirect(proxy.addr());
                }
            });
        }
        Ok(Started {
            config,
            more: String::new(),
            backend: Box::new(proxies),
        })
    }
}

impl Meeting for Stranger {
    fn start<'a>(&'a self, folder: &'a Path) -> BoxFuture<'a, Result<Started, Error>> {
        Box::pin(self.begin(folder))
    }
}

/// Reads an author's configuration, and makes its relative paths absolute: the servers read it from
/// elsewhere.
fn read(path: &Path) -> Result<Table, CheckError> {
    let wrong = |reason: String| CheckError::Config {
        file: path.to_owned(),
        reason,
    };
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let mut table: Table = text.parse().map_err(|error| wrong(format!("{error}")))?;
    // The same errors that a server would give, with their lines.
    let base = path.parent().unwrap_or(Path::new("."));
    let shown = path.file_name().unwrap_or_default().to_string_lossy();
    Config::from_toml(&text, base)
        .map_err(|error| wrong(error.to_string().replace(DEFAULT_FILE, &shown)))?;
    let base = fs::canonicalize(if base.as_os_str().is_empty() {
        Path::new(".")
    } else {
        base
    });
    let base: PathBuf = base.map_err(|error| wrong(error.to_string()))?;
    each_connection(&mut table, |_, connection| {
        let tls = connection.get_mut("tls").and_then(Value::as_table_mut);
        if let Some(Value::String(file)) = tls.and_then(|tls| tls.get_mut("ca_file")) {
            *file = base.join(&*file).display().to_string();
        }
    });
    Ok(table)
}

/// What a plugin gets for which nothing is said: one bus.
fn bus_only(name: &str) -> Table {
    let main = Value::Array(vec![Value::String("main".into())]);
    let grants = table("grants", table("bus", main));
    Table::from_iter([("transports".to_owned(), table(name, grants))])
}

/// Every bus has its socket in the cluster's folder; `main` is always there.
fn give_buses(config: &mut Table, folder: &Path) -> Result<(), Error> {
    let connections = entry(config, "connections");
    entry(entry(connections, "bus"), "main");
    let mut trouble = None;
    each_connection(config, |kind, connection| {
        if kind == "bus" {
            // Short: a Unix socket's path has room for about a hundred bytes.
            static SOCKETS: AtomicU64 = AtomicU64::new(0);
            let number = SOCKETS.fetch_add(1, Ordering::Relaxed);
            match text(&folder.join(format!("bus{number}"))) {
                Ok(path) => {
                    connection.insert("path".into(), path);
                }
                Err(error) => trouble = Some(error),
            }
        }
    });
    trouble.map_or(Ok(()), Err)
}

/// The table of this name; what else stands there is replaced, and was reported before.
fn entry<'a>(table: &'a mut Table, key: &str) -> &'a mut Table {
    let value = table
        .entry(key)
        .or_insert_with(|| Value::Table(Table::new()));
    if !value.is_table() {
        *value = Value::Table(Table::new());
    }
    match value {
        Value::Table(table) => table,
        _ => unreachable!("it was made a table above"),
    }
}

fn each_connection(config: &mut Table, mut then: impl FnMut(&str, &mut Table)) {
    let kinds = config.get_mut("connections").and_then(Value::as_table_mut);
    for (kind, named) in kinds.into_iter().flatten() {
        for (_, connection) in named.as_table_mut().into_iter().flatten() {
            if let Some(connection) = connection.as_table_mut() {
                then(kind, connection);
            }
        }
    }
}

/// Where a backend is, as the configuration says it: `scheme://user:password@host:port/…`, or
/// `host:port`.
struct Address<'a>(&'a mut String);

/// All addresses that a proxy can stand in for: with TLS the name in the certificate would be wrong, and
/// clusters of backends name their members themselves.
fn each_address(config: &mut Table, mut then: impl FnMut(&mut Address<'_>)) {
    each_place(config, |place| {
        if place.target().is_some() {
            then(place);
        }
    });
}

/// The same, also where nothing answers to the name.
fn each_place(config: &mut Table, mut then: impl FnMut(&mut Address<'_>)) {
    each_connection(config, |_, connection| {
        let is_encrypted = connection
            .get("encryption")
            .is_some_and(|encryption| encryption.as_str() != Some("off"));
        if is_encrypted || connection.contains_key("tls") {
            return;
        }
        let mut found = Vec::new();
        for (key, value) in connection.iter_mut() {
            match (key.as_str(), value) {
                ("url", Value::String(url)) => found.push(Address(url)),
                ("addresses", Value::Array(several)) => {
                    found.extend(several.iter_mut().filter_map(|value| match value {
                        Value::String(address) => Some(Address(address)),
                        _ => None,
                    }));
                }
                _ => {}
            }
        }
        found.iter_mut().for_each(&mut then);
    });
}

impl Address<'_> {
    /// Where `host:port` stands in it; none if what is spoken there is encrypted.
    fn authority(&self) -> Option<(usize, usize)> {
        let text = &self.0;
        let encrypted = ["rediss://", "tls://", "sslmode=require", "sslmode=verify"];
        if encrypted.iter().any(|sign| text.contains(sign)) {
            return None;
        }
        let start = text.find("://").map_or(0, |at| at + 3);
        let rest = text.get(start..)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let user = rest.get(..end)?.rfind('@').map_or(0, |at| at + 1);
        (user < end).then_some((start + user, start + end))
    }

    /// The host and the port, if that is what it names: a path or a list of hosts is for servers to judge.
    fn host_and_port(&self) -> Option<String> {
        let (start, end) = self.authority()?;
        let place = self.0.get(start..end)?;
        if place.is_empty() || place.contains(['%', ',', '=', ' ']) {
            return None;
        }
        match place.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => Some(place.to_owned()),
            _ => Some(format!("{place}:{}", default_port(self.0)?)),
        }
    }

    /// The address, if it can be known.
    fn target(&self) -> Option<SocketAddr> {
        self.host_and_port()?.to_socket_addrs().ok()?.next()
    }

    /// Leads to a proxy from now on.
    fn redirect(&mut self, to: SocketAddr) {
        if let Some((start, end)) = self.authority() {
            self.0.replace_range(start..end, &to.to_string());
        }
    }
}

fn default_port(url: &str) -> Option<u16> {
    match url.split_once("://")?.0 {
        "redis" => Some(6379),
        "postgres" | "postgresql" => Some(5432),
        _ => None,
    }
}

fn each_text(table: &mut Table, then: &mut impl FnMut(&mut String)) {
    fn walk(value: &mut Value, then: &mut impl FnMut(&mut String)) {
        match value {
            Value::String(text) => then(text),
            Value::Array(values) => values.iter_mut().for_each(|value| walk(value, then)),
            Value::Table(table) => table.iter_mut().for_each(|(_, value)| walk(value, then)),
            _ => {}
        }
    }
    table.iter_mut().for_each(|(_, value)| walk(value, then));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn stranger(config: &str) -> Stranger {
        Stranger(
            Arc::new(Facts {
                name: "mine".into(),
                wasm: Bytes::from_static(b"wasm"),
                manifest: Some(b"version = '1'".to_vec()),
                config: config.parse().unwrap(),
            }),
            Ways::Direct,
        )
    }

    #[tokio::test]
    async fn every_cluster_has_files_a_bus_and_a_word_of_its_own() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let stranger =
            stranger("[transports.mine]\noptions = { key = 'chat-{run}', n = [1, '{run}'] }");
        assert!(stranger.may_share_its_backend());
        let mut keys = Vec::new();
        for folder in &folders {
            let config = stranger.begin(folder.path()).await.unwrap().config;
            assert!(folder.path().join("plugins/mine.wasm").is_file());
            assert!(folder.path().join("plugins/mine.toml").is_file());
            let bus = config["connections"]["bus"]["main"]["path"]
                .as_str()
                .unwrap();
            assert!(Path::new(bus).starts_with(folder.path()), "{bus}");
            let options = &config["transports"]["mine"]["options"];
            let key = options["key"].as_str().unwrap().to_owned();
            assert!(key.starts_with("chat-run"), "{key}");
            assert_eq!(options["n"][1].as_str().unwrap(), &key["chat-".len()..]);
            keys.push(key);
        }
        assert_ne!(keys[0], keys[1]);
    }

    #[test]
    fn a_host_that_is_not_there_is_told_and_what_is_no_host_is_left_to_the_servers() {
        let of = |kind: &str, url: &str| {
            let config = format!("[connections.{kind}.main]\nurl = '{url}'");
            stranger(&config).no_backend()
        };
        for (kind, url) in [
            ("redis", "unix:///run/redis.sock"),
            ("postgres", "host=/run/postgresql user=me"),
            ("postgres", "postgres://%2Frun%2Fpostgresql/db"),
            ("postgres", "postgres://one:5432,two:5433/db"),
            ("postgres", "postgres:///db"),
        ] {
            assert_eq!(of(kind, url), None, "{url}");
        }
        let told = of("redis", "redis://me:secret@nobody.invalid").unwrap();
        assert_eq!(told, "nobody.invalid:6379: there is no such host");
    }

    #[tokio::test]
    async fn a_proxy_stands_in_for_every_address_that_can_be_known() {
        let toml = "
            [connections.redis.main]
            url = 'redis://user:p@ss@127.0.0.1:7/3?x=1'
            [connections.tcp.main]
            addresses = ['127.0.0.1:8', '127.0.0.1:9']
            [connections.tcp.safe]
            addresses = ['127.0.0.1:11']
            encryption = 'start'
            [connections.redis.safe]
            url = 'rediss://127.0.0.1:10'
        ";
        let direct = stranger(toml);
        assert!(!direct.may_share_its_backend());
        let folder = tempfile::tempdir().unwrap();
        let started = direct
            .proxied()
            .unwrap()
            .begin(folder.path())
            .await
            .unwrap();
        let proxies = started.backend.downcast_ref::<Vec<Proxy>>().unwrap();
        assert_eq!(proxies.len(), 3);
        let connections = &started.config["connections"];
        let all = connections.to_string();
        for proxy in proxies {
            assert!(all.contains(&proxy.addr().port().to_string()), "{all}");
        }
        let url = connections["redis"]["main"]["url"].as_str().unwrap();
        assert!(url.starts_with("redis://user:p@ss@127.0.0.1:") && url.ends_with("/3?x=1"));
        let safe = connections["redis"]["safe"]["url"].as_str().unwrap();
        assert_eq!(safe, "rediss://127.0.0.1:10");
        assert!(all.contains("127.0.0.1:11"), "{all}");
        assert!(stranger("transport = 'mine'").proxied().is_none());
    }
}
