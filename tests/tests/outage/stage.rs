//! Three servers, each with its own way to the backend where a story wants to fail it, and one client each.

use serde_json::json;
use switchboard_tests::{
    Answer, Backends, Client, Clients, Cluster, ClusterBuilder, Connect, Error, Nats, Postgres,
    Proxy, Redis, Server, Transport, until,
};

use crate::Outcome;

/// How many servers.
pub(crate) const SERVERS: usize = 3;
/// The room that the load goes to.
pub(crate) const ROOM: &str = "loaded";
/// The room of events that stay on their server.
pub(crate) const LOCAL: &str = "local";
/// The event that clients acknowledge with its own arguments.
pub(crate) const ASK: &str = "ask";

/// Where a server's configuration says what Redis it uses, and what Postgres.
pub(crate) const URL_VARIABLE: &str = "SWITCHBOARD_CONNECTIONS__REDIS__MAIN__URL";
pub(crate) const POSTGRES_URL_VARIABLE: &str = "SWITCHBOARD_CONNECTIONS__POSTGRES__MAIN__URL";
const TCP_VARIABLE: &str = "SWITCHBOARD_CONNECTIONS__TCP__MAIN__ADDRESSES";

/// Questions end soon, also those that nobody hears; no server is taken for dead over an outage.
const SETTINGS: &str = "
    [cluster]
    request_timeout_ms = 1000
    heartbeat_timeout_ms = 600000
";

/// What three servers meet at.
#[derive(Clone, Copy)]
pub(crate) enum Meeting<'a> {
    Redis(&'a Redis),
    Postgres(&'a Postgres),
    Nats(&'a Nats),
}

impl Meeting<'_> {
    pub(crate) async fn kill(self) -> Outcome {
        match self {
            Self::Redis(redis) => redis.kill().await,
            Self::Postgres(postgres) => postgres.kill().await,
            Self::Nats(nats) => nats.kill().await,
        }
    }

    /// Starts it again, and returns when it answers.
    pub(crate) async fn restart(self) -> Outcome {
        match self {
            Self::Redis(redis) => {
                redis.restart().await?;
                redis.command(&["PING"]).await.map(drop)
            }
            Self::Postgres(postgres) => postgres.restart().await,
            Self::Nats(nats) => nats.restart().await,
        }
    }

    /// A variable and its value, for a server that goes another way.
    fn by(self, way: &Proxy) -> (&'static str, String) {
        let addr = way.addr();
        match self {
            Self::Redis(_) => (URL_VARIABLE, format!("redis://{addr}")),
            Self::Postgres(_) => {
                let url = format!("postgres://postgres@{addr}/postgres");
                (POSTGRES_URL_VARIABLE, url)
            }
            Self::Nats(_) => (TCP_VARIABLE, format!("[\"{addr}\"]")),
        }
    }
}

/// Configuration of a transport whose connections are given up soon when nothing comes over them.
pub(crate) fn impatient(transport: &Transport) -> String {
    if transport.name() == "nats" {
        return "[connections.tcp.main]
            connect_timeout_ms = 1000
            [transports.nats.options]
            pingInterval = 300
            pingTimeout = 500
            ackTimeout = 1000"
            .to_owned();
    }
    let kind = match transport.name().starts_with("postgres") {
        true => "postgres",
        false => "redis",
    };
    format!(
        "[connections.{kind}.main]
        connect_timeout_ms = 1000
        command_timeout_ms = 1000
        ping_interval_ms = 300
        ping_timeout_ms = 500"
    )
}

/// Servers, their ways to the backend, and their clients.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    /// One for each server, or none.
    pub(crate) ways: Vec<Proxy>,
    /// One on each server.
    pub(crate) clients: Vec<Client>,
    _process: Clients,
}

impl Stage {
    /// Servers that reach the backend directly.
    pub(crate) async fn direct(transport: Transport) -> Result<Self, Error> {
        let cluster = builder(transport).nodes(SERVERS).start().await?;
        Self::with(cluster, Vec::new()).await
    }

    /// Servers that reach the backend each through a proxy of its own, with further configuration.
    pub(crate) async fn proxied(transport: Transport, toml: &str) -> Result<Self, Error> {
        let mut cluster = builder(transport).nodes(0).toml(toml).start().await?;
        let mut ways = Vec::new();
        for _ in 0..SERVERS {
            let meeting = meeting(&cluster)?;
            let addr = match meeting {
                Meeting::Redis(redis) => redis.addr(),
                Meeting::Postgres(postgres) => postgres.addr(),
                Meeting::Nats(nats) => nats.addr(),
            };
            let way = Proxy::start(addr).await?;
            let (variable, url) = meeting.by(&way);
            cluster.add_node_with(&[(variable, &url)]).await?;
            ways.push(way);
        }
        Self::with(cluster, ways).await
    }

    /// With the clients, when everybody has heard everybody.
    pub(crate) async fn with(cluster: Cluster, ways: Vec<Proxy>) -> Result<Self, Error> {
        let process = Clients::start().await?;
        let mut clients = Vec::new();
        for server in cluster.nodes() {
            let how = Connect::default().room(ROOM).room(LOCAL);
            let client = process.connect(server.url(), how).await?;
            client.answer(ASK, Answer::Echo).await?;
            clients.push(client);
        }
        let stage = Self {
            cluster,
            ways,
            clients,
            _process: process,
        };
        stage.assert_whole().await?;
        Ok(stage)
    }

    pub(crate) fn backend(&self) -> Result<Meeting<'_>, Error> {
        meeting(&self.cluster)
    }

    pub(crate) fn servers(&self) -> impl Iterator<Item = &Server> {
        self.cluster.nodes().iter().map(|server| &**server)
    }

    /// Checks that every server reaches every other one: its handlers, its clients, its sockets.
    pub(crate) async fn assert_whole(&self) -> Outcome {
        let all = self.clients.len();
        for server in self.servers() {
            let name = server.name();
            until(
                format!("{name} to count all servers"),
                || server.server_count("/"),
                |&count| count == all,
            )
            .await?;
            let answers = server.server_side_emit_with_ack("/", "question", json!(["?"]));
            let answers = answers.await?;
            assert_eq!(answers.answers.len(), all - 1, "{name}: {answers:?}");
            let select = switchboard_tests::Select::all();
            let acks = server.emit_with_ack(&select, ASK, json!([name])).await?;
            assert_eq!(acks.answers.len(), all, "{name}: {acks:?}");
            let ids = server.socket_ids(&select).await?;
            let mut expected: Vec<_> = self.clients.iter().map(|c| c.id().to_owned()).collect();
            expected.sort();
            assert_eq!(ids.items, expected, "{name}: {ids:?}");
        }
        Ok(())
    }
}

/// Servers to be started, with the settings of all stories.
pub(crate) fn builder(transport: Transport) -> ClusterBuilder {
    Cluster::builder().transport(transport).toml(SETTINGS)
}

fn meeting(cluster: &Cluster) -> Result<Meeting<'_>, Error> {
    let none = || Error::Test("these servers do not meet at one server".into());
    let redis = cluster.redis().map(Meeting::Redis);
    let postgres = cluster.postgres().map(Meeting::Postgres);
    let nats = cluster.nats().map(Meeting::Nats);
    redis.or(postgres).or(nats).ok_or_else(none)
}
