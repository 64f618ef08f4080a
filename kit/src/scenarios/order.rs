//! What one server sends, every client of another server gets complete and in that order, at full
//! speed: many small events, sizes from nothing to a megabyte, text and binary, across rooms.

use serde_json::json;

use super::{Outcome, Setting};
use crate::{Client, Clients, Error, Flood, FloodReport, Select, Server, Tally};

/// The only room that a flood goes to, so that servers without a client in it do no more than they
/// must.
const ROOM: &str = "flooded";

pub(super) async fn a_hundred_thousand_small_events_arrive_complete_and_in_order(
    setting: &Setting,
) -> Outcome {
    const COUNT: u64 = 100_000;
    let cluster = setting.cluster().nodes(2).start().await?;
    let clients = Clients::start().await?;
    let client = connect(setting, &clients, cluster.node(1)).await?;

    let flood = Flood::new(Select::all().to(ROOM), "small", COUNT, 64);
    let report = cluster.node(0).flood(flood).await?;
    assert_accepted(&report, COUNT);
    assert_perfect(&client, "small", COUNT).await
}

pub(super) async fn events_of_all_sizes_stay_in_order(setting: &Setting) -> Outcome {
    const COUNT: u64 = 420;
    const SIZES: [usize; 7] = [0, 1_000_000, 1, 16_384, 64, 100_000, 1_024];
    let cluster = setting.cluster().nodes(2).start().await?;
    let clients = Clients::start().await?;
    let client = connect(setting, &clients, cluster.node(1)).await?;

    let flood = Flood::new(Select::all().to(ROOM), "mixed", COUNT, 0).mixed(&SIZES);
    let report = cluster.node(0).flood(flood).await?;
    assert_accepted(&report, COUNT);
    assert_perfect(&client, "mixed", COUNT).await
}

pub(super) async fn events_for_different_rooms_stay_in_order(setting: &Setting) -> Outcome {
    const COUNT: u64 = 20_000;
    let cluster = setting.cluster().nodes(2).start().await?;
    let clients = Clients::start().await?;
    let how = setting.connect().room("red").room("green").room("blue");
    let client = clients.connect(cluster.node(1).url(), how).await?;
    let how = setting.connect().room("green");
    let only_green = clients.connect(cluster.node(1).url(), how).await?;

    let how = setting.connect().room("blue").room("muted");
    let muted = clients.connect(cluster.node(1).url(), how).await?;

    // For whom an event is may be said once for two of them.
    let rooms = ["red", "red", "green", "blue", "blue"];
    let all = Select::all().except("muted");
    let mut flood = Flood::new(all, "rooms", COUNT, 64).mixed(&[64, 2_000, 0]);
    flood.rooms_in_turn = rooms.map(str::to_owned).to_vec();
    let report = cluster.node(0).flood(flood).await?;
    assert_accepted(&report, COUNT);
    assert_perfect(&client, "rooms", COUNT).await?;

    cluster
        .node(0)
        .broadcast(&Select::all(), "end", json!([]))
        .await?;
    for (client, expected) in [(only_green, COUNT / 5), (muted, 0)] {
        client.wait_for("end", 1).await?;
        let got = client.tally("rooms").await?.received;
        assert_eq!(got, expected, "a client in one room gets its events alone");
    }
    Ok(())
}

pub(super) async fn servers_that_all_send_at_once_keep_their_own_order(
    setting: &Setting,
) -> Outcome {
    const COUNT: u64 = 20_000;
    let cluster = setting.cluster().nodes(3).start().await?;
    let clients = Clients::start().await?;
    let mut receivers = Vec::new();
    for node in cluster.nodes() {
        receivers.push(connect(setting, &clients, node).await?);
    }

    let floods = cluster.nodes().iter().map(|node| {
        let flood = Flood::new(Select::all().to(ROOM), node.name(), COUNT, 0);
        node.flood(flood.mixed(&[64, 500]))
    });
    for report in futures_util::future::try_join_all(floods).await? {
        assert_accepted(&report, COUNT);
    }
    for receiver in &receivers {
        for node in cluster.nodes() {
            assert_perfect(receiver, node.name(), COUNT).await?;
        }
    }
    Ok(())
}

pub(super) async fn a_join_takes_effect_between_the_events_around_it(setting: &Setting) -> Outcome {
    const ROUNDS: usize = 200;
    let cluster = setting.cluster().nodes(2).start().await?;
    let clients = Clients::start().await?;
    let client = clients
        .connect(cluster.node(1).url(), setting.connect())
        .await?;
    let node = cluster.node(0);
    let (socket, room) = (Select::all().to(client.id()), Select::all().to("door"));

    for round in 0..ROUNDS {
        node.broadcast(&room, "outside", json!([round])).await?;
        node.join(&socket, &["door"]).await?;
        node.broadcast(&room, "inside", json!([round])).await?;
        node.leave(&socket, &["door"]).await?;
    }
    node.broadcast(&Select::all(), "end", json!([])).await?;
    client.wait_for("end", 1).await?;
    let expected: Vec<_> = (0..ROUNDS).map(|round| json!([round])).collect();
    assert_eq!(client.received("inside").await?, expected);
    assert!(client.received("outside").await?.is_empty());
    Ok(())
}

async fn connect(setting: &Setting, clients: &Clients, server: &Server) -> Result<Client, Error> {
    clients
        .connect(server.url(), setting.connect().room(ROOM))
        .await
}

#[track_caller]
fn assert_accepted(report: &FloodReport, count: u64) {
    assert_eq!(
        (report.accepted, &report.error),
        (count, &None),
        "{report:?}"
    );
}

/// Nothing is missing, and nothing more comes: a repetition would come before what is sent now.
async fn assert_perfect(client: &Client, stream: &str, count: u64) -> Outcome {
    let tally = client.wait_for_flood(stream, count).await?;
    assert_eq!(tally, Tally::perfect(count), "{stream}");
    Ok(())
}
