//! Transports that keep what they send: whatever happens to the backend, as long as it keeps its data,
//! or to the plugin, nothing is lost, nothing comes twice, and everything is in order at every server.

use std::time::Duration;

use switchboard_tests::Transport;
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
    call_timeout_ms = 500
    max_restarts = 1000
    recycle_memory_bytes = 1048576
";
/// Long enough for one death, and too short for two: a message over which the plugin dies alone is
/// given up the second time.
const DEADLY: Duration = Duration::from_millis(600);

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
    const KILLED: &str = "`publish` did not return";
    let stage = Stage::proxied(transport, SHORT_LIVED).await?;
    let load = Load::start(&stage).await?;
    for _ in 0..4 {
        stall(&stage, &load, DEADLY).await?;
    }
    for server in stage.servers() {
        let killed = server.log().all(|line| line.contains(KILLED));
        assert!(!killed.is_empty(), "{} had no plugin killed", server.name());
    }
    assert_kept(&stage, load).await
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
