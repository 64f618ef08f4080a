//! Redis wants another password than the servers have, until somebody sets that right in Redis.

use std::time::Duration;

use serde_json::json;
use switchboard_tests::{Clients, Connect, Redis, Select, Transport, until};
use tokio::time::sleep;

use crate::{
    Outcome, over_each,
    stage::{self, URL_VARIABLE},
    verdict::counter,
};

const RIGHT: &str = "the-one-in-redis";
const OURS: &str = "the-one-in-the-configuration";

over_each! {
    [redis redis_sharded]
    a_password_that_is_set_right_in_redis_brings_what_was_sent_before
}

async fn a_password_that_is_set_right_in_redis_brings_what_was_sent_before(
    transport: Transport,
) -> Outcome {
    const COUNT: u64 = 20;
    let redis = Redis::builder().option("requirepass", RIGHT);
    let redis = redis.start().await?;
    let url = format!("redis://:{OURS}@{}", redis.addr());
    let builder = stage::builder(transport).nodes(0).without_waiting();
    let mut cluster = builder.start().await?;
    for _ in 0..2 {
        cluster.add_node_with(&[(URL_VARIABLE, &url)]).await?;
    }
    let clients = Clients::start().await?;
    let (sender, receiver) = (cluster.node(0), cluster.node(1));
    let near = clients.connect(sender.url(), Connect::default()).await?;
    let far = clients.connect(receiver.url(), Connect::default()).await?;
    for number in 0..COUNT {
        let args = json!([number]);
        sender.broadcast(&Select::all(), "kept", args).await?;
    }
    near.wait_for("kept", COUNT as usize).await?;

    // Both say what is wrong, and neither says the password.
    for server in [sender, receiver] {
        let is_it = |line: &str| line.contains("ERROR") && line.contains("WRONGPASS");
        let line = server.log().wait_for("the refusal", is_it).await?;
        assert!(line.contains(&redis.addr().to_string()), "{line}");
        let shown = server.log().all(|line| line.contains(OURS));
        assert!(shown.is_empty(), "{shown:?}");
    }
    // Longer than a message needs to be given up.
    sleep(Duration::from_millis(500)).await;
    assert_eq!(counter(sender, "rejected").await?, 0);
    assert!(counter(sender, "outbox_messages").await? >= COUNT);
    assert!(far.received("kept").await?.is_empty());

    let also = format!(">{OURS}");
    redis.command(&["ACL", "SETUSER", "default", &also]).await?;
    let kept = far.wait_for("kept", COUNT as usize).await?;
    let expected: Vec<_> = (0..COUNT).map(|number| json!([number])).collect();
    assert_eq!(kept, expected);
    until(
        "both servers to know each other",
        || receiver.server_count("/"),
        |&count| count == 2,
    )
    .await?;
    Ok(())
}
