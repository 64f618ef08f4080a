//! Connection state recovery: events and their offsets, and the order in which a server's own
//! messages act on its own sockets.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::task::yield_now;

use crate::cluster::{
    Body, Broadcast, ClusterOptions, Failure, InboxOptions, OutboxFull, OutboxOptions, SendError,
    Target, testing::*,
};

fn recovering() -> ClusterOptions {
    ClusterOptions {
        connection_state_recovery: true,
        ..ClusterOptions::default()
    }
}

fn with_outbox(outbox: OutboxOptions) -> ClusterOptions {
    ClusterOptions {
        outbox,
        ..recovering()
    }
}

/// A server alone over a backend that keeps a log, and its sockets.
async fn alone(options: ClusterOptions) -> (Member, Arc<FakeLocal>) {
    let hub = Hub::default();
    hub.keep_log();
    let a = hub.join("a", options);
    let here = a.enter(FakeLocal::new("/"));
    eventually("it has said hello", || {
        let stats = a.cluster.stats();
        (stats.sent, stats.outbox_messages) == (1, 0)
    })
    .await;
    (a, here)
}

fn event(n: usize) -> Body {
    text_broadcast(&format!("[\"e\",{n}]"))
}

fn join(room: &str) -> Body {
    Body::SocketsJoin {
        target: Target::default(),
        rooms: vec![room.into()],
    }
}

fn leave(room: &str) -> Body {
    Body::SocketsLeave {
        target: Target::default(),
        rooms: vec![room.into()],
    }
}

fn disconnect() -> Body {
    Body::DisconnectSockets {
        target: Target::default(),
        close: false,
    }
}

fn volatile(text: &str) -> Body {
    let mut broadcast = broadcast(text);
    broadcast.target.volatile = true;
    Body::Broadcast(broadcast)
}

impl Member {
    /// To the sockets of all servers.
    async fn to_all(&self, body: Body) {
        self.cluster.send_to_all(&root(), body).await.unwrap();
    }
}

/// With the offsets that they get when nothing else is in the log.
fn logged(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers
        .map(|n| format!("[\"e\",{n},\"{}-0\"]", n + 1))
        .collect()
}

/// One message is on its way and does not arrive; the next batch gathers.
async fn held(member: &Member) {
    member.wire.hold();
    member.cluster.send(&root(), Body::Heartbeat).await.unwrap();
    settle().await;
}

#[tokio::test(start_paused = true)]
async fn the_sockets_of_all_servers_see_the_same_log() {
    let hub = Hub::default();
    hub.keep_log();
    let [a, b] = hub.members(&recovering()).await;
    let (here, there) = (a.enter(FakeLocal::new("/")), b.enter(FakeLocal::new("/")));
    for n in 0..500 {
        a.to_all(event(n)).await;
    }
    eventually("all are there", || there.count_texts() == 500).await;
    eventually("all are here", || here.count_texts() == 500).await;
    assert_eq!(there.texts(), logged(0..500));
    assert_eq!(here.texts(), logged(0..500));
    assert_eq!(a.cluster.stats().unlogged, 0);
}

#[tokio::test(start_paused = true)]
async fn without_the_option_nothing_waits_and_nothing_is_appended() {
    let hub = Hub::default();
    hub.keep_log();
    let [a, b] = hub.members(&ClusterOptions::default()).await;
    let (here, there) = (a.enter(FakeLocal::new("/")), b.enter(FakeLocal::new("/")));
    a.wire.hold();
    a.to_all(event(0)).await;
    a.to_all(leave("r")).await;
    assert_eq!(here.story(), ["[\"e\",0]", "leave [Text(\"r\")]"]);
    a.wire.let_go();
    eventually("it has arrived", || there.count_texts() == 1).await;
    assert_eq!(there.texts(), ["[\"e\",0]"]);
    assert_eq!(here.count_texts(), 1, "once");
}

#[tokio::test(start_paused = true)]
async fn own_events_wait_for_the_backend_and_others_do_not() {
    let (a, here) = alone(recovering()).await;
    held(&a).await;
    a.to_all(event(0)).await;
    a.to_all(volatile("[\"v\"]")).await;
    a.cluster.act_here(&root(), &text_broadcast("[\"mine\"]"));
    settle().await;
    assert_eq!(here.texts(), ["[\"v\"]", "[\"mine\"]"]);
    a.wire.let_go();
    eventually("it has come", || here.count_texts() == 3).await;
    assert_eq!(here.texts()[2], "[\"e\",0,\"1-0\"]");
    settle().await;
    assert_eq!(here.count_texts(), 3, "each once");
}

#[tokio::test(start_paused = true)]
async fn what_comes_without_an_offset_or_cannot_be_given_again_stays_as_it_is() {
    let hub = Hub::default();
    let [b] = hub.members(&recovering()).await;
    let there = b.enter(FakeLocal::new("/").with_socket("s", "r"));
    hub.say("c", text_broadcast("[\"no log\"]"));
    hub.keep_log();
    let a = hub.join("a", ClusterOptions::default());
    for body in [
        volatile("[\"volatile\"]"),
        Body::Broadcast(Broadcast {
            packet_id: Some("0".into()),
            ..broadcast("[\"direct\"]")
        }),
        text_broadcast("[\"plain\"]"),
    ] {
        a.cluster.send(&root(), body).await.unwrap();
    }
    eventually("all have arrived", || there.count_texts() == 4).await;
    let expected = [
        "[\"no log\"]",
        "[\"volatile\"]",
        "[\"direct\"]",
        "[\"plain\",\"3-0\"]",
    ];
    assert_eq!(there.texts(), expected);
    hub.say("c", {
        let mut asks = broadcast("[\"asks\"]");
        asks.request = Some("q".into());
        Body::Broadcast(asks)
    });
    eventually("it is asked", || there.calls().len() == 1).await;
    assert!(there.calls()[0].starts_with("ask [\"asks\"] for"));
}

#[tokio::test(start_paused = true)]
async fn changes_of_rooms_and_disconnections_overtake_no_event() {
    let (a, here) = alone(recovering()).await;
    a.to_all(join("early")).await;
    assert_eq!(
        here.story(),
        ["join [Text(\"early\")]"],
        "nothing waits: at once"
    );
    held(&a).await;
    a.to_all(event(0)).await;
    a.to_all(leave("r")).await;
    a.to_all(event(1)).await;
    a.to_all(join("r")).await;
    a.to_all(disconnect()).await;
    settle().await;
    assert_eq!(here.story().len(), 1, "they wait");
    a.wire.let_go();
    eventually("all is done", || here.story().len() == 6).await;
    assert_eq!(
        here.story()[1..],
        [
            "[\"e\",0,\"1-0\"]",
            "leave [Text(\"r\")]",
            "[\"e\",1,\"2-0\"]",
            "join [Text(\"r\")]",
            "disconnect false",
        ]
    );
    a.to_all(join("late")).await;
    assert_eq!(here.story().len(), 7, "nothing waits any more: at once");
}

#[tokio::test(start_paused = true)]
async fn while_the_backend_is_away_events_wait_and_come_in_order_with_offsets() {
    let (a, here) = alone(recovering()).await;
    a.wire.hold();
    for n in 0..10 {
        a.to_all(event(n)).await;
    }
    for accepted in [3, 0, 2, 0] {
        a.wire
            .fail_once(accepted, Failure::Unavailable("away".into()));
    }
    a.wire.let_go();
    eventually("it was noticed", || !a.cluster.stats().publisher_up).await;
    a.to_all(event(10)).await;
    eventually("all are here", || here.count_texts() == 11).await;
    assert_eq!(here.texts(), logged(0..11));
    assert_eq!(a.cluster.stats().unlogged, 0);
    eventually("their room is given back", || {
        a.cluster.stats().outbox_messages == 0
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_rejected_reaches_own_sockets_in_its_place_without_an_offset() {
    let (a, here) = alone(recovering()).await;
    held(&a).await;
    for n in 0..3 {
        a.to_all(event(n)).await;
    }
    a.wire.fail_once(0, Failure::Unavailable("away".into()));
    a.wire.fail_once(2, Failure::Rejected("too large".into()));
    a.wire.let_go();
    eventually("all are here", || here.count_texts() == 3).await;
    let expected = ["[\"e\",0,\"1-0\"]", "[\"e\",1]", "[\"e\",2,\"2-0\"]"];
    assert_eq!(here.texts(), expected);
    let stats = a.cluster.stats();
    assert_eq!((stats.rejected, stats.unlogged), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_kills_the_plugin_reaches_own_sockets_in_its_place_without_an_offset() {
    let (a, here) = alone(recovering()).await;
    a.wire.set_poison("[\"e\",1]");
    held(&a).await;
    for n in 0..3 {
        a.to_all(event(n)).await;
    }
    a.wire.let_go();
    eventually("all are here", || here.count_texts() == 3).await;
    let expected = ["[\"e\",0,\"1-0\"]", "[\"e\",1]", "[\"e\",2,\"2-0\"]"];
    assert_eq!(here.texts(), expected);
    let stats = a.cluster.stats();
    assert_eq!((stats.rejected, stats.unlogged), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn when_the_transport_is_given_up_own_sockets_are_served_on() {
    let (a, here) = alone(recovering()).await;
    held(&a).await;
    for n in 0..3 {
        a.to_all(event(n)).await;
    }
    a.to_all(join("r")).await;
    for _ in 0..2 {
        a.wire.fail_once(0, Failure::GivenUp("broken".into()));
    }
    a.wire.let_go();
    eventually("all is done", || here.story().len() == 4).await;
    let expected = ["[\"e\",0]", "[\"e\",1]", "[\"e\",2]", "join [Text(\"r\")]"];
    assert_eq!(here.story(), expected);
    assert_eq!(a.cluster.stats().unlogged, 3, "a join is no event");
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_by_the_outbox() {
    let (a, here) = alone(with_outbox(OutboxOptions {
        max_messages: 2,
        ..OutboxOptions::default()
    }))
    .await;
    a.wire.hold();
    a.to_all(event(0)).await;
    a.to_all(event(1)).await;
    let mut third = Box::pin(a.to_all(event(2)));
    let mut given_up = Box::pin(a.to_all(event(99)));
    assert!((&mut third).now_or_never().is_none(), "there is no room");
    assert!((&mut given_up).now_or_never().is_none(), "there is no room");
    settle().await;
    assert_eq!(a.cluster.stats().outbox_messages, 2);
    assert_eq!(here.count_texts(), 0);
    drop(given_up);
    a.wire.let_go();
    third.await;
    eventually("all are here", || here.count_texts() == 3).await;
    settle().await;
    assert_eq!(here.texts(), logged(0..3), "who gave up has reached nobody");
}

#[tokio::test(start_paused = true)]
async fn what_has_waited_for_room_acts_here_though_its_sender_has_gone() {
    let (a, here) = alone(with_outbox(OutboxOptions {
        max_messages: 1,
        ..OutboxOptions::default()
    }))
    .await;
    a.wire.hold();
    a.to_all(event(0)).await;
    let mut sender = Box::pin(a.to_all(join("r")));
    assert!((&mut sender).now_or_never().is_none(), "there is no room");
    a.wire.let_go();
    eventually("it is sent", || a.cluster.stats().sent == 3).await;
    drop(sender);
    let story = ["[\"e\",0,\"1-0\"]", "join [Text(\"r\")]"];
    eventually("it acts here", || here.story() == story).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_outbox_refuses_reaches_own_sockets_at_once() {
    let (a, here) = alone(with_outbox(OutboxOptions {
        max_messages: 1,
        when_full: OutboxFull::Fail,
        ..OutboxOptions::default()
    }))
    .await;
    a.wire.hold();
    a.to_all(event(0)).await;
    let refused = a.cluster.send_to_all(&root(), event(1)).await;
    let option = "outbox.max_messages";
    assert_eq!(refused, Err(SendError::Full { option }));
    assert_eq!(here.texts(), ["[\"e\",1]"]);
    assert_eq!(a.cluster.stats().unlogged, 1);
    a.wire.let_go();
    eventually("the other comes", || here.count_texts() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn closing_leaves_no_event_behind() {
    let (a, here) = alone(recovering()).await;
    a.to_all(event(0)).await;
    a.cluster.close().await;
    assert_eq!(here.texts(), logged(0..1), "there was time for it");

    let (a, here) = alone(ClusterOptions {
        close_timeout: Duration::from_secs(1),
        ..recovering()
    })
    .await;
    held(&a).await;
    for n in 0..1_000 {
        a.to_all(event(n)).await;
    }
    a.to_all(disconnect()).await;
    a.cluster.close().await;
    let mut expected: Vec<_> = (0..1_000).map(|n| format!("[\"e\",{n}]")).collect();
    expected.push("disconnect false".to_owned());
    assert_eq!(here.story(), expected);
    assert_eq!(a.cluster.stats().unlogged, 1_000);
}

#[tokio::test(start_paused = true)]
async fn offsets_that_do_not_fit_are_worth_nothing_and_cost_no_event() {
    let (a, here) = alone(recovering()).await;
    held(&a).await;
    for n in 0..3 {
        a.to_all(event(n)).await;
    }
    a.wire.lose_offsets();
    a.wire.let_go();
    eventually("all are here", || here.count_texts() == 3).await;
    assert_eq!(here.texts(), ["[\"e\",0]", "[\"e\",1]", "[\"e\",2]"]);
}

#[tokio::test(start_paused = true)]
async fn the_writers_of_sockets_get_their_turn_between_own_events() {
    const SLICE: usize = 4;
    let (a, here) = alone(ClusterOptions {
        inbox: InboxOptions {
            slice: Some(SLICE),
            ..InboxOptions::default()
        },
        ..recovering()
    })
    .await;
    held(&a).await;
    for n in 0..50 {
        a.to_all(event(n)).await;
    }
    a.wire.let_go();
    let mut seen = 0;
    while seen < 50 {
        yield_now().await;
        let now = here.count_texts();
        assert!(now <= seen + SLICE, "{} at one time", now - seen);
        seen = now;
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_waits_reaches_the_sockets_of_a_namespace_that_was_left() {
    let (a, here) = alone(recovering()).await;
    held(&a).await;
    a.to_all(event(0)).await;
    a.cluster.leave(&root()).await;
    a.wire.let_go();
    eventually("it has come", || here.count_texts() == 1).await;
    assert_eq!(here.texts(), logged(0..1));
}

#[tokio::test(start_paused = true)]
async fn packets_that_own_sockets_lose_are_counted() {
    let hub = Hub::default();
    hub.keep_log();
    let a = hub.join("a", recovering());
    a.enter(FakeLocal::new("/").with_packet_drops(2));
    let dropped = a.cluster.send_to_all(&root(), event(0)).await;
    assert_eq!(dropped, Ok(0), "it is not known yet");
    eventually("they are counted", || {
        a.cluster.stats().dropped_packets == 2
    })
    .await;
}
