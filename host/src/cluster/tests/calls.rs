//! What this server does when others call it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{sync::watch, time::sleep};

use crate::cluster::{
    Body, Call, ClusterOptions, Handler, Message, Namespace, NodeId, OutboxOptions, Payload,
    QUERY_EVENT, Reply, RequestId, testing::*,
};

/// A node that serves `/`, and a hub on which others call it.
async fn called(options: ClusterOptions) -> (Hub, Member) {
    let hub = Hub::default();
    let [a] = hub.members(&options).await;
    eventually("it listens", || !a.wire.sent_kinds().is_empty()).await;
    (hub, a)
}

fn server_event(json: &str, request: Option<&str>) -> Body {
    Body::ServerEvent {
        data: Payload::text(json.to_owned()),
        request: request.map(RequestId::from),
    }
}

fn custom_query(kind: &str, json: &str, request: &str) -> Body {
    Body::CustomQuery {
        request: request.into(),
        kind: kind.into(),
        data: Payload::text(json.to_owned()),
    }
}

/// The answers that went out: request, value and error.
fn answers(member: &Member) -> Vec<(String, Option<Payload>, Option<String>)> {
    let answer = |message: Message| match message.body {
        Body::ServerEventAnswer {
            request,
            data,
            error,
        } => Some((request.to_string(), data, error.map(|e| e.to_string()))),
        Body::CustomAnswer {
            request,
            data,
            error,
        } => Some((
            format!("custom {request}"),
            data,
            error.map(|e| e.to_string()),
        )),
        _ => None,
    };
    member.wire.sent().into_iter().filter_map(answer).collect()
}

fn value(request: &str, json: &'static str) -> (String, Option<Payload>, Option<String>) {
    (request.to_owned(), Some(Payload::text(json)), None)
}

/// A handler that notes the texts of its calls.
fn noting() -> (Handler, Arc<Mutex<Vec<String>>>) {
    let notes = Arc::<Mutex<Vec<String>>>::default();
    let written = notes.clone();
    let noting = handler(move |call: Call| {
        written.lock().unwrap().push(call.data.json.to_string());
        async { Reply::Value(None) }
    });
    (noting, notes)
}

#[tokio::test(start_paused = true)]
async fn a_handler_learns_who_calls_with_what_and_whether_an_answer_is_wanted() {
    let (hub, a) = called(ClusterOptions::default()).await;
    let calls = Arc::<Mutex<Vec<Call>>>::default();
    let seen = calls.clone();
    let remember = handler(move |call: Call| {
        seen.lock().unwrap().push(call);
        async { Reply::Value(None) }
    });
    a.cluster.on_server_event(&root(), "e", remember.clone());
    a.cluster.on_query(&root(), "e", remember);
    hub.say("x", server_event(r#"["e",1]"#, None));
    hub.say("", server_event(r#"["e",2]"#, Some("r")));
    hub.say("emitter", custom_query("e", "3", "q"));
    eventually("all are called", || calls.lock().unwrap().len() == 3).await;
    let call = |from: &str, json: &'static str, answer_wanted| Call {
        namespace: root(),
        from: from.into(),
        data: Payload::text(json),
        answer_wanted,
    };
    let expected = [
        call("x", r#"["e",1]"#, false),
        call("", r#"["e",2]"#, true),
        call("emitter", "3", true),
    ];
    assert_eq!(*calls.lock().unwrap(), expected);
    eventually("both are answered", || answers(&a).len() == 2).await;
    let recipients: Vec<_> = a
        .wire
        .sent()
        .into_iter()
        .filter(|message| message.body.answers().is_some())
        .map(|message| message.recipient)
        .collect();
    assert_eq!(recipients, [None, Some(NodeId::from("emitter"))]);
}

#[tokio::test(start_paused = true)]
async fn handlers_start_in_the_order_of_the_calls_and_go_on_side_by_side() {
    const CALLS: u64 = 100;
    let (hub, a) = called(ClusterOptions::default()).await;
    let (starts, ends) = (
        Arc::<Mutex<Vec<u64>>>::default(),
        Arc::<Mutex<Vec<u64>>>::default(),
    );
    let (started, ended) = (starts.clone(), ends.clone());
    let slow_first = handler(move |call: Call| {
        let (started, ended) = (started.clone(), ended.clone());
        async move {
            let (_, n): (String, u64) = serde_json::from_str(&call.data.json).unwrap();
            started.lock().unwrap().push(n);
            sleep(Duration::from_millis(CALLS - n)).await;
            ended.lock().unwrap().push(n);
            Reply::Silent
        }
    });
    a.cluster
        .on_server_event(&root(), "even", slow_first.clone());
    a.cluster.on_server_event(&root(), "odd", slow_first);
    for n in 0..CALLS {
        let name = if n % 2 == 0 { "even" } else { "odd" };
        hub.say("x", server_event(&format!(r#"["{name}",{n}]"#), None));
    }
    eventually("all end", || ends.lock().unwrap().len() == 100).await;
    assert_eq!(*starts.lock().unwrap(), (0..CALLS).collect::<Vec<_>>());
    assert_eq!(*ends.lock().unwrap(), (0..CALLS).rev().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_start_in_order_also_on_many_threads() {
    const CALLS: usize = 5000;
    let options = ClusterOptions {
        max_calls: CALLS,
        ..ClusterOptions::default()
    };
    let (hub, a) = called(options).await;
    let starts = Arc::<Mutex<Vec<usize>>>::default();
    let started = starts.clone();
    let slow = handler(move |call: Call| {
        let started = started.clone();
        async move {
            let (_, n): (String, usize) = serde_json::from_str(&call.data.json).unwrap();
            started.lock().unwrap().push(n);
            tokio::task::yield_now().await;
            Reply::Silent
        }
    });
    a.cluster.on_server_event(&root(), "e", slow);
    for n in 0..CALLS {
        hub.say("x", server_event(&format!(r#"["e",{n}]"#), None));
    }
    eventually("all start", || starts.lock().unwrap().len() == CALLS).await;
    assert!(starts.lock().unwrap().is_sorted());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_end_holds_up_neither_messages_nor_other_handlers() {
    let (hub, a) = called(ClusterOptions::default()).await;
    let here = a.enter(FakeLocal::new("/"));
    a.cluster
        .on_server_event(&root(), "stuck", handler(|_| std::future::pending()));
    a.cluster.on_server_event(&root(), "e", answering("1"));
    hub.say("x", server_event(r#"["stuck"]"#, Some("1")));
    hub.say("x", text_broadcast("hi"));
    hub.say("x", server_event(r#"["e"]"#, Some("2")));
    eventually("it is answered", || answers(&a) == [value("2", "1")]).await;
    assert_eq!(here.texts(), ["hi"]);
    assert_eq!(a.cluster.stats().calls, 1, "the stuck one keeps its place");
}

#[tokio::test(start_paused = true)]
async fn without_a_handler_the_asker_gets_an_error_and_an_event_has_no_effect() {
    let (hub, a) = called(ClusterOptions::default()).await;
    hub.say("x", server_event(r#"["e"]"#, None));
    hub.say("x", server_event(r#"["e"]"#, Some("1")));
    hub.say("x", custom_query("k", "0", "2"));
    hub.say(
        "x",
        server_event(&format!(r#"["{QUERY_EVENT}","k"]"#), Some("3")),
    );
    eventually("all are answered", || answers(&a).len() == 3).await;
    let error = |request: &str, text: &str| (request.to_owned(), None, Some(text.to_owned()));
    let expected = [
        error("1", r#"no handler for the server event "e""#),
        error("custom 2", r#"unknown request kind "k""#),
        error("3", r#"unknown request kind "k""#),
    ];
    // The last one has come as an event, so it is answered like an event.
    assert_eq!(answers(&a), expected);
    assert_eq!(a.cluster.stats().unreadable_calls, 0);
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_replaced_by_the_next_of_its_name_and_taken_out_by_off() {
    let (hub, a) = called(ClusterOptions::default()).await;
    let admin = Namespace::from("/admin");
    a.cluster.on_server_event(&root(), "e", answering("1"));
    a.cluster.on_server_event(&root(), "e", answering("2"));
    a.cluster.on_server_event(&admin, "e", answering("3"));
    a.cluster.on_query(&root(), "e", answering("4"));
    hub.say("x", server_event(r#"["e"]"#, Some("1")));
    eventually("it is answered", || answers(&a) == [value("1", "2")]).await;
    assert!(a.cluster.off_server_event(&root(), "e"));
    assert!(!a.cluster.off_server_event(&root(), "e"));
    assert!(a.cluster.off_server_event(&admin, "e"), "another namespace");
    assert!(a.cluster.off_query(&root(), "e"), "a query is no event");
    hub.say("x", server_event(r#"["e"]"#, Some("2")));
    eventually("it is answered", || answers(&a).len() == 2).await;
    assert!(answers(&a)[1].2.as_ref().unwrap().contains("no handler"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error_for_its_asker_and_for_nobody_else() {
    struct PanicsAtItsEnd;
    impl Drop for PanicsAtItsEnd {
        fn drop(&mut self) {
            panic!("at the end");
        }
    }
    let (hub, a) = called(ClusterOptions::default()).await;
    let on = |event: &'static str, handler| a.cluster.on_server_event(&root(), event, handler);
    on("at once", Arc::new(|_| panic!("no future")));
    on("first poll", handler(|_| async { panic!("first poll") }));
    on(
        "later",
        handler(|_| async {
            sleep(Duration::from_millis(1)).await;
            panic!("later {}", 1)
        }),
    );
    on(
        "dropped",
        handler(|_| {
            let bomb = PanicsAtItsEnd;
            async move {
                sleep(Duration::from_millis(2)).await;
                drop(bomb);
                Reply::Value(None)
            }
        }),
    );
    on("fine", answering("1"));
    for event in ["at once", "first poll", "later", "dropped", "fine"] {
        hub.say("x", server_event(&format!(r#"["{event}"]"#), Some(event)));
    }
    eventually("all are answered", || answers(&a).len() == 5).await;
    let panicked = |request: &str| {
        (
            request.to_owned(),
            None,
            Some("the handler panicked".to_owned()),
        )
    };
    let expected = [
        panicked("at once"),
        panicked("first poll"),
        value("fine", "1"),
        panicked("later"),
        panicked("dropped"),
    ];
    assert_eq!(answers(&a), expected);
    assert_eq!(a.cluster.stats().panicked_calls, 4);
    eventually("the places are free", || a.cluster.stats().calls == 0).await;
}

#[tokio::test(start_paused = true)]
async fn over_max_calls_the_asker_gets_an_error_and_an_event_is_counted() {
    let options = ClusterOptions {
        max_calls: 2,
        ..ClusterOptions::default()
    };
    let (hub, a) = called(options).await;
    let (release, held) = watch::channel(false);
    let slow = handler(move |_| {
        let mut held = held.clone();
        async move {
            held.wait_for(|released| *released).await.unwrap();
            Reply::Value(None)
        }
    });
    a.cluster.on_server_event(&root(), "e", slow);
    for request in [Some("1"), Some("2"), Some("3"), None] {
        hub.say("x", server_event(r#"["e"]"#, request));
    }
    eventually("two are refused", || a.cluster.stats().refused_calls == 2).await;
    assert_eq!(a.cluster.stats().calls, 2);
    eventually("one is answered", || answers(&a).len() == 1).await;
    let (request, _, error) = answers(&a).remove(0);
    assert_eq!(request, "3");
    assert_eq!(error.unwrap(), "`max_calls` = 2 is reached on node a");
    release.send_replace(true);
    eventually("there is room again", || a.cluster.stats().calls == 0).await;
    hub.say("x", server_event(r#"["e"]"#, Some("4")));
    eventually("all are answered", || answers(&a).len() == 4).await;
    assert_eq!(a.cluster.stats().refused_calls, 2);
}

#[tokio::test(start_paused = true)]
async fn calls_over_max_call_bytes_are_refused_but_a_large_one_alone_is_not() {
    let options = ClusterOptions {
        max_call_bytes: 10,
        ..ClusterOptions::default()
    };
    let (hub, a) = called(options).await;
    a.cluster
        .on_server_event(&root(), "e", handler(|_| std::future::pending()));
    hub.say("x", server_event(r#"["e","larger than ten"]"#, None));
    hub.say("x", server_event(r#"["e"]"#, Some("1")));
    eventually("one is refused", || answers(&a).len() == 1).await;
    let error = answers(&a).remove(0).2.unwrap();
    assert_eq!(error, "`max_call_bytes` = 10 is reached on node a");
    assert_eq!(a.cluster.stats().calls, 1);
    assert_eq!(a.cluster.stats().call_bytes, 23);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_read_is_counted_and_its_asker_told() {
    let (hub, a) = called(ClusterOptions::default()).await;
    let query_without_kind = format!(r#"["{QUERY_EVENT}"]"#);
    let unreadable = ["[]", "[1]", "{}", "", &query_without_kind];
    for json in unreadable {
        hub.say("x", server_event(json, None));
        hub.say("x", server_event(json, Some(json)));
    }
    eventually("all are answered", || answers(&a).len() == unreadable.len()).await;
    for (request, _, error) in answers(&a) {
        let error = error.unwrap();
        assert!(error.contains("could not be read"), "{request}: {error}");
    }
    assert_eq!(a.cluster.stats().unreadable_calls, 10);
}

#[tokio::test(start_paused = true)]
async fn a_name_with_escapes_finds_its_handler() {
    let (hub, a) = called(ClusterOptions::default()).await;
    a.cluster
        .on_server_event(&root(), "say \"é\"", answering("1"));
    hub.say("x", server_event(r#"["say \"\u00e9\"",1]"#, Some("1")));
    eventually("it is answered", || answers(&a) == [value("1", "1")]).await;
}

#[tokio::test(start_paused = true)]
async fn the_event_that_carries_queries_is_never_an_event() {
    let (hub, a) = called(ClusterOptions::default()).await;
    a.cluster
        .on_server_event(&root(), QUERY_EVENT, answering("\"event\""));
    a.cluster.on_query(&root(), "k", with_name("a"));
    let json = format!(r#"["{QUERY_EVENT}","k",{{"x":1}}]"#);
    hub.say("x", server_event(&json, Some("1")));
    eventually("it is answered", || {
        answers(&a) == [value("1", r#"["a",{"x":1}]"#)]
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn after_leaving_a_namespace_no_handler_starts_and_no_answer_is_sent() {
    let (hub, a) = called(ClusterOptions::default()).await;
    let (release, held) = watch::channel(false);
    let starts = Arc::new(AtomicUsize::new(0));
    let started = starts.clone();
    let slow = handler(move |_| {
        started.fetch_add(1, Ordering::SeqCst);
        let mut held = held.clone();
        async move {
            held.wait_for(|released| *released).await.unwrap();
            Reply::Value(None)
        }
    });
    a.cluster.on_server_event(&root(), "e", slow);
    hub.say("x", server_event(r#"["e"]"#, Some("1")));
    eventually("it runs", || starts.load(Ordering::SeqCst) == 1).await;
    a.cluster.leave(&root()).await;
    hub.say("x", server_event(r#"["e"]"#, Some("2")));
    release.send_replace(true);
    eventually("it has ended", || a.cluster.stats().calls == 0).await;
    settle().await;
    assert_eq!(starts.load(Ordering::SeqCst), 1);
    assert_eq!(a.wire.sent_kinds().last(), Some(&"adapter-close"));

    a.enter(FakeLocal::new("/"));
    hub.say("x", server_event(r#"["e"]"#, Some("3")));
    eventually("the handler is still there", || answers(&a).len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_when_their_namespace_is_left_do_not_start() {
    let (hub, a) = called(ClusterOptions::default()).await;
    let starts = Arc::new(AtomicUsize::new(0));
    let (started, cluster) = (starts.clone(), a.cluster.downgrade());
    let leave = handler(move |_| {
        started.fetch_add(1, Ordering::SeqCst);
        let cluster = cluster.upgrade().unwrap();
        async move {
            cluster.leave(&root()).await;
            Reply::Silent
        }
    });
    a.cluster.on_server_event(&root(), "e", leave);
    // They come together, so the second one is in the queue when the first one starts.
    hub.say("x", server_event(r#"["e"]"#, None));
    hub.say("x", server_event(r#"["e"]"#, None));
    // Besides both calls its own hello and its own farewell come back.
    eventually("all have come", || a.cluster.stats().received == 4).await;
    eventually("both are done with", || a.cluster.stats().calls == 0).await;
    assert_eq!(starts.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn answers_of_handlers_wait_for_room_and_are_not_dropped() {
    let outbox = OutboxOptions {
        max_messages: 1,
        max_answers: 1,
        ..OutboxOptions::default()
    };
    let options = ClusterOptions {
        outbox,
        ..ClusterOptions::default()
    };
    let (hub, a) = called(options).await;
    a.cluster.on_server_event(&root(), "e", answering("1"));
    a.wire.hold();
    for n in 0..50 {
        hub.say("x", server_event(r#"["e"]"#, Some(&n.to_string())));
    }
    settle().await;
    assert_eq!(a.cluster.stats().calls, 49, "all but the one in the outbox");
    a.wire.let_go();
    eventually("all are answered", || answers(&a).len() == 50).await;
    assert_eq!(a.cluster.stats().dropped_answers, 0);
}

#[tokio::test(start_paused = true)]
async fn closing_forgets_handlers_that_own_the_cluster_and_stops_those_that_run() {
    let (hub, a) = called(ClusterOptions::default()).await;
    let weak = a.cluster.downgrade();
    let owned = Arc::new(());
    let (owner, owns) = (a.cluster.clone(), owned.clone());
    let endless = handler(move |_| {
        let owns = (owner.clone(), owns.clone());
        async move {
            std::future::pending::<()>().await;
            drop(owns);
            Reply::Silent
        }
    });
    a.cluster.on_server_event(&root(), "e", endless);
    hub.say("x", server_event(r#"["e"]"#, Some("1")));
    eventually("it runs", || Arc::strong_count(&owned) == 3).await;
    a.cluster.close().await;
    assert_eq!(Arc::strong_count(&owned), 1);
    let (late, _) = noting();
    a.cluster.on_server_event(&root(), "e", late.clone());
    assert_eq!(Arc::strong_count(&late), 1, "not registered");
    drop(a);
    assert!(weak.upgrade().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_close_the_cluster_and_goes_on_to_its_end() {
    let (hub, a) = called(ClusterOptions::default()).await;
    for n in 0..100 {
        a.send_text(&n.to_string()).await;
    }
    let (owner, ended) = (a.cluster.clone(), watch::channel(false).0);
    let mut end = ended.subscribe();
    let shut_down = handler(move |_| {
        let (owner, ended) = (owner.clone(), ended.clone());
        async move {
            owner.close().await;
            sleep(Duration::from_secs(60)).await;
            ended.send_replace(true);
            Reply::Value(None)
        }
    });
    a.cluster.on_server_event(&root(), "shut down", shut_down);
    let weak = a.cluster.downgrade();
    hub.say("x", server_event(r#"["shut down"]"#, Some("1")));
    end.wait_for(|ended| *ended).await.unwrap();
    assert_eq!(a.wire.sent_texts().len(), 100);
    assert!(a.wire.commands().contains(&"close out".into()));
    drop(a);
    eventually("nothing is left", || weak.upgrade().is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_dropped_without_closing_aborts_its_handlers() {
    let (hub, a) = called(ClusterOptions::default()).await;
    let owned = Arc::new(());
    let owns = owned.clone();
    let endless = handler(move |_| {
        let owns = owns.clone();
        std::future::pending().map(move |()| {
            drop(owns);
            Reply::Silent
        })
    });
    a.cluster.on_server_event(&root(), "e", endless);
    hub.say("x", server_event(r#"["e"]"#, None));
    eventually("it runs", || Arc::strong_count(&owned) == 3).await;
    drop(a);
    eventually("it is aborted", || Arc::strong_count(&owned) == 1).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_for_a_namespace_that_is_not_served_calls_nobody() {
    let hub = Hub::default();
    let a = hub.join("a", ClusterOptions::default());
    let (noting, notes) = noting();
    a.cluster.on_server_event(&root(), "e", noting);
    hub.say("x", server_event(r#"["e",1]"#, None));
    eventually("it has come", || a.cluster.stats().received == 1).await;
    a.enter(FakeLocal::new("/"));
    hub.say("x", server_event(r#"["e",2]"#, None));
    eventually("the next is noted", || {
        *notes.lock().unwrap() == [r#"["e",2]"#]
    })
    .await;
}
