//! Sockets of all servers as values: where they are, their rooms, their data, how they connected; and
//! what can be done with one.

use serde_json::{Value, json};

use super::{CLIENTS, CLIENTS_PER_NODE, Outcome, Stage};
use crate::{Ack, Acks, Answer, Connect, RemoteAction, Select, bytes};

pub(super) async fn sockets_are_found_with_their_servers_and_rooms(stage: &Stage) -> Outcome {
    stage.join(&[(0, "red"), (4, "red"), (4, "blue")]).await?;
    let mut servers = Vec::new();
    for node in stage.cluster.nodes() {
        servers.push(node.node().await?);
    }
    for node in stage.cluster.nodes() {
        let found = node.remote_sockets(&Select::all()).await?;
        let ids: Vec<_> = found.iter().map(|socket| socket.id.clone()).collect();
        assert_eq!(ids, stage.ids(0..CLIENTS), "asked {}", node.name());
        for (number, client) in stage.clients.iter().enumerate() {
            let socket = found.iter().find(|socket| socket.id == client.id());
            let socket = socket.expect("checked above");
            let server = &servers[number / CLIENTS_PER_NODE];
            assert_eq!(socket.node.as_ref(), Some(server), "client {number}");
            let mut rooms: Vec<_> = socket.rooms.iter().filter_map(Value::as_str).collect();
            rooms.sort_unstable();
            let mut expected = vec![client.id()];
            expected.extend(match number {
                0 => &["red"][..],
                4 => &["red", "blue"],
                _ => &[],
            });
            expected.sort_unstable();
            assert_eq!(rooms, expected, "client {number}, asked {}", node.name());
        }
    }
    Ok(())
}

pub(super) async fn only_the_sockets_that_match_are_found(stage: &Stage) -> Outcome {
    stage
        .join(&[(0, "red"), (2, "red"), (3, "blue"), (4, "blue"), (4, "red")])
        .await?;
    let node = stage.cluster.node(1);
    let there = stage.clients[5].id();
    for (select, expected) in [
        (Select::all().to("red"), &[0, 2, 4][..]),
        (Select::all().to("red").to("blue"), &[0, 2, 3, 4]),
        (Select::all().to("red").except("blue"), &[0, 2]),
        (Select::all().except("red"), &[1, 3, 5]),
        (Select::all().local(), &[2, 3]),
        (Select::all().to("nobody"), &[]),
        (Select::all().to(there), &[5]),
        (Select::all().except(there), &[0, 1, 2, 3, 4]),
        (Select::nsp("/chat"), &[]),
    ] {
        let ids = node.socket_ids(&select).await?;
        assert_eq!(ids.items, stage.ids(expected.iter().copied()), "{select:?}");
        assert_eq!((ids.missing, ids.missing_unknown), (Vec::new(), 0));
        let sockets = node.remote_sockets(&select).await?;
        let ids: Vec<_> = sockets.into_iter().map(|socket| socket.id).collect();
        assert_eq!(ids, stage.ids(expected.iter().copied()), "{select:?}");
    }
    Ok(())
}

pub(super) async fn the_applications_data_is_seen_by_every_server(stage: &Stage) -> Outcome {
    let told = json!({ "name": "é", "score": [1, 1.5, null], "face": bytes(&[0, 255, 7]) });
    stage.clients[4]
        .emit_with_ack("data", json!([told]))
        .await?;
    let given = json!(["any", { "value": true }]);
    stage
        .cluster
        .node(0)
        .set_data(stage.clients[1].id(), given.clone())
        .await?;
    for node in stage.cluster.nodes() {
        for socket in node.remote_sockets(&Select::all()).await? {
            let expected = match stage.clients.iter().position(|c| c.id() == socket.id) {
                Some(4) => told.clone(),
                Some(1) => given.clone(),
                _ => json!({}),
            };
            assert_eq!(socket.data, expected, "{} asked {}", socket.id, node.name());
        }
    }
    Ok(())
}

pub(super) async fn how_a_socket_connected_is_seen_by_every_server(stage: &Stage) -> Outcome {
    let how = Connect::default()
        .header("x-team", "blue, green")
        .header("cookie", "session=secret")
        .query("version", "1 & 2")
        .query("é", "")
        .auth("token", "t");
    // One over WebSocket, one over long polling.
    for place in [2, 5] {
        let client = stage.connect(place, how.clone()).await?;
        for node in stage.cluster.nodes() {
            let found = node.remote_sockets(&Select::all().to(client.id())).await?;
            assert_eq!(found.len(), 1, "asked {}", node.name());
            assert_handshake(&found[0].handshake, stage.server_of(place).url());
        }
    }
    Ok(())
}

/// As Node.js writes it: the same members with the same types.
fn assert_handshake(handshake: &Value, url: &str) {
    let headers = &handshake["headers"];
    assert_eq!(headers["x-team"], "blue, green", "{handshake}");
    assert_eq!(headers["cookie"], "session=secret", "{handshake}");
    assert_eq!(
        headers["host"].as_str(),
        url.strip_prefix("http://"),
        "{handshake}"
    );
    let query = &handshake["query"];
    assert_eq!(query["version"], "1 & 2", "{handshake}");
    assert_eq!(query["é"], "", "{handshake}");
    assert_eq!(query["EIO"], "4", "{handshake}");
    let requested = handshake["url"].as_str().unwrap_or_default();
    assert!(requested.starts_with("/socket.io/?"), "{handshake}");
    assert!(requested.contains("version=1%20%26%202"), "{handshake}");
    let address = handshake["address"].as_str().unwrap_or_default();
    assert!(address.ends_with("127.0.0.1"), "{handshake}");
    assert_eq!(handshake["secure"], false, "{handshake}");
    assert_eq!(handshake["xdomain"], false, "{handshake}");
    assert_eq!(handshake["auth"]["token"], "t", "{handshake}");
    let issued = handshake["issued"].as_u64().unwrap_or_default();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |now| now.as_millis());
    let age_ms = now.saturating_sub(u128::from(issued));
    // The longest that any wait of a test takes.
    assert!(age_ms < 2 * crate::DEADLINE.as_millis(), "{handshake}");
    let time = handshake["time"].as_str().unwrap_or_default();
    assert!(time.contains("GMT+0000"), "{handshake}");
}

pub(super) async fn a_found_socket_gets_an_event_alone(stage: &Stage) -> Outcome {
    let args = json!([1, bytes(b"two")]);
    for number in [1, 4] {
        let event = format!("for {number}");
        let emit = RemoteAction::Emit {
            event: event.clone(),
            args: list(&args),
        };
        let socket = stage.clients[number].id();
        let () = stage.cluster.node(0).remote_by_board(socket, emit).await?;
        stage.assert_only(&[number], &event, &args).await?;
    }
    Ok(())
}

pub(super) async fn a_found_socket_acknowledges(stage: &Stage) -> Outcome {
    let args = json!(["a", bytes(b"b")]);
    for number in [3, 5] {
        let socket = &stage.clients[number];
        socket.answer("echo", Answer::Echo).await?;
        let emit = RemoteAction::EmitWithAck {
            event: "echo".into(),
            args: list(&args),
        };
        let node = stage.cluster.node(2);
        let acks: Acks = node.remote_by_board(socket.id(), emit).await?;
        let answers: Vec<_> = acks
            .answers
            .into_iter()
            .map(|ack| Ack {
                socket: ack.socket.unwrap_or_default(),
                answer: ack.answer,
            })
            .collect();
        let expected = Ack {
            socket: socket.id().to_owned(),
            answer: Ok(list(&args)),
        };
        assert_eq!(answers, [expected]);
    }
    Ok(())
}

pub(super) async fn a_found_socket_joins_and_leaves_rooms(stage: &Stage) -> Outcome {
    for number in [0, 4] {
        let (node, socket) = (stage.cluster.node(0), stage.clients[number].id());
        let join = RemoteAction::Join(vec!["a".into(), "b".into()]);
        let () = node.remote_by_board(socket, join).await?;
        let leave = RemoteAction::Leave(vec!["a".into()]);
        let () = node.remote_by_board(socket, leave).await?;
        let rooms = node.remote_by_board(socket, RemoteAction::Rooms).await?;
        let mut rooms: Vec<String> = rooms;
        rooms.retain(|room| room != socket);
        assert_eq!(rooms, ["b"], "client {number}");
    }
    Ok(())
}

pub(super) async fn a_found_socket_is_disconnected_and_keeps_its_other_namespaces(
    stage: &Stage,
) -> Outcome {
    for number in [0, 5] {
        let beside = stage.connect_beside(number, "/chat").await?;
        let (node, socket) = (stage.cluster.node(1), &stage.clients[number]);
        let end = RemoteAction::Disconnect;
        let () = node.remote_by_board(socket.id(), end).await?;
        let reason = socket.wait_until_disconnected().await?;
        assert_eq!(reason, "io server disconnect");
        stage.settle_among(&[&beside], "/chat").await?;
        assert!(beside.is_connected().await?);
    }
    Ok(())
}

pub(super) async fn a_found_sockets_connection_is_closed(stage: &Stage) -> Outcome {
    for number in [2, 5] {
        let beside = stage.connect_beside(number, "/chat").await?;
        let (node, socket) = (stage.cluster.node(1), &stage.clients[number]);
        let () = node
            .remote_by_board(socket.id(), RemoteAction::Close)
            .await?;
        socket.wait_until_disconnected().await?;
        beside.wait_until_disconnected().await?;
    }
    Ok(())
}

fn list(args: &Value) -> Vec<Value> {
    args.as_array().cloned().unwrap_or_default()
}
