//! Servers that die, or come, in the middle of a switch. Each phase is held open by a server whose
//! way to Redis hangs.

use std::sync::Arc;

use serde_json::{Value, json};
use switchboard_tests::{Error, Server};
use tokio::task::JoinHandle;

use crate::{Outcome, assert_all_on, survivors::Scene};

/// Nobody gives anything up because of a way that hangs for some seconds.
pub(crate) const PATIENT: &str = "
    [cluster.switch]
    prepare_timeout_ms = 60000
    leave_timeout_ms = 60000
    drain_timeout_ms = 60000
    [connections.redis.main]
    connect_timeout_ms = 20000
    command_timeout_ms = 20000
    ping_timeout_ms = 20000
    [connections.redis.second]
    connect_timeout_ms = 20000
    command_timeout_ms = 20000
    ping_timeout_ms = 20000
";
/// Redis does not say that a server is dead: the others notice that it is silent.
const WATCHFUL: &str = "
    [cluster]
    heartbeat_interval_ms = 300
    heartbeat_timeout_ms = 4000
";

pub(crate) type Asked = JoinHandle<Result<Value, Error>>;

pub(crate) fn ask(server: &Arc<Server>, to: &'static str) -> Asked {
    let server = Arc::clone(server);
    tokio::spawn(async move { server.switch_to(to).await })
}

pub(crate) async fn result(asked: Asked) -> Result<Value, Error> {
    asked
        .await
        .map_err(|panic| Error::Test(panic.to_string()))?
}

/// A switch from `redis` to `redis-streams`, asked of server 0, in which server 2 cannot end what it
/// sends over `redis`, and all others have.
async fn with_one_that_cannot_leave(scene: &Scene) -> Result<Asked, Error> {
    scene.second_ways[1].stall();
    let asked = ask(scene.server(0), "redis-streams");
    scene.in_phase(2, "hearing").await?;
    scene.ways[2].stall();
    scene.second_ways[1].resume();
    scene.in_phase(2, "leaving").await?;
    scene.in_phase(0, "draining").await?;
    scene.in_phase(1, "draining").await?;
    Ok(asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_that_began_dies_while_all_prepare_and_everything_stays() -> Outcome {
    let scene = Scene::begin("local", &[PATIENT]).await?;
    let load = scene.load(&[1, 2]);
    scene.ways[2].stall();
    let asked = ask(scene.server(0), "redis");
    scene.in_phase(1, "hearing").await?;
    scene.server(0).kill().await?;
    assert!(result(asked).await.is_err());
    scene.ways[2].resume();
    let living = [&**scene.server(1), &**scene.server(2)];
    assert_all_on(&living, "local").await?;
    // And the next one works.
    let switched = scene.server(1).switch_to("redis").await?;
    assert_eq!(switched["gone"], json!([]));
    assert_all_on(&living, "redis").await?;
    load.assert_nothing_lost().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_dies_while_all_prepare_and_the_others_go() -> Outcome {
    let scene = Scene::begin("local", &[PATIENT]).await?;
    let dead = scene.server(2).node().await?;
    let load = scene.load(&[0, 1]);
    scene.second_ways[2].stall();
    let asked = ask(scene.server(0), "redis-streams");
    scene.in_phase(1, "hearing").await?;
    scene.server(2).kill().await?;
    assert_eq!(result(asked).await?["gone"], json!([dead]));
    let living = [&**scene.server(0), &**scene.server(1)];
    assert_all_on(&living, "redis-streams").await?;
    load.assert_nothing_lost().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_that_began_dies_while_another_leaves_and_the_others_arrive() -> Outcome {
    let scene = Scene::begin("redis", &[PATIENT, WATCHFUL]).await?;
    let load = scene.load(&[1, 2]);
    let asked = with_one_that_cannot_leave(&scene).await?;
    scene.server(0).kill().await?;
    assert!(result(asked).await.is_err());
    scene.ways[2].resume();
    let living = [&**scene.server(1), &**scene.server(2)];
    assert_all_on(&living, "redis-streams").await?;
    load.assert_nothing_lost().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_dies_that_has_left_and_waits_for_the_last_and_the_others_arrive() -> Outcome {
    let scene = Scene::begin("redis", &[PATIENT, WATCHFUL]).await?;
    let dead = scene.server(1).node().await?;
    let load = scene.load(&[0, 2]);
    let asked = with_one_that_cannot_leave(&scene).await?;
    scene.server(1).kill().await?;
    scene.ways[2].resume();
    assert_eq!(result(asked).await?["gone"], json!([dead]));
    let living = [&**scene.server(0), &**scene.server(2)];
    assert_all_on(&living, "redis-streams").await?;
    load.assert_nothing_lost().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_dies_before_it_has_left_and_the_others_arrive() -> Outcome {
    let scene = Scene::begin("redis", &[PATIENT, WATCHFUL]).await?;
    let dead = scene.server(2).node().await?;
    let load = scene.load(&[0, 1]);
    let asked = with_one_that_cannot_leave(&scene).await?;
    scene.server(2).kill().await?;
    assert_eq!(result(asked).await?["gone"], json!([dead]));
    let living = [&**scene.server(0), &**scene.server(1)];
    assert_all_on(&living, "redis-streams").await?;
    load.assert_nothing_lost().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_with_the_old_configuration_finds_the_others() -> Outcome {
    let mut scene = Scene::begin("local", &[PATIENT]).await?;
    scene.server(1).switch_to("redis").await?;
    let late = scene.add_server().await?;
    let servers: Vec<_> = scene
        .cluster
        .nodes()
        .iter()
        .map(|server| &**server)
        .collect();
    assert_all_on(&servers, "redis").await?;
    let said = late
        .log()
        .all(|line| line.contains("the cluster has moved from `local` to `redis`"));
    assert_eq!(said.len(), 1, "{said:?}");
    // It is one of them from then on.
    let switched = late.switch_to("redis-streams").await?;
    assert_eq!(switched["unfinished"], json!([]));
    assert_all_on(&servers, "redis-streams").await
}
