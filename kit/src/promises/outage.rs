//! The backend is cut off from all servers for a while, through proxies that the cluster's transport
//! has started (its [`Proxy`]s are what the servers meet at).

use std::{cell::Cell, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Pair, assert_accepted, counter, flood};
use crate::{
    Error, Proxy,
    scenarios::{Outcome, Setting},
    until,
};

/// How long it is away.
const AWAY: Duration = Duration::from_secs(2);
/// Once it is back, events arrive again within this time.
const MAX_RETURN: Duration = Duration::from_secs(15);
/// The load during the outage.
const COUNT: u64 = 3_000;

/// Nobody is lost by being cut off for a moment.
const PATIENT: &str = "
    [cluster]
    heartbeat_timeout_ms = 600000
    request_timeout_ms = 600000
";

pub(super) async fn cut(setting: &Setting) -> Outcome {
    let pair = Pair::start(setting, PATIENT).await?;
    let ways = pair
        .cluster
        .backend::<Vec<Proxy>>()
        .ok_or_else(|| Error::Test("the transport has started no proxies".into()))?;
    let load = pair.sender().flood(flood("outage", COUNT, &[64, 500]));
    let meanwhile = async {
        for way in ways {
            way.cut().await?;
        }
        sleep(AWAY).await;
        for way in ways {
            way.heal().await?;
        }
        Ok::<_, Error>(Instant::now())
    };
    let (report, healed) = tokio::join!(load, meanwhile);
    let healed = healed?;
    assert_accepted(&report?, COUNT);

    // One event after the other until one arrives: what is sent too early may be lost with the rest.
    let number = Cell::new(0);
    let arrived = async || {
        let mut probe = flood("probe", 1, &[10]);
        probe.first = number.replace(number.get() + 1);
        pair.sender().flood(probe).await?;
        sleep(Duration::from_millis(50)).await;
        Ok(pair.client.tally("probe").await?.received)
    };
    until("an event to arrive again", arrived, |&received| {
        received > 0
    })
    .await?;
    let took = healed.elapsed();
    assert!(
        took <= MAX_RETURN,
        "the first event arrived {} s after the backend was back",
        took.as_secs()
    );

    // Whatever was sent before has arrived by now, in order, or never will.
    let tally = pair.client.tally("outage").await?;
    assert_eq!(
        (tally.late, tally.corrupt),
        (0, 0),
        "events came twice, out of order or changed: {:?}",
        tally.first_fault
    );
    let missing = COUNT.saturating_sub(tally.received);
    if missing > 0 {
        let told = counter(pair.receiver(), "lagged").await?
            + counter(pair.sender(), "rejected").await?
            + counter(pair.sender(), "unsent").await?;
        assert!(
            told > 0,
            "{missing} of {COUNT} events are missing, and nobody was told (`lagged`)"
        );
    }
    Ok(())
}
