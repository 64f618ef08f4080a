//! Answers and data that are larger than any limit a backend may have for one message: three
//! megabytes of every kind, text and binary.

use serde_json::{Value, json};

use super::{Outcome, Stage};
use crate::{Cluster, Select, bytes};

/// Three megabytes.
const LARGE: usize = 3_000_000;

pub(super) async fn a_large_event_reaches_every_server(cluster: &Cluster) -> Outcome {
    let args = json!(["x".repeat(LARGE), bytes(&vec![7; LARGE])]);
    // Answered with the same: large both ways.
    let answers = cluster
        .node(0)
        .server_side_emit_with_ack("/", "question", args.clone())
        .await?;
    assert_eq!(answers.answers.len(), 2, "{:?}", answers.missing);
    for answer in answers.answers {
        assert!(answer.value["args"] == args, "{:?}", answer.node);
    }
    Ok(())
}

pub(super) async fn large_answers_of_servers_arrive_whole(cluster: &Cluster) -> Outcome {
    for (event, expected) in [
        ("large", json!("x".repeat(LARGE))),
        ("binary", bytes(&vec![7; LARGE])),
    ] {
        let answers = cluster
            .node(1)
            .server_side_emit_with_ack("/", event, json!([LARGE]))
            .await?;
        assert_eq!(answers.answers.len(), 2, "{event}: {:?}", answers.missing);
        for answer in answers.answers {
            assert!(answer.value == expected, "{event} of {:?}", answer.node);
        }
    }
    Ok(())
}

pub(super) async fn large_custom_requests_and_answers_arrive_whole(cluster: &Cluster) -> Outcome {
    let data = json!({ "text": "é".repeat(LARGE / 2), "binary": [bytes(&vec![9; LARGE])] });
    let answers = cluster.node(2).custom_request("/", data.clone()).await?;
    assert_eq!(answers.answers.len(), 3, "{:?}", answers.missing);
    for answer in answers.answers {
        assert!(answer.value["data"] == data, "{:?}", answer.node);
    }
    Ok(())
}

pub(super) async fn large_data_of_a_socket_is_seen_whole(stage: &Stage) -> Outcome {
    let data = json!({ "text": "x".repeat(LARGE), "binary": bytes(&vec![1; LARGE]) });
    let owner = stage.cluster.node(2);
    let id = stage.clients[4].id();
    owner.set_data(id, data.clone()).await?;
    for node in stage.cluster.nodes() {
        let found = node.remote_sockets(&Select::all().to(id)).await?;
        assert_eq!(found.len(), 1, "asked {}", node.name());
        assert!(found[0].data == data, "asked {}", node.name());
    }
    Ok(())
}

pub(super) async fn a_great_many_rooms_are_listed(stage: &Stage) -> Outcome {
    const ROOMS: usize = 30_000;
    let rooms: Vec<_> = (0..ROOMS).map(|number| format!("{number:0>100}")).collect();
    let names: Vec<_> = rooms.iter().map(String::as_str).collect();
    let (asking, there) = (stage.cluster.node(0), stage.clients[4].id());
    asking
        .join(&Select::all().to(there).by_board(), &names)
        .await?;
    let found = asking.all_rooms(&Select::all()).await?;
    let mut listed: Vec<_> = found
        .items
        .iter()
        .filter_map(Value::as_str)
        .filter(|room| room.len() == 100)
        .collect();
    listed.sort_unstable();
    assert!(listed == names, "{} of {ROOMS} rooms", listed.len());
    Ok(())
}
