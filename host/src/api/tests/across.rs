//! Operators and handlers of several servers that are joined in memory.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use socketioxide::extract::Data;
use tokio::time::{Instant, timeout as within};

use super::root_of;
use crate::{
    api::{Acks, Answer, AnswerError, ApiError, Operators},
    cluster::{
        ClusterOptions, NodeId, OutboxFull, OutboxOptions, Room, SendError,
        testing::{FakeLocal, Hub, Member, eventually, settle},
    },
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn node(id: &str) -> NodeId {
    NodeId::from(id)
}

/// Servers `a`, `b`, … that know each other, and what each namespace was told.
async fn servers<const N: usize>(locals: [FakeLocal; N]) -> ([Member; N], [Arc<FakeLocal>; N]) {
    let members = Hub::default().members(&ClusterOptions::default()).await;
    let mut members_iter = members.iter();
    let locals = locals.map(|local| members_iter.next().unwrap().enter(local));
    (members, locals)
}

fn empty() -> FakeLocal {
    FakeLocal::new("/")
}

/// Who answered what, sorted.
fn answers(acks: &Acks<String>) -> Vec<(&str, String)> {
    let mut answers: Vec<_> = acks
        .answers
        .iter()
        .map(|one| (one.node.as_str(), one.answer.clone().unwrap()))
        .collect();
    answers.sort();
    answers
}

#[tokio::test(start_paused = true)]
async fn an_event_reaches_the_sockets_of_every_server_or_of_this_one_alone() {
    let ([a, _b, _c], locals) = servers([empty(), empty(), empty()]).await;
    let root = root_of(&a);
    root.local().emit("mine", &1).await.unwrap();
    let root = root_of(&a);
    root.to("r").emit("ours", &("x", 2)).await.unwrap();
    for there in &locals[1..] {
        let ours = [r#"["ours","x",2]"#];
        eventually("it has come", || there.texts() == ours).await;
    }
    settle().await;
    assert_eq!(locals[0].texts(), [r#"["mine",1]"#, r#"["ours","x",2]"#]);
    assert_eq!(a.cluster.stats().sent, 1 + heartbeats(&a));
}

/// How many messages went out that nobody sent.
fn heartbeats(member: &Member) -> u64 {
    let kinds = member.wire.sent_kinds();
    let heartbeats = kinds.iter().filter(|kind| kind.contains("heartbeat"));
    heartbeats.count() as u64
}

#[tokio::test(start_paused = true)]
async fn sockets_that_lose_an_event_are_told_and_counted_also_when_the_cluster_fails() {
    let outbox = OutboxOptions {
        max_messages: 1,
        when_full: OutboxFull::Fail,
        ..OutboxOptions::default()
    };
    let options = ClusterOptions {
        outbox,
        ..ClusterOptions::default()
    };
    let [a] = Hub::default().members(&options).await;
    eventually("a said hello", || !a.wire.sent_kinds().is_empty()).await;
    a.enter(empty().with_packet_drops(3));
    a.wire.hold();
    let emitted = root_of(&a).emit("e", &()).await;
    assert!(
        matches!(emitted, Err(ApiError::SocketsFull { dropped: 3 })),
        "{emitted:?}"
    );
    assert_eq!(a.cluster.stats().dropped_packets, 3);
    let emitted = root_of(&a).emit("e", &()).await;
    assert!(
        matches!(emitted, Err(ApiError::Cluster(SendError::Full { .. }))),
        "{emitted:?}"
    );
    assert_eq!(a.cluster.stats().dropped_packets, 6);
}

#[tokio::test(start_paused = true)]
async fn clients_of_every_server_acknowledge_and_the_silent_ones_are_counted() {
    let b = empty().with_socket("b1", "r").with_socket("b2", "other");
    let ([a, _b, _c], _) = servers([
        empty().with_socket("a1", "r"),
        b,
        empty().with_socket("c1", "r").with_silent(2),
    ])
    .await;
    let started = Instant::now();
    let root = root_of(&a).timeout(SECOND);
    let acks = root.clone().to("r").emit_with_ack("e", &()).await.unwrap();
    let expected = [("a", "a1"), ("b", "b1"), ("c", "c1")].map(|(n, s)| (n, s.to_owned()));
    assert_eq!(answers(&acks), expected);
    assert_eq!((acks.unacknowledged, acks.dropped), (2, 0));
    assert!(acks.missing.is_empty() && !acks.is_complete());
    assert_eq!(started.elapsed(), SECOND);

    let acks = root.local().emit_with_ack("e", &()).await.unwrap();
    assert_eq!(answers(&acks), [("a", "a1".to_owned())]);
    assert!(acks.is_complete());
}

#[tokio::test(start_paused = true)]
async fn acknowledgements_are_kept_up_to_a_limit_in_bytes_and_the_rest_is_counted() {
    const SOCKETS: usize = 200;
    let options = ClusterOptions {
        max_reply_bytes: 4096,
        ..ClusterOptions::default()
    };
    let [a, b] = Hub::default().members(&options).await;
    let with_sockets = |name: &str| {
        (0..SOCKETS).fold(empty(), |local, n| {
            local.with_socket(&format!("{name}{n}"), "r")
        })
    };
    a.enter(with_sockets("a"));
    b.enter(with_sockets("b"));
    let root = root_of(&a).timeout(SECOND);
    for (operators, all) in [(root.clone(), 2 * SOCKETS), (root.local(), SOCKETS)] {
        let acks = operators.emit_with_ack::<String, _>("e", &()).await;
        let acks = acks.unwrap();
        let kept = acks.answers.len();
        assert!((1..4096 / 64).contains(&kept), "{kept} were kept");
        assert_eq!(kept + usize::try_from(acks.dropped).unwrap(), all);
        assert!(!acks.is_complete());
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_keeps_who_collects_acknowledgements_no_longer_than_its_time() {
    let outbox = OutboxOptions {
        max_messages: 1,
        ..OutboxOptions::default()
    };
    let options = ClusterOptions {
        outbox,
        ..ClusterOptions::default()
    };
    let [a, b] = Hub::default().members(&options).await;
    a.enter(empty().with_socket("a1", "r"));
    a.wire.hold();
    a.send_text("stuck").await;
    let started = Instant::now();
    let root = root_of(&a).timeout(SECOND);
    let acks = within(DAY, root.emit_with_ack("e", &())).await;
    let acks = acks.expect("it ends").unwrap();
    assert_eq!(started.elapsed(), SECOND);
    assert_eq!(answers(&acks), [("a", "a1".to_owned())]);
    assert_eq!(acks.missing, [node("b")]);
    drop(b);
}

#[tokio::test(start_paused = true)]
async fn sockets_join_leave_and_are_disconnected_on_every_server() {
    let ([a, _b, _c], locals) = servers([empty(), empty(), empty()]).await;
    let selected = root_of(&a).to("r");
    selected.join(["x", "y"]).await.unwrap();
    selected.leave("x").await.unwrap();
    selected.disconnect(true).await.unwrap();
    root_of(&a).local().join("only here").await.unwrap();
    let mut told = vec![
        r#"join [Text("x"), Text("y")] for [Text("r")]"#,
        r#"leave [Text("x")] for [Text("r")]"#,
        r#"disconnect true for [Text("r")]"#,
    ];
    for there in &locals[1..] {
        eventually("all has come", || there.calls().len() == 3).await;
    }
    settle().await;
    for there in &locals[1..] {
        assert_eq!(there.calls(), told);
    }
    told.push(r#"join [Text("only here")]"#);
    assert_eq!(locals[0].calls(), told);
}

#[tokio::test(start_paused = true)]
async fn sockets_their_ids_and_rooms_come_from_every_server() {
    let ([a, _b, c], _) = servers([
        empty().with_socket("a1", "r"),
        empty().with_socket("b1", "r").with_socket("b2", "s"),
        empty().with_socket("c1", "r"),
    ])
    .await;
    let root = root_of(&a).timeout(SECOND);
    let places = async |operators: Operators| {
        let found = operators.fetch_sockets().await.unwrap();
        let mut places: Vec<_> = found
            .items
            .iter()
            .map(|socket| format!("{} on {}", socket.id(), socket.node()))
            .collect();
        places.sort();
        (places, found.missing)
    };
    let all = ["a1 on a", "b1 on b", "b2 on b", "c1 on c"].map(str::to_owned);
    assert_eq!(places(root.clone()).await, (all.to_vec(), vec![]));
    let not_b = [&all[0], &all[3]].map(Clone::clone);
    let selected = root.clone().to("r").except("b1");
    assert_eq!(places(selected).await, (not_b.to_vec(), vec![]));
    let here = root.clone().local();
    assert_eq!(places(here).await, (vec![all[0].clone()], vec![]));

    let ids = async |operators: Operators| {
        let found = operators.socket_ids().await.unwrap();
        assert!(found.is_complete());
        let mut ids: Vec<_> = found.items.iter().map(ToString::to_string).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(root.clone()).await, ["a1", "b1", "b2", "c1"]);
    assert_eq!(ids(root.clone().to("s")).await, ["b2"]);
    assert_eq!(ids(root.clone().local()).await, ["a1"]);

    let rooms = root.rooms().await.unwrap();
    assert!(rooms.is_complete());
    assert_eq!(rooms.items, [Room::from("r"), Room::from("s")]);

    c.wire.cut();
    assert_eq!(
        places(root.clone()).await,
        (all[..3].to_vec(), vec![node("c")])
    );
}

#[tokio::test(start_paused = true)]
async fn other_servers_answer_events_and_this_one_is_not_asked() {
    let ([a, b, c], _) = servers([empty(), empty(), empty()]).await;
    for member in [&a, &b] {
        let handler = async |Data((x, y)): Data<(u32, u32)>, from: NodeId| {
            Answer(format!("{from}: {}", x + y))
        };
        root_of(member).on("sum", handler);
    }
    let root = root_of(&a);
    let sums = root.server_side_emit_with_ack::<String, _>("sum", &(1, 2));
    let mut sums = sums.await.unwrap();
    assert!(sums.is_complete());
    sums.items.sort_by(|x, y| x.node.cmp(&y.node));
    let [of_b, of_c] = &sums.items[..] else {
        panic!("{sums:?}");
    };
    assert_eq!((&of_b.node, &of_b.answer), (&node("b"), &Ok("a: 3".into())));
    assert_eq!(of_c.node, node("c"));
    assert!(matches!(&of_c.answer, Err(AnswerError::Failed(why)) if why.contains("sum")));
    drop(c);
}

#[tokio::test(start_paused = true)]
async fn an_event_calls_the_handlers_of_the_others_until_they_are_taken_out() {
    let ([a, b], _) = servers([empty(), empty()]).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    for member in [&a, &b] {
        for event in ["note", "last"] {
            let (seen, me) = (seen.clone(), member.cluster.node().clone());
            root_of(member).on(event, move |Data(text): Data<String>| {
                seen.lock().unwrap().push(format!("{event} {text} on {me}"));
                async {}
            });
        }
    }
    let send = async |event: &str, text: &str| {
        root_of(&a).server_side_emit(event, text).await.unwrap();
    };
    send("note", "one").await;
    eventually("it has come", || seen.lock().unwrap().len() == 1).await;
    assert!(root_of(&b).off("note"));
    assert!(!root_of(&b).off("note"));
    send("note", "two").await;
    send("last", "three").await;
    eventually("the last has come", || seen.lock().unwrap().len() == 2).await;
    settle().await;
    assert_eq!(*seen.lock().unwrap(), ["note one on b", "last three on b"]);
}

#[tokio::test(start_paused = true)]
async fn a_custom_request_is_answered_by_all_and_by_none_after_their_hooks_are_gone() {
    let ([a, b], _) = servers([empty(), empty()]).await;
    for member in [&a, &b] {
        let me = member.cluster.node().to_string();
        root_of(member).custom_hook(move |Data(question): Data<String>| {
            let answer = format!("{question} {me}");
            async { Answer(answer) }
        });
    }
    let ask = async || {
        let root = root_of(&a);
        let asked = root.custom_request::<String, _>("who?").await.unwrap();
        assert!(asked.is_complete());
        let answers = asked.items.into_iter().map(|one| one.answer.ok());
        answers.collect::<Vec<_>>()
    };
    let of = |name: &str| Some(format!("who? {name}"));
    assert_eq!(ask().await, [of("a"), of("b")]);
    assert!(root_of(&b).custom_hook_off());
    assert_eq!(ask().await, [of("a"), None]);
    assert!(root_of(&a).custom_hook_off());
    assert_eq!(ask().await, [None, None]);
}
