//! Connections stay, and nothing goes over them: a network that hangs, a backend that is frozen.

use std::time::Duration;

use switchboard_tests::Transport;
use tokio::time::{Instant, sleep};

use crate::{
    Outcome,
    load::Load,
    over_each,
    stage::{SERVERS, Stage, impatient},
    verdict::{Verdict, assert_all_heard_again},
};

/// Shorter than any patience of a connection.
const SHORT: Duration = Duration::from_millis(1_500);
/// Longer than the patience set by [`impatient`].
const LONG: Duration = Duration::from_secs(3);
over_each! {
    [redis redis_sharded postgres nats]
    a_short_stall_costs_nothing
    one_server_whose_network_hangs_gives_it_up_and_comes_back
    servers_whose_network_hangs_all_give_it_up_and_come_back
}

async fn a_short_stall_costs_nothing(transport: Transport) -> Outcome {
    let stage = Stage::proxied(transport, "").await?;
    let load = Load::start(&stage).await?;
    // Of one server, then of all.
    for servers in [1, SERVERS] {
        stall(&stage, &load, servers, SHORT).await?;
    }
    Verdict::of(&stage, load).await?.assert_nothing_lost();
    Ok(())
}

async fn one_server_whose_network_hangs_gives_it_up_and_comes_back(
    transport: Transport,
) -> Outcome {
    let toml = impatient(&transport);
    let stage = Stage::proxied(transport, &toml).await?;
    let load = Load::start(&stage).await?;
    stall(&stage, &load, 1, LONG).await?;
    let verdict = Verdict::of(&stage, load).await?;
    assert!(verdict.lagged[0] >= 1, "no gap is reported: {verdict:?}");
    assert_eq!(verdict.lagged[1..], [0, 0], "{verdict:?}");
    verdict.assert_doubted(0);
    assert_eq!(verdict.doubted[1..], [0, 0], "{verdict:?}");
    for (to, from) in [(1, 2), (2, 1)] {
        assert_eq!(verdict.missing[to][from], 0, "{verdict:?}");
    }
    verdict.assert_kept(&[0], &[1, 2]);
    Ok(())
}

async fn servers_whose_network_hangs_all_give_it_up_and_come_back(transport: Transport) -> Outcome {
    let toml = impatient(&transport);
    let stage = Stage::proxied(transport, &toml).await?;
    let load = Load::start(&stage).await?;
    stall(&stage, &load, SERVERS, LONG).await?;
    let verdict = Verdict::of(&stage, load).await?;
    for number in 0..SERVERS {
        assert!(verdict.lagged[number] >= 1, "of {number}: {verdict:?}");
        verdict.assert_doubted(number);
    }
    let all: Vec<_> = (0..SERVERS).collect();
    verdict.assert_kept(&all, &all);
    Ok(())
}

/// Stalls the network of the first so many servers.
async fn stall(stage: &Stage, load: &Load, servers: usize, time: Duration) -> Outcome {
    let ways = &stage.ways[..servers];
    ways.iter().for_each(|way| way.stall());
    sleep(time).await;
    ways.iter().for_each(|way| way.resume());
    assert_all_heard_again(stage, load, Instant::now()).await
}
