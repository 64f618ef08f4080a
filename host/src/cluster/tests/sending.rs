//! The way out: order, batches, trouble.

use crate::cluster::{Body, ClusterOptions, Event, Failure, OutboxOptions, Target, testing::*};

pub(super) fn with_outbox(outbox: OutboxOptions) -> ClusterOptions {
    ClusterOptions {
        outbox,
        ..ClusterOptions::default()
    }
}

pub(super) fn texts(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

fn unavailable() -> Failure {
    Failure::Unavailable("connection refused".into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_messages_arrive_in_the_order_they_were_sent() {
    const MESSAGES: usize = 100_000;
    let hub = Hub::default();
    let (a, b) = (
        hub.join("a", Default::default()),
        hub.join("b", Default::default()),
    );
    let there = b.enter(FakeLocal::new("/"));
    for n in 0..MESSAGES {
        a.send_text(&n.to_string()).await;
    }
    eventually("all have arrived", || there.count_texts() == MESSAGES).await;
    assert_eq!(there.texts(), texts(0..MESSAGES));
}

#[tokio::test(start_paused = true)]
async fn a_single_message_leaves_at_once_and_what_gathers_meanwhile_leaves_together() {
    let a = Hub::default().join("a", Default::default());
    a.wire.hold();
    a.send_text("0").await;
    settle().await;
    for n in 1..10 {
        a.send_text(&n.to_string()).await;
    }
    a.wire.let_go();
    eventually("all are sent", || a.cluster.stats().sent == 10).await;
    assert_eq!(a.wire.batches(), [1, 9]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_keeps_to_its_limits_in_messages_and_bytes() {
    let a = Hub::default().join(
        "a",
        with_outbox(OutboxOptions {
            batch_max_messages: 4,
            batch_max_bytes: 10_000,
            ..OutboxOptions::default()
        }),
    );
    a.wire.hold();
    a.send_text("first").await;
    settle().await;
    for n in 0..6 {
        a.send_text(&n.to_string()).await;
    }
    a.cluster
        .send(&root(), large_broadcast("large", 50_000))
        .await
        .unwrap();
    a.send_text("last").await;
    a.wire.let_go();
    eventually("all are sent", || a.cluster.stats().sent == 9).await;
    assert_eq!(
        a.wire.batches(),
        [1, 4, 2, 1, 1],
        "the large one is a batch of its own"
    );
}

#[tokio::test(start_paused = true)]
async fn while_the_backend_is_away_nothing_is_lost_repeated_or_reordered() {
    let a = Hub::default().join("a", Default::default());
    a.wire.hold();
    for n in 0..10 {
        a.send_text(&n.to_string()).await;
    }
    for accepted in [3, 0, 0, 2, 0] {
        a.wire.fail_once(accepted, unavailable());
    }
    a.wire.let_go();
    eventually("it was noticed", || !a.cluster.stats().publisher_up).await;
    a.send_text("10").await;
    eventually("all are sent", || a.cluster.stats().sent == 11).await;
    assert_eq!(a.wire.sent_texts(), texts(0..11));
    let stats = a.cluster.stats();
    assert!(stats.publisher_up);
    assert_eq!((stats.retries, stats.rejected), (5, 0));
    assert_eq!(
        stats.last_publish_error.as_deref(),
        Some("connection refused")
    );
}

#[tokio::test(start_paused = true)]
async fn a_rejected_message_is_reported_and_the_others_go_on() {
    let a = Hub::default().join("a", Default::default());
    a.wire.hold();
    a.send_text("0").await;
    settle().await;
    for n in 1..6 {
        a.send_text(&n.to_string()).await;
    }
    a.wire.fail_once(1, Failure::Unavailable("a moment".into()));
    a.wire.fail_once(2, Failure::Rejected("too large".into()));
    a.wire.let_go();
    eventually("all are done with", || {
        a.cluster.stats().outbox_messages == 0
    })
    .await;
    assert_eq!(a.wire.sent_texts(), ["0", "1", "2", "4", "5"]);
    let stats = a.cluster.stats();
    assert_eq!((stats.sent, stats.rejected), (5, 1));
    assert_eq!(stats.last_publish_error.as_deref(), Some("too large"));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_kills_the_plugin_is_given_up_alone() {
    let a = Hub::default().join("a", Default::default());
    a.wire.set_poison("poison");
    a.wire.hold();
    a.send_text("0").await;
    settle().await;
    for text in ["1", "2", "poison", "3", "4"] {
        a.send_text(text).await;
    }
    a.wire.let_go();
    eventually("all are done with", || {
        a.cluster.stats().outbox_messages == 0
    })
    .await;
    assert_eq!(a.wire.sent_texts(), texts(0..5));
    // The batch, its messages one by one up to the second death of one, then the rest together.
    assert_eq!(a.wire.batches(), [1, 5, 1, 1, 1, 1, 2]);
    let stats = a.cluster.stats();
    assert_eq!((stats.faulted, stats.rejected), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_dies_once_loses_nothing() {
    let a = Hub::default().join("a", Default::default());
    a.wire.hold();
    a.wire.fail_once(0, Failure::Faulted("trap".into()));
    for n in 0..5 {
        a.send_text(&n.to_string()).await;
    }
    a.wire.let_go();
    eventually("all are sent", || a.cluster.stats().sent == 5).await;
    assert_eq!(a.wire.sent_texts(), texts(0..5));
    assert_eq!(a.cluster.stats().rejected, 0);
}

fn numbered(batch: &[(u64, &str)]) -> Vec<(u64, String)> {
    let own = |(number, text): &(u64, &str)| (*number, (*text).to_owned());
    batch.iter().map(own).collect()
}

#[tokio::test(start_paused = true)]
async fn messages_are_numbered_on_from_those_that_were_accepted_or_given_up() {
    let a = Hub::default().join("a", Default::default());
    a.wire.hold();
    a.send_text("0").await;
    settle().await;
    for n in 1..6 {
        a.send_text(&n.to_string()).await;
    }
    a.wire.fail_once(1, unavailable());
    a.wire.fail_once(2, unavailable());
    a.wire.fail_once(1, Failure::Rejected("too large".into()));
    a.wire.let_go();
    eventually("all are done with", || {
        a.cluster.stats().outbox_messages == 0
    })
    .await;
    a.send_text("6").await;
    eventually("all are sent", || a.cluster.stats().sent == 6).await;
    assert_eq!(
        a.wire.numbered(),
        [
            numbered(&[(0, "0")]),
            numbered(&[(1, "1"), (2, "2"), (3, "3"), (4, "4"), (5, "5")]),
            // The third was accepted, the fourth is given up.
            numbered(&[(3, "3"), (4, "4"), (5, "5")]),
            numbered(&[(5, "5")]),
            numbered(&[(6, "6")]),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_message_over_which_the_plugin_died_has_the_same_number_again() {
    let a = Hub::default().join("a", Default::default());
    a.wire.set_poison("poison");
    a.wire.hold();
    a.send_text("0").await;
    settle().await;
    for text in ["1", "poison", "3", "4"] {
        a.send_text(text).await;
    }
    a.wire.let_go();
    eventually("all are done with", || {
        a.cluster.stats().outbox_messages == 0
    })
    .await;
    assert_eq!(
        a.wire.numbered(),
        [
            numbered(&[(0, "0")]),
            numbered(&[(1, "1"), (2, "poison"), (3, "3"), (4, "4")]),
            // One by one, up to the second death over one, which is given up.
            numbered(&[(1, "1")]),
            numbered(&[(2, "poison")]),
            numbered(&[(2, "poison")]),
            numbered(&[(3, "3"), (4, "4")]),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_claims_too_much_is_not_believed() {
    let a = Hub::default().join("a", Default::default());
    a.wire.hold();
    a.wire
        .fail_once(1_000_000, Failure::Rejected("what?".into()));
    for n in 0..5 {
        a.send_text(&n.to_string()).await;
    }
    a.wire.let_go();
    eventually("all are sent", || a.cluster.stats().sent == 5).await;
    assert_eq!(a.wire.sent_texts(), texts(0..5));
    assert_eq!(a.cluster.stats().rejected, 0);
}

#[tokio::test(start_paused = true)]
async fn all_kinds_reach_the_local_sockets_in_order() {
    let hub = Hub::default();
    let (a, b) = (
        hub.join("a", Default::default()),
        hub.join("b", Default::default()),
    );
    let there = b.enter(FakeLocal::new("/").with_packet_drops(2));
    let (target, rooms) = (Target::default(), vec!["r".into()]);
    for body in [
        Body::SocketsJoin {
            target: target.clone(),
            rooms: rooms.clone(),
        },
        Body::SocketsLeave {
            target: target.clone(),
            rooms,
        },
        text_broadcast("hi"),
        Body::DisconnectSockets {
            target,
            close: true,
        },
    ] {
        a.cluster.send(&root(), body).await.unwrap();
    }
    eventually("all have arrived", || there.calls().len() == 3).await;
    let rooms = "[Text(\"r\")]";
    assert_eq!(
        there.calls(),
        [
            format!("join {rooms}"),
            format!("leave {rooms}"),
            "disconnect true".into()
        ]
    );
    assert_eq!(there.texts(), ["hi"]);
    assert_eq!(b.cluster.stats().dropped_packets, 2);
}

#[tokio::test(start_paused = true)]
async fn an_own_message_that_comes_back_is_dropped() {
    let hub = Hub::default();
    let [a, b] = hub.members(&ClusterOptions::default()).await;
    let here = a.enter(FakeLocal::new("/"));
    let there = b.enter(FakeLocal::new("/"));
    a.send_text("hi").await;
    eventually("it has arrived", || there.count_texts() == 1).await;
    eventually("it came back", || a.cluster.stats().ignored > 0).await;
    assert_eq!(here.count_texts(), 0);
}

#[tokio::test(start_paused = true)]
async fn every_outbox_full_of_answers_stops_nobody() {
    const QUESTIONS: usize = 50;
    let hub = Hub::default();
    let options = with_outbox(OutboxOptions {
        max_messages: 2,
        max_answers: 3,
        batch_max_messages: 1,
        ..OutboxOptions::default()
    });
    let [a, b] = hub.members(&options).await;
    a.wire.hold();
    b.wire.hold();
    for n in 0..QUESTIONS {
        let request = format!("{n}").into();
        hub.say(
            "c",
            Body::FetchSockets {
                request,
                target: Target::default(),
            },
        );
    }
    for member in [&a, &b] {
        let dropped = || member.cluster.stats().dropped_answers;
        eventually("answers are dropped instead of waiting", || dropped() > 0).await;
        eventually("the inbox went on", || {
            dropped() + 3 >= QUESTIONS as u64 - 1
        })
        .await;
    }
    a.wire.let_go();
    b.wire.let_go();
    let there = b.enter(FakeLocal::new("/"));
    a.send_text("still alive").await;
    eventually("it has arrived", || there.count_texts() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_way_in_that_fails_is_tried_again_and_gaps_are_counted() {
    let hub = Hub::default();
    let (a, b) = (
        hub.join("a", Default::default()),
        hub.join("b", Default::default()),
    );
    let there = b.enter(FakeLocal::new("/"));
    b.wire.fail_poll_once(unavailable());
    b.wire.fail_poll_once(Failure::Faulted("trap".into()));
    eventually("it polls", || b.wire.commands().contains(&"enter /".into())).await;
    hub.deliver(&Event::Lagged {
        missed: Some(7),
        reason: "buffer overrun".into(),
    });
    a.cluster.send(&root(), text_broadcast("hi")).await.unwrap();
    eventually("it has arrived", || there.count_texts() == 1).await;
    let stats = b.cluster.stats();
    assert_eq!((stats.lagged, stats.missed, stats.poll_failures), (1, 7, 2));
    assert!(stats.subscriber_up);
    assert_eq!(stats.last_poll_error.as_deref(), Some("trap"));
}
