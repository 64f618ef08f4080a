//! Queues that are full because another server takes nothing: it is frozen, so the bus cannot give
//! the sender's frames away, and all that stands before it fills up.

use serde_json::json;
use switchboard_tests::{
    Client, Clients, Cluster, Connect, Error, Flood, Select, Server, Tally, until,
};

use crate::{
    Outcome,
    stage::{counter, faulty, settle},
};

/// Hardly any room on the bus, and small batches, so that not all fits into one frame; the frozen
/// server is waited for as long as it takes.
const SMALL_BUS: &str = "
    [connections.bus.main]
    max_unstable_bytes = 2048
    send_timeout_ms = 200
    stall_timeout_ms = 3600000
    [cluster.outbox]
    batch_max_messages = 2
";

/// A server that sends, one that can be frozen, and a client of the latter.
struct Frozen {
    cluster: Cluster,
    clients: Clients,
    sender: usize,
    there: Client,
}

impl Frozen {
    async fn set(nodes: usize, toml: &str) -> Result<Self, Error> {
        let cluster = faulty()?
            .nodes(nodes)
            .toml(SMALL_BUS)
            .toml(toml)
            .start()
            .await?;
        let clients = Clients::start().await?;
        // Whoever serves the bus must not be frozen: it would take the bus with it.
        let bus_server = cluster.bus_server().await?.pid();
        let sender = cluster
            .nodes()
            .iter()
            .position(|node| node.pid() == bus_server);
        let sender = sender.unwrap_or_default();
        let receiver = cluster.node((sender + 1) % nodes);
        let there = clients.connect(receiver.url(), Connect::default()).await?;
        Ok(Self {
            cluster,
            clients,
            sender,
            there,
        })
    }

    fn sender(&self) -> &Server {
        self.cluster.node(self.sender)
    }

    fn receiver(&self) -> &Server {
        self.cluster
            .node((self.sender + 1) % self.cluster.nodes().len())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_fail_a_sender_is_told_which_limit_of_messages_is_reached() -> Outcome {
    let limit = "max_messages = 8";
    a_full_outbox_refuses(limit, "outbox.max_messages").await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_fail_a_sender_is_told_which_limit_of_bytes_is_reached() -> Outcome {
    let limit = "max_bytes = 8192";
    a_full_outbox_refuses(limit, "outbox.max_bytes").await
}

async fn a_full_outbox_refuses(limit: &str, name: &str) -> Outcome {
    const COUNT: u64 = 1_000;
    let toml = format!("[cluster.outbox]\nwhen_full = \"fail\"\n{limit}");
    let stage = Frozen::set(2, &toml).await?;
    stage.receiver().pause().await?;

    let flood = Flood::new(Select::all(), "frozen", COUNT, 500);
    let report = stage.sender().flood(flood).await?;
    assert!(report.accepted < COUNT, "{report:?}");
    let error = report.error.clone().unwrap_or_default();
    for part in [name, "is reached", "outbox.when_full"] {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }

    // What was accepted is kept and arrives.
    stage.receiver().resume()?;
    let tally = stage
        .there
        .wait_for_flood("frozen", report.accepted)
        .await?;
    assert_eq!(tally, Tally::perfect(report.accepted));
    settle(stage.sender(), "/", &stage.there).await?;
    let tally = stage.there.tally("frozen").await?;
    assert_eq!(tally, Tally::perfect(report.accepted), "and nothing more");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_wait_senders_wait_and_everything_arrives_in_order() -> Outcome {
    const COUNT: u64 = 300;
    let stage = Frozen::set(2, "cluster.outbox.max_messages = 8").await?;
    let sender = stage.sender();
    let here = stage
        .clients
        .connect(sender.url(), Connect::default().room("here"))
        .await?;
    stage.receiver().pause().await?;

    let flood = sender.flood(Flood::new(Select::all(), "frozen", COUNT, 500));
    let meanwhile = async {
        let full = || counter(sender, "full");
        until("a sender to wait", full, |&full| full > 0).await?;
        let waiting = counter(sender, "outbox_messages").await?;
        assert!(
            waiting <= 8 + 2,
            "{waiting} messages are more than the limit and heartbeats"
        );
        // Clients of this server do not wait for the other one.
        sender
            .broadcast(&Select::all().to("here").local(), "local", json!([]))
            .await?;
        here.wait_for("local", 1).await?;
        assert!(
            here.tally("frozen").await?.received < COUNT,
            "the sender waits"
        );
        stage.receiver().resume()
    };
    let (report, resumed) = tokio::join!(flood, meanwhile);
    resumed?;
    assert_eq!(report?.accepted, COUNT);
    let tally = stage.there.wait_for_flood("frozen", COUNT).await?;
    assert_eq!(tally, Tally::perfect(COUNT));
    assert_eq!(counter(sender, "rejected").await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_cut_off_in_time_and_says_afterwards_what_it_missed() -> Outcome {
    const COUNT: u64 = 300;
    let stage = Frozen::set(3, "connections.bus.main.stall_timeout_ms = 1000").await?;
    let (sender, frozen) = (stage.sender(), stage.receiver());
    let third = stage.cluster.node((stage.sender + 2) % 3);
    let awake = stage
        .clients
        .connect(third.url(), Connect::default())
        .await?;
    frozen.pause().await?;

    let report = sender
        .flood(Flood::new(Select::all(), "frozen", COUNT, 500))
        .await?;
    assert_eq!(report.accepted, COUNT);
    assert_eq!(
        awake.wait_for_flood("frozen", COUNT).await?,
        Tally::perfect(COUNT)
    );
    let is_cut = |line: &str| line.contains("took nothing for too long and was cut off");
    sender.log().wait_for("who was cut off", is_cut).await?;

    frozen.resume()?;
    stage.cluster.wait_until_complete("/").await?;
    settle(sender, "/", &stage.there).await?;
    assert!(
        counter(frozen, "lagged").await? >= 1,
        "a gap is never silent"
    );
    let tally = stage.there.tally("frozen").await?;
    assert_eq!((tally.late, tally.corrupt), (0, 0), "{tally:?}");
    Ok(())
}
