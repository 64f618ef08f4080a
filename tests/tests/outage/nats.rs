//! What only a transport over TCP has: a plugin that dies and goes on over the connection of the one
//! before, and places that are not granted.

use std::time::Duration;

use switchboard_tests::{Cluster, Transport};
use tokio::time::{Instant, sleep};

use crate::{
    Outcome,
    load::Load,
    stage::Stage,
    verdict::{Verdict, assert_all_heard_again},
};

/// Memory is given back whenever the plugin has nothing to do: it is replaced all the time.
const SHORT_LIVED: &str = "
    [limits]
    recycle_memory_bytes = 1048576
";
const FOR_A_WHILE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_follow_each_other_all_the_time_lose_and_repeat_nothing() -> Outcome {
    let stage = Stage::proxied(Transport::nats(), SHORT_LIVED).await?;
    let load = Load::start(&stage).await?;
    sleep(FOR_A_WHILE).await;
    assert_all_heard_again(&stage, &load, Instant::now()).await?;
    Verdict::of(&stage, load).await?.assert_nothing_lost();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_grant_a_server_does_not_start_and_says_which_line_is_missing() -> Outcome {
    let denied = Transport::nats().toml("[transports.nats.grants]\ntcp = []");
    let started = Cluster::builder().transport(denied).nodes(1).start().await;
    let message = match started {
        Ok(_) => "nothing".to_owned(),
        Err(error) => error.to_string(),
    };
    let line = "allow it with grants = { tcp = [\"main\"] } in [transports.nats]";
    assert!(message.contains(line), "{message}");
    Ok(())
}
