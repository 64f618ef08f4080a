//! A server that takes nothing for a while: senders wait, or the backend keeps what they send.

use std::time::Duration;

use tokio::time::sleep;

use super::{Pair, counter, flood};
use crate::{
    Tally,
    scenarios::{Outcome, Setting},
};

/// How long the other server stands still. Less than any backend's patience with a slow reader.
const STILL: Duration = Duration::from_secs(2);
const COUNT: u64 = 4_000;
const SIZES: [usize; 3] = [500, 4_000, 100];

/// Little room in the server that sends, and nobody is lost by being slow.
const LITTLE_ROOM: &str = "
    [cluster]
    heartbeat_timeout_ms = 600000
    request_timeout_ms = 600000
    [cluster.outbox]
    max_messages = 16
";

pub(super) async fn senders_wait(setting: &Setting) -> Outcome {
    let pair = Pair::start(setting, LITTLE_ROOM).await?;
    pair.receiver().pause().await?;
    let flood = pair.sender().flood(flood("slow", COUNT, &SIZES));
    let meanwhile = async {
        sleep(STILL).await;
        let waiting = counter(pair.sender(), "outbox_messages").await?;
        // Heartbeats have room of their own.
        assert!(
            waiting <= 16 + 16,
            "{waiting} messages wait where 16 may: the outbox has no limit"
        );
        pair.receiver().resume()
    };
    let (report, resumed) = tokio::join!(flood, meanwhile);
    resumed?;
    super::assert_accepted(&report?, COUNT);
    let tally = pair.client.wait_for_flood("slow", COUNT).await?;
    assert_eq!(
        tally,
        Tally::perfect(COUNT),
        "a server that was slow for {} s",
        STILL.as_secs()
    );
    Ok(())
}
