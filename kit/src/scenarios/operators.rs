//! Switchboard's own operators, `board.of("/chat").to("room")…`: they mean the same sockets as
//! socketioxide's, and every socket is in a room of its own, named by its id.

use serde_json::{Value, json};

use super::{CLIENTS, Outcome, PATIENCE, Stage};
use crate::{Answer, ClientAck, Connect, Select, bytes};

pub(super) async fn an_event_reaches_the_sockets_that_were_selected(stage: &Stage) -> Outcome {
    stage
        .join(&[(0, "red"), (2, "red"), (2, "muted"), (5, "blue")])
        .await?;
    let node = stage.cluster.node(1);
    let (here, there) = (stage.clients[3].id(), stage.clients[4].id());
    let cases: [(Select, &[usize]); 9] = [
        (Select::all(), &[0, 1, 2, 3, 4, 5]),
        (Select::all().to("red"), &[0, 2]),
        (Select::all().to("red").to("blue"), &[0, 2, 5]),
        (Select::all().to("red").except("muted"), &[0]),
        (Select::all().except("red"), &[1, 3, 4, 5]),
        (Select::all().local(), &[2, 3]),
        (Select::all().to("nobody"), &[]),
        (Select::all().to(here).to(there), &[3, 4]),
        (Select::all().except(here).except(there), &[0, 1, 2, 5]),
    ];
    for (number, (select, clients)) in cases.into_iter().enumerate() {
        let (event, args) = (format!("case {number}"), json!([number, "of", select]));
        node.broadcast(&select.by_board(), &event, args.clone())
            .await?;
        stage.assert_only(clients, &event, &args).await?;
    }
    Ok(())
}

pub(super) async fn every_value_arrives_as_it_was_sent(stage: &Stage) -> Outcome {
    let node = stage.cluster.node(0);
    for (event, args) in [
        ("nothing", json!([])),
        (
            "json",
            json!([null, true, -1, 1.5, 9_007_199_254_740_991_i64, "\" \\ \n \u{0} é 漢 🦀", [[]], {"a": {"": 1}}]),
        ),
        (
            "binary",
            json!([bytes(b"first"), { "in": [bytes(&[0, 255, 128]), { "deep": bytes(b"") }] }, bytes(&[7; 100_000])]),
        ),
        ("large", json!(["x".repeat(1_000_000)])),
    ] {
        node.broadcast(&Select::all().by_board(), event, args.clone())
            .await?;
        stage.assert_only(&[0, 1, 2, 3, 4, 5], event, &args).await?;
    }
    Ok(())
}

pub(super) async fn a_volatile_event_reaches_clients_that_can_take_it(stage: &Stage) -> Outcome {
    let args = json!(["now or never"]);
    let volatile = Select::all().volatile().by_board();
    stage
        .cluster
        .node(2)
        .broadcast(&volatile, "volatile", args.clone())
        .await?;
    stage.assert_volatile("volatile", &args).await
}

pub(super) async fn sockets_join_and_leave_rooms(stage: &Stage) -> Outcome {
    stage.join(&[(1, "red"), (4, "red"), (5, "red")]).await?;
    let node = stage.cluster.node(2);
    let red = Select::all().to("red").by_board();
    node.join(&red, &["vip", "hall"]).await?;
    node.leave(&red.clone().except(stage.clients[4].id()), &["hall"])
        .await?;
    node.leave(&Select::all().to("vip").local().by_board(), &["vip"])
        .await?;
    for (room, members) in [("vip", &[1][..]), ("hall", &[4]), ("red", &[1, 4, 5])] {
        let to = Select::all().to(room).by_board();
        node.broadcast(&to, room, json!([])).await?;
        stage.assert_only(members, room, &json!([])).await?;
    }
    Ok(())
}

pub(super) async fn clients_acknowledge_with_their_names(stage: &Stage) -> Outcome {
    stage.join(&[(0, "red"), (3, "red"), (4, "red")]).await?;
    for client in &stage.clients {
        client.answer("echo", Answer::Echo).await?;
    }
    let args = json!(["text", 7, { "in": bytes(&[0, 255]) }]);
    let node = stage.cluster.node(1);
    for (select, clients) in [
        (Select::all(), &[0, 1, 2, 3, 4, 5][..]),
        (Select::all().to("red"), &[0, 3, 4]),
        (Select::all().local(), &[2, 3]),
        (Select::all().to("nobody"), &[]),
    ] {
        let mut acks = node.emit_with_ack(&select, "echo", args.clone()).await?;
        let mut expected = Vec::new();
        for &number in clients {
            expected.push(ClientAck {
                node: stage.server_of(number).node().await?,
                socket: Some(stage.clients[number].id().to_owned()),
                answer: Ok(args.as_array().cloned().unwrap_or_default()),
            });
        }
        acks.answers.sort_by(|a, b| a.socket.cmp(&b.socket));
        expected.sort_by(|a, b| a.socket.cmp(&b.socket));
        assert_eq!(acks.answers, expected, "{select:?}");
        let rest = (&acks.missing[..], acks.missing_unknown, acks.unacknowledged);
        assert_eq!((rest, acks.dropped), ((&[][..], 0, 0), 0), "{select:?}");
    }
    Ok(())
}

pub(super) async fn large_acknowledgements_arrive_whole(stage: &Stage) -> Outcome {
    // A server takes no more than 100,000 bytes from a client at once, unless it is told to, and
    // polling clients write binary as base64.
    let args = json!(["x".repeat(20_000), bytes(&[3; 50_000])]);
    for client in &stage.clients {
        client.answer("echo", Answer::Echo).await?;
    }
    let everyone = Select::all();
    let acks = stage
        .cluster
        .node(0)
        .emit_with_ack(&everyone, "echo", args.clone())
        .await?;
    assert_eq!(acks.answers.len(), stage.clients.len());
    for ack in acks.answers {
        assert!(
            ack.answer.map(Value::from).as_ref() == Ok(&args),
            "{:?}",
            ack.socket
        );
    }
    Ok(())
}

pub(super) async fn a_client_that_does_not_acknowledge_is_accounted_for(stage: &Stage) -> Outcome {
    const SILENT: [usize; 2] = [1, 4];
    for (number, client) in stage.clients.iter().enumerate() {
        if !SILENT.contains(&number) {
            client.answer("ask", Answer::With(json!([number]))).await?;
        }
    }
    // For the silent ones: long enough for all others.
    let select = Select::all().timeout(PATIENCE);
    let asking = stage.cluster.node(0);
    let acks = asking.emit_with_ack(&select, "ask", json!([])).await?;
    let (answers, errors): (Vec<_>, Vec<_>) =
        acks.answers.iter().partition(|ack| ack.answer.is_ok());
    assert_eq!(answers.len(), CLIENTS - SILENT.len(), "{acks:?}");
    // The one of another server is counted, or its server still gets its report through.
    let accounted = errors.len() as u64 + acks.unacknowledged;
    assert_eq!(accounted, SILENT.len() as u64, "{acks:?}");
    let local = stage.clients[SILENT[0]].id();
    assert!(
        errors
            .iter()
            .any(|ack| ack.socket.as_deref() == Some(local)),
        "{acks:?}"
    );
    Ok(())
}

pub(super) async fn a_socket_that_is_disconnected_keeps_its_other_namespaces(
    stage: &Stage,
) -> Outcome {
    stage.join(&[(1, "out"), (2, "out")]).await?;
    let mut beside = Vec::new();
    for number in [1, 2] {
        beside.push(stage.connect_beside(number, "/chat").await?);
    }
    let out = Select::all().to("out").by_board();
    stage.cluster.node(1).disconnect(&out).await?;
    for (number, beside) in [1, 2].into_iter().zip(&beside) {
        let reason = stage.clients[number].wait_until_disconnected().await?;
        assert_eq!(reason, "io server disconnect", "client {number}");
        // It still hears the other namespace.
        let chat = Select::nsp("/chat").by_board();
        let node = stage.cluster.node(0);
        node.broadcast(&chat, &format!("to {number}"), json!([]))
            .await?;
        beside.wait_for(&format!("to {number}"), 1).await?;
        assert!(beside.is_connected().await?);
    }
    Ok(())
}

pub(super) async fn a_connection_that_is_closed_ends_in_all_its_namespaces(
    stage: &Stage,
) -> Outcome {
    stage.join(&[(1, "out"), (2, "out"), (5, "out")]).await?;
    let mut beside = Vec::new();
    for number in [1, 2, 5] {
        beside.push((number, stage.connect_beside(number, "/chat").await?));
    }
    let spared = stage.connect(3, Connect::default().nsp("/chat")).await?;
    let out = Select::all().to("out").by_board();
    stage.cluster.node(1).close(&out).await?;
    for (number, beside) in &beside {
        stage.clients[*number].wait_until_disconnected().await?;
        beside.wait_until_disconnected().await?;
    }
    let left: Vec<_> = [0, 3, 4].map(|number| &stage.clients[number]).into();
    stage.settle_among(&left, "/").await?;
    assert!(spared.is_connected().await?);
    Ok(())
}

pub(super) async fn the_rooms_of_all_servers_are_listed_once(stage: &Stage) -> Outcome {
    stage
        .join(&[(0, "red"), (2, "red"), (2, "blue"), (5, "green")])
        .await?;
    for (select, expected) in [
        (Select::all(), &["blue", "green", "red"][..]),
        (Select::all().to("red"), &["blue", "red"]),
        (Select::all().except("blue"), &["green", "red"]),
        (Select::all().local(), &["red"]),
        (Select::all().to(stage.clients[2].id()), &["blue", "red"]),
        (Select::all().to("nobody"), &[]),
    ] {
        let found = stage.cluster.node(0).all_rooms(&select).await?;
        let mut rooms: Vec<_> = found.items.iter().filter_map(Value::as_str).collect();
        rooms.sort_unstable();
        // Without those that every socket is in by its id.
        assert_eq!(rooms, expected, "{select:?}");
        assert_eq!((found.missing, found.missing_unknown), (Vec::new(), 0));
    }
    Ok(())
}
