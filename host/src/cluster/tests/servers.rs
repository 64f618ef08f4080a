//! What is asked of the applications on the other servers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{join, join_all};
use tokio::time::{Instant, sleep, timeout as within};

use crate::cluster::{
    Answer, Body, Call, Cluster, ClusterOptions, Event, Membership, NodeId, OutboxFull,
    OutboxOptions, Partial, Payload, QUERY_EVENT, Reply, RequestId, SendError, TransportInfo,
    testing::*,
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn node(id: &str) -> NodeId {
    NodeId::from(id)
}

async fn ask(member: &Member, timeout: Duration) -> Partial<(NodeId, Answer)> {
    let data = event("e", "1");
    let asked = member
        .cluster
        .server_event_with_ack(&root(), data, Some(timeout))
        .await;
    sorted(asked.unwrap())
}

fn sorted(mut partial: Partial<(NodeId, Answer)>) -> Partial<(NodeId, Answer)> {
    partial.items.sort_by(|(a, _), (b, _)| a.cmp(b));
    partial
}

fn value(json: &'static str) -> Answer {
    Ok(Some(Payload::text(json)))
}

/// The id of the request that this member has sent.
fn asked_as(member: &Member) -> RequestId {
    let request = |body: Body| match body {
        Body::ServerEvent { request, .. } => request,
        _ => None,
    };
    let sent = member.wire.sent().into_iter();
    sent.filter_map(|message| request(message.body))
        .next_back()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_node_answers_in_its_own_way() {
    let [a, b, c, d] = Hub::default().members(&ClusterOptions::default()).await;
    a.cluster
        .on_server_event(&root(), "e", answering("\"never called\""));
    b.cluster.on_server_event(&root(), "e", with_name("b"));
    c.cluster
        .on_server_event(&root(), "e", handler(|_| async { Reply::Value(None) }));
    d.cluster.on_server_event(
        &root(),
        "e",
        handler(|_| async { Reply::Failed("not today".into()) }),
    );
    let asked = ask(&a, DAY).await;
    let expected = [
        (node("b"), value(r#"["b",["e",1]]"#)),
        (node("c"), Ok(None)),
        (node("d"), Err("not today".into())),
    ];
    assert_eq!(asked.items, expected);
    assert!(asked.is_complete());
    assert_eq!(a.cluster.stats().pending_requests, 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_without_a_handler_says_so_and_one_that_says_nothing_is_missing() {
    let [a, b, c] = Hub::default().members(&ClusterOptions::default()).await;
    c.cluster.on_server_event(&root(), "e", say_nothing());
    let started = Instant::now();
    let asked = ask(&a, SECOND).await;
    let error = Err(r#"no handler for the server event "e""#.into());
    assert_eq!(asked.items, [(node("b"), error)]);
    assert_eq!(asked.missing, [node("c")]);
    assert_eq!(started.elapsed(), SECOND);

    assert!(c.cluster.off_server_event(&root(), "e"));
    let started = Instant::now();
    assert!(ask(&a, DAY).await.is_complete());
    assert!(started.elapsed() < SECOND, "errors end the wait at once");
    drop(b);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_wants_no_answer_gets_none() {
    let [a, b] = Hub::default().members(&ClusterOptions::default()).await;
    b.cluster.on_server_event(&root(), "e", answering("1"));
    a.cluster
        .server_event(&root(), event("e", "1"))
        .await
        .unwrap();
    a.cluster
        .server_event(&root(), event("nobody's", "1"))
        .await
        .unwrap();
    eventually("both have come", || {
        let events = |kind: &&str| *kind == "server-event";
        a.wire
            .sent_kinds()
            .iter()
            .filter(|kind| events(kind))
            .count()
            == 2
    })
    .await;
    settle().await;
    assert!(!b.wire.sent_kinds().contains(&"server-event-answer"));
}

#[tokio::test(start_paused = true)]
async fn nodes_that_die_while_they_are_asked_are_taken_out_of_the_wait() {
    let hub = Hub::default();
    let [a, b, c, d] = hub.members(&ClusterOptions::default()).await;
    b.cluster.on_server_event(&root(), "e", answering("1"));
    for slow in [&c, &d] {
        slow.cluster
            .on_server_event(&root(), "e", handler(|_| std::future::pending()));
    }
    let asking = a.cluster.clone();
    let asked = tokio::spawn(async move {
        asking
            .server_event_with_ack(&root(), event("e", "1"), Some(DAY))
            .await
    });
    eventually("they work on it", || {
        c.cluster.stats().calls + d.cluster.stats().calls == 2
    })
    .await;
    // One falls silent, one is reported gone.
    c.wire.cut();
    hub.deliver(&Event::NodeLeft(node("d")));
    d.wire.cut();
    let asked = asked.await.unwrap().unwrap();
    assert_eq!(asked.items, [(node("b"), value("1"))]);
    assert_eq!(asked.missing, [node("c"), node("d")]);
}

#[tokio::test(start_paused = true)]
async fn repeated_answers_are_ignored_and_those_of_newcomers_are_not() {
    let hub = Hub::default();
    let [a, b] = hub.members(&ClusterOptions::default()).await;
    b.cluster.on_server_event(&root(), "e", say_nothing());
    let asking = a.cluster.clone();
    let asked = tokio::spawn(async move {
        asking
            .server_event_with_ack(&root(), event("e", "1"), Some(SECOND))
            .await
    });
    eventually("it is sent", || {
        a.wire.sent_kinds().contains(&"server-event")
    })
    .await;
    let request = asked_as(&a);
    for json in ["1", "2"] {
        let data = Some(Payload::text(json));
        let (request, error) = (request.clone(), None);
        hub.say(
            "newcomer",
            Body::ServerEventAnswer {
                request,
                data,
                error,
            },
        );
    }
    let data = Some(Payload::text("3"));
    let wrong_kind = Body::CustomAnswer {
        request,
        data,
        error: None,
    };
    hub.say("b", wrong_kind);
    let asked = asked.await.unwrap().unwrap();
    assert_eq!(asked.items, [(node("newcomer"), value("1"))]);
    assert_eq!(asked.missing, [node("b")]);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_counts_its_nodes_says_how_many_answers_to_wait_for() {
    let hub = Hub::default();
    hub.set_info(TransportInfo {
        membership: Membership::Counted,
        ..Default::default()
    });
    hub.set_count(Some(4));
    let [a, b] = hub.members(&ClusterOptions::default()).await;
    b.cluster.on_server_event(&root(), "e", answering("1"));
    let asking = a.cluster.clone();
    let asked = tokio::spawn(async move {
        asking
            .server_event_with_ack(&root(), event("e", "1"), Some(SECOND))
            .await
    });
    eventually("it is sent", || {
        a.wire.sent_kinds().contains(&"server-event")
    })
    .await;
    let anonymous = Body::ServerEventAnswer {
        request: asked_as(&a),
        data: None,
        error: None,
    };
    hub.say("", anonymous);
    let asked = sorted(asked.await.unwrap().unwrap());
    assert_eq!(asked.items, [(node(""), Ok(None)), (node("b"), value("1"))]);
    assert_eq!((asked.missing, asked.missing_unknown), (vec![], 1));
}

#[tokio::test(start_paused = true)]
async fn an_event_is_sent_also_when_nobody_is_known_but_a_query_is_not() {
    let [a] = Hub::default().members(&ClusterOptions::default()).await;
    let started = Instant::now();
    let asked = ask(&a, DAY).await;
    assert!(asked.is_complete() && asked.items.is_empty());
    eventually("it is sent", || {
        a.wire.sent_kinds().contains(&"server-event")
    })
    .await;
    let sent = a.wire.sent().len();
    a.cluster.on_query(&root(), "k", answering("1"));
    let data = Payload::text("0");
    let asked = a
        .cluster
        .query(&root(), "k", data, Some(DAY))
        .await
        .unwrap();
    assert_eq!(asked.items, [(node("a"), value("1"))]);
    assert!(asked.is_complete());
    settle().await;
    assert_eq!(a.wire.sent().len(), sent);
    assert!(started.elapsed() < SECOND);
}

/// Members of a cluster whose first one has a full outbox.
async fn with_full_outbox<const N: usize>(when_full: OutboxFull) -> [Member; N] {
    let outbox = OutboxOptions {
        max_messages: 1,
        when_full,
        ..OutboxOptions::default()
    };
    let options = ClusterOptions {
        outbox,
        ..ClusterOptions::default()
    };
    let members = Hub::default().members(&options).await;
    eventually("it said hello", || !members[0].wire.sent_kinds().is_empty()).await;
    members[0].wire.hold();
    members[0].send_text("stuck").await;
    members
}

#[tokio::test(start_paused = true)]
async fn an_event_that_nobody_is_known_for_waits_for_room_in_the_outbox() {
    let [a] = with_full_outbox(OutboxFull::Wait).await;
    let let_go = async {
        sleep(10 * SECOND).await;
        a.wire.let_go();
    };
    let (asked, ()) = join(ask(&a, DAY), let_go).await;
    assert!(asked.is_complete());
    eventually("it is sent", || {
        a.wire.sent_kinds().contains(&"server-event")
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_keeps_nobody_beyond_its_time() {
    let [a] = with_full_outbox(OutboxFull::Wait).await;
    let (root, started) = (root(), Instant::now());
    let asked = a
        .cluster
        .server_event_with_ack(&root, event("e", "1"), Some(SECOND));
    let asked = within(DAY, asked).await.expect("it ends");
    assert_eq!(asked.err(), Some(SendError::NoRoomInTime));
    assert_eq!(started.elapsed(), SECOND);

    let [a, b] = with_full_outbox(OutboxFull::Wait).await;
    let started = Instant::now();
    let asked = within(DAY, ask(&a, SECOND)).await.expect("it ends");
    assert_eq!(asked.missing, [node("b")], "who could not be asked");
    assert_eq!(started.elapsed(), SECOND);
    assert_eq!(a.cluster.stats().pending_requests, 0);
    drop(b);
}

#[tokio::test(start_paused = true)]
async fn this_node_is_not_asked_when_the_others_cannot_be() {
    let calls = Arc::new(AtomicUsize::new(0));
    for (when_full, error) in [
        (OutboxFull::Fail, true),
        // Then it is the time that is over.
        (OutboxFull::Wait, false),
    ] {
        let [a, b] = with_full_outbox(when_full).await;
        let called = calls.clone();
        a.cluster.on_query(
            &root(),
            "k",
            handler(move |_| {
                called.fetch_add(1, Ordering::SeqCst);
                async { Reply::Value(None) }
            }),
        );
        let data = Payload::text("0");
        let asked = a.cluster.query(&root(), "k", data, Some(SECOND)).await;
        match error {
            true => assert!(matches!(asked, Err(SendError::Full { .. })), "{asked:?}"),
            false => assert_eq!(asked.unwrap().missing, [node("a"), node("b")]),
        }
        settle().await;
        assert_eq!(calls.load(Ordering::SeqCst), 0, "{when_full:?}");

        a.wire.let_go();
        eventually("there is room", || a.cluster.stats().outbox_messages == 0).await;
        let asked = query(&a.cluster, Payload::text("0"), SECOND).await;
        assert!(asked.is_complete());
        assert_eq!(calls.swap(0, Ordering::SeqCst), 1, "{when_full:?}");
        drop(b);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_requests_at_a_time_get_their_own_answers() {
    const REQUESTS: usize = 2000;
    let options = ClusterOptions {
        max_calls: REQUESTS,
        ..ClusterOptions::default()
    };
    let [a, b, c] = Hub::default().members(&options).await;
    for (member, name) in [(&b, "b"), (&c, "c")] {
        let slow = handler(move |call: Call| async move {
            let (_, n): (String, u64) = serde_json::from_str(&call.data.json).unwrap();
            sleep(Duration::from_millis(n % 7)).await;
            Reply::Value(Some(Payload::text(format!("\"{name}{n}\""))))
        });
        member.cluster.on_server_event(&root(), "e", slow);
    }
    let ask = |n: usize| {
        let cluster = a.cluster.clone();
        tokio::spawn(async move {
            let data = event("e", &n.to_string());
            let asked = cluster
                .server_event_with_ack(&root(), data, Some(Duration::from_secs(60)))
                .await;
            sorted(asked.unwrap())
        })
    };
    for (n, asked) in join_all((0..REQUESTS).map(ask))
        .await
        .into_iter()
        .enumerate()
    {
        let text = |name: &str| Ok(Some(Payload::text(format!("\"{name}{n}\""))));
        let expected = [(node("b"), text("b")), (node("c"), text("c"))];
        assert_eq!(asked.unwrap().items, expected);
    }
    assert_eq!(a.cluster.stats().pending_requests, 0);
    assert_eq!(b.cluster.stats().calls, 0);
}

#[tokio::test(start_paused = true)]
async fn large_answers_arrive_whole() {
    const BYTES: usize = 2 * 1024 * 1024;
    let [a, b, c] = Hub::default().members(&ClusterOptions::default()).await;
    for member in [&b, &c] {
        let large = handler(|_| async {
            Reply::Value(Some(Payload {
                json: r#"{"_placeholder":true,"num":0}"#.into(),
                attachments: vec![Bytes::from(vec![7; BYTES])],
            }))
        });
        member.cluster.on_server_event(&root(), "e", large);
    }
    let asked = ask(&a, SECOND).await;
    assert!(asked.is_complete());
    for (node, answer) in asked.items {
        let attachments = answer.unwrap().unwrap().attachments;
        assert_eq!(attachments, [vec![7; BYTES]], "{node}");
    }
}

/// Over both kinds of transport.
async fn on_both_wires(test: impl AsyncFn(Hub, &'static str)) {
    for custom_query in [true, false] {
        let hub = Hub::default();
        hub.set_info(TransportInfo {
            custom_query,
            ..Default::default()
        });
        let travels_as = match custom_query {
            true => "custom-query",
            false => "server-event",
        };
        test(hub, travels_as).await;
    }
}

async fn query(cluster: &Cluster, data: Payload, timeout: Duration) -> Partial<(NodeId, Answer)> {
    let root = root();
    let asked = cluster.query(&root, "k", data, Some(timeout));
    within(timeout + SECOND, asked).await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_query_is_answered_by_every_node_this_one_first() {
    on_both_wires(async |hub, travels_as| {
        let [a, b, c] = hub.members(&ClusterOptions::default()).await;
        a.cluster.on_query(&root(), "k", with_name("a"));
        b.cluster.on_query(&root(), "k", with_name("b"));
        let data = Payload {
            json: r#"[{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#.into(),
            attachments: vec![Bytes::from_static(b"zero"), Bytes::from_static(b"one")],
        };
        let mut asked = query(&a.cluster, data.clone(), DAY).await;
        assert_eq!(asked.items[0].0, node("a"), "{travels_as}");
        asked = sorted(asked);
        let named = |name: &str| {
            let mut data = data.clone();
            data.json = format!("[\"{name}\",{}]", data.json).into();
            Ok(Some(data))
        };
        let expected = [
            (node("a"), named("a")),
            (node("b"), named("b")),
            (node("c"), Err(r#"unknown request kind "k""#.into())),
        ];
        assert_eq!(asked.items, expected, "{travels_as}");
        assert!(asked.is_complete());
        assert!(a.wire.sent_kinds().contains(&travels_as));
        drop(c);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_query_names_who_is_missing_also_when_it_is_this_node() {
    on_both_wires(async |hub, travels_as| {
        let [a, b, c] = hub.members(&ClusterOptions::default()).await;
        a.cluster
            .on_query(&root(), "k", handler(|_| std::future::pending()));
        b.cluster.on_query(&root(), "k", answering("1"));
        c.wire.cut();
        let started = Instant::now();
        let asked = query(&a.cluster, Payload::text("0"), SECOND).await;
        assert_eq!(asked.items, [(node("b"), value("1"))], "{travels_as}");
        assert_eq!(asked.missing, [node("a"), node("c")]);
        assert_eq!(started.elapsed(), SECOND);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn this_node_answers_its_own_query_as_the_others_do() {
    let options = ClusterOptions {
        max_calls: 1,
        ..ClusterOptions::default()
    };
    let [a] = Hub::default().members(&options).await;
    let ask = async || {
        let asked = query(&a.cluster, Payload::text("0"), SECOND).await;
        assert!(asked.is_complete());
        let (_, answer) = asked.items.into_iter().next().unwrap();
        answer.unwrap_err().to_string()
    };
    assert_eq!(ask().await, r#"unknown request kind "k""#);
    a.cluster
        .on_query(&root(), "k", handler(|_| async { panic!("{}", 1) }));
    assert_eq!(ask().await, "the handler panicked");

    a.cluster.on_query(&root(), "k", say_nothing());
    let started = Instant::now();
    let asked = query(&a.cluster, Payload::text("0"), DAY).await;
    assert_eq!(asked.missing, [node("a")]);
    assert!(started.elapsed() < SECOND, "it is known that nothing comes");

    a.cluster
        .on_query(&root(), "k", handler(|_| std::future::pending()));
    let asked = query(&a.cluster, Payload::text("0"), SECOND).await;
    assert_eq!(asked.missing, [node("a")]);
    assert_eq!(ask().await, "`max_calls` = 1 is reached on node a");
}

#[tokio::test(start_paused = true)]
async fn a_node_of_another_kind_answers_a_query_that_travels_as_an_event() {
    let hub = Hub::default();
    let [a] = hub.members(&ClusterOptions::default()).await;
    hub.say("nodejs", Body::Heartbeat);
    eventually("it is known", || a.cluster.server_count(&root()) == 2).await;
    a.cluster.on_query(&root(), "k", answering("1"));
    let cluster = a.cluster.clone();
    let asked =
        tokio::spawn(async move { query(&cluster, Payload::text(r#"{"x":1}"#), SECOND).await });
    eventually("it is sent", || {
        a.wire.sent_kinds().contains(&"server-event")
    })
    .await;
    let sent = a.wire.sent().into_iter().find_map(|message| {
        let Body::ServerEvent { data, .. } = message.body else {
            return None;
        };
        Some(data)
    });
    let expected = format!(r#"["{QUERY_EVENT}","k",{{"x":1}}]"#);
    assert_eq!(sent.unwrap(), Payload::text(expected));
    let answer = Body::ServerEventAnswer {
        request: asked_as(&a),
        data: Some(Payload::text("2")),
        error: None,
    };
    hub.say("nodejs", answer);
    let asked = asked.await.unwrap();
    let expected = [(node("a"), value("1")), (node("nodejs"), value("2"))];
    assert_eq!(asked.items, expected);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_asked_is_refused_by_name() {
    let [a, b] = Hub::default().members(&ClusterOptions::default()).await;
    let data = || Payload::text("0");
    let error = async |kind: &str| a.cluster.query(&root(), kind, data(), None).await.err();
    assert_eq!(
        error("").await,
        Some(SendError::BadKind { len: 0, max: 128 })
    );
    let long = "k".repeat(129);
    let expected = SendError::BadKind { len: 129, max: 128 };
    assert_eq!(error(&long).await, Some(expected));
    assert_eq!(error(&long[1..]).await, None);

    a.cluster.close().await;
    assert_eq!(error("k").await, Some(SendError::Closed));
    let asked = a
        .cluster
        .server_event_with_ack(&root(), event("e", "1"), None)
        .await;
    assert_eq!(asked.err(), Some(SendError::Closed));
    drop(b);
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_ask_the_others_itself() {
    let [a, b, c] = Hub::default().members(&ClusterOptions::default()).await;
    let cluster = Arc::new(b.cluster.downgrade());
    let relay = handler(move |call: Call| {
        let cluster = cluster.clone();
        async move {
            let cluster = cluster.upgrade().unwrap();
            let data = event("inner", "2");
            let asked = cluster.server_event_with_ack(&call.namespace, data, Some(SECOND));
            let answers = asked.await.unwrap().items;
            Reply::Value(
                answers
                    .into_iter()
                    .find_map(|(_, answer)| answer.ok().flatten()),
            )
        }
    });
    b.cluster.on_server_event(&root(), "e", relay);
    c.cluster.on_server_event(&root(), "inner", with_name("c"));
    c.cluster.on_server_event(&root(), "e", answering("0"));
    let asked = ask(&a, DAY).await;
    let expected = [
        (node("b"), value(r#"["c",["inner",2]]"#)),
        (node("c"), value("0")),
    ];
    assert_eq!(asked.items, expected);
}

#[tokio::test(start_paused = true)]
async fn the_event_that_carries_queries_takes_no_handler() {
    let [a] = Hub::default().members(&ClusterOptions::default()).await;
    a.cluster
        .on_server_event(&root(), QUERY_EVENT, answering("1"));
    assert!(!a.cluster.off_server_event(&root(), QUERY_EVENT));
}
