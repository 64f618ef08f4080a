//! The server that serves the bus is killed while others talk over it: nothing that was accepted is
//! lost.
//!
//! The time limits of these clusters are so long that a test which had to wait for one would fail.

use switchboard_tests::{
    Client, Clients, Cluster, ClusterBuilder, Connect, Error, Flood, Select, Server, Tally,
    Transport,
};

/// Longer than any test is patient.
const PATIENT: &str = "
    [cluster]
    request_timeout_ms = 600000
    heartbeat_interval_ms = 60000
    heartbeat_timeout_ms = 600000
";

fn patient() -> ClusterBuilder {
    Cluster::builder()
        .transport(Transport::local())
        .toml(PATIENT)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_server_that_serves_the_bus_is_killed() -> Result<(), Error> {
    let cluster = patient().nodes(4).start().await?;
    let clients = Clients::start().await?;
    let bus_server = cluster.bus_server().await?;
    let others: Vec<_> = cluster
        .nodes()
        .iter()
        .filter(|node| node.pid() != bus_server.pid())
        .collect();
    let (left, right) = (others[0], others[1]);

    floods_survive(&clients, left, right, async || bus_server.kill().await).await?;
    cluster.wait_until_complete("/").await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_every_new_bus_server_is_killed_too() -> Result<(), Error> {
    const KILLS: usize = 3;
    let mut cluster = patient().nodes(2).start().await?;
    let clients = Clients::start().await?;
    for _ in 0..KILLS {
        // Any of the servers may follow: the two that talk are chosen after we know which.
        let spare = cluster.add_node().await?.pid();
        let bus_server = cluster.bus_server().await?.clone();
        let others: Vec<_> = cluster
            .nodes()
            .iter()
            .filter(|node| !node.has_ended() && node.pid() != bus_server.pid())
            .collect();
        assert_eq!(others.len(), 2, "with {spare} there are three");
        floods_survive(&clients, others[0], others[1], async || {
            bus_server.kill().await
        })
        .await?;
        cluster.wait_until_complete("/").await?;
    }
    Ok(())
}

/// Two servers flood each other's clients; in the middle of it something happens. Every event arrives
/// once and in order.
async fn floods_survive(
    clients: &Clients,
    left: &Server,
    right: &Server,
    accident: impl AsyncFnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    const COUNT: u64 = 40_000;
    let left_client = clients
        .connect(left.url(), Connect::default().room("left"))
        .await?;
    let right_client = clients
        .connect(right.url(), Connect::default().room("right"))
        .await?;

    let flood =
        |room: &str| Flood::new(Select::all().to(room), room, COUNT, 0).mixed(&[64, 3_000, 64]);
    let middle = async {
        right_client.wait_for_flood("right", COUNT / 10).await?;
        left_client.wait_for_flood("left", COUNT / 10).await?;
        accident().await
    };
    let (to_right, to_left, accident) = tokio::join!(
        left.flood(flood("right")),
        right.flood(flood("left")),
        middle
    );
    accident?;
    for report in [to_right?, to_left?] {
        assert_eq!((report.accepted, &report.error), (COUNT, &None));
    }
    assert_perfect(&right_client, "right", COUNT).await?;
    assert_perfect(&left_client, "left", COUNT).await
}

async fn assert_perfect(client: &Client, stream: &str, count: u64) -> Result<(), Error> {
    let tally = client.wait_for_flood(stream, count).await?;
    assert_eq!(tally, Tally::perfect(count), "{stream}");
    Ok(())
}
