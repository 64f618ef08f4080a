//! From one transport to the next, and back.

use std::{sync::Arc, time::Duration};

use switchboard_tests::{Clients, Connect, Postgres};
use tokio::time::{Instant, sleep};

use crate::{
    Outcome, assert_all_on, builder,
    load::Load,
    on_the_stage,
    survivors::{self, Pace, ROOM},
    verdict::{Verdict, counter},
};

/// What is between two switches.
const PAUSE: Duration = Duration::from_millis(500);

/// The way round.
const ROUND: [&str; 7] = [
    "redis",
    "postgres",
    "redis-streams",
    "redis",
    "local",
    "redis-streams",
    "local",
];

/// How long clients may take to acknowledge: nothing is lost, so all of them do.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_from_transport_to_transport_and_loses_nothing() -> Outcome {
    let postgres = Postgres::start().await?;
    let cluster = builder().toml(at(&postgres)).nodes(3).start().await?;
    let stage = on_the_stage(cluster).await?;
    let servers: Vec<_> = stage.servers().collect();
    let load = Load::start_patient(&stage, PATIENCE).await?;
    for (asked, to) in ROUND.into_iter().enumerate() {
        sleep(PAUSE).await;
        let switched = servers[asked % servers.len()].switch_to(to).await?;
        println!("{switched}");
        assert_eq!(switched["to"], to);
        assert_eq!(switched["gone"], serde_json::json!([]));
        assert_all_on(&servers, to).await?;
        for server in &servers {
            assert_eq!(server.status().await?["transport"]["name"], to);
        }
    }
    for server in &servers {
        assert_eq!(counter(server, "lagged").await?, 0, "{}", server.name());
    }
    let facts = load.facts();
    Verdict::of(&stage, load).await?.assert_all_there();
    facts.assert_every_question_answered(servers.len() as u64);
    Ok(())
}

/// Every server sends two thousand events in a second.
const HEAVY: Pace = Pace {
    every: Duration::from_millis(10),
    sizes: &[
        64, 200, 64, 1_024, 64, 64, 512, 64, 100, 4_096, 64, 64, 200, 64, 16_384, 64, 64, 512, 64,
        64,
    ],
};
/// For so many seconds, if the environment does not say; the acceptance test of a release takes 60.
const SECONDS: u64 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_events_a_second_from_every_server_all_arrive() -> Outcome {
    let seconds = std::env::var("SWAP_SECONDS").ok();
    let seconds = seconds
        .and_then(|text| text.parse().ok())
        .unwrap_or(SECONDS);
    let until = Instant::now() + Duration::from_secs(seconds);
    let postgres = Postgres::start().await?;
    let cluster = builder().toml(at(&postgres)).nodes(3).start().await?;
    let process = Clients::start().await?;
    let mut ends = Vec::new();
    for server in cluster.nodes() {
        let how = Connect::default().room(ROOM);
        ends.push((
            Arc::clone(server),
            process.connect(server.url(), how).await?,
        ));
    }
    let servers: Vec<_> = cluster.nodes().iter().map(|server| &**server).collect();
    let load = survivors::Load::start(ends, &HEAVY);
    let (mut switches, mut slowest) = (0, 0);
    for to in ROUND.into_iter().cycle() {
        sleep(PAUSE).await;
        let switched = servers[switches % servers.len()].switch_to(to).await?;
        slowest = slowest.max(switched["took_ms"].as_u64().unwrap_or(u64::MAX));
        switches += 1;
        if Instant::now() > until && switches >= ROUND.len() {
            break;
        }
    }
    let sent = load.assert_nothing_lost().await?;
    println!("{switches} switches, the slowest in {slowest} ms; events sent: {sent:?}");
    for server in &servers {
        assert_eq!(counter(server, "lagged").await?, 0, "{}", server.name());
    }
    Ok(())
}

/// Where Postgres is, and that it may be used.
pub(crate) fn at(postgres: &Postgres) -> String {
    format!(
        "connections.postgres.main.url = \"{}\"\n\
         transports.postgres.grants.postgres = [\"main\"]",
        postgres.url()
    )
}
