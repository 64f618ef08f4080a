//! The backend is killed, and started again at the same address.

use std::time::Duration;

use switchboard_tests::Transport;
use tokio::time::{Instant, sleep};

use crate::{
    Outcome,
    load::Load,
    over_each,
    stage::{SERVERS, Stage},
    verdict::{Verdict, assert_all_heard_again, counter},
};

/// Long enough that all pauses between attempts are as long as they get.
const AWAY: Duration = Duration::from_secs(3);

over_each! {
    [redis redis_sharded postgres nats]
    servers_find_each_other_when_the_backend_is_started_again
}

async fn servers_find_each_other_when_the_backend_is_started_again(
    transport: Transport,
) -> Outcome {
    let stage = Stage::direct(transport).await?;
    let load = Load::start(&stage).await?;
    let backend = stage.backend()?;

    // Twice: once for a while, and once for no longer than a start takes.
    for away in [AWAY, Duration::ZERO] {
        backend.kill().await?;
        sleep(away).await;
        if away > Duration::ZERO {
            for server in stage.servers() {
                let waiting = counter(server, "outbox_messages").await?;
                assert!(waiting > 100, "{} keeps {waiting} only", server.name());
            }
        }
        backend.restart().await?;
        assert_all_heard_again(&stage, &load, Instant::now()).await?;
    }
    let verdict = Verdict::of(&stage, load).await?;
    let all: Vec<_> = (0..SERVERS).collect();
    verdict.assert_kept(&all, &all);
    for (number, gaps) in verdict.lagged.iter().enumerate() {
        assert!(*gaps >= 1, "server {number} reports no gap: {verdict:?}");
    }
    Ok(())
}
