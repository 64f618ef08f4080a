//! Disconnecting sockets of other servers, and clients that come and go.

use serde_json::json;

use super::{CLIENTS, Outcome, Stage};
use crate::{Connect, Select, until};

pub(super) async fn the_sockets_of_a_room_are_disconnected_everywhere(stage: &Stage) -> Outcome {
    stage
        .join(&[(1, "out"), (2, "out"), (4, "out"), (4, "spared")])
        .await?;
    let out = Select::all().to("out").except("spared");
    stage.cluster.node(0).disconnect(&out).await?;
    for number in [1, 2] {
        let reason = stage.clients[number].wait_until_disconnected().await?;
        assert_eq!(reason, "io server disconnect", "client {number}");
    }
    let left: Vec<_> = [0, 3, 4, 5]
        .iter()
        .map(|&number| &stage.clients[number])
        .collect();
    stage.settle_among(&left, "/").await?;
    for client in left {
        assert!(client.is_connected().await?);
    }
    Ok(())
}

pub(super) async fn a_local_disconnect_stays_on_its_server(stage: &Stage) -> Outcome {
    stage
        .cluster
        .node(1)
        .disconnect(&Select::all().local())
        .await?;
    for number in [2, 3] {
        stage.clients[number].wait_until_disconnected().await?;
    }
    let left: Vec<_> = [0, 1, 4, 5]
        .iter()
        .map(|&number| &stage.clients[number])
        .collect();
    stage.settle_among(&left, "/").await
}

pub(super) async fn a_client_that_left_is_found_no_more(stage: &Stage) -> Outcome {
    let node = stage.cluster.node(0);
    stage.clients[4].disconnect().await?;
    stage.clients[5].disconnect().await?;
    let everyone = Select::all();
    until(
        "two sockets to be gone",
        || node.fetch_sockets(&everyone),
        |found| found.len() == CLIENTS - 2,
    )
    .await?;
    Ok(())
}

pub(super) async fn a_client_that_comes_with_rooms_is_reached_in_them(stage: &Stage) -> Outcome {
    let mut late = Vec::new();
    for place in 0..CLIENTS {
        late.push(
            stage
                .connect(place, Connect::default().room("late"))
                .await?,
        );
    }
    stage
        .cluster
        .node(1)
        .broadcast(&Select::all().to("late"), "welcome", json!([]))
        .await?;
    for client in &late {
        assert_eq!(client.wait_for("welcome", 1).await?, [json!([])]);
    }
    stage.assert_only(&[], "welcome", &json!([])).await
}
