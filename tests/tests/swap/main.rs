//! A whole cluster changes its transport while it runs, under load from all of its servers.
//!
//! What is asserted: every event arrives everywhere, once and in order; questions are answered;
//! rooms and sockets are as before; and whatever happens in the middle, all servers end on one
//! transport.

#[path = "../outage/load.rs"]
mod load;
#[path = "../outage/stage.rs"]
#[allow(dead_code)]
mod stage;
#[path = "../outage/verdict.rs"]
#[allow(dead_code)]
mod verdict;

mod abort;
mod backend;
mod death;
mod file;
mod operator;
mod round;
mod survivors;

use std::collections::BTreeSet;

use serde_json::Value;
use stage::Stage;
use switchboard_tests::{Cluster, Error, Transport, until};

/// What a test returns; the error says what did not happen.
type Outcome = Result<(), Error>;

/// Every server can use every transport.
const ALL_TRANSPORTS: &str = r#"
    [connections.bus.main]
    path = "bus.sock"
    [transports.local]
    grants = { bus = ["main"] }
    [transports.redis]
    grants = { redis = ["main"] }
    [transports.redis-streams]
    grants = { redis = ["main"] }
"#;

/// A cluster that begins on `local` and has a Redis that keeps its data.
fn builder() -> switchboard_tests::ClusterBuilder {
    stage::builder(Transport::redis_streams_persistent())
        .toml(ALL_TRANSPORTS)
        .toml("transport = \"local\"")
}

async fn on_the_stage(cluster: Cluster) -> Result<Stage, Error> {
    Stage::with(cluster, Vec::new()).await
}

/// Waits until all living servers publish on this transport and are done with switching.
async fn assert_all_on(servers: &[&switchboard_tests::Server], transport: &str) -> Outcome {
    for server in servers {
        until(
            format!("{} to be on {transport}", server.name()),
            || server.status(),
            |status| stands(status) == (transport.to_owned(), "idle".to_owned()),
        )
        .await?;
    }
    let epochs: BTreeSet<u64> = epochs(servers).await?;
    assert_eq!(
        epochs.len(),
        1,
        "they follow different decisions: {epochs:?}"
    );
    Ok(())
}

async fn epochs(servers: &[&switchboard_tests::Server]) -> Result<BTreeSet<u64>, Error> {
    let mut epochs = BTreeSet::new();
    for server in servers {
        epochs.extend(server.status().await?["switch"]["epoch"].as_u64());
    }
    Ok(epochs)
}

/// On which transport, and in which phase.
fn stands(status: &Value) -> (String, String) {
    let text = |key: &str| status["switch"][key].as_str().unwrap_or("?").to_owned();
    (text("on"), text("phase"))
}
