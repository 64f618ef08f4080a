//! The end of a cluster.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;

use crate::cluster::{ClusterOptions, Failure, Namespace, NodeId, SendError, Target, testing::*};

#[tokio::test(start_paused = true)]
async fn closing_says_goodbye_and_sends_what_waits() {
    let [a, b] = Hub::default().members(&ClusterOptions::default()).await;
    let there = b.enter(FakeLocal::new("/"));
    for n in 0..1000 {
        a.send_text(&n.to_string()).await;
    }
    a.cluster.close().await;
    assert_eq!(a.wire.sent_texts().len(), 1000);
    assert_eq!(a.wire.sent_kinds().last(), Some(&"adapter-close"));
    for closed in ["close in", "close out"] {
        assert!(a.wire.commands().contains(&closed.into()), "{closed}");
    }
    assert_eq!(a.cluster.stats().unsent, 0);
    eventually("all have arrived", || there.count_texts() == 1000).await;
    eventually("a is gone", || b.cluster.server_count(&root()) == 1).await;
}

#[tokio::test(start_paused = true)]
async fn closing_ends_though_the_backend_is_away_and_counts_what_is_lost() {
    let a = Hub::default().join("a", Default::default());
    for _ in 0..1000 {
        a.wire.fail_once(0, Failure::Unavailable("gone".into()));
    }
    a.send_text("0").await;
    a.send_text("1").await;
    a.cluster.close().await;
    assert_eq!(a.cluster.stats().unsent, 2);
    assert!(
        a.wire.commands().contains(&"close out".into()),
        "closed all the same"
    );
}

#[tokio::test(start_paused = true)]
async fn closing_twice_and_at_once_is_closing_once() {
    let [a] = Hub::default().members(&ClusterOptions::default()).await;
    tokio::join!(a.cluster.close(), a.cluster.close());
    a.cluster.close().await;
    let closes = a
        .wire
        .commands()
        .iter()
        .filter(|command| command.starts_with("close"))
        .count();
    assert_eq!(closes, 2, "one way out, one way in");
}

#[tokio::test(start_paused = true)]
async fn after_closing_everything_is_refused_and_nothing_waits() {
    let outbox = crate::cluster::OutboxOptions {
        max_messages: 1,
        ..Default::default()
    };
    let options = ClusterOptions {
        outbox,
        ..ClusterOptions::default()
    };
    let [a, b] = Hub::default().members(&options).await;
    b.wire.hold();
    let (root, hour) = (root(), Duration::from_secs(3600));
    let acks = a
        .cluster
        .broadcast_with_ack(&root, broadcast("q"), hour)
        .await;
    let mut acks = acks.unwrap();
    eventually("there is room", || a.cluster.stats().outbox_messages == 0).await;
    a.wire.hold();
    a.send_text("full").await;
    let sender = a.cluster.clone();
    let there = root.clone();
    let waiting = tokio::spawn(async move { sender.send(&there, text_broadcast("late")).await });
    settle().await;
    assert!(!waiting.is_finished());
    a.cluster.close().await;
    assert_eq!(waiting.await.unwrap(), Err(SendError::Closed));
    assert_eq!(acks.next().await, None);
    assert_eq!(acks.missing(), [NodeId::from("b")]);
    assert_eq!(
        a.cluster.send(&root, text_broadcast("x")).await,
        Err(SendError::Closed)
    );
    a.enter(FakeLocal::new("/"));
    assert!(a.cluster.local(&root).is_none());
    let found = a
        .cluster
        .fetch_sockets(&root, Target::default(), None)
        .await;
    assert_eq!(found.err(), Some(SendError::Closed));
}

#[tokio::test(start_paused = true)]
async fn what_is_left_or_closed_is_not_held_any_longer() {
    let [a] = Hub::default().members(&ClusterOptions::default()).await;
    let admin = a.enter(FakeLocal::new("/admin"));
    assert_eq!(Arc::strong_count(&admin), 2);
    a.cluster.leave(&Namespace::from("/admin")).await;
    assert_eq!(Arc::strong_count(&admin), 1);
    let root_local = a.enter(FakeLocal::new("/"));
    a.cluster.close().await;
    assert_eq!(Arc::strong_count(&root_local), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_dropped_without_closing_stops() {
    let [a, b] = Hub::default().members(&ClusterOptions::default()).await;
    let weak = b.cluster.downgrade();
    drop(b);
    assert!(weak.upgrade().is_none());
    eventually("b falls silent", || a.cluster.server_count(&root()) == 1).await;
}
