//! The master is killed and the Sentinels make its replica the master.

use switchboard_tests::{Backend, Backends, Error, Transport};
use tokio::time::Instant;

use crate::{
    Outcome,
    load::Load,
    over_each,
    stage::{SERVERS, Stage},
    verdict::{Verdict, assert_all_heard_again},
};

over_each! {
    [redis redis_sharded]
    servers_follow_the_sentinels_to_the_next_master
}

async fn servers_follow_the_sentinels_to_the_next_master(transport: Transport) -> Outcome {
    let stage = Stage::direct(transport.backend(Backend::Sentinel)).await?;
    let load = Load::start(&stage).await?;
    let none = || Error::Test("these servers have no Sentinels".into());
    let sentinel = stage.cluster.sentinel().ok_or_else(none)?;

    sentinel.failover().await?.command(&["PING"]).await?;
    assert_all_heard_again(&stage, &load, Instant::now()).await?;
    let verdict = Verdict::of(&stage, load).await?;
    let all: Vec<_> = (0..SERVERS).collect();
    verdict.assert_kept(&all, &all);
    for (number, gaps) in verdict.lagged.iter().enumerate() {
        assert!(*gaps >= 1, "server {number} reports no gap: {verdict:?}");
    }
    Ok(())
}
