//! Custom requests: a question of the application's own that every server answers, the asking one too.

use serde_json::{Value, json};

use super::{NODES, Outcome, Stage};
use crate::{Cluster, Connect, bytes};

pub(super) async fn every_server_answers_a_custom_request(cluster: &Cluster) -> Outcome {
    let mut ids = Vec::new();
    for node in cluster.nodes() {
        ids.push(node.node().await?);
    }
    let asked = [
        json!("text"),
        json!(null),
        json!(7),
        json!([1, [2]]),
        json!({ "a": { "b": [null] }, "_placeholder": false }),
        bytes(&[0, 255]),
        json!({ "first": bytes(b"1"), "second": [bytes(b"2"), bytes(b"")] }),
    ];
    for nsp in ["/", "/chat"] {
        for (asking, data) in cluster.nodes().iter().cycle().zip(&asked) {
            let answers = asking.custom_request(nsp, data.clone()).await?;
            let mut heard: Vec<_> = answers
                .answers
                .iter()
                .map(|answer| (answer.node.clone(), answer.value.clone()))
                .collect();
            let mut expected: Vec<_> = ids
                .iter()
                .map(|id| (Some(id.clone()), json!({ "from": id, "data": data })))
                .collect();
            let by_node = |pair: &(Option<String>, Value)| pair.0.clone();
            heard.sort_by_key(by_node);
            expected.sort_by_key(by_node);
            assert_eq!(heard, expected, "{} asked in {nsp}", asking.name());
            assert_eq!((answers.missing, answers.missing_unknown), (Vec::new(), 0));
        }
    }
    Ok(())
}

pub(super) async fn servers_without_a_hook_say_so_at_once(stage: &Stage) -> Outcome {
    // A namespace that comes into being with its clients has none.
    const NOVEL: &str = "/dyn-custom";
    for place in [0, 2, 4] {
        stage.connect(place, Connect::default().nsp(NOVEL)).await?;
    }
    stage.cluster.wait_until_complete(NOVEL).await?;
    let asking = stage.cluster.node(0);
    let answers = asking.custom_request(NOVEL, json!(1)).await?;
    assert_eq!(answers.answers.len(), NODES, "{answers:?}");
    assert_eq!((answers.missing.len(), answers.missing_unknown), (0, 0));
    for answer in &answers.answers {
        assert!(answer.error.is_some(), "{answer:?}");
    }
    Ok(())
}
