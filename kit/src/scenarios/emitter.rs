//! A process that is no server and sends into the cluster all the same.

use serde_json::json;

use super::{NODES, Outcome, Stage};
use crate::{Connect, Emitter, Error, NodeEvent, Select, bytes, switchboard_command};

const EVERYONE: [usize; 6] = [0, 1, 2, 3, 4, 5];

async fn emitter(stage: &Stage) -> Result<Emitter, Error> {
    Emitter::start(stage.cluster.config()).await
}

pub(super) async fn its_events_reach_the_clients_of_every_server(stage: &Stage) -> Outcome {
    stage
        .join(&[(1, "red"), (3, "red"), (3, "muted"), (4, "blue")])
        .await?;
    let emitter = emitter(stage).await?;
    let there = stage.clients[5].id();
    let cases: [(Select, &[usize]); 6] = [
        (Select::all(), &EVERYONE),
        (Select::all().to("red"), &[1, 3]),
        (Select::all().to("red").to("blue").except("muted"), &[1, 4]),
        (Select::all().except("red"), &[0, 2, 4, 5]),
        (Select::all().to(there), &[5]),
        (Select::all().except(there), &[0, 1, 2, 3, 4]),
    ];
    for (number, (select, clients)) in cases.into_iter().enumerate() {
        let event = format!("case {number}");
        let args = json!([number, { "in": bytes(&[0, 255]) }, "é"]);
        emitter.emit(&select, &event, args.clone()).await?;
        stage.emitted(&emitter).await?;
        stage.assert_only(clients, &event, &args).await?;
    }
    Ok(())
}

pub(super) async fn its_events_stay_in_their_namespace(stage: &Stage) -> Outcome {
    let chat = stage.connect(2, Connect::default().nsp("/chat")).await?;
    let emitter = emitter(stage).await?;
    emitter
        .emit(&Select::nsp("/chat"), "chat", json!([1]))
        .await?;
    chat.wait_for("chat", 1).await?;
    stage.emitted(&emitter).await?;
    stage.assert_only(&[], "chat", &json!([1])).await
}

pub(super) async fn its_volatile_events_reach_clients_that_can_take_them(stage: &Stage) -> Outcome {
    let emitter = emitter(stage).await?;
    let args = json!(["now or never"]);
    emitter
        .emit(&Select::all().volatile(), "volatile", args.clone())
        .await?;
    stage.emitted(&emitter).await?;
    stage.assert_volatile("volatile", &args).await
}

pub(super) async fn it_makes_sockets_join_and_leave_rooms(stage: &Stage) -> Outcome {
    stage.join(&[(0, "red"), (2, "red"), (5, "red")]).await?;
    let emitter = emitter(stage).await?;
    let red = Select::all().to("red");
    emitter.join(&red, &["vip", "hall"]).await?;
    emitter
        .leave(&Select::all().to(stage.clients[5].id()), &["vip", "red"])
        .await?;
    for (room, members) in [("vip", &[0, 2][..]), ("hall", &[0, 2, 5]), ("red", &[0, 2])] {
        emitter
            .emit(&Select::all().to(room), room, json!([]))
            .await?;
        stage.emitted(&emitter).await?;
        stage.assert_only(members, room, &json!([])).await?;
    }
    Ok(())
}

pub(super) async fn it_disconnects_sockets_and_closes_connections(stage: &Stage) -> Outcome {
    stage
        .join(&[(1, "out"), (4, "out"), (2, "closed"), (5, "closed")])
        .await?;
    let mut beside = Vec::new();
    for number in [1, 4, 2, 5] {
        beside.push(stage.connect_beside(number, "/chat").await?);
    }
    let emitter = emitter(stage).await?;
    emitter.disconnect(&Select::all().to("out"), false).await?;
    emitter
        .disconnect(&Select::all().to("closed"), true)
        .await?;
    for number in [1, 4, 2, 5] {
        stage.clients[number].wait_until_disconnected().await?;
    }
    for client in &beside[2..] {
        client.wait_until_disconnected().await?;
    }
    stage
        .settle_among(&beside[..2].iter().collect::<Vec<_>>(), "/chat")
        .await?;
    stage
        .settle_among(&[&stage.clients[0], &stage.clients[3]], "/")
        .await
}

pub(super) async fn its_server_events_reach_every_server(stage: &Stage) -> Outcome {
    let emitter = emitter(stage).await?;
    let args = json!([1, bytes(&[0, 255])]);
    emitter.server_side_emit("/", "note", args.clone()).await?;
    for node in stage.cluster.nodes() {
        let events = crate::until(
            "the note to arrive",
            || node.server_events("/"),
            |events| !events.is_empty(),
        )
        .await?;
        let heard: Vec<_> = events.iter().map(|e| (&*e.event, json!(e.args))).collect();
        assert_eq!(heard, [("note", args.clone())], "{}", node.name());
        let from = events[0].from.as_deref();
        assert!(matches!(from, None | Some("emitter")), "{from:?}");
    }
    Ok(())
}

pub(super) async fn it_is_never_counted_as_a_server(stage: &Stage) -> Outcome {
    let emitter = emitter(stage).await?;
    emitter.emit(&Select::all(), "hello", json!([])).await?;
    emitter.server_side_emit("/", "note", json!([])).await?;
    stage.emitted(&emitter).await?;
    for node in stage.cluster.nodes() {
        assert_eq!(node.server_count("/").await?, NODES, "{}", node.name());
        for other in node.nodes().await? {
            assert!(stage.is_server(&other.id).await?, "{other:?}");
        }
        for event in node.node_events().await? {
            let NodeEvent::Joined { node, .. } = event else {
                panic!("nobody has left, but: {event:?}");
            };
            assert!(stage.is_server(&node).await?, "{node} has joined");
        }
        // Nobody waits for an answer of it.
        let found = node.socket_ids(&Select::all()).await?;
        assert_eq!(found.items, stage.ids(EVERYONE));
        assert_eq!((found.missing, found.missing_unknown), (Vec::new(), 0));
    }
    Ok(())
}

pub(super) async fn what_it_sent_before_it_ended_arrives_complete_and_in_order(
    stage: &Stage,
) -> Outcome {
    const COUNT: usize = 2_000;
    let emitter = emitter(stage).await?;
    let numbers: Vec<_> = (0..COUNT).map(|number| json!([number])).collect();
    let everyone = Select::all();
    for number in &numbers {
        emitter.emit(&everyone, "number", number.clone()).await?;
    }
    let status = emitter.stop().await?;
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    for client in &stage.clients {
        assert!(client.wait_for("number", COUNT).await? == numbers);
    }
    Ok(())
}

pub(super) async fn a_command_in_a_shell_does_the_same(stage: &Stage) -> Outcome {
    stage.join(&[(1, "red"), (4, "red"), (5, "red")]).await?;
    let own = stage.clients[5].id();
    let shell = async |line: &[&str]| switchboard_command(stage.cluster.config(), line).await;
    shell(&[
        "emit",
        "--to",
        "red",
        "--except",
        own,
        "hello",
        r#"{"a":[1]}"#,
        "plain text",
    ])
    .await?;
    stage.clients[1].wait_for("hello", 1).await?;
    stage.clients[4].wait_for("hello", 1).await?;
    let args = json!([{ "a": [1] }, "plain text"]);
    stage.assert_only(&[1, 4], "hello", &args).await?;

    let file = stage.cluster.folder().join("bytes");
    std::fs::write(&file, [0, 255]).map_err(Error::system("cannot write a file"))?;
    let binary = format!("@{}", file.display());
    shell(&["emit", "--to", own, "--files", "file", &binary]).await?;
    stage.clients[5].wait_for("file", 1).await?;
    let args = json!([bytes(&[0, 255])]);
    stage.assert_only(&[5], "file", &args).await?;

    // Nobody disconnects everyone by leaving a word out.
    let refused = shell(&["disconnect"]).await;
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");

    shell(&["join", "--to", "red", "vip", "hall"]).await?;
    shell(&["leave", "--to", own, "vip"]).await?;
    shell(&["emit", "--to", "vip", "vip"]).await?;
    stage.clients[1].wait_for("vip", 1).await?;
    stage.clients[4].wait_for("vip", 1).await?;
    stage.assert_only(&[1, 4], "vip", &json!([])).await?;

    shell(&["emit", "--server-side", "note", "7"]).await?;
    for node in stage.cluster.nodes() {
        let heard = crate::until(
            "the note to arrive",
            || node.server_events("/"),
            |events| !events.is_empty(),
        )
        .await?;
        assert_eq!(heard.len(), 1, "{heard:?}");
        assert_eq!(
            (&*heard[0].event, &heard[0].args[..]),
            ("note", &[json!(7)][..])
        );
    }

    shell(&["disconnect", "--to", "hall", "--close"]).await?;
    for number in [1, 4, 5] {
        stage.clients[number].wait_until_disconnected().await?;
    }
    let left: Vec<_> = [0, 2, 3].map(|number| &stage.clients[number]).into();
    stage.settle_among(&left, "/").await
}
