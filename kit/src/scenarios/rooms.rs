//! Joining, leaving and listing rooms from another server than the sockets'.

use serde_json::json;

use super::{Outcome, Stage};
use crate::Select;

pub(super) async fn sockets_of_all_servers_join_a_room(stage: &Stage) -> Outcome {
    let (asking, sending) = (stage.cluster.node(0), stage.cluster.node(0));
    asking.join(&Select::all(), &["hall", "lobby"]).await?;
    sending
        .broadcast(&Select::all().to("lobby"), "in", json!([]))
        .await?;
    stage
        .assert_only(&[0, 1, 2, 3, 4, 5], "in", &json!([]))
        .await
}

pub(super) async fn the_sockets_of_one_room_join_another(stage: &Stage) -> Outcome {
    stage.join(&[(1, "red"), (4, "red"), (5, "blue")]).await?;
    let node = stage.cluster.node(2);
    node.join(&Select::all().to("red"), &["vip"]).await?;
    node.broadcast(&Select::all().to("vip"), "vip", json!([1]))
        .await?;
    stage.assert_only(&[1, 4], "vip", &json!([1])).await
}

pub(super) async fn sockets_leave_a_room(stage: &Stage) -> Outcome {
    let node = stage.cluster.node(1);
    node.join(&Select::all(), &["hall"]).await?;
    stage.join(&[(0, "red"), (3, "red"), (4, "red")]).await?;
    node.leave(&Select::all().to("red"), &["hall", "red"])
        .await?;
    node.broadcast(&Select::all().to("hall").to("red"), "in", json!([]))
        .await?;
    stage.assert_only(&[1, 2, 5], "in", &json!([])).await
}

pub(super) async fn one_socket_joins_and_leaves_by_its_id(stage: &Stage) -> Outcome {
    let node = stage.cluster.node(0);
    let there = Select::all().to(stage.clients[5].id());
    node.join(&there, &["hall"]).await?;
    node.broadcast(&Select::all().to("hall"), "in", json!([]))
        .await?;
    stage.assert_only(&[5], "in", &json!([])).await?;
    node.leave(&there, &["hall"]).await?;
    node.broadcast(&Select::all().to("hall"), "still in", json!([]))
        .await?;
    stage.assert_only(&[], "still in", &json!([])).await
}

pub(super) async fn a_local_join_stays_on_its_server(stage: &Stage) -> Outcome {
    let node = stage.cluster.node(2);
    node.join(&Select::all().local(), &["hall"]).await?;
    node.broadcast(&Select::all().to("hall"), "in", json!([]))
        .await?;
    stage.assert_only(&[4, 5], "in", &json!([])).await
}

pub(super) async fn the_rooms_of_all_servers_are_listed_once(stage: &Stage) -> Outcome {
    stage
        .join(&[(0, "red"), (2, "red"), (2, "blue"), (5, "green")])
        .await?;
    for node in stage.cluster.nodes() {
        let rooms = node.rooms(&Select::all()).await?;
        let rooms: Vec<_> = rooms.iter().filter(|room| !is_id(room, stage)).collect();
        assert_eq!(rooms, ["blue", "green", "red"], "asked {}", node.name());
    }
    Ok(())
}

pub(super) async fn the_rooms_of_some_sockets_are_theirs_only(stage: &Stage) -> Outcome {
    stage
        .join(&[(0, "red"), (2, "red"), (2, "blue"), (5, "green")])
        .await?;
    let rooms = stage
        .cluster
        .node(1)
        .rooms(&Select::all().to("red"))
        .await?;
    let rooms: Vec<_> = rooms.iter().filter(|room| !is_id(room, stage)).collect();
    assert_eq!(rooms, ["blue", "red"]);
    let rooms = stage
        .cluster
        .node(1)
        .rooms(&Select::all().to("nobody"))
        .await?;
    assert!(rooms.is_empty(), "{rooms:?}");
    Ok(())
}

/// Whether servers list the room that every socket has by its id is not the point here.
fn is_id(room: &str, stage: &Stage) -> bool {
    stage.clients.iter().any(|client| client.id() == room)
}
