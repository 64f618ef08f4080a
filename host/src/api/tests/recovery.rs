//! Operators of a server with connection state recovery.

use std::{sync::Arc, time::Duration};

use super::root_of;
use crate::cluster::{
    ClusterOptions, OutboxOptions,
    testing::{FakeLocal, Hub, Member, eventually, settle},
};

/// One server, with the socket `a1` in the room `r`, whose backend does not answer.
async fn held(outbox: OutboxOptions) -> (Member, Arc<FakeLocal>) {
    let hub = Hub::default();
    hub.keep_log();
    let options = ClusterOptions {
        connection_state_recovery: true,
        outbox,
        ..ClusterOptions::default()
    };
    let a = hub.join("a", options);
    let here = a.enter(FakeLocal::new("/").with_socket("a1", "r"));
    eventually("it has said hello", || {
        let stats = a.cluster.stats();
        (stats.sent, stats.outbox_messages) == (1, 0)
    })
    .await;
    a.wire.hold();
    (a, here)
}

#[tokio::test(start_paused = true)]
async fn what_is_done_to_sockets_waits_behind_the_events_before_it() {
    let (a, here) = held(OutboxOptions::default()).await;
    let root = root_of(&a);
    root.emit("news", &(1, "x")).await.unwrap();
    root.leave("r").await.unwrap();
    root.remote_join("a1", "x").await.unwrap();
    root.remote_disconnect("a1", true).await.unwrap();
    root.volatile().emit("now", &()).await.unwrap();
    root.local().emit("mine", &()).await.unwrap();
    settle().await;
    assert_eq!(here.story(), [r#"["now"]"#, r#"["mine"]"#]);
    a.wire.let_go();
    eventually("all is done", || here.story().len() == 6).await;
    let in_order = [
        r#"["news",1,"x","1-0"]"#,
        r#"leave [Text("r")]"#,
        r#"join [Text("x")] for [Text("a1")]"#,
        r#"disconnect true for [Text("a1")]"#,
    ];
    assert_eq!(here.story()[2..], in_order);
}

#[tokio::test(start_paused = true)]
async fn one_socket_of_this_server_is_reached_in_time_though_there_is_no_room() {
    let outbox = OutboxOptions {
        max_messages: 1,
        ..OutboxOptions::default()
    };
    let (a, here) = held(outbox).await;
    let root = root_of(&a).timeout(Duration::from_secs(1));
    root.emit("news", &1).await.unwrap();
    root.remote_disconnect("a1", false).await.unwrap();
    assert_eq!(here.story(), [r#"disconnect false for [Text("a1")]"#]);
}
