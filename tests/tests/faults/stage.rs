//! Servers with the plugin `faulty`, and what the stories ask of them.

use std::{
    env,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use switchboard_tests::{
    Client, Clients, Cluster, ClusterBuilder, Connect, Error, Parser, Select, Server, Transport,
    until,
};

use crate::Outcome;

/// The folder with built fixtures; else `target/fixtures` of the workspace.
const FIXTURES_VARIABLE: &str = "SWITCHBOARD_TEST_FIXTURES";
/// The event of all stories: a number, and a word that tells the plugin what to do.
const SAID: &str = "said";
/// Sent to prove that nothing else is under way.
const FENCE: &str = "fence";

/// Faults come quickly, and the pauses between them are short; nobody is lost by being slow.
const QUICK: &str = "
    [limits]
    cpu_ms = 200
    memory_bytes = 16777216
    restart_backoff_min_ms = 10
    restart_backoff_max_ms = 100
    max_restarts = 1000
    [cluster]
    heartbeat_timeout_ms = 600000
";

/// Where the fixtures are, checked for `faulty`.
pub(crate) fn fixtures() -> Result<PathBuf, Error> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = env::var_os(FIXTURES_VARIABLE).map_or_else(
        || tests.parent().unwrap_or(tests).join("target/fixtures"),
        PathBuf::from,
    );
    if folder.join("faulty.wasm").is_file() {
        return Ok(folder);
    }
    Err(Error::Setup {
        what: format!("there is no faulty.wasm in {}", folder.display()),
        fix: format!("build it with `cargo xtask plugins --fixtures`, or set {FIXTURES_VARIABLE}"),
    })
}

/// Two servers with the plugin `faulty`.
pub(crate) fn faulty() -> Result<ClusterBuilder, Error> {
    Ok(Cluster::builder()
        .nodes(2)
        .transport(Transport::plugin("faulty").folder(fixtures()?))
        .toml(QUICK))
}

/// Two servers, the first of which talks, with a client each.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    /// A client of the server that talks.
    pub(crate) here: Client,
    /// A client of the other one.
    pub(crate) there: Client,
    _clients: Clients,
}

impl Stage {
    /// With further configuration.
    pub(crate) async fn set(toml: &str) -> Result<Self, Error> {
        Self::set_with(Parser::Common, toml).await
    }

    /// The same with another parser.
    pub(crate) async fn set_with(parser: Parser, toml: &str) -> Result<Self, Error> {
        let cluster = faulty()?.parser(parser).toml(toml).start().await?;
        let clients = Clients::start().await?;
        let (here, there) = (cluster.node(0).url(), cluster.node(1).url());
        let how = Connect::default().parser(parser);
        Ok(Self {
            here: clients.connect(here, how.clone()).await?,
            there: clients.connect(there, how).await?,
            _clients: clients,
            cluster,
        })
    }

    pub(crate) fn sender(&self) -> &Server {
        self.cluster.node(0)
    }

    pub(crate) fn receiver(&self) -> &Server {
        self.cluster.node(1)
    }

    /// Says numbers to everyone; a number that is in `words` goes with that word.
    pub(crate) async fn say(
        &self,
        numbers: impl IntoIterator<Item = u64>,
        words: &[(u64, &str)],
    ) -> Outcome {
        for number in numbers {
            let word = words.iter().find(|(at, _)| *at == number);
            say(
                self.sender(),
                "/",
                number,
                word.map_or("", |(_, word)| word),
            )
            .await?;
        }
        Ok(())
    }

    /// Waits until everything that was said before has arrived wherever it ever will, and checks
    /// that the client there has heard exactly these numbers, each once and in this order.
    pub(crate) async fn assert_heard_there(
        &self,
        numbers: impl IntoIterator<Item = u64>,
    ) -> Outcome {
        let numbers: Vec<u64> = numbers.into_iter().collect();
        settle(self.sender(), "/", &self.there).await?;
        assert_eq!(heard(&self.there).await?, numbers, "at the other server");
        Ok(())
    }

    /// The same for the client of the server that talks, which nothing ever stops.
    pub(crate) async fn assert_heard_here(
        &self,
        numbers: impl IntoIterator<Item = u64>,
    ) -> Outcome {
        let numbers: Vec<u64> = numbers.into_iter().collect();
        self.here.wait_for(SAID, numbers.len()).await?;
        assert_eq!(heard(&self.here).await?, numbers, "at the same server");
        Ok(())
    }
}

/// Says one number to everyone in a namespace.
pub(crate) async fn say(server: &Server, nsp: &str, number: u64, word: &str) -> Outcome {
    server
        .broadcast(&Select::nsp(nsp), SAID, json!([number, word]))
        .await
}

/// Waits until what a server has sent before has arrived at a client.
pub(crate) async fn settle(server: &Server, nsp: &str, client: &Client) -> Outcome {
    let fences = client.received(FENCE).await?.len();
    server
        .broadcast(&Select::nsp(nsp), FENCE, json!([]))
        .await?;
    client.wait_for(FENCE, fences + 1).await?;
    Ok(())
}

/// Waits until a client has heard so many numbers.
pub(crate) async fn wait_until_heard(client: &Client, count: usize) -> Outcome {
    client.wait_for(SAID, count).await?;
    Ok(())
}

/// The numbers that a client has heard.
pub(crate) async fn heard(client: &Client) -> Result<Vec<u64>, Error> {
    let said = client.received(SAID).await?;
    Ok(said.iter().filter_map(|args| args[0].as_u64()).collect())
}

/// Waits until the transport has taken everything that a server has sent.
pub(crate) async fn wait_until_sent(server: &Server) -> Outcome {
    let outbox = || counter(server, "outbox_messages");
    until("the outbox to be empty", outbox, |&waiting| waiting == 0).await?;
    Ok(())
}

/// One of the cluster's counters.
pub(crate) async fn counter(server: &Server, name: &str) -> Result<u64, Error> {
    let status = server.status().await?;
    number(&status["cluster"][name], &status)
}

/// How often an instance of a server's plugin has died.
pub(crate) async fn deaths(server: &Server, role: &str) -> Result<u64, Error> {
    let instance = instance(server, role).await?;
    number(&instance["faults"], &instance)
}

/// `opening`, `running`, `restarting` or `failed`.
pub(crate) async fn state(server: &Server, role: &str) -> Result<String, Error> {
    let instance = instance(server, role).await?;
    Ok(instance["state"].as_str().unwrap_or_default().to_owned())
}

/// What a server says of one instance of its plugin.
pub(crate) async fn instance(server: &Server, role: &str) -> Result<Value, Error> {
    let status = server.status().await?;
    let instances = status["transport"]["instances"].as_array();
    instances
        .and_then(|all| all.iter().find(|instance| instance["role"] == role))
        .cloned()
        .ok_or_else(|| Error::Test(format!("there is no {role} in {status}")))
}

fn number(value: &Value, within: &Value) -> Result<u64, Error> {
    value
        .as_u64()
        .ok_or_else(|| Error::Test(format!("no such number in {within}")))
}
