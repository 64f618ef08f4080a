//! The network between servers and their backend is cut, and heals: of one server, or of all.

use std::time::Duration;

use switchboard_tests::Transport;
use tokio::time::{Instant, sleep};

use crate::{
    Outcome,
    load::Load,
    over_each,
    stage::{SERVERS, Stage},
    verdict::{Verdict, assert_all_heard_again},
};

/// Long enough that all pauses between attempts are as long as they get.
const AWAY: Duration = Duration::from_secs(3);

over_each! {
    [redis redis_sharded postgres nats]
    one_server_whose_network_was_cut_hears_and_is_heard_again
    servers_that_were_all_cut_off_find_each_other_again
}

async fn one_server_whose_network_was_cut_hears_and_is_heard_again(
    transport: Transport,
) -> Outcome {
    let verdict = cut(transport, 1).await?;
    // The others have heard each other all the time, and what the first one sent meanwhile.
    for (to, from) in [(1, 2), (2, 1)] {
        assert_eq!(verdict.missing[to][from], 0, "{verdict:?}");
    }
    assert_eq!(verdict.lagged[1..], [0, 0], "{verdict:?}");
    verdict.assert_kept(&[0], &[1, 2]);
    assert!(verdict.lagged[0] >= 1, "no gap is reported: {verdict:?}");
    for from in [1, 2] {
        let missing = verdict.missing[0][from];
        assert!(missing > 0, "nobody keeps anything for {from}: {verdict:?}");
    }
    Ok(())
}

async fn servers_that_were_all_cut_off_find_each_other_again(transport: Transport) -> Outcome {
    let verdict = cut(transport, SERVERS).await?;
    let all: Vec<_> = (0..SERVERS).collect();
    verdict.assert_kept(&all, &all);
    for (number, gaps) in verdict.lagged.iter().enumerate() {
        assert!(*gaps >= 1, "server {number} reports no gap: {verdict:?}");
    }
    Ok(())
}

/// Cuts off the first so many servers for a while.
async fn cut(transport: Transport, servers: usize) -> Result<Verdict, switchboard_tests::Error> {
    let stage = Stage::proxied(transport, "").await?;
    let load = Load::start(&stage).await?;
    let ways = &stage.ways[..servers];
    for way in ways {
        way.cut().await?;
    }
    sleep(AWAY).await;
    for way in ways {
        way.heal().await?;
    }
    assert_all_heard_again(&stage, &load, Instant::now()).await?;
    Verdict::of(&stage, load).await
}
