//! The backend that is left, and the one that is entered, die in the middle.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use switchboard_tests::{Error, Postgres};
use tokio::time::sleep;

use crate::{
    Outcome, assert_all_on,
    death::{Asked, PATIENT, ask, result},
    round::at,
    survivors::Scene,
};

/// How long a backend is away.
const AWAY: Duration = Duration::from_secs(1);
/// Nothing is lost on Postgres either.
const DURABLE: &str = "transports.postgres.options.durable = true";

fn servers(scene: &Scene) -> Vec<&switchboard_tests::Server> {
    let nodes = scene.cluster.nodes().iter();
    nodes.map(|server| &**server).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_away_is_not_entered() -> Outcome {
    let impatient = "cluster.switch.prepare_timeout_ms = 2000";
    let scene = Scene::begin("local", &[impatient]).await?;
    let redis = scene.redis()?;
    let load = scene.load(&[0, 1, 2]);
    redis.kill().await?;
    let refused = scene.server(0).switch_to("redis").await;
    let why = format!("{refused:?}");
    assert!(
        why.contains("not all servers were ready for `redis`"),
        "{why}"
    );
    redis.restart().await?;
    assert_all_on(&servers(&scene), "local").await?;
    scene.server(1).switch_to("redis-streams").await?;
    load.assert_nothing_lost().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_that_is_entered_dies_while_all_prepare() -> Outcome {
    let scene = Scene::begin("local", &[PATIENT]).await?;
    let redis = scene.redis()?;
    let load = scene.load(&[0, 1, 2]);
    scene.second_ways[2].stall();
    let asked = ask(scene.server(0), "redis-streams");
    scene.in_phase(1, "hearing").await?;
    redis.kill().await?;
    sleep(AWAY).await;
    redis.restart().await?;
    scene.second_ways[2].resume();
    assert_eq!(result(asked).await?["unfinished"], json!([]));
    assert_all_on(&servers(&scene), "redis-streams").await?;
    load.assert_nothing_lost().await?;
    Ok(())
}

/// A switch from `redis-streams` to `postgres` in which server 2 cannot end what it sends over the
/// first, and the others have.
async fn with_one_that_cannot_leave(scene: &Scene, postgres: &Postgres) -> Result<Asked, Error> {
    postgres.pause().await?;
    let asked = ask(scene.server(0), "postgres");
    for index in 0..3 {
        scene.in_phase(index, "opening").await?;
    }
    scene.second_ways[2].stall();
    postgres.resume()?;
    scene.in_phase(2, "leaving").await?;
    scene.in_phase(0, "draining").await?;
    scene.in_phase(1, "draining").await?;
    Ok(asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_that_is_left_dies_while_one_server_leaves() -> Outcome {
    let postgres = Arc::new(Postgres::start().await?);
    let scene = Scene::begin("redis-streams", &[PATIENT, &at(&postgres), DURABLE]).await?;
    let redis = scene.redis()?;
    let load = scene.load(&[0, 1, 2]);
    let asked = with_one_that_cannot_leave(&scene, &postgres).await?;
    redis.kill().await?;
    sleep(AWAY).await;
    redis.restart().await?;
    scene.second_ways[2].resume();
    assert_eq!(result(asked).await?["unfinished"], json!([]));
    assert_all_on(&servers(&scene), "postgres").await?;
    load.assert_nothing_lost().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backend_that_is_entered_dies_while_one_server_leaves() -> Outcome {
    let postgres = Arc::new(Postgres::start().await?);
    let scene = Scene::begin("redis-streams", &[PATIENT, &at(&postgres), DURABLE]).await?;
    let load = scene.load(&[0, 1, 2]);
    let asked = with_one_that_cannot_leave(&scene, &postgres).await?;
    postgres.kill().await?;
    sleep(AWAY).await;
    postgres.restart().await?;
    scene.second_ways[2].resume();
    assert_eq!(result(asked).await?["unfinished"], json!([]));
    assert_all_on(&servers(&scene), "postgres").await?;
    load.assert_nothing_lost().await?;
    Ok(())
}
