//! One socket by its id, wherever it is.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout as within};

use super::root_of;
use crate::{
    api::{ApiError, Operators},
    cluster::{
        ClusterOptions, NodeId, OutboxOptions, Room, SendError,
        testing::{FakeLocal, Hub, Member, eventually, settle},
    },
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Three servers with the sockets `a1`, `b1` and `c1` in the room `r`.
async fn servers(options: &ClusterOptions) -> ([Member; 3], [Arc<FakeLocal>; 3]) {
    let [a, b, c] = Hub::default().members(options).await;
    let locals = [(&a, "a1"), (&b, "b1"), (&c, "c1")].map(|(member, socket)| {
        let local = FakeLocal::new("/").with_socket(socket, "r");
        member.enter(local)
    });
    ([a, b, c], locals)
}

/// Joins, leaves and disconnects; all three must end in the same way.
async fn act_on(operators: &Operators, id: &str) -> [Result<(), ApiError>; 3] {
    [
        operators.remote_join(id, "x").await,
        operators.remote_leave(id, "x").await,
        operators.remote_disconnect(id, true).await,
    ]
}

fn told_of(id: &str) -> [String; 3] {
    [
        format!(r#"join [Text("x")] for [Text("{id}")]"#),
        format!(r#"leave [Text("x")] for [Text("{id}")]"#),
        format!(r#"disconnect true for [Text("{id}")]"#),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_socket_of_this_server_is_found_and_told_without_the_others() {
    let ([a, b, c], locals) = servers(&ClusterOptions::default()).await;
    let root = root_of(&a);
    let rooms = root.rooms_of("a1").await.unwrap();
    assert_eq!(rooms, [Room::from("a1"), Room::from("r")]);
    for done in act_on(&root, "a1").await {
        done.unwrap();
    }
    assert_eq!(locals[0].calls(), told_of("a1"));
    settle().await;
    let mut sent = a.wire.sent_kinds();
    sent.retain(|kind| !kind.contains("heartbeat"));
    assert!(sent.is_empty(), "nobody else was told: {sent:?}");
    drop((b, c));
}

#[tokio::test(start_paused = true)]
async fn a_socket_of_another_server_is_found_and_told_though_a_third_one_is_silent() {
    let ([a, _b, c], locals) = servers(&ClusterOptions::default()).await;
    c.wire.hold();
    let (root, started) = (root_of(&a), Instant::now());
    let rooms = root.rooms_of("b1").await.unwrap();
    assert_eq!(rooms, [Room::from("b1"), Room::from("r")]);
    for done in act_on(&root, "b1").await {
        done.unwrap();
    }
    assert!(started.elapsed() < SECOND);
    eventually("it was told", || locals[1].calls() == told_of("b1")).await;
    assert!(locals[0].calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_has_joined_a_room_of_that_name_is_not_taken_for_it() {
    let ([a, b, c], _) = servers(&ClusterOptions::default()).await;
    b.enter(FakeLocal::new("/").with_socket("watcher", "c1"));
    // The watcher's answer comes first.
    c.wire.hold();
    let root = root_of(&a);
    let let_go = async {
        sleep(SECOND).await;
        c.wire.let_go();
    };
    let (rooms, ()) = tokio::join!(root.rooms_of("c1"), let_go);
    assert_eq!(rooms.unwrap(), [Room::from("c1"), Room::from("r")]);
    let found = root.rooms_of("r").await;
    assert!(
        matches!(found, Err(ApiError::NoSuchSocket { .. })),
        "{found:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_no_server_has_is_an_error_and_nobody_is_told() {
    let ([a, _b, _c], locals) = servers(&ClusterOptions::default()).await;
    let root = root_of(&a);
    for done in act_on(&root, "nobody").await {
        assert!(
            matches!(&done, Err(ApiError::NoSuchSocket { id }) if id.as_str() == "nobody"),
            "{done:?}"
        );
    }
    settle().await;
    assert!(locals.iter().all(|local| local.calls().is_empty()));
}

#[tokio::test(start_paused = true)]
async fn while_a_server_is_silent_nothing_is_certain_and_all_are_told() {
    let ([a, b, c], locals) = servers(&ClusterOptions::default()).await;
    let root = root_of(&a).timeout(SECOND);
    c.wire.hold();
    let started = Instant::now();
    for done in act_on(&root, "nobody").await {
        assert!(
            matches!(
                &done,
                Err(ApiError::Unanswered { id, missing, .. })
                    if id.as_str() == "nobody" && *missing == [NodeId::from("c")]
            ),
            "{done:?}"
        );
    }
    assert_eq!(started.elapsed(), 3 * SECOND);
    for there in &locals[1..] {
        eventually("it was told", || there.calls() == told_of("nobody")).await;
    }
    drop(b);
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
    let ([a, _b, _c], _) = servers(&options).await;
    let root = root_of(&a).timeout(SECOND);
    a.wire.hold();
    a.send_text("stuck").await;
    let started = Instant::now();
    let done = within(DAY, root.remote_join("b1", "x")).await;
    let done = done.expect("it ends");
    assert!(
        matches!(done, Err(ApiError::Cluster(SendError::NoRoomInTime))),
        "nobody was told: {done:?}"
    );
    assert_eq!(started.elapsed(), SECOND);
}
