//! A plugin that died: a good one in its place works again, without a restart.

use std::fs;

use serde_json::json;
use switchboard_tests::{
    Client, Clients, Cluster, Connect, Error, Select, Server, Transport, built, until,
};

use crate::{
    Outcome,
    folder::{Folder, SETTINGS, test_error, wait_until_runs},
    stage::builder,
};

/// One failure is enough.
const BRITTLE: &str = "limits.max_restarts = 0";
/// After a failure it stays away for longer than any test is patient.
const SLOW: &str = "
    [limits]
    restart_backoff_min_ms = 3600000
    restart_backoff_max_ms = 3600000
";

/// Two servers that follow a folder, and a client of each.
struct Servers {
    folder: Folder,
    cluster: Cluster,
    clients: Vec<Client>,
    _process: Clients,
}

impl Servers {
    async fn start(limits: &str) -> Result<Self, Error> {
        let folder = Folder::of_fixture("faulty")?;
        let transport = Transport::plugin("faulty").folder(folder.path());
        let cluster = builder(transport).nodes(2).toml(SETTINGS).toml(limits);
        let cluster = cluster.start().await?;
        let process = Clients::start().await?;
        let mut clients = Vec::new();
        for server in cluster.nodes() {
            clients.push(process.connect(server.url(), Connect::default()).await?);
        }
        Ok(Self {
            folder,
            cluster,
            clients,
            _process: process,
        })
    }

    /// Kills both ways of the first server.
    async fn kill(&self, state: &str) -> Outcome {
        let (victim, other) = (self.cluster.node(0), self.cluster.node(1));
        say(other, "deadly", "fault:trap-poll").await?;
        wait_until(victim, "subscriber", state).await?;
        say(victim, "deadly too", "fault:trap-publish").await?;
        wait_until(victim, "publisher", state).await
    }

    /// Everybody hears everybody.
    async fn assert_whole(&self) -> Outcome {
        for (number, server) in self.cluster.nodes().iter().enumerate() {
            wait_until(server, "publisher", "running").await?;
            wait_until(server, "subscriber", "running").await?;
            let event = format!("again {number}");
            say(server, &event, "").await?;
            for client in &self.clients {
                client.wait_for(&event, 1).await?;
            }
        }
        Ok(())
    }

    /// A plugin that is understood by the faulty one, and does nothing of what it is asked for.
    fn mended(&self) -> Result<Vec<u8>, Error> {
        fs::read(built::plugins("local")?.join("local.wasm")).map_err(test_error)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_was_given_up_in_both_ways_is_replaced_by_one_that_works() -> Outcome {
    let servers = Servers::start(BRITTLE).await?;
    servers.kill("failed").await?;
    let mended = servers.mended()?;
    servers.folder.put(&mended)?;
    wait_until_runs(servers.cluster.node(0), &mended).await?;
    servers.assert_whole().await?;
    // What it could not take waited for it.
    servers.clients[0].wait_for("deadly", 1).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_plugin_does_not_wait_for_the_pause_after_a_failure_of_the_old_one() -> Outcome {
    let servers = Servers::start(SLOW).await?;
    servers.kill("restarting").await?;
    let mended = servers.mended()?;
    servers.folder.put(&mended)?;
    wait_until_runs(servers.cluster.node(0), &mended).await?;
    servers.assert_whole().await?;
    // Nothing was given up, so nothing is missing.
    for (client, events) in servers.clients.iter().zip([["deadly"], ["deadly too"]]) {
        client.wait_for(events[0], 1).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_was_given_up_gets_another_chance_when_its_file_is_touched() -> Outcome {
    let servers = Servers::start(BRITTLE).await?;
    for server in servers.cluster.nodes() {
        say(server, "deadly", "fault:trap-publish").await?;
        wait_until(server, "publisher", "failed").await?;
    }
    let same = fs::read(servers.folder.file()).map_err(test_error)?;
    servers.folder.put(&same)?;
    servers.assert_whole().await
}

async fn say(server: &Server, event: &str, word: &str) -> Outcome {
    server.broadcast(&Select::all(), event, json!([word])).await
}

async fn wait_until(server: &Server, role: &str, expected: &str) -> Outcome {
    let what = format!("the {role} of {} to be {expected}", server.name());
    let look = || state(server, role);
    until(what, look, |state| state == expected).await?;
    Ok(())
}

async fn state(server: &Server, role: &str) -> Result<String, Error> {
    let status = server.status().await?;
    let instances = status["transport"]["instances"].as_array();
    let instance = instances.and_then(|all| all.iter().find(|instance| instance["role"] == role));
    let state = instance.and_then(|instance| instance["state"].as_str());
    state
        .map(str::to_owned)
        .ok_or_else(|| Error::Test(format!("there is no {role} in {status}")))
}
