//! Room in the outbox: who waits for it, who is refused, who comes first.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt as _, future::join, stream::FuturesUnordered};
use tokio::time::timeout;

use super::sending::{texts, with_outbox};
use crate::cluster::{OutboxFull, OutboxOptions, SendError, testing::*};

#[tokio::test(start_paused = true)]
async fn senders_wait_while_the_outbox_is_full_and_go_on_in_their_order() {
    let options = OutboxOptions {
        max_messages: 3,
        ..OutboxOptions::default()
    };
    let a = Arc::new(Hub::default().join("a", with_outbox(options)));
    a.wire.hold();
    for n in 0..3 {
        a.send_text(&n.to_string()).await;
    }
    let mut senders = Vec::new();
    for n in 3..6 {
        let a = a.clone();
        senders.push(tokio::spawn(
            async move { a.send_text(&n.to_string()).await },
        ));
        settle().await;
    }
    assert!(
        senders.iter().all(|sender| !sender.is_finished()),
        "they wait"
    );
    assert_eq!(a.cluster.stats().outbox_messages, 3);
    assert_eq!(a.cluster.stats().full, 3);
    a.wire.let_go();
    for sender in senders {
        sender.await.unwrap();
    }
    eventually("all are sent", || a.cluster.stats().sent == 6).await;
    assert_eq!(a.wire.sent_texts(), texts(0..6));
    eventually("room is given back", || a.cluster.stats().outbox_bytes == 0).await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_goes_before_who_comes_when_there_is_room_again() {
    let options = OutboxOptions {
        max_messages: 2,
        ..OutboxOptions::default()
    };
    let a = Hub::default().join("a", with_outbox(options));
    a.wire.hold();
    a.send_text("0").await;
    a.send_text("1").await;
    let mut waits = Box::pin(a.send_text("2"));
    assert!((&mut waits).now_or_never().is_none(), "there is no room");
    a.wire.let_go();
    // Room for more, and the one that waits has not run since.
    eventually("both are sent", || a.cluster.stats().sent >= 2).await;
    join(a.send_text("3"), waits).await;
    eventually("all are sent", || a.cluster.stats().sent == 4).await;
    assert_eq!(a.wire.sent_texts(), texts(0..4));
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_gives_up_sends_nothing_and_takes_no_room() {
    let options = OutboxOptions {
        max_messages: 1,
        ..OutboxOptions::default()
    };
    let a = Hub::default().join("a", with_outbox(options));
    a.wire.hold();
    a.send_text("0").await;
    let given_up = timeout(Duration::from_secs(1), a.send_text("given up")).await;
    assert!(given_up.is_err());
    a.wire.let_go();
    a.send_text("1").await;
    a.send_text("2").await;
    eventually("all are sent", || a.cluster.stats().sent == 3).await;
    assert_eq!(a.wire.sent_texts(), texts(0..3));
}

#[tokio::test(start_paused = true)]
async fn who_needs_less_need_not_wait_for_one_who_has_given_up() {
    let options = OutboxOptions {
        max_bytes: 10_000,
        ..OutboxOptions::default()
    };
    let a = Hub::default().join("a", with_outbox(options));
    a.wire.hold();
    a.send_text("0").await;
    let namespace = root();
    let large = a.cluster.send(&namespace, large_broadcast("large", 10_000));
    let mut large = Box::pin(large);
    assert!((&mut large).now_or_never().is_none(), "it needs all of it");
    let mut small = Box::pin(a.send_text("1"));
    assert!((&mut small).now_or_never().is_none(), "it came later");
    drop(large);
    assert!(small.now_or_never().is_some(), "there is room for it");
    assert_eq!(a.cluster.stats().full, 2);
    a.wire.let_go();
    eventually("all are sent", || a.cluster.stats().sent == 2).await;
    assert_eq!(a.wire.sent_texts(), texts(0..2));
    eventually("room is given back", || a.cluster.stats().outbox_bytes == 0).await;
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_go_in_together_and_who_comes_then_need_not_wait() {
    let options = OutboxOptions {
        max_messages: 8,
        ..OutboxOptions::default()
    };
    let a = Hub::default().join("a", with_outbox(options));
    a.wire.hold();
    for n in 0..8 {
        a.send_text(&n.to_string()).await;
    }
    let mut waiting: FuturesUnordered<_> = (8..11)
        .map(|n| {
            let a = &a;
            async move { a.send_text(&n.to_string()).await }
        })
        .collect();
    assert!(waiting.next().now_or_never().is_none(), "there is no room");
    a.wire.let_go();
    eventually("the first are sent", || a.cluster.stats().sent >= 8).await;
    // None of those who waited has run since.
    assert!(a.send_text("11").now_or_never().is_some());
    assert_eq!(a.cluster.stats().full, 3);
    while waiting.next().await.is_some() {}
    eventually("all are sent", || a.cluster.stats().sent == 12).await;
    assert_eq!(a.wire.sent_texts(), texts(0..12));
}

#[tokio::test(start_paused = true)]
async fn the_fail_policy_refuses_and_names_the_limit_that_is_reached() {
    let a = Hub::default().join(
        "a",
        with_outbox(OutboxOptions {
            max_messages: 2,
            max_bytes: 10_000,
            when_full: OutboxFull::Fail,
            ..OutboxOptions::default()
        }),
    );
    a.wire.hold();
    a.send_text("0").await;
    let large = a
        .cluster
        .send(&root(), large_broadcast("large", 10_000))
        .await;
    assert_eq!(
        large,
        Err(SendError::Full {
            option: "outbox.max_bytes"
        })
    );
    a.send_text("1").await;
    let third = a.cluster.send(&root(), text_broadcast("2")).await;
    assert_eq!(
        third,
        Err(SendError::Full {
            option: "outbox.max_messages"
        })
    );
    a.wire.let_go();
    eventually("there is room again", || {
        a.cluster.stats().outbox_messages == 0
    })
    .await;
    a.send_text("3").await;
}

#[tokio::test(start_paused = true)]
async fn a_message_larger_than_the_whole_outbox_goes_alone() {
    let options = OutboxOptions {
        max_bytes: 10_000,
        ..OutboxOptions::default()
    };
    let a = Hub::default().join("a", with_outbox(options));
    a.send_text("0").await;
    a.cluster
        .send(&root(), large_broadcast("1", 1_000_000))
        .await
        .unwrap();
    a.send_text("2").await;
    eventually("all are sent", || a.cluster.stats().sent == 3).await;
    assert_eq!(a.wire.sent_texts(), texts(0..3));
}
