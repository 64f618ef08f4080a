//! News of the other nodes.

use std::time::Duration;

use futures_util::FutureExt;

use crate::cluster::{
    Body, ClusterOptions, Event, LeftReason, Message, Namespace, NodeEvent, NodeEvents, NodeId,
    testing::*,
};

fn joined(node: &str) -> NodeEvent {
    NodeEvent::Joined {
        node: node.into(),
        namespace: root(),
    }
}

fn left(node: &str, reason: LeftReason) -> NodeEvent {
    NodeEvent::Left {
        node: node.into(),
        namespace: root(),
        reason,
    }
}

/// What can be read without time passing.
async fn waiting(events: &mut NodeEvents) -> Vec<NodeEvent> {
    settle().await;
    let mut waiting = Vec::new();
    while let Some(Some(event)) = events.next().now_or_never() {
        waiting.push(event);
    }
    waiting
}

#[tokio::test(start_paused = true)]
async fn each_way_to_come_and_to_go_is_told_once_and_in_order() {
    let hub = Hub::default();
    let [a] = hub.members(&ClusterOptions::default()).await;
    let mut events = a.cluster.node_events();
    settle().await;
    for node in ["x", "y", "z"] {
        hub.say(node, Body::InitialHeartbeat);
        hub.say(node, Body::Heartbeat);
    }
    assert_eq!(
        waiting(&mut events).await,
        [joined("x"), joined("y"), joined("z")]
    );
    hub.say("x", Body::AdapterClose);
    hub.say("x", Body::AdapterClose);
    hub.deliver(&Event::NodeLeft(NodeId::from("y")));
    hub.deliver(&Event::NodeLeft(NodeId::from("y")));
    let expected = [
        left("x", LeftReason::Goodbye),
        left("y", LeftReason::ReportedGone),
    ];
    assert_eq!(waiting(&mut events).await, expected);
    // Nothing was heard of the last one.
    assert_eq!(events.next().await, Some(left("z", LeftReason::Silent)));
    hub.say("x", Body::Heartbeat);
    assert_eq!(waiting(&mut events).await, [joined("x")], "again");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_leaves_each_of_its_namespaces() {
    let hub = Hub::default();
    let [a] = hub.members(&ClusterOptions::default()).await;
    let admin = Namespace::from("/admin");
    a.enter(FakeLocal::new("/admin"));
    settle().await;
    let mut events = a.cluster.node_events();
    for namespace in [root(), admin.clone(), Namespace::from("/not served")] {
        let message = Message {
            namespace,
            sender: NodeId::from("x"),
            recipient: None,
            body: Body::Heartbeat,
        };
        hub.deliver(&Event::Message(message, None));
    }
    assert_eq!(waiting(&mut events).await.len(), 2);
    let known = a.cluster.all_nodes();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].id, NodeId::from("x"));
    assert_eq!(known[0].namespaces, [root(), admin.clone()]);
    assert!(known[0].last_heard >= known[0].since);

    hub.deliver(&Event::NodeLeft(NodeId::from("x")));
    let mut gone_from: Vec<Namespace> = waiting(&mut events)
        .await
        .into_iter()
        .map(|event| match event {
            NodeEvent::Left {
                namespace,
                reason: LeftReason::ReportedGone,
                ..
            } => namespace,
            other => panic!("{other:?}"),
        })
        .collect();
    gone_from.sort();
    assert_eq!(gone_from, [root(), admin]);
    assert!(a.cluster.all_nodes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn leaving_oneself_tells_nothing_of_the_others() {
    let [a, b] = Hub::default().members(&ClusterOptions::default()).await;
    let mut events = a.cluster.node_events();
    a.cluster.leave(&root()).await;
    assert_eq!(waiting(&mut events).await, []);
    a.enter(FakeLocal::new("/"));
    assert_eq!(events.next().await, Some(joined("b")), "heard anew");
    drop(b);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_too_slow_learns_how_many_it_has_missed() {
    let hub = Hub::default();
    let [a] = hub.members(&ClusterOptions::default()).await;
    let mut events = a.cluster.node_events();
    settle().await;
    for n in 0..1030 {
        hub.say(&format!("x{n}"), Body::Heartbeat);
    }
    eventually("all are known", || a.cluster.stats().nodes == 1030).await;
    assert_eq!(events.next().await, Some(NodeEvent::Missed(6)));
    assert_eq!(events.next().await, Some(joined("x6")));
    assert_eq!(a.cluster.all_nodes().len(), 1030);
}

#[tokio::test(start_paused = true)]
async fn events_end_with_the_cluster() {
    let hub = Hub::default();
    let [a] = hub.members(&ClusterOptions::default()).await;
    let mut events = a.cluster.node_events();
    settle().await;
    hub.say("x", Body::Heartbeat);
    settle().await;
    a.cluster.close().await;
    assert_eq!(
        events.next().await,
        Some(joined("x")),
        "it was there before"
    );
    assert_eq!(events.next().now_or_never(), Some(None));
    assert_eq!(a.cluster.node_events().next().now_or_never(), Some(None));
    assert_eq!(events.next().now_or_never(), Some(None), "and stays so");

    let [b] = hub.members(&ClusterOptions::default()).await;
    let mut events = b.cluster.node_events();
    drop(b);
    let end = async { while events.next().await.is_some() {} };
    let ended = tokio::time::timeout(Duration::from_secs(1), end).await;
    assert!(ended.is_ok(), "dropped without closing");
}
