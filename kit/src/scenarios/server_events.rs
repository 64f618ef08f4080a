//! Events from server to server, with and without answers. What the servers do with them is in
//! `src/bin/test-server/answers.rs`.

use std::time::Duration;

use serde_json::{Value, json};

use super::{NODES, Outcome, PATIENCE, Setting};
use crate::{Answers, Cluster, Error, NodeAnswer, Server, bytes, until};

pub(super) async fn an_event_reaches_all_other_servers_once(cluster: &Cluster) -> Outcome {
    let args = json!([1, null, { "nested": [bytes(&[0, 255]), "é"] }, bytes(b"")]);
    for (number, sender) in cluster.nodes().iter().enumerate() {
        sender.server_side_emit("/", "note", args.clone()).await?;
        for receiver in cluster.nodes() {
            settle(cluster, receiver, "/").await?;
        }
        let from = Some(sender.node().await?);
        for (other, receiver) in cluster.nodes().iter().enumerate() {
            let heard = notes(receiver, "/").await?;
            let heard: Vec<_> = heard.into_iter().filter(|note| note.0 == from).collect();
            let expected = match other == number {
                true => Vec::new(),
                false => vec![(from.clone(), args.clone())],
            };
            assert_eq!(heard, expected, "{} at {}", sender.name(), receiver.name());
        }
    }
    Ok(())
}

pub(super) async fn an_event_stays_in_its_namespace(cluster: &Cluster) -> Outcome {
    let (sender, receiver) = (cluster.node(0), cluster.node(2));
    sender
        .server_side_emit("/chat", "note", json!(["chat"]))
        .await?;
    settle(cluster, receiver, "/chat").await?;
    settle(cluster, receiver, "/").await?;
    let from = Some(sender.node().await?);
    assert_eq!(notes(receiver, "/chat").await?, [(from, json!(["chat"]))]);
    assert_eq!(notes(receiver, "/").await?, []);
    Ok(())
}

pub(super) async fn events_arrive_in_the_order_in_which_they_were_sent(
    cluster: &Cluster,
) -> Outcome {
    const COUNT: usize = 2_000;
    let receiver = cluster.node(2);
    let numbers = |sender: &'static str| (0..COUNT).map(move |number| json!([sender, number]));
    let floods = [(0, "first"), (1, "second")].map(|(node, sender)| async move {
        for args in numbers(sender) {
            cluster
                .node(node)
                .server_side_emit("/", "note", args)
                .await?;
        }
        Ok::<_, Error>(())
    });
    futures_util::future::try_join_all(floods).await?;
    settle(cluster, receiver, "/").await?;
    let heard = notes(receiver, "/").await?;
    for (node, sender) in [(0, "first"), (1, "second")] {
        let id = cluster.node(node).node().await?;
        let heard: Vec<_> = heard
            .iter()
            .filter(|(from, _)| from.as_deref() == Some(&id))
            .map(|(_, args)| args.clone())
            .collect();
        assert!(heard == numbers(sender).collect::<Vec<_>>(), "{heard:?}");
    }
    Ok(())
}

pub(super) async fn every_other_server_answers(cluster: &Cluster) -> Outcome {
    let args = json!(["who", { "are": bytes(&[0, 255]) }, null]);
    for nsp in ["/", "/chat"] {
        for (asked_by, asking) in cluster.nodes().iter().enumerate() {
            let answers = asking
                .server_side_emit_with_ack(nsp, "question", args.clone())
                .await?;
            let value = |name: &str| json!({ "from": name, "args": args });
            assert_eq!(
                answers,
                all_answers(cluster, asked_by, value).await?,
                "{} in {nsp}",
                asking.name()
            );
        }
    }
    Ok(())
}

pub(super) async fn an_answer_without_a_value_is_one(cluster: &Cluster) -> Outcome {
    let asking = cluster.node(1);
    let answers = asking
        .server_side_emit_with_ack("/", "note", json!([]))
        .await?;
    assert_eq!(answers, all_answers(cluster, 1, |_| Value::Null).await?);
    Ok(())
}

pub(super) async fn a_server_that_never_answers_is_named(setting: &Setting) -> Outcome {
    let cluster = setting.cluster().start().await?;
    let asking = cluster.node(0);
    let answers = asking
        .server_side_emit_with_ack_within(Duration::from_secs(1), "/", "silent", json!([]))
        .await?;
    assert_eq!(answers.answers, []);
    let others = [cluster.node(1).node().await?, cluster.node(2).node().await?];
    let others = others.each_ref().map(String::as_str);
    setting.assert_missing(&answers.missing, answers.missing_unknown, &others);
    Ok(())
}

pub(super) async fn servers_without_a_handler_and_those_that_fail_say_so_at_once(
    setting: &Setting,
) -> Outcome {
    let cluster = setting.patient_cluster().start().await?;
    for (event, args, why) in [
        ("unheard-of", json!([]), "unheard-of"),
        ("broken", json!([1]), "it is broken"),
        ("panicking", json!([1]), "panicked"),
    ] {
        let asking = cluster.node(0);
        let answers = asking.server_side_emit_with_ack("/", event, args).await?;
        assert_eq!(answers.answers.len(), NODES - 1, "{event}: {answers:?}");
        assert_eq!((answers.missing.len(), answers.missing_unknown), (0, 0));
        for answer in &answers.answers {
            let error = answer.error.as_deref().unwrap_or_default();
            assert!(error.contains(why), "{event}: {answer:?}");
        }
    }
    // And are as well as before.
    every_other_server_answers(&cluster).await
}

pub(super) async fn slow_answers_hold_up_nothing_else(cluster: &Cluster) -> Outcome {
    let asking = cluster.node(0);
    let slow = asking.server_side_emit_with_ack_within(
        crate::DEADLINE,
        "/",
        "slow",
        json!([PATIENCE.as_millis() as u64]),
    );
    let quick = async {
        // It is on its way when the others have it.
        for other in [1, 2] {
            until(
                "the slow question to arrive",
                || cluster.node(other).server_events("/"),
                |events| events.iter().any(|event| event.event == "slow"),
            )
            .await?;
        }
        let before = std::time::Instant::now();
        asking
            .server_side_emit_with_ack("/", "question", json!([]))
            .await?;
        asking.custom_request("/", json!([])).await?;
        Ok::<_, Error>(before.elapsed())
    };
    let (slow, quick) = tokio::join!(slow, quick);
    let args = json!([PATIENCE.as_millis() as u64]);
    let value = |name: &str| json!({ "from": name, "args": args });
    assert_eq!(slow?, all_answers(cluster, 0, value).await?);
    assert!(quick? < PATIENCE, "the slow handlers held up others");
    Ok(())
}

/// What all servers but one answer.
async fn all_answers(
    cluster: &Cluster,
    asked_by: usize,
    value: impl Fn(&str) -> Value,
) -> Result<Answers, Error> {
    let mut answers = Vec::new();
    for (number, node) in cluster.nodes().iter().enumerate() {
        if number != asked_by {
            answers.push(NodeAnswer {
                node: Some(node.node().await?),
                value: value(node.name()),
                error: None,
            });
        }
    }
    answers.sort_by(|a, b| a.node.cmp(&b.node));
    Ok(Answers {
        answers,
        missing: Vec::new(),
        missing_unknown: 0,
    })
}

/// Waits until everything that other servers have sent to this one so far has arrived: their events
/// are heard in order, so what is not there afterwards was not sent.
async fn settle(cluster: &Cluster, receiver: &Server, nsp: &str) -> Outcome {
    for sender in cluster.nodes() {
        if sender.pid() != receiver.pid() {
            // Answered when it has been heard, which is after all that was sent before.
            sender
                .server_side_emit_with_ack(nsp, "question", json!([]))
                .await?;
        }
    }
    Ok(())
}

/// The recorded notes: from whom, and with what.
async fn notes(server: &Server, nsp: &str) -> Result<Vec<(Option<String>, Value)>, Error> {
    let events = server.server_events(nsp).await?;
    let notes = events.into_iter().filter(|event| event.event == "note");
    Ok(notes.map(|note| (note.from, note.args.into())).collect())
}
