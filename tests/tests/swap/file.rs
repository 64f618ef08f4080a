//! The configuration file asks for another transport while the servers run.

use std::{fs, path::Path};

use switchboard_tests::{Cluster, Error};
use toml::{Table, Value};

use crate::{Outcome, assert_all_on, builder, load::Load, on_the_stage, verdict::Verdict};

/// So often that a test does not wait for it.
const WATCHED: &str = "watch_plugins_ms = 50";

#[tokio::test(flavor = "multi_thread")]
async fn another_transport_in_the_file_moves_the_cluster_under_load() -> Outcome {
    let cluster = builder().toml(WATCHED).nodes(3).start().await?;
    let file = cluster.config().to_owned();
    let stage = on_the_stage(cluster).await?;
    let servers: Vec<_> = stage.servers().collect();
    let load = Load::start(&stage).await?;
    for to in ["redis", "redis-streams", "local"] {
        change(&file, |config| {
            config.insert("transport".into(), Value::String(to.into()));
        })?;
        assert_all_on(&servers, to).await?;
    }
    Verdict::of(&stage, load).await?.assert_all_there();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_new_transport_needs_may_come_with_it() -> Outcome {
    let mut cluster = builder().toml(WATCHED).nodes(0).start().await?;
    let file = cluster.config().to_owned();
    let whole = fs::read_to_string(&file).map_err(system)?;
    change(&file, |config| {
        config.remove("transports");
        if let Some(Value::Table(connections)) = config.get_mut("connections") {
            connections.remove("redis");
        }
    })?;
    for _ in 0..2 {
        cluster.add_node().await?;
    }
    let servers = servers(&cluster);
    let refused = servers[0].switch_to("redis").await;
    assert!(format!("{refused:?}").contains("redis"), "{refused:?}");

    let whole = whole.replace("transport = \"local\"", "transport = \"redis\"");
    replace(&file, &whole)?;
    assert_all_on(&servers, "redis").await?;
    // A server that starts now is where the others are.
    let newcomer = cluster.add_node().await?;
    assert_eq!(newcomer.status().await?["transport"]["name"], "redis");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_server_that_is_told_asks_until_the_others_know_too() -> Outcome {
    let mut cluster = builder().toml(WATCHED).nodes(1).start().await?;
    // The second one has a file of its own, which does not know Redis yet.
    let own = cluster.folder().join("own.toml");
    let whole = fs::read_to_string(cluster.config()).map_err(system)?;
    fs::write(&own, &whole).map_err(system)?;
    change(&own, |config| {
        config.remove("transports");
    })?;
    cluster.add_node_of(&own).await?;
    let servers = servers(&cluster);

    let moved = whole.replace("transport = \"local\"", "transport = \"redis\"");
    replace(cluster.config(), &moved)?;
    let is_it = |line: &str| line.contains("cannot go to `redis` yet");
    let log = servers[0].log();
    log.wait_for("that it was refused", is_it).await?;
    replace(&own, &moved)?;
    assert_all_on(&servers, "redis").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_wrong_changes_nothing_and_is_told_in_one_line() -> Outcome {
    let cluster = builder().toml(WATCHED).nodes(2).start().await?;
    let whole = fs::read_to_string(cluster.config()).map_err(system)?;
    let servers = servers(&cluster);
    replace(
        cluster.config(),
        &whole.replace(
            "transport = \"local\"",
            "transport = \"redis\"\nnonsense = 1",
        ),
    )?;
    for server in &servers {
        let is_it = |line: &str| line.contains("`nonsense`");
        server.log().wait_for("what is wrong", is_it).await?;
        assert_eq!(server.log().count(is_it), 1, "{}", server.name());
    }
    assert_all_on(&servers, "local").await?;
    // And back, which is no change.
    replace(cluster.config(), &whole)?;
    replace(
        cluster.config(),
        &whole.replace("transport = \"local\"", "transport = \"redis\""),
    )?;
    assert_all_on(&servers, "redis").await
}

fn servers(cluster: &Cluster) -> Vec<&switchboard_tests::Server> {
    cluster.nodes().iter().map(|server| &**server).collect()
}

fn change(file: &Path, edit: impl FnOnce(&mut Table)) -> Outcome {
    let text = fs::read_to_string(file).map_err(system)?;
    let mut config: Table = text
        .parse()
        .map_err(|error| Error::Test(format!("not TOML: {error}")))?;
    edit(&mut config);
    replace(file, &config.to_string())
}

/// In one step, as an operator's tools do it.
fn replace(file: &Path, text: &str) -> Outcome {
    let beside = file.with_extension("new");
    fs::write(&beside, text).map_err(system)?;
    fs::rename(&beside, file).map_err(system)
}

fn system(error: std::io::Error) -> Error {
    Error::Test(error.to_string())
}
