//! A switch that cannot be carried out leaves everything as it was.

use std::sync::Arc;

use switchboard_tests::{Backends, Error, NodeAdapter, NodeLaunch, NodeServers, Redis};

use crate::{
    Outcome, assert_all_on, builder, load::Load, on_the_stage, stage::URL_VARIABLE,
    survivors::Scene, verdict::Verdict,
};

const IMPATIENT: &str = "cluster.switch.prepare_timeout_ms = 3000";

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lacks_the_backend_ends_the_switch_for_all() -> Outcome {
    let mut cluster = builder().nodes(2).start().await?;
    // It may not use Redis.
    let forbidden = [("SWITCHBOARD_TRANSPORTS__REDIS__GRANTS__REDIS", "[]")];
    cluster.add_node_with(&forbidden).await?;
    let stage = on_the_stage(cluster).await?;
    let servers: Vec<_> = stage.servers().collect();
    let load = Load::start(&stage).await?;
    let node = servers[2].node().await?;
    let refused = servers[0].switch_to("redis").await;
    let Err(Error::Refused { .. }) = refused else {
        panic!("it was carried out: {refused:?}");
    };
    let why = format!("{refused:?}");
    assert!(why.contains(&node), "{why} does not name {node}");
    assert_all_on(&servers, "local").await?;
    // What is possible is possible afterwards.
    let unknown = servers[0].switch_to("nowhere").await;
    assert!(
        format!("{unknown:?}").contains("there is no plugin `nowhere`"),
        "{unknown:?}"
    );
    assert_all_on(&servers, "local").await?;
    Verdict::of(&stage, load).await?.assert_nothing_lost();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_another_redis_is_found_before_anything_is_sent_there() -> Outcome {
    let elsewhere = Redis::start().await?;
    let mut cluster = builder().nodes(2).toml(IMPATIENT).start().await?;
    let url = elsewhere.url();
    cluster.add_node_with(&[(URL_VARIABLE, &url)]).await?;
    let servers: Vec<_> = cluster.nodes().iter().map(|server| &**server).collect();
    let node = servers[2].node().await?;
    let why = format!("{:?}", servers[0].switch_to("redis").await);
    let said = format!("does not hear {node} there");
    assert!(why.contains(&said), "{why} does not say: {said}");
    assert_all_on(&servers, "local").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_calls_it_off_while_the_servers_prepare() -> Outcome {
    let scene = Scene::begin("local", &[]).await?;
    let load = scene.load(&[0, 1, 2]);
    scene.ways[2].stall();
    let server = Arc::clone(scene.server(0));
    let asked = tokio::spawn(async move { server.switch_to("redis").await });
    scene.in_phase(1, "hearing").await?;
    assert!(scene.server(0).abort_switch().await?);
    let why = format!("{:?}", asked.await.map_err(|e| Error::Test(e.to_string()))?);
    assert!(why.contains("it was asked for"), "{why}");
    scene.ways[2].resume();
    let servers: Vec<_> = scene
        .cluster
        .nodes()
        .iter()
        .map(|server| &**server)
        .collect();
    assert_all_on(&servers, "local").await?;
    assert!(!scene.server(0).abort_switch().await?, "there is none");
    load.assert_nothing_lost().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_node_js_are_named_and_left_behind_only_by_force() -> Outcome {
    let mut cluster = builder()
        .toml("transport = \"redis-streams\"")
        .nodes(2)
        .start()
        .await?;
    let redis = cluster
        .redis()
        .ok_or_else(|| Error::Test("no Redis".into()))?
        .url();
    cluster
        .add_node_js(NodeLaunch::new(NodeAdapter::StreamsIoredis).url(redis))
        .await?;
    let servers: Vec<_> = cluster.nodes()[..2]
        .iter()
        .map(|server| &**server)
        .collect();
    let why = format!("{:?}", servers[0].switch_to("redis").await);
    assert!(why.contains("1 server cannot come along"), "{why}");
    assert_all_on(&servers, "redis-streams").await?;
    servers[0].force_switch_to("redis").await?;
    assert_all_on(&servers, "redis").await
}
