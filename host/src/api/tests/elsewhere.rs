//! Namespaces that this server does not serve, and names of namespaces.

use std::{fmt::Debug, time::Duration};

use tokio::time::{Instant, sleep};

use super::root_of;
use crate::{
    api::{ApiError, Operators},
    cluster::{
        ClusterOptions, Namespace,
        testing::{FakeLocal, Hub, Member, eventually, settle},
    },
};

const CHAT: &str = "/chat";

fn chat_of(member: &Member) -> Operators {
    Operators::new(member.cluster.clone(), CHAT)
}

#[tokio::test(start_paused = true)]
async fn an_event_for_a_namespace_of_others_reaches_them_and_costs_them_nothing() {
    let [a, b, c] = Hub::default().members(&ClusterOptions::default()).await;
    let there = [&b, &c].map(|member| member.enter(FakeLocal::new(CHAT)));
    let count = |member: &Member| member.cluster.server_count(&Namespace::from(CHAT));
    eventually("b and c know each other", || count(&b) + count(&c) == 4).await;

    chat_of(&a).emit("news", &1).await.unwrap();
    chat_of(&a).join("room").await.unwrap();
    chat_of(&a).server_side_emit("reload", &()).await.unwrap();
    for local in &there {
        eventually("it has come", || local.texts() == [r#"["news",1]"#]).await;
        eventually("it has come", || local.calls().len() == 1).await;
    }
    for minutes in [0, 10] {
        sleep(Duration::from_secs(60 * minutes)).await;
        assert_eq!(chat_of(&b).server_count().await, 2);
        let started = Instant::now();
        let found = chat_of(&b).fetch_sockets().await.unwrap();
        assert!(found.is_complete(), "missing: {:?}", found.missing);
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}

fn refused<T: Debug>(what: &str, result: Result<T, ApiError>) {
    match result {
        Err(error @ ApiError::NotServed { .. }) => {
            let text = error.to_string();
            assert!(text.contains(r#"io.ns("/chat""#), "{text}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn questions_in_a_namespace_of_others_are_refused_with_what_to_do() {
    let [a, b] = Hub::default().members(&ClusterOptions::default()).await;
    let there = b.enter(FakeLocal::new(CHAT).with_socket("b1", "r"));
    let chat = chat_of(&a);
    refused("fetch_sockets", chat.fetch_sockets().await);
    refused("socket_ids", chat.socket_ids().await);
    refused("rooms", chat.rooms().await);
    refused("ack", chat.emit_with_ack::<(), _>("e", &()).await);
    refused(
        "event",
        chat.server_side_emit_with_ack::<(), _>("e", &()).await,
    );
    refused("custom", chat.custom_request::<(), _>(&1).await);
    refused("rooms_of", chat.rooms_of("b1").await);
    refused("remote_join", chat.remote_join("b1", "x").await);
    refused("remote_leave", chat.remote_leave("b1", "x").await);
    refused("disconnect", chat.remote_disconnect("b1", true).await);
    settle().await;
    assert!(there.calls().is_empty(), "nobody was told or asked");

    let here = chat.local();
    assert!(here.fetch_sockets().await.unwrap().items.is_empty());
    assert!(here.socket_ids().await.unwrap().items.is_empty());
    assert!(here.rooms().await.unwrap().items.is_empty());
    let acks = here.emit_with_ack::<(), _>("e", &()).await.unwrap();
    assert!(acks.answers.is_empty());

    a.enter(FakeLocal::new(CHAT));
    eventually("b is heard there", || !chat_of(&a).nodes().is_empty()).await;
    assert_eq!(chat_of(&a).socket_ids().await.unwrap().items.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_may_be_named_without_its_slash() {
    let [a, b] = Hub::default().members(&ClusterOptions::default()).await;
    let there = b.enter(FakeLocal::new(CHAT));
    let chat = Operators::new(a.cluster.clone(), "chat");
    assert_eq!(chat.namespace(), CHAT);
    chat.emit("e", &()).await.unwrap();
    eventually("it has come", || there.count_texts() == 1).await;
    let root = Operators::new(a.cluster.clone(), "");
    assert_eq!(root.namespace(), root_of(&a).namespace());
}
