//! Namespaces are worlds of their own, also those that come into being when a client asks for them.

use serde_json::json;

use super::{CLIENTS, Outcome, Stage};
use crate::{Answer, Client, Connect, Error, Select};

pub(super) async fn an_event_stays_in_its_namespace(stage: &Stage) -> Outcome {
    let chat = connect_everywhere(stage, "/chat").await?;
    stage
        .cluster
        .node(0)
        .broadcast(&Select::nsp("/chat"), "chat", json!([1]))
        .await?;
    stage
        .cluster
        .node(0)
        .broadcast(&Select::nsp("/"), "main", json!([2]))
        .await?;
    settle(stage, &chat, "/chat").await?;
    for client in &chat {
        assert_eq!(client.received("chat").await?, [json!([1])]);
        assert!(client.received("main").await?.is_empty());
    }
    stage
        .assert_only(&[0, 1, 2, 3, 4, 5], "main", &json!([2]))
        .await?;
    stage.assert_only(&[], "chat", &json!([1])).await
}

pub(super) async fn a_room_is_another_one_in_another_namespace(stage: &Stage) -> Outcome {
    let chat = connect_everywhere(stage, "/chat").await?;
    stage.join(&[(2, "red")]).await?;
    chat[4].emit_with_ack("join", json!([["red"]])).await?;
    let red = Select::nsp("/chat").to("red");
    stage
        .cluster
        .node(0)
        .broadcast(&red, "red", json!([]))
        .await?;
    settle(stage, &chat, "/chat").await?;
    for (number, client) in chat.iter().enumerate() {
        assert_eq!(
            client.received("red").await?.len(),
            usize::from(number == 4),
            "{number}"
        );
    }
    assert_eq!(stage.cluster.node(1).fetch_sockets(&red).await?.len(), 1);
    stage.assert_only(&[], "red", &json!([])).await
}

pub(super) async fn a_dynamic_namespace_spans_the_servers_that_have_clients_in_it(
    stage: &Stage,
) -> Outcome {
    let seven = connect_everywhere(stage, "/dyn-7").await?;
    let eight = stage.connect(2, Connect::default().nsp("/dyn-8")).await?;
    stage.cluster.wait_until_complete("/dyn-7").await?;

    let node = stage.cluster.node(2);
    let select = Select::nsp("/dyn-7");
    node.broadcast(&select, "seven", json!(["7"])).await?;
    settle(stage, &seven, "/dyn-7").await?;
    for client in &seven {
        assert_eq!(client.received("seven").await?, [json!(["7"])]);
        client.answer("ask", Answer::With(json!([7]))).await?;
    }
    assert_eq!(node.fetch_sockets(&select).await?.len(), CLIENTS);
    assert_eq!(
        node.broadcast_with_ack(&select, "ask", json!([]))
            .await?
            .len(),
        CLIENTS
    );
    assert_eq!(eight.received("seven").await?.len(), 0);
    // Only one server has clients there.
    assert_eq!(stage.cluster.node(1).server_count("/dyn-8").await?, 1);
    Ok(())
}

/// Names that a backend may cut, or take for something else: over 63 bytes, quotes, a star.
pub(super) async fn a_namespace_may_have_a_long_name_or_a_strange_one(stage: &Stage) -> Outcome {
    let long = format!("/dyn-{}", "x".repeat(80));
    for nsp in [long.as_str(), "/dyn-it's-\"one\"", "/dyn-a*\\b"] {
        let clients = connect_everywhere(stage, nsp).await?;
        stage.cluster.wait_until_complete(nsp).await?;
        let select = Select::nsp(nsp);
        for (number, node) in stage.cluster.nodes().iter().enumerate() {
            node.broadcast(&select, "hello", json!([number])).await?;
            settle(stage, &clients, nsp).await?;
        }
        for client in &clients {
            let heard = client.received("hello").await?;
            assert_eq!(heard.len(), stage.cluster.nodes().len(), "{nsp}: {heard:?}");
        }
    }
    Ok(())
}

/// One client in this namespace for each that the stage has in `/`.
async fn connect_everywhere(stage: &Stage, nsp: &str) -> Result<Vec<Client>, Error> {
    let mut clients = Vec::new();
    for place in 0..CLIENTS {
        clients.push(stage.connect(place, Connect::default().nsp(nsp)).await?);
    }
    Ok(clients)
}

async fn settle(stage: &Stage, clients: &[Client], nsp: &str) -> Outcome {
    stage
        .settle_among(&clients.iter().collect::<Vec<_>>(), nsp)
        .await
}
