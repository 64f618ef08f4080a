//! What a server does with one socket that it found on another server.

use serde_json::{Value, json};

use super::{Outcome, Stage};
use crate::{Ack, Answer, RemoteAction, Select, bytes};

pub(super) async fn a_remote_socket_gets_an_event_alone(stage: &Stage) -> Outcome {
    let args = json!([1, bytes(b"two")]);
    for number in [1, 4] {
        let event = format!("for {number}");
        let emit = RemoteAction::Emit {
            event: event.clone(),
            args: list(&args),
        };
        let () = stage
            .cluster
            .node(0)
            .remote(stage.clients[number].id(), emit)
            .await?;
        stage.assert_only(&[number], &event, &args).await?;
    }
    Ok(())
}

pub(super) async fn a_remote_socket_acknowledges(stage: &Stage) -> Outcome {
    let socket = &stage.clients[3];
    socket.answer("echo", Answer::Echo).await?;
    let args = json!(["a", bytes(b"b")]);
    let emit = RemoteAction::EmitWithAck {
        event: "echo".into(),
        args: list(&args),
    };
    let acks: Vec<Ack> = stage.cluster.node(2).remote(socket.id(), emit).await?;
    let expected = Ack {
        socket: socket.id().to_owned(),
        answer: Ok(list(&args)),
    };
    assert_eq!(acks, [expected]);
    stage.assert_only(&[3], "echo", &args).await
}

pub(super) async fn a_remote_socket_joins_and_leaves_rooms(stage: &Stage) -> Outcome {
    let (node, socket) = (stage.cluster.node(0), stage.clients[4].id());
    let () = node
        .remote(socket, RemoteAction::Join(vec!["a".into(), "b".into()]))
        .await?;
    let () = node
        .remote(socket, RemoteAction::Leave(vec!["a".into()]))
        .await?;
    let mut rooms: Vec<String> = node.remote(socket, RemoteAction::Rooms).await?;
    rooms.retain(|room| room != socket);
    assert_eq!(rooms, ["b"]);
    node.broadcast(&Select::all().to("a").to("b"), "in", json!([]))
        .await?;
    stage.assert_only(&[4], "in", &json!([])).await
}

pub(super) async fn a_remote_socket_is_disconnected(stage: &Stage) -> Outcome {
    let socket = &stage.clients[5];
    let () = stage
        .cluster
        .node(1)
        .remote(socket.id(), RemoteAction::Disconnect)
        .await?;
    assert_eq!(
        socket.wait_until_disconnected().await?,
        "io server disconnect"
    );
    Ok(())
}

fn list(args: &Value) -> Vec<Value> {
    args.as_array().cloned().unwrap_or_default()
}
