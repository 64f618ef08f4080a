//! Events that clients acknowledge, on whatever server they are.

use serde_json::{Value, json};

use super::{CLIENTS, Outcome, PATIENCE, Stage};
use crate::{Ack, Answer, Select, bytes};

pub(super) async fn every_client_acknowledges(stage: &Stage) -> Outcome {
    for (number, client) in stage.clients.iter().enumerate() {
        client
            .answer("ask", Answer::With(json!([number, "of", [CLIENTS]])))
            .await?;
    }
    for node in stage.cluster.nodes() {
        let acks = node
            .broadcast_with_ack(&Select::all(), "ask", json!(["?"]))
            .await?;
        let expected = |number| json!([number, "of", [CLIENTS]]);
        assert_eq!(
            acks,
            all_answers(stage, 0..CLIENTS, expected),
            "asked {}",
            node.name()
        );
    }
    Ok(())
}

pub(super) async fn binary_acknowledgements_arrive_intact(stage: &Stage) -> Outcome {
    let args = json!(["text", bytes(&[0, 1, 255]), { "in": [bytes(b""), bytes(&[9; 70_000])] }]);
    for client in &stage.clients {
        client.answer("echo", Answer::Echo).await?;
    }
    let node = stage.cluster.node(1);
    let acks = node
        .broadcast_with_ack(&Select::all(), "echo", args.clone())
        .await?;
    assert_eq!(acks, all_answers(stage, 0..CLIENTS, |_| args.clone()));
    Ok(())
}

pub(super) async fn only_the_clients_that_match_are_asked(stage: &Stage) -> Outcome {
    stage
        .join(&[(1, "red"), (2, "red"), (4, "red"), (4, "muted")])
        .await?;
    for client in &stage.clients {
        client.answer("ask", Answer::With(json!([]))).await?;
    }
    let node = stage.cluster.node(0);
    for (select, expected) in [
        (Select::all().to("red"), &[1, 2, 4][..]),
        (Select::all().to("red").except("muted"), &[1, 2]),
        (Select::all().local(), &[0, 1]),
        (Select::all().to(stage.clients[5].id()), &[5]),
        (Select::all().to("nobody"), &[]),
    ] {
        let acks = node.broadcast_with_ack(&select, "ask", json!([])).await?;
        let expected = all_answers(stage, expected.iter().copied(), |_| json!([]));
        assert_eq!(acks, expected, "{select:?}");
    }
    Ok(())
}

pub(super) async fn a_client_that_does_not_answer_is_reported_and_costs_no_other_answer(
    stage: &Stage,
) -> Outcome {
    const SILENT: usize = 3;
    for (number, client) in stage.clients.iter().enumerate() {
        if number != SILENT {
            client.answer("ask", Answer::With(json!([number]))).await?;
        }
    }
    let select = Select::all().timeout(PATIENCE);
    let acks = stage
        .cluster
        .node(0)
        .broadcast_with_ack(&select, "ask", json!([]))
        .await?;
    let (answered, silent): (Vec<_>, Vec<_>) = acks.into_iter().partition(|ack| ack.answer.is_ok());
    let others = (0..CLIENTS).filter(|&number| number != SILENT);
    assert_eq!(
        answered,
        all_answers(stage, others, |number| json!([number]))
    );
    // The server that has it may or may not get its report through before time is up.
    assert!(silent.len() <= 1, "{silent:?}");
    Ok(())
}

pub(super) async fn many_events_at_once_get_their_own_acknowledgements(stage: &Stage) -> Outcome {
    for client in &stage.clients {
        client.answer("echo", Answer::Echo).await?;
    }
    let node = stage.cluster.node(2);
    let everyone = Select::all();
    let questions =
        (0..30).map(|number| node.broadcast_with_ack(&everyone, "echo", json!([number])));
    let answers = futures_util::future::try_join_all(questions).await?;
    for (number, acks) in answers.into_iter().enumerate() {
        assert_eq!(
            acks,
            all_answers(stage, 0..CLIENTS, |_| json!([number])),
            "{number}"
        );
    }
    Ok(())
}

/// What these clients acknowledge, sorted as a server's answer is.
fn all_answers(
    stage: &Stage,
    clients: impl IntoIterator<Item = usize>,
    answer: impl Fn(usize) -> Value,
) -> Vec<Ack> {
    let mut acks: Vec<_> = clients
        .into_iter()
        .map(|number| Ack {
            socket: stage.clients[number].id().to_owned(),
            answer: Ok(answer(number).as_array().cloned().unwrap_or_default()),
        })
        .collect();
    acks.sort_by(|a, b| a.socket.cmp(&b.socket));
    acks
}
