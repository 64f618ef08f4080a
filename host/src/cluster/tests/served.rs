//! Namespaces that this server does not serve: it may say something there, but nobody takes it for
//! a member, and it cannot ask.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

use crate::cluster::{
    Body, ClusterOptions, EMITTER, Membership, Message, Namespace, NodeId, Payload, RequestId,
    SendError, Target, TransportInfo, namespaces::Namespaces, outbox::Outbox, testing::*,
};

const MINUTE: Duration = Duration::from_secs(60);

fn admin() -> Namespace {
    Namespace::from("/admin")
}

/// `a` serves `/` alone, `b` and `c` serve `/admin` as well.
async fn two_of_three(hub: &Hub) -> [Member; 3] {
    let [a, b, c] = hub.members(&ClusterOptions::default()).await;
    for member in [&b, &c] {
        member.enter(FakeLocal::new("/admin"));
    }
    for member in [&b, &c] {
        eventually("they know each other", || {
            member.cluster.server_count(&admin()) == 2
        })
        .await;
    }
    [a, b, c]
}

/// `b` finds `c` there and nobody else, and does not wait.
async fn only_c_is_asked_by(b: &Member) {
    assert_eq!(b.cluster.server_count(&admin()), 2);
    let started = Instant::now();
    let found = b
        .cluster
        .fetch_sockets(&admin(), Target::default(), None)
        .await
        .unwrap();
    assert!(found.is_complete(), "missing: {:?}", found.missing);
    assert_eq!(found.items, [(NodeId::from("c"), vec![])]);
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_only_sends_into_a_namespace_is_no_member_of_it() {
    let [a, b, c] = two_of_three(&Hub::default()).await;
    let there = c.enter(FakeLocal::new("/admin"));
    a.cluster
        .send(&admin(), text_broadcast("hello"))
        .await
        .unwrap();
    eventually("it has arrived", || there.texts() == ["hello"]).await;
    only_c_is_asked_by(&b).await;
    sleep(10 * MINUTE).await;
    only_c_is_asked_by(&b).await;

    let sent = a.wire.sent();
    let of_admin = |message: &&Message| message.namespace == admin();
    let senders: Vec<&NodeId> = sent.iter().filter(of_admin).map(|m| &m.sender).collect();
    assert_eq!(senders, [&NodeId::from(EMITTER)]);
    let of_root = |message: &Message| message.namespace == root();
    assert!(
        sent.iter()
            .filter(|message| of_root(message))
            .all(|message| message.sender == NodeId::from("a")),
        "where it serves it says who it is"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_sends_after_it_has_left_does_not_come_back() {
    let [a, b, c] = two_of_three(&Hub::default()).await;
    let there = c.enter(FakeLocal::new("/admin"));
    a.enter(FakeLocal::new("/admin"));
    eventually("a is there", || b.cluster.server_count(&admin()) == 3).await;
    a.cluster.leave(&admin()).await;
    a.cluster
        .send(&admin(), text_broadcast("late"))
        .await
        .unwrap();
    eventually("it has arrived", || there.texts() == ["late"]).await;
    only_c_is_asked_by(&b).await;
    sleep(10 * MINUTE).await;
    only_c_is_asked_by(&b).await;
}

#[tokio::test(start_paused = true)]
async fn what_waited_for_room_while_the_namespace_was_left_goes_out_as_from_an_emitter() {
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
    a.send_text("first").await;
    let mut second = a.send_text("second").boxed();
    assert!(second.as_mut().now_or_never().is_none(), "it waits");
    a.cluster.leave(&root()).await;
    a.wire.let_go();
    second.await;
    eventually("both are sent", || a.wire.sent_texts().len() == 2).await;
    eventually("a is gone", || b.cluster.server_count(&root()) == 1).await;
    settle().await;
    assert_eq!(b.cluster.server_count(&root()), 1, "and stays away");
}

#[tokio::test(start_paused = true)]
async fn answers_and_heartbeats_come_too_late_after_the_farewell() {
    let hub = Hub::default();
    let [a, b] = hub.members(&ClusterOptions::default()).await;
    let slow = handler(|_| async {
        sleep(MINUTE).await;
        crate::cluster::Reply::Value(None)
    });
    b.cluster.on_server_event(&root(), "e", slow);
    let question = Body::ServerEvent {
        data: event("e", "1"),
        request: Some(RequestId::from("1")),
    };
    a.cluster.send(&root(), question).await.unwrap();
    eventually("it is called", || b.cluster.stats().calls == 1).await;
    b.cluster.leave(&root()).await;
    eventually("the call is over", || b.cluster.stats().calls == 0).await;
    sleep(MINUTE).await;
    assert_eq!(b.wire.sent_kinds().last(), Some(&"adapter-close"));
}

#[tokio::test]
async fn after_the_farewell_nothing_is_put_in_by_those_who_have_not_noticed_it() {
    let namespaces = Arc::new(Namespaces::new(1));
    let node = NodeId::from("a");
    let outbox = Outbox::new(node, Default::default(), namespaces.clone(), Arc::default());
    let say_all = || {
        outbox.hello(&root());
        outbox.heartbeat(&root());
        let (request, rooms) = (RequestId::from("1"), Vec::new());
        outbox.answer(&root(), None, Body::RoomsAnswer { request, rooms });
        outbox.depth().0
    };
    assert!(namespaces.enter(Arc::new(FakeLocal::new("/"))));
    assert_eq!(say_all(), 3);
    assert!(namespaces.leave(&root()));
    outbox.farewell(&root());
    assert_eq!(say_all(), 4, "the farewell is the last");
}

#[tokio::test(start_paused = true)]
async fn questions_in_a_namespace_that_is_not_served_are_refused() {
    for membership in [Membership::Heartbeats, Membership::Counted] {
        let hub = Hub::default();
        hub.set_info(TransportInfo {
            membership,
            ..TransportInfo::default()
        });
        let [a, b, c] = two_of_three(&hub).await;
        hub.set_count(Some(3));
        let called = Arc::new(std::sync::Mutex::new(0));
        let count = called.clone();
        let hook = handler(move |_| {
            *count.lock().unwrap() += 1;
            async { crate::cluster::Reply::Value(None) }
        });
        for member in [&a, &b, &c] {
            member.cluster.on_query(&admin(), "k", hook.clone());
            member.cluster.on_server_event(&admin(), "e", hook.clone());
        }
        let (target, data) = (Target::default, || Payload::text("0"));
        let (cluster, wait) = (&a.cluster, None);
        let refused = [
            cluster.fetch_sockets(&admin(), target(), wait).await.err(),
            cluster.find_socket(&admin(), "x", wait).await.err(),
            cluster.fetch_rooms(&admin(), target(), wait).await.err(),
            cluster
                .broadcast_with_ack(&admin(), broadcast("[\"q\"]"), MINUTE)
                .await
                .err(),
            cluster
                .server_event_with_ack(&admin(), event("e", "1"), wait)
                .await
                .err(),
            cluster.query(&admin(), "k", data(), wait).await.err(),
            cluster
                .send(
                    &admin(),
                    Body::FetchSockets {
                        request: RequestId::from("1"),
                        target: target(),
                    },
                )
                .await
                .err(),
        ];
        let not_served = SendError::NotServed { namespace: admin() };
        for (n, refused) in refused.into_iter().enumerate() {
            assert_eq!(refused.as_ref(), Some(&not_served), "question {n}");
        }
        settle().await;
        let sent = a.wire.sent();
        assert!(sent.iter().all(|message| message.namespace != admin()));
        assert_eq!(*called.lock().unwrap(), 0);
        assert_eq!(a.cluster.stats().pending_requests, 0);

        let text = not_served.to_string();
        assert!(text.contains("/admin") && text.contains("serve"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_left_while_it_is_asked_ends_the_question() {
    let [a, b] = Hub::default().members(&ClusterOptions::default()).await;
    b.wire.hold();
    let (cluster, root) = (a.cluster.clone(), root());
    let there = root.clone();
    let day = Some(Duration::from_secs(24 * 3600));
    let asked =
        tokio::spawn(async move { cluster.fetch_sockets(&there, Target::default(), day).await });
    eventually("it waits", || a.cluster.stats().pending_requests == 1).await;
    let started = Instant::now();
    a.cluster.leave(&root).await;
    let found = asked.await.unwrap().unwrap();
    assert_eq!(found.missing, [NodeId::from("b")]);
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_namespace_is_named_as_in_node_js() {
    for (name, namespace) in [("", "/"), ("/", "/"), ("chat", "/chat"), ("/chat", "/chat")] {
        assert_eq!(Namespace::of(name).as_str(), namespace, "{name:?}");
    }
}
