//! Who is in the cluster: heartbeats, farewells, silence, entering and leaving.

use std::time::Duration;

use crate::cluster::{
    Body, ClusterOptions, Event, Failure, Membership, Namespace, NodeId, TransportInfo, testing::*,
};

#[tokio::test(start_paused = true)]
async fn nodes_find_each_other_by_their_first_heartbeat() {
    let hub = Hub::default();
    let a = hub.join("a", Default::default());
    a.enter(FakeLocal::new("/"));
    eventually("a said hello", || {
        a.wire.sent_kinds() == ["initial-heartbeat"]
    })
    .await;
    assert_eq!(a.cluster.server_count(&root()), 1);

    let b = hub.join("b", Default::default());
    b.enter(FakeLocal::new("/"));
    eventually("b knows a by its answer", || {
        b.cluster.server_count(&root()) == 2
    })
    .await;
    let known = a.cluster.nodes(&root());
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].id, NodeId::from("b"));
    assert!(known[0].last_heard >= known[0].since);
    assert_eq!(a.wire.sent_kinds(), ["initial-heartbeat", "heartbeat"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_stays_as_long_as_its_heartbeats_come_and_goes_with_their_silence() {
    let [a, b, c] = Hub::default().members(&ClusterOptions::default()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(a.cluster.server_count(&root()), 3, "heartbeats keep them");
    c.wire.cut();
    eventually("c is gone", || a.cluster.server_count(&root()) == 2).await;
    eventually("c is gone", || b.cluster.server_count(&root()) == 2).await;
    assert_eq!(a.cluster.nodes(&root())[0].id, NodeId::from("b"));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_says_goodbye_or_is_reported_gone_leaves_at_once() {
    let hub = Hub::default();
    let [a, b, c] = hub.members(&ClusterOptions::default()).await;
    b.cluster.leave(&root()).await;
    eventually("b is gone", || a.cluster.server_count(&root()) == 2).await;
    hub.deliver(&Event::NodeLeft(NodeId::from("c")));
    eventually("c is gone", || a.cluster.server_count(&root()) == 1).await;
    drop((b, c));
}

/// All of it arrives at once.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_heard_again_right_after_it_was_gone_is_back() {
    for gone in [None, Some(Event::NodeLeft(NodeId::from("x")))] {
        let hub = Hub::default();
        let a = hub.join("a", Default::default());
        let here = a.enter(FakeLocal::new("/"));
        eventually("a listens", || !a.wire.sent_kinds().is_empty()).await;
        hub.say("x", text_broadcast("before"));
        match &gone {
            Some(reported) => hub.deliver(reported),
            None => hub.say("x", Body::AdapterClose),
        }
        hub.say("x", text_broadcast("after"));
        eventually("both have arrived", || here.count_texts() == 2).await;
        assert_eq!(a.cluster.server_count(&root()), 2, "{gone:?}");
        hub.say("x", text_broadcast("last"));
        hub.say("x", Body::AdapterClose);
        eventually("x is gone", || a.cluster.server_count(&root()) == 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn leaving_one_namespace_keeps_the_node_in_the_others() {
    let hub = Hub::default();
    let [a, b] = hub.members(&ClusterOptions::default()).await;
    let admin = Namespace::from("/admin");
    a.enter(FakeLocal::new("/admin"));
    b.enter(FakeLocal::new("/admin"));
    eventually("both are there", || a.cluster.server_count(&admin) == 2).await;
    b.cluster.leave(&root()).await;
    eventually("b left one", || a.cluster.server_count(&root()) == 1).await;
    assert_eq!(a.cluster.server_count(&admin), 2);
    eventually("the transport knows", || {
        b.wire.commands().contains(&"leave /".into())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn any_message_makes_a_member_but_not_that_of_an_emitter_or_of_nobody() {
    let hub = Hub::default();
    let a = hub.join("a", Default::default());
    let here = a.enter(FakeLocal::new("/"));
    eventually("a listens", || !a.wire.sent_kinds().is_empty()).await;
    for sender in ["emitter", "", "a", "x"] {
        hub.say(sender, text_broadcast("hi"));
    }
    eventually("they have arrived", || here.count_texts() == 3).await;
    let known: Vec<NodeId> = a.cluster.nodes(&root()).into_iter().map(|n| n.id).collect();
    assert_eq!(known, [NodeId::from("x")]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_namespace_is_ignored_but_shows_that_its_sender_lives() {
    let hub = Hub::default();
    let [a, _b] = hub.members(&ClusterOptions::default()).await;
    let elsewhere = Namespace::from("/elsewhere");
    let mut message = crate::cluster::Message {
        namespace: root(),
        sender: NodeId::from("x"),
        recipient: None,
        body: Body::Heartbeat,
    };
    hub.deliver(&Event::Message(message.clone(), None));
    message.namespace = elsewhere.clone();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        hub.deliver(&Event::Message(message.clone(), None));
    }
    assert_eq!(a.cluster.server_count(&root()), 3);
    assert_eq!(a.cluster.server_count(&elsewhere), 1);
}

#[tokio::test(start_paused = true)]
async fn only_one_heartbeat_waits_while_the_backend_is_away() {
    let [a] = Hub::default().members(&ClusterOptions::default()).await;
    a.wire.hold();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(
        a.cluster.stats().outbox_messages <= 2,
        "one on its way, one waiting"
    );
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_cannot_be_entered_yet_is_entered_later_and_said_hello_to_then() {
    let a = Hub::default().join("a", Default::default());
    a.wire
        .fail_enter_once(Failure::Unavailable("not yet".into()));
    a.wire
        .fail_enter_once(Failure::Unavailable("not yet".into()));
    a.enter(FakeLocal::new("/"));
    settle().await;
    assert!(a.wire.sent_kinds().is_empty(), "not before it listens");
    eventually("a said hello", || {
        a.wire.sent_kinds() == ["initial-heartbeat"]
    })
    .await;
    assert_eq!(a.wire.commands(), ["enter /"; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_entered_again_says_hello_again() {
    let [a, b] = Hub::default().members(&ClusterOptions::default()).await;
    a.cluster.leave(&root()).await;
    a.enter(FakeLocal::new("/"));
    eventually("a knows b again", || a.cluster.server_count(&root()) == 2).await;
    eventually("b knows a again", || b.cluster.server_count(&root()) == 2).await;
    let kinds = a.wire.sent_kinds();
    let bye = kinds
        .iter()
        .position(|kind| *kind == "adapter-close")
        .unwrap();
    assert!(kinds[bye..].contains(&"initial-heartbeat"), "{kinds:?}");
}

#[tokio::test(start_paused = true)]
async fn namespaces_over_the_limit_are_served_locally_only() {
    let options = ClusterOptions {
        max_namespaces: 1,
        ..ClusterOptions::default()
    };
    let a = Hub::default().join("a", options);
    a.enter(FakeLocal::new("/"));
    a.enter(FakeLocal::new("/two"));
    settle().await;
    assert_eq!(a.cluster.stats().namespaces, 1);
    assert!(a.cluster.local(&root()).is_some());
    assert!(a.cluster.local(&Namespace::from("/two")).is_none());
    assert_eq!(a.wire.commands(), ["enter /"]);
}

#[tokio::test(start_paused = true)]
async fn servers_are_counted_by_the_backend_where_it_can() {
    let hub = Hub::default();
    hub.set_info(TransportInfo {
        membership: Membership::Counted,
        ..Default::default()
    });
    hub.set_count(Some(7));
    let [a, _b] = hub.members(&ClusterOptions::default()).await;
    assert_eq!(a.cluster.count_servers(&root()).await, 7);
    assert_eq!(a.cluster.server_count(&root()), 2);
    hub.set_count(None);
    assert_eq!(
        a.cluster.count_servers(&root()).await,
        2,
        "not known: those that were heard"
    );
    hub.set_count(Some(7));
    a.wire.hold();
    a.send_text("stuck").await;
    settle().await;
    assert_eq!(
        a.cluster.count_servers(&root()).await,
        2,
        "not in time: those that were heard"
    );
}
