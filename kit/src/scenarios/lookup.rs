//! One socket by its id, on whatever server it is: found by asking all, or known not to exist.

use serde_json::{Value, json};

use super::{NODES, Outcome, Setting, Stage};
use crate::{Clients, Connect, Looked, Select, until};

/// Looks like an id, and is none.
const NOBODY: &str = "AAAAAAAAAAAAAAAA";

pub(super) async fn the_rooms_of_any_socket_are_known_to_any_server(stage: &Stage) -> Outcome {
    stage.join(&[(1, "red"), (5, "blue")]).await?;
    for node in stage.cluster.nodes() {
        for (number, room) in [(1, "red"), (5, "blue")] {
            let id = stage.clients[number].id();
            let Looked::Found(rooms) = node.rooms_of(id).await? else {
                panic!("{} does not find client {number}", node.name());
            };
            let mut rooms: Vec<_> = rooms.iter().filter_map(Value::as_str).collect();
            rooms.sort_unstable();
            let mut expected = [id, room];
            expected.sort_unstable();
            assert_eq!(rooms, expected, "asked {}", node.name());
        }
    }
    Ok(())
}

pub(super) async fn one_socket_joins_and_leaves_rooms(stage: &Stage) -> Outcome {
    let node = stage.cluster.node(0);
    for number in [0, 4] {
        let id = stage.clients[number].id();
        assert_eq!(node.remote_join(id, &["a", "b"]).await?, Looked::Found(()));
        assert_eq!(node.remote_leave(id, &["a"]).await?, Looked::Found(()));
    }
    for (room, members) in [("a", &[][..]), ("b", &[0, 4])] {
        node.broadcast(&Select::all().to(room), room, json!([]))
            .await?;
        stage.assert_only(members, room, &json!([])).await?;
    }
    Ok(())
}

pub(super) async fn one_socket_is_disconnected_from_its_namespace_or_altogether(
    stage: &Stage,
) -> Outcome {
    let node = stage.cluster.node(1);
    for (number, close) in [(2, false), (4, false), (3, true), (5, true)] {
        let beside = stage.connect_beside(number, "/chat").await?;
        let client = &stage.clients[number];
        let done = node.remote_disconnect(client.id(), close).await?;
        assert_eq!(done, Looked::Found(()), "client {number}");
        client.wait_until_disconnected().await?;
        if close {
            beside.wait_until_disconnected().await?;
        } else {
            stage.settle_among(&[&beside], "/chat").await?;
            assert!(beside.is_connected().await?, "client {number}");
        }
    }
    Ok(())
}

pub(super) async fn a_socket_that_does_not_exist_is_not_found(stage: &Stage) -> Outcome {
    let node = stage.cluster.node(2);
    // A room of that name is not a socket.
    stage.join(&[(0, NOBODY)]).await?;
    let gone = stage.connect(1, Connect::default()).await?;
    gone.disconnect().await?;
    let there = Select::all().to(gone.id());
    until(
        "the socket to be gone",
        || node.socket_ids(&there),
        |found| found.items.is_empty(),
    )
    .await?;
    for id in [NOBODY, gone.id(), "", "é", "no id at all, but any text"] {
        assert_eq!(node.rooms_of(id).await?, Looked::NoSuchSocket, "{id}");
        let joined = node.remote_join(id, &["a"]).await?;
        assert_eq!(joined, Looked::NoSuchSocket, "{id}");
        let left = node.remote_leave(id, &["a"]).await?;
        assert_eq!(left, Looked::NoSuchSocket, "{id}");
        let closed = node.remote_disconnect(id, true).await?;
        assert_eq!(closed, Looked::NoSuchSocket, "{id}");
    }
    // Nothing was done to others in their stead.
    node.broadcast(&Select::all().to("a"), "a", json!([]))
        .await?;
    stage.assert_only(&[], "a", &json!([])).await
}

pub(super) async fn a_socket_is_found_while_another_server_stands_still(
    setting: &Setting,
) -> Outcome {
    let cluster = setting.patient_cluster().start().await?;
    let clients = Clients::start().await?;
    let client = clients
        .connect(cluster.node(1).url(), setting.connect())
        .await?;
    let still = cluster.node(2);
    still.pause().await?;
    // The answer of the one that has it is enough.
    let rooms = cluster.node(0).rooms_of(client.id()).await?;
    assert!(matches!(rooms, Looked::Found(_)), "{rooms:?}");
    // Nobody was given up for it.
    assert_eq!(cluster.node(0).server_count("/").await?, NODES);
    still.resume()
}

pub(super) async fn a_socket_is_found_although_others_are_in_the_room_of_its_name(
    setting: &Setting,
) -> Outcome {
    let cluster = setting.patient_cluster().start().await?;
    let clients = Clients::start().await?;
    let wanted = clients
        .connect(cluster.node(2).url(), setting.connect())
        .await?;
    let how = setting.connect().room(wanted.id());
    let other = clients.connect(cluster.node(1).url(), how).await?;
    // So that the other one's server answers first.
    let (asking, still) = (cluster.node(0), cluster.node(2));
    still.pause().await?;
    let looked = asking.rooms_of(wanted.id());
    let go_on = async {
        // Answered by that server after the first question.
        let found = asking.rooms_of(other.id()).await?;
        assert!(matches!(found, Looked::Found(_)), "{found:?}");
        still.resume()
    };
    let (looked, gone_on) = tokio::join!(looked, go_on);
    gone_on?;
    assert_eq!(looked?, Looked::Found(vec![json!(wanted.id())]));
    Ok(())
}

pub(super) async fn a_socket_that_may_be_on_a_server_that_is_silent_is_not_called_absent(
    setting: &Setting,
) -> Outcome {
    // So short that the pause below costs nobody anything.
    let cluster = setting.patient_cluster().toml(SHORT).start().await?;
    let clients = Clients::start().await?;
    let client = clients
        .connect(cluster.node(2).url(), setting.connect())
        .await?;
    let (asking, still) = (cluster.node(0), cluster.node(2));
    let still_id = still.node().await?;
    still.pause().await?;
    let joined = asking.remote_join(client.id(), &["late"]).await?;
    let Looked::Unanswered {
        missing,
        missing_unknown,
    } = joined
    else {
        panic!("it cannot be known where the socket is, but: {joined:?}");
    };
    setting.assert_missing(&missing, missing_unknown, &[&still_id]);
    still.resume()?;
    // It was told all the same, and obeys when it can.
    let late = Select::all().to("late");
    until(
        "the socket to be in the room",
        || still.socket_ids(&late),
        |found| found.items == [client.id()],
    )
    .await?;
    Ok(())
}

/// How long a question waits for answers.
const SHORT: &str = "
    [cluster]
    request_timeout_ms = 500
";
