//! From one transport to the next, and back.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    Outcome, assert_all_on, builder,
    load::Load,
    on_the_stage,
    verdict::{Verdict, counter},
};

/// What is between two switches.
const PAUSE: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_from_transport_to_transport_and_loses_nothing() -> Outcome {
    let cluster = builder().nodes(3).start().await?;
    let stage = on_the_stage(cluster).await?;
    let servers: Vec<_> = stage.servers().collect();
    let load = Load::start(&stage).await?;
    for (asked, to) in [
        "redis",
        "redis-streams",
        "local",
        "redis-streams",
        "redis",
        "local",
    ]
    .into_iter()
    .enumerate()
    {
        sleep(PAUSE).await;
        let switched = servers[asked % servers.len()].switch_to(to).await?;
        println!("{switched}");
        assert_eq!(switched["to"], to);
        assert_eq!(switched["gone"], serde_json::json!([]));
        assert_all_on(&servers, to).await?;
        for server in &servers {
            assert_eq!(server.status().await?["transport"]["name"], to);
        }
    }
    for server in &servers {
        assert_eq!(counter(server, "lagged").await?, 0, "{}", server.name());
    }
    Verdict::of(&stage, load).await?.assert_all_there();
    Ok(())
}
