//! Events: who gets them, and whether they arrive as they were sent.

use serde_json::json;

use super::{CLIENTS, NODES, Outcome, Stage};
use crate::{Select, bytes};

const EVERYONE: [usize; CLIENTS] = [0, 1, 2, 3, 4, 5];

pub(super) async fn an_event_reaches_every_client_of_every_server_once(stage: &Stage) -> Outcome {
    for node in 0..NODES {
        let event = format!("from {node}");
        let args = json!([node]);
        stage
            .cluster
            .node(node)
            .broadcast(&Select::all(), &event, args.clone())
            .await?;
        stage.assert_only(&EVERYONE, &event, &args).await?;
    }
    Ok(())
}

pub(super) async fn every_kind_of_json_arrives_as_it_was_sent(stage: &Stage) -> Outcome {
    let args = json!([
        null, true, false, 0, -1, 1.5, 9_007_199_254_740_991_i64, "", "text",
        "quote \" backslash \\ newline \n nul \u{0} é 漢 🦀",
        [], [[], [1, [2, [3]]]],
        {}, { "a": { "b": [null, { "c": "" }] }, "": 1, "é": 2 },
        { "_placeholder": false, "num": 0 },
    ]);
    stage
        .cluster
        .node(0)
        .broadcast(&Select::all(), "json", args.clone())
        .await?;
    stage.assert_only(&EVERYONE, "json", &args).await
}

pub(super) async fn an_event_without_arguments_has_none_at_the_other_end(stage: &Stage) -> Outcome {
    stage
        .cluster
        .node(2)
        .broadcast(&Select::all(), "nothing", json!([]))
        .await?;
    stage.assert_only(&EVERYONE, "nothing", &json!([])).await
}

pub(super) async fn binary_parts_arrive_in_their_places(stage: &Stage) -> Outcome {
    let args = json!([
        bytes(b"first"),
        "between",
        { "nested": [bytes(&[0, 255, 128]), { "deep": bytes(b"") }] },
        bytes(&[7; 100_000]),
    ]);
    stage
        .cluster
        .node(1)
        .broadcast(&Select::all(), "binary", args.clone())
        .await?;
    stage.assert_only(&EVERYONE, "binary", &args).await
}

pub(super) async fn a_large_text_arrives_whole(stage: &Stage) -> Outcome {
    let args = json!(["x".repeat(1_000_000)]);
    stage
        .cluster
        .node(1)
        .broadcast(&Select::all(), "large", args.clone())
        .await?;
    stage.assert_only(&EVERYONE, "large", &args).await
}

pub(super) async fn an_event_for_a_room_reaches_its_members_only(stage: &Stage) -> Outcome {
    stage.join(&[(0, "red"), (3, "red"), (5, "blue")]).await?;
    let args = json!(["hello"]);
    stage
        .cluster
        .node(0)
        .broadcast(&Select::all().to("red"), "red", args.clone())
        .await?;
    stage.assert_only(&[0, 3], "red", &args).await?;
    stage
        .cluster
        .node(0)
        .broadcast(&Select::all().to("green"), "green", args.clone())
        .await?;
    stage.assert_only(&[], "green", &args).await
}

pub(super) async fn a_member_of_several_rooms_gets_an_event_for_them_once(
    stage: &Stage,
) -> Outcome {
    stage
        .join(&[(1, "red"), (4, "red"), (4, "blue"), (5, "blue")])
        .await?;
    let both = Select::all().to("red").to("blue");
    let args = json!([1]);
    stage
        .cluster
        .node(1)
        .broadcast(&both, "both", args.clone())
        .await?;
    stage.assert_only(&[1, 4, 5], "both", &args).await
}

pub(super) async fn an_excepted_room_gets_nothing(stage: &Stage) -> Outcome {
    stage
        .join(&[
            (0, "red"),
            (2, "red"),
            (2, "muted"),
            (4, "red"),
            (5, "muted"),
        ])
        .await?;
    let args = json!([1]);
    let node = stage.cluster.node(0);
    node.broadcast(
        &Select::all().to("red").except("muted"),
        "room",
        args.clone(),
    )
    .await?;
    stage.assert_only(&[0, 4], "room", &args).await?;
    node.broadcast(&Select::all().except("muted"), "all", args.clone())
        .await?;
    stage.assert_only(&[0, 1, 3, 4], "all", &args).await
}

pub(super) async fn a_local_event_stays_on_its_server(stage: &Stage) -> Outcome {
    let args = json!([1]);
    stage
        .cluster
        .node(1)
        .broadcast(&Select::all().local(), "local", args.clone())
        .await?;
    stage.assert_only(&[2, 3], "local", &args).await
}

pub(super) async fn a_volatile_event_reaches_clients_that_can_take_it(stage: &Stage) -> Outcome {
    let args = json!([bytes(b"now or never")]);
    let volatile = Select::all().volatile();
    stage
        .cluster
        .node(2)
        .broadcast(&volatile, "volatile", args.clone())
        .await?;
    stage.assert_volatile("volatile", &args).await
}

pub(super) async fn a_socket_that_broadcasts_does_not_hear_itself(stage: &Stage) -> Outcome {
    stage
        .join(&[(0, "red"), (1, "red"), (2, "red"), (5, "red")])
        .await?;
    let args = json!([1]);
    let (node, sender) = (stage.cluster.node(1), stage.clients[2].id());
    node.broadcast(&Select::all().from(sender), "all", args.clone())
        .await?;
    stage.assert_only(&[0, 1, 3, 4, 5], "all", &args).await?;
    node.broadcast(&Select::all().from(sender).to("red"), "room", args.clone())
        .await?;
    stage.assert_only(&[0, 1, 5], "room", &args).await
}

pub(super) async fn a_socket_id_is_a_room(stage: &Stage) -> Outcome {
    let args = json!([1]);
    let (node, here, there) = (stage.cluster.node(0), &stage.clients[1], &stage.clients[4]);
    node.broadcast(&Select::all().to(there.id()), "there", args.clone())
        .await?;
    stage.assert_only(&[4], "there", &args).await?;
    node.broadcast(&Select::all().to(here.id()), "here", args.clone())
        .await?;
    stage.assert_only(&[1], "here", &args).await?;

    let both = Select::all().except(here.id()).except(there.id());
    node.broadcast(&both, "not these", args.clone()).await?;
    stage.assert_only(&[0, 2, 3, 5], "not these", &args).await?;

    stage.join(&[(2, "red")]).await?;
    let mixed = Select::all().to("red").to(there.id()).to(here.id());
    node.broadcast(&mixed, "mixed", args.clone()).await?;
    stage.assert_only(&[1, 2, 4], "mixed", &args).await
}
