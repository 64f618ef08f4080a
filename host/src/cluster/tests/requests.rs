//! Requests with one answer from each node.

use std::time::Duration;

use futures_util::future::join;
use tokio::time::{Instant, sleep};

use crate::cluster::{
    Body, ClusterOptions, Event, Membership, NodeId, Partial, Room, SendError, SocketInfo, Target,
    TransportInfo, testing::*,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn node(id: &str) -> NodeId {
    NodeId::from(id)
}

/// Who answered, with how many sockets each.
fn summary(items: &[(NodeId, Vec<SocketInfo>)]) -> Vec<(String, usize)> {
    let mut summary: Vec<_> = items
        .iter()
        .map(|(node, sockets)| (node.to_string(), sockets.len()))
        .collect();
    summary.sort();
    summary
}

#[tokio::test(start_paused = true)]
async fn sockets_of_all_other_nodes_are_fetched() {
    let [a, b, c] = Hub::default().members(&ClusterOptions::default()).await;
    a.enter(FakeLocal::new("/").with_socket("own", "r"));
    b.enter(
        FakeLocal::new("/")
            .with_socket("b1", "r")
            .with_socket("b2", "r"),
    );
    let found = a
        .cluster
        .fetch_sockets(&root(), Target::default(), None)
        .await
        .unwrap();
    assert!(found.is_complete());
    assert_eq!(summary(&found.items), [("b".into(), 2), ("c".into(), 0)]);
    assert_eq!(a.cluster.stats().pending_requests, 0);
    drop(c);
}

#[tokio::test(start_paused = true)]
async fn with_nobody_else_there_nothing_is_asked() {
    let [a] = Hub::default().members(&ClusterOptions::default()).await;
    eventually("a said hello", || !a.wire.sent_kinds().is_empty()).await;
    let found = a
        .cluster
        .fetch_sockets(&root(), Target::default(), None)
        .await
        .unwrap();
    assert!(found.is_complete() && found.items.is_empty());
    assert_eq!(a.wire.sent_kinds(), ["initial-heartbeat"]);
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_there_is_what_arrived_and_who_is_missing() {
    let [a, _b, c] = Hub::default().members(&ClusterOptions::default()).await;
    c.wire.cut();
    let wait = Some(Duration::from_secs(2));
    let found = a
        .cluster
        .fetch_sockets(&root(), Target::default(), wait)
        .await
        .unwrap();
    assert_eq!(summary(&found.items), [("b".into(), 0)]);
    assert_eq!((found.missing, found.missing_unknown), (vec![node("c")], 0));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_goes_is_taken_out_of_the_wait_at_once_and_named() {
    let hub = Hub::default();
    let [a, b, c, d] = hub.members(&ClusterOptions::default()).await;
    for gone in [&b, &c, &d] {
        gone.wire.hold();
    }
    let asker = a.cluster.clone();
    let day = Some(Duration::from_secs(24 * 3600));
    let request =
        tokio::spawn(async move { asker.fetch_sockets(&root(), Target::default(), day).await });
    eventually("it waits", || a.cluster.stats().pending_requests == 1).await;
    // One says goodbye, one is reported gone, one falls silent.
    hub.say("b", Body::AdapterClose);
    hub.deliver(&Event::NodeLeft(node("c")));
    settle().await;
    assert!(!request.is_finished(), "d may still answer");
    d.wire.cut();
    let found = request.await.unwrap().unwrap();
    assert_eq!(found.missing, [node("b"), node("c"), node("d")]);
    assert!(found.items.is_empty());
}

#[tokio::test(start_paused = true)]
async fn counted_nodes_that_never_said_their_names_are_missing_as_a_number() {
    let hub = Hub::default();
    hub.set_info(TransportInfo {
        membership: Membership::Counted,
        ..Default::default()
    });
    hub.set_count(Some(5));
    let [a, _b, c] = hub.members(&ClusterOptions::default()).await;
    c.wire.cut();
    let wait = Some(Duration::from_secs(2));
    let found = a
        .cluster
        .fetch_sockets(&root(), Target::default(), wait)
        .await
        .unwrap();
    assert_eq!(summary(&found.items), [("b".into(), 0)]);
    assert_eq!((found.missing, found.missing_unknown), (vec![node("c")], 2));

    hub.set_count(Some(1));
    let found = a
        .cluster
        .fetch_sockets(&root(), Target::default(), wait)
        .await
        .unwrap();
    assert!(
        found.is_complete() && found.items.is_empty(),
        "the backend counts nobody else"
    );
}

#[tokio::test(start_paused = true)]
async fn rooms_are_asked_for_directly_only_where_the_transport_can() {
    for rooms_query in [false, true] {
        let hub = Hub::default();
        hub.set_info(TransportInfo {
            rooms_query,
            ..Default::default()
        });
        let [a, b] = hub.members(&ClusterOptions::default()).await;
        b.enter(
            FakeLocal::new("/")
                .with_socket("b1", "r")
                .with_socket("b2", "r"),
        );
        let found = a
            .cluster
            .fetch_rooms(&root(), Target::default(), None)
            .await
            .unwrap();
        let rooms: Vec<Room> = ["r"].map(Room::from).into();
        assert_eq!(
            found.items,
            [(node("b"), rooms)],
            "rooms_query: {rooms_query}"
        );
        let asked = if rooms_query {
            "fetch-rooms"
        } else {
            "fetch-sockets"
        };
        assert!(a.wire.sent_kinds().contains(&asked));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_too_many_is_refused_and_one_given_up_makes_room() {
    let options = ClusterOptions {
        max_pending_requests: 1,
        ..ClusterOptions::default()
    };
    let [a, b] = Hub::default().members(&options).await;
    b.wire.hold();
    let asker = a.cluster.clone();
    let first = tokio::spawn(async move {
        let _ = asker.fetch_sockets(&root(), Target::default(), None).await;
    });
    eventually("it waits", || a.cluster.stats().pending_requests == 1).await;
    let second = a
        .cluster
        .fetch_sockets(&root(), Target::default(), None)
        .await;
    assert_eq!(second.err(), Some(SendError::TooManyRequests { limit: 1 }));
    first.abort();
    eventually("it is forgotten", || {
        a.cluster.stats().pending_requests == 0
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_hold_too_much_are_dropped_and_their_nodes_missing() {
    let options = ClusterOptions {
        max_reply_bytes: 300,
        ..ClusterOptions::default()
    };
    let [a, b, c] = Hub::default().members(&options).await;
    for member in [&b, &c] {
        member.enter(FakeLocal::new("/").with_socket("a socket of some size", "a room"));
    }
    let found = a
        .cluster
        .fetch_sockets(&root(), Target::default(), None)
        .await
        .unwrap();
    assert_eq!((found.items.len(), found.missing.len()), (1, 1));
    assert_eq!(a.cluster.stats().dropped_replies, 1);
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_asked_for_or_that_are_for_others_are_ignored() {
    let hub = Hub::default();
    let [a, b] = hub.members(&ClusterOptions::default()).await;
    b.wire.hold();
    let asker = a.cluster.clone();
    let request = tokio::spawn(async move {
        asker
            .fetch_sockets(&root(), Target::default(), Some(Duration::from_secs(1)))
            .await
    });
    eventually("it waits", || a.cluster.stats().pending_requests == 1).await;
    hub.say(
        "b",
        Body::SocketsAnswer {
            request: "unknown".into(),
            sockets: Vec::new(),
        },
    );
    hub.say(
        "b",
        Body::RoomsAnswer {
            request: "unknown".into(),
            rooms: Vec::new(),
        },
    );
    let found = request.await.unwrap().unwrap();
    assert_eq!(found.missing, [node("b")]);
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_costs_a_request_its_time_and_no_more() {
    let outbox = crate::cluster::OutboxOptions {
        max_messages: 1,
        ..Default::default()
    };
    let options = ClusterOptions {
        outbox,
        ..ClusterOptions::default()
    };
    let [a, b] = Hub::default().members(&options).await;
    a.wire.hold();
    a.send_text("stuck").await;
    let wait = Some(Duration::from_secs(1));
    let found = a
        .cluster
        .fetch_sockets(&root(), Target::default(), wait)
        .await
        .unwrap();
    assert_eq!(found.missing, [node("b")]);
    drop(b);
}

async fn find(member: &Member, id: &str, wait: Duration) -> Partial<(NodeId, SocketInfo)> {
    let root = root();
    let found = member.cluster.find_socket(&root, id, Some(wait));
    found.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_search_ends_with_the_socket_while_others_are_silent() {
    let [a, b, c] = Hub::default().members(&ClusterOptions::default()).await;
    b.enter(FakeLocal::new("/").with_socket("b1", "r"));
    c.wire.hold();
    let started = Instant::now();
    let found = find(&a, "b1", DAY).await;
    assert_eq!(found.items.len(), 1);
    assert_eq!(
        (&found.items[0].0, &*found.items[0].1.id),
        (&node("b"), "b1")
    );
    assert!(
        found.is_complete(),
        "nobody is missing: {:?}",
        found.missing
    );
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(a.cluster.stats().pending_requests, 0);
}

#[tokio::test(start_paused = true)]
async fn a_search_does_not_end_with_a_socket_that_has_joined_a_room_of_that_name() {
    let [a, b, c] = Hub::default().members(&ClusterOptions::default()).await;
    b.enter(FakeLocal::new("/").with_socket("watcher", "c1"));
    c.enter(FakeLocal::new("/").with_socket("c1", "r"));
    // The watcher's answer comes first.
    c.wire.hold();
    let let_go = async {
        sleep(Duration::from_secs(1)).await;
        c.wire.let_go();
    };
    let (found, ()) = join(find(&a, "c1", DAY), let_go).await;
    assert_eq!(found.items.len(), 1);
    assert_eq!(
        (&found.items[0].0, &*found.items[0].1.id),
        (&node("c"), "c1")
    );
    assert!(found.is_complete());

    let found = find(&a, "r", DAY).await;
    assert!(found.items.is_empty(), "a room is not a socket");
    assert!(found.is_complete());
}

#[tokio::test(start_paused = true)]
async fn a_search_without_a_find_waits_for_all_and_says_who_is_missing() {
    let [a, b, c] = Hub::default().members(&ClusterOptions::default()).await;
    let found = find(&a, "nobody", DAY).await;
    assert!(found.items.is_empty() && found.is_complete());
    c.wire.cut();
    let found = find(&a, "nobody", Duration::from_secs(2)).await;
    assert!(found.items.is_empty());
    assert_eq!(found.missing, [node("c")]);
    drop(b);
}
