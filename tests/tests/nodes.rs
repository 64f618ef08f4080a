//! Servers that come, leave and are killed: nobody waits for the dead, and nothing that was accepted
//! is lost.
//!
//! The time limits of these clusters are so long that a test which had to wait for one would fail.

use std::time::Duration;

use serde_json::json;
use switchboard_tests::{
    Answer, Client, Clients, Cluster, ClusterBuilder, Connect, Error, Flood, Select, Server, Tally,
    until,
};

/// Longer than any test is patient.
const PATIENT: &str = "
    [cluster]
    request_timeout_ms = 600000
    heartbeat_interval_ms = 60000
    heartbeat_timeout_ms = 600000
";

fn patient() -> ClusterBuilder {
    Cluster::builder().toml(PATIENT)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_ends_at_once_when_a_server_is_killed_and_names_it() -> Result<(), Error> {
    let cluster = patient().start().await?;
    let clients = Clients::start().await?;
    let (asking, answering, dying) = (cluster.node(0), cluster.node(1), cluster.node(2));
    let here = clients.connect(asking.url(), Connect::default()).await?;
    let there = clients.connect(answering.url(), Connect::default()).await?;
    let lost = clients.connect(dying.url(), Connect::default()).await?;

    // A frozen server gets the question and does not answer it.
    let dying_id = dying.node().await?;
    dying.pause().await?;
    let everyone = Select::all();
    let question = asking.fetch_sockets_marked(&everyone, "asked");
    let kill = async {
        there.wait_for("asked", 1).await?;
        dying.kill().await
    };
    let (found, killed) = tokio::join!(question, kill);
    killed?;

    let found: Vec<_> = found?.into_iter().map(|socket| socket.id).collect();
    assert!(found.iter().any(|id| id == here.id()), "{found:?}");
    assert!(found.iter().any(|id| id == there.id()), "{found:?}");
    assert!(!found.iter().any(|id| id == lost.id()), "{found:?}");
    is_named_as_missing(asking, &dying_id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_end_at_once_when_a_server_is_killed() -> Result<(), Error> {
    let cluster = patient().start().await?;
    let clients = Clients::start().await?;
    let (asking, answering, dying) = (cluster.node(0), cluster.node(1), cluster.node(2));
    let there = clients.connect(answering.url(), Connect::default()).await?;
    there.answer("ask", Answer::With(json!(["here"]))).await?;
    // It gets the event and never answers, so its server is waited for until it dies.
    let silent = clients.connect(dying.url(), Connect::default()).await?;

    let long = Select::all().timeout(Duration::from_secs(600));
    let question = asking.broadcast_with_ack(&long, "ask", json!([]));
    let kill = async {
        there.wait_for("ask", 1).await?;
        silent.wait_for("ask", 1).await?;
        dying.kill().await
    };
    let (acks, killed) = tokio::join!(question, kill);
    killed?;

    let answers: Vec<_> = acks?
        .into_iter()
        .filter_map(|ack| ack.answer.ok())
        .collect();
    assert_eq!(answers, [vec![json!("here")]]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_is_counted_no_more() -> Result<(), Error> {
    let cluster = patient().start().await?;
    cluster.node(1).kill().await?;
    cluster.wait_until_complete("/").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_leaves_at_once_and_cleanly() -> Result<(), Error> {
    let cluster = patient().start().await?;
    let clients = Clients::start().await?;
    let client = clients
        .connect(cluster.node(2).url(), Connect::default())
        .await?;

    let status = cluster.node(2).stop().await?;
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    client.wait_until_disconnected().await?;
    cluster.wait_until_complete("/").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_sent_before_it_stopped_arrives() -> Result<(), Error> {
    const COUNT: u64 = 5_000;
    let cluster = patient().nodes(2).start().await?;
    let clients = Clients::start().await?;
    let client = clients
        .connect(cluster.node(1).url(), Connect::default())
        .await?;

    let flood = Flood::new(Select::all(), "last", COUNT, 200);
    assert_eq!(cluster.node(0).flood(flood).await?.accepted, COUNT);
    cluster.node(0).stop().await?;
    assert_eq!(
        client.wait_for_flood("last", COUNT).await?,
        Tally::perfect(COUNT)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_takes_part_at_once() -> Result<(), Error> {
    let mut cluster = patient().nodes(2).start().await?;
    let clients = Clients::start().await?;
    cluster.node(0).kill().await?;
    cluster.add_node().await?;

    let client = clients
        .connect(cluster.node(2).url(), Connect::default())
        .await?;
    cluster
        .node(1)
        .broadcast(&Select::all(), "welcome", json!([]))
        .await?;
    client.wait_for("welcome", 1).await?;
    assert_eq!(
        cluster.node(1).fetch_sockets(&Select::all()).await?.len(),
        1
    );
    Ok(())
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

/// The answer of socketioxide has no room for it, so the log says who did not answer.
async fn is_named_as_missing(asking: &Server, node: &str) -> Result<(), Error> {
    let is_warning = |line: &str| line.contains("WARN") && line.contains(node);
    asking
        .log()
        .wait_for("a warning that names the killed server", is_warning)
        .await?;
    until(
        "the killed server to be forgotten",
        || asking.server_count("/"),
        |&count| count == 2,
    )
    .await?;
    Ok(())
}
