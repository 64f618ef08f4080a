//! A plugin that is replaced while its backend is away: the old one keeps what there is to send, and
//! the new one takes over when the backend is back.

use switchboard_tests::Transport;
use tokio::time::Instant;

use crate::{
    Outcome,
    folder::{Folder, SETTINGS, wait_until_runs},
    load::Load,
    stage::{SERVERS, Stage, builder},
    verdict::{Verdict, assert_all_heard_again},
};

/// Connections and commands are given up soon.
const IMPATIENT: &str = "
    [connections.redis.main]
    connect_timeout_ms = 500
    command_timeout_ms = 500
";

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_replaced_while_redis_is_away_takes_over_when_it_is_back() -> Outcome {
    let folder = Folder::of("redis-streams")?;
    let transport = Transport::redis_streams_persistent().folder(folder.path());
    let cluster = builder(transport)
        .nodes(SERVERS)
        .toml(SETTINGS)
        .toml(IMPATIENT);
    let stage = Stage::with(cluster.start().await?, Vec::new()).await?;
    let load = Load::start(&stage).await?;

    stage.backend()?.kill().await?;
    let plugin = folder.variant("of a bad time");
    folder.put(&plugin)?;
    for server in stage.servers() {
        let is_it = |line: &str| line.contains("what runs goes on until it can");
        server.log().wait_for("that it has to wait", is_it).await?;
    }
    stage.backend()?.restart().await?;
    for server in stage.servers() {
        wait_until_runs(server, &plugin).await?;
    }
    assert_all_heard_again(&stage, &load, Instant::now()).await?;
    Verdict::of(&stage, load).await?.assert_all_there();
    for server in stage.servers() {
        let is_it = |line: &str| line.contains("what runs goes on until it can");
        assert_eq!(server.log().count(is_it), 1, "{}: told once", server.name());
    }
    Ok(())
}
