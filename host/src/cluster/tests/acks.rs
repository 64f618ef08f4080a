//! Broadcasts with acknowledgements.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout as within};

use crate::cluster::{
    Body, ClusterOptions, Event, NodeId, OutboxOptions, Payload, RemoteAck, RequestId, SendError,
    testing::*,
};

const DAY: Duration = Duration::from_secs(24 * 3600);
const SECOND: Duration = Duration::from_secs(1);

fn node(id: &str) -> NodeId {
    NodeId::from(id)
}

async fn ask(member: &Member, timeout: Duration) -> crate::cluster::RemoteAcks {
    member
        .cluster
        .broadcast_with_ack(&root(), broadcast("[\"q\"]"), timeout)
        .await
        .unwrap()
}

fn sockets(acks: &[RemoteAck]) -> Vec<String> {
    let mut sockets: Vec<_> = acks
        .iter()
        .map(|ack| ack.socket.as_deref().unwrap_or("?").to_owned())
        .collect();
    sockets.sort();
    sockets
}

#[tokio::test(start_paused = true)]
async fn all_clients_of_all_nodes_acknowledge_and_then_it_ends() {
    let [a, b, c] = Hub::default().members(&ClusterOptions::default()).await;
    let there = b.enter(
        FakeLocal::new("/")
            .with_socket("b1", "r")
            .with_socket("b2", "r"),
    );
    c.enter(FakeLocal::new("/").with_socket("c1", "r"));
    let mut acks = ask(&a, DAY).await;
    let got: Vec<RemoteAck> = acks.by_ref().collect().await;
    assert_eq!(sockets(&got), ["b1", "b2", "c1"]);
    let c1 = got.iter().find(|ack| ack.node == node("c")).unwrap();
    assert_eq!(c1.data, Ok(Payload::text("[\"c1\"]")));
    assert!(acks.missing().is_empty());
    assert_eq!((acks.unacknowledged(), acks.dropped()), (0, 0));
    assert_eq!(a.cluster.stats().pending_requests, 0);
    // The clients of other nodes have an hour at most, whatever the asker says.
    assert_eq!(there.calls(), ["ask [\"q\"] for 3600s"]);
    eventually("the tasks end", || b.cluster.stats().ack_tasks == 0).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_sent_also_when_nobody_is_known() {
    let [a] = Hub::default().members(&ClusterOptions::default()).await;
    let acks: Vec<RemoteAck> = ask(&a, DAY).await.collect().await;
    assert!(acks.is_empty());
    eventually("it is sent", || a.wire.sent_texts() == ["[\"q\"]"]).await;
}

#[tokio::test(start_paused = true)]
async fn at_the_deadline_it_ends_and_tells_silent_clients_from_missing_nodes() {
    let [a, b, c] = Hub::default().members(&ClusterOptions::default()).await;
    b.enter(FakeLocal::new("/").with_socket("b1", "r").with_silent(2));
    c.wire.cut();
    let mut acks = ask(&a, SECOND).await;
    let got: Vec<RemoteAck> = acks.by_ref().collect().await;
    assert_eq!(sockets(&got), ["b1"]);
    assert_eq!(acks.missing(), [node("c")]);
    assert_eq!((acks.unacknowledged(), acks.missing_unknown()), (2, 0));
    assert_eq!(a.cluster.stats().pending_requests, 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_before_or_after_it_counted_ends_the_wait_and_is_named() {
    let hub = Hub::default();
    let [a, b, c, d] = hub.members(&ClusterOptions::default()).await;
    b.enter(FakeLocal::new("/").with_socket("b1", "r").with_silent(1));
    c.wire.hold();
    d.enter(FakeLocal::new("/").with_socket("d1", "r"));
    let mut acks = ask(&a, DAY).await;
    let mut got = vec![acks.next().await.unwrap(), acks.next().await.unwrap()];
    hub.deliver(&Event::NodeLeft(node("c")));
    b.wire.cut();
    got.extend(acks.by_ref().collect::<Vec<_>>().await);
    assert_eq!(sockets(&got), ["b1", "d1"]);
    assert_eq!(acks.missing(), [node("b"), node("c")]);
    assert_eq!(acks.unacknowledged(), 0, "they are not there any more");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_stream_forgets_the_request() {
    let [a, b] = Hub::default().members(&ClusterOptions::default()).await;
    b.enter(FakeLocal::new("/").with_socket("b1", "r"));
    let acks = ask(&a, DAY).await;
    assert_eq!(a.cluster.stats().pending_requests, 1);
    drop(acks);
    assert_eq!(a.cluster.stats().pending_requests, 0);
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_that_nobody_reads_are_dropped_counted_and_do_not_hold_it_up() {
    let options = ClusterOptions {
        max_buffered_acks: 2,
        ..ClusterOptions::default()
    };
    let [a, b] = Hub::default().members(&options).await;
    let mut local = FakeLocal::new("/");
    for n in 0..5 {
        local = local.with_socket(&format!("b{n}"), "r");
    }
    b.enter(local);
    let mut acks = ask(&a, DAY).await;
    eventually("it is over", || a.cluster.stats().pending_requests == 0).await;
    let got: Vec<RemoteAck> = acks.by_ref().collect().await;
    assert_eq!(sockets(&got), ["b0", "b1"]);
    assert_eq!((acks.dropped(), acks.unacknowledged()), (3, 0));
    assert_eq!(a.cluster.stats().dropped_replies, 3);
}

#[tokio::test(start_paused = true)]
async fn over_max_ack_tasks_the_asker_gets_one_error_that_names_it() {
    let options = ClusterOptions {
        max_ack_tasks: 1,
        ..ClusterOptions::default()
    };
    let [a, b] = Hub::default().members(&options).await;
    let there = b.enter(FakeLocal::new("/").with_silent(3));
    let _first = ask(&a, DAY).await;
    eventually("it collects", || b.cluster.stats().ack_tasks == 1).await;
    let got: Vec<RemoteAck> = ask(&a, DAY).await.collect().await;
    assert_eq!(got.len(), 1);
    assert!(got[0].data.as_ref().unwrap_err().contains("max_ack_tasks"));
    assert_eq!(there.calls().len(), 2, "the clients got it all the same");
    assert_eq!(b.cluster.stats().refused_ack_tasks, 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_without_clients_counts_zero() {
    let hub = Hub::default();
    let [b] = hub.members(&ClusterOptions::default()).await;
    let mut question = broadcast("[\"q\"]");
    question.request = Some(RequestId::from("1"));
    hub.say("x", Body::Broadcast(question));
    eventually("it counts", || {
        b.wire.sent_kinds().contains(&"client-count")
    })
    .await;
    assert!(!b.wire.sent_kinds().contains(&"client-ack"));
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_keeps_nobody_beyond_its_time() {
    let outbox = OutboxOptions {
        max_messages: 1,
        ..OutboxOptions::default()
    };
    let options = ClusterOptions {
        outbox,
        ..ClusterOptions::default()
    };
    let [a, b] = Hub::default().members(&options).await;
    a.wire.hold();
    a.send_text("stuck").await;
    let started = Instant::now();
    let mut acks = within(DAY, ask(&a, SECOND)).await.expect("it ends");
    assert_eq!(acks.next().await, None);
    assert_eq!(started.elapsed(), SECOND);
    assert_eq!(acks.missing(), [node("b")]);

    b.cluster.leave(&root()).await;
    a.wire.let_go();
    eventually("b is gone", || a.cluster.server_count(&root()) == 1).await;
    a.wire.hold();
    a.send_text("stuck").await;
    let (root, data) = (root(), broadcast("[\"q\"]"));
    let asked = a.cluster.broadcast_with_ack(&root, data, SECOND);
    let asked = within(DAY, asked).await.expect("it ends");
    assert_eq!(
        asked.err(),
        Some(SendError::NoRoomInTime),
        "nobody could be named as missing"
    );
}
