//! Transports that keep what they send: whatever happens to the backend, as long as it keeps its data,
//! or to the plugin, nothing is lost, nothing comes twice, and everything is in order at every server.

use std::time::Duration;

use futures_util::future::try_join_all;
use switchboard_tests::{Proxy, Server, Transport, until};
use tokio::time::{Instant, sleep};

use crate::{
    Outcome,
    load::Load,
    over_each,
    stage::{Meeting, Stage, impatient},
    verdict::{Verdict, assert_all_heard_again},
};

/// How long the backend is away, one time after the other.
const AWAY: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::ZERO,
    Duration::from_millis(700),
];
/// Longer than the patience set by [`impatient`].
const LONG: Duration = Duration::from_secs(3);
/// A plugin that waits for the backend is killed in the middle of it, and its memory is given back as soon
/// as it has nothing to do: it is replaced all the time.
const SHORT_LIVED: &str = "
    [limits]
    call_timeout_ms = 1000
    max_restarts = 1000
    recycle_memory_bytes = 1048576
";
/// How often the plugin of each server is killed.
const DEATHS: usize = 4;

over_each! {
    [redis_streams_persistent postgres_durable]
    nothing_is_lost_when_the_backend_is_killed_and_started_again_and_again
    nothing_is_lost_when_connections_are_cut_again_and_again
    nothing_is_lost_when_the_network_hangs
    nothing_is_lost_when_the_plugin_is_killed_while_it_sends
}

async fn nothing_is_lost_when_the_backend_is_killed_and_started_again_and_again(
    transport: Transport,
) -> Outcome {
    let stage = Stage::direct(transport).await?;
    let load = Load::start(&stage).await?;
    let backend = stage.backend()?;
    for away in AWAY {
        backend.kill().await?;
        sleep(away).await;
        backend.restart().await?;
        assert_all_heard_again(&stage, &load, Instant::now()).await?;
    }
    assert_kept(&stage, load).await
}

async fn nothing_is_lost_when_connections_are_cut_again_and_again(transport: Transport) -> Outcome {
    let stage = Stage::proxied(transport, "").await?;
    let load = Load::start(&stage).await?;
    for away in AWAY {
        for way in &stage.ways {
            way.cut().await?;
        }
        sleep(away).await;
        for way in &stage.ways {
            way.heal().await?;
        }
        assert_all_heard_again(&stage, &load, Instant::now()).await?;
    }
    assert_kept(&stage, load).await
}

async fn nothing_is_lost_when_the_network_hangs(transport: Transport) -> Outcome {
    let toml = impatient(&transport);
    let stage = Stage::proxied(transport, &toml).await?;
    let load = Load::start(&stage).await?;
    stall(&stage, &load, LONG).await?;
    assert_kept(&stage, load).await
}

async fn nothing_is_lost_when_the_plugin_is_killed_while_it_sends(transport: Transport) -> Outcome {
    let stage = Stage::proxied(transport, SHORT_LIVED).await?;
    let load = Load::start(&stage).await?;
    for time in 1..=DEATHS {
        let each = stage.servers().zip(&stage.ways);
        try_join_all(each.map(|(server, way)| stall_until_killed(server, way, time))).await?;
        assert_all_heard_again(&stage, &load, Instant::now()).await?;
    }
    assert_kept(&stage, load).await
}

/// Until the plugin of this server has died so many times in all, and no longer: a message over which it
/// dies alone is given up the second time.
async fn stall_until_killed(server: &Server, way: &Proxy, times: usize) -> Outcome {
    way.stall();
    let is_killed = |line: &str| line.contains("`publish` did not return");
    let killed = until(
        format!("{} kills its plugin", server.name()),
        async || Ok(server.log().count(is_killed)),
        |killed| *killed >= times,
    )
    .await;
    way.resume();
    killed.map(|_| ())
}

/// Everything is there. In Postgres answers are kept as well, so there was no gap at all.
async fn assert_kept(stage: &Stage, load: Load) -> Outcome {
    let verdict = Verdict::of(stage, load).await?;
    match stage.backend()? {
        Meeting::Redis(_) => verdict.assert_all_there(),
        Meeting::Postgres(_) | Meeting::Nats(_) => verdict.assert_nothing_lost(),
    }
    Ok(())
}

async fn stall(stage: &Stage, load: &Load, time: Duration) -> Outcome {
    stage.ways.iter().for_each(|way| way.stall());
    sleep(time).await;
    stage.ways.iter().for_each(|way| way.resume());
    assert_all_heard_again(stage, load, Instant::now()).await
}
