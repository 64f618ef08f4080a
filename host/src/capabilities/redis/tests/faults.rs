//! Servers that die, freeze and come back; connections that are cut.

use super::{proxy::Proxy, *};

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_everything_is_subscribed_again_and_one_gap_is_told() {
    let mut server = Server::start(&[]);
    let redis = client(&server);
    let sub = subscription(&redis);
    subscribe(&sub, Kind::Channel, &["a", "b"]).await;
    subscribe(&sub, Kind::Pattern, &["p*"]).await;
    subscribe(&sub, Kind::Shard, &["s"]).await;
    run(&redis, &["PUBLISH a before"]).await.unwrap();
    for round in 0..3 {
        server.kill();
        eventually("the loss is noticed", async || {
            run(&redis, &["PUBLISH a x"]).await.is_err()
        })
        .await;
        // Several attempts fail meanwhile.
        sleep(Duration::from_millis(1500)).await;
        let error = run(&redis, &["PING"]).await.unwrap_err();
        assert!(matches!(error, RedisError::Unavailable(_)), "{error}");
        server.restart();
        let back = Instant::now();
        eventually("all is subscribed again", async || {
            let sent = run(&redis, &["PUBLISH b x", "PUBLISH p1 x", "SPUBLISH s x"]).await;
            sent.is_ok_and(|sent| sent == [":1", ":1", ":1"])
        })
        .await;
        let took = back.elapsed();
        assert!(took < Duration::from_secs(2), "back only after {took:?}");
        let mut seen = Vec::new();
        while seen.last().is_none_or(|last: &String| last != "shard s: x") {
            seen.extend(events(&sub, 1).await);
        }
        let gaps = seen.iter().filter(|event| *event == "lagged").count();
        assert_eq!(gaps, 1, "round {round}: {seen:?}");
        let first = seen
            .iter()
            .find(|event| *event != "channel a: before")
            .unwrap();
        assert_eq!(first, "lagged", "the gap stands before what came after it");
    }
    let status = redis.status();
    assert_eq!(status.subscriptions[0].gaps, 3);
    assert!(status.lost_connections >= 6, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_calls_fail_at_once() {
    let mut server = Server::start(&[]);
    let redis = client(&server);
    run(&redis, &["PING"]).await.unwrap();
    server.kill();
    eventually("the loss is noticed", async || {
        run(&redis, &["PING"]).await.is_err()
    })
    .await;
    sleep(Duration::from_millis(100)).await;
    let since = Instant::now();
    for _ in 0..100 {
        let error = run(&redis, &["PING"]).await.unwrap_err();
        assert!(matches!(error, RedisError::Unavailable(_)), "{error}");
    }
    assert!(
        since.elapsed() < Duration::from_secs(1),
        "{:?}",
        since.elapsed()
    );
    let sub = subscription(&redis);
    let names = vec!["c".to_owned()];
    let error = until_err(&sub, &names).await;
    assert!(matches!(error, RedisError::Unavailable(_)), "{error}");
    server.restart();
    // Without being asked again.
    eventually("the name is subscribed", async || {
        server.cli(&["PUBSUB", "NUMSUB", "c"]).contains('1')
    })
    .await;
}

/// Whoever finds Redis first must not talk to those who have not.
#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_first_after_an_absence_reaches_all_who_were_subscribed() {
    let mut server = Server::start(&[]);
    let sender = client(&server);
    run(&sender, &["PING"]).await.unwrap();
    let receivers: Vec<_> = (0..6).map(|_| client(&server)).collect();
    let receivers: Vec<_> = receivers.iter().map(subscription).collect();
    for receiver in &receivers {
        subscribe(receiver, Kind::Channel, &["c"]).await;
    }
    for _ in 0..2 {
        server.kill();
        // Until the pauses between attempts are at their longest, and differ.
        sleep(Duration::from_millis(1_500)).await;
        server.restart();
        until_ok(|| run(&sender, &["PUBLISH c first"])).await;
        for receiver in &receivers {
            assert_eq!(events(receiver, 2).await, ["lagged", "channel c: first"]);
        }
    }
}

async fn until_err(sub: &Subscription, names: &[String]) -> RedisError {
    sub.subscribe_again(Kind::Channel, names).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_is_cut_tells_what_was_answered_and_what_is_in_doubt() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port).await;
    let redis = at(&format!("redis://127.0.0.1:{}", proxy.port));
    run(&redis, &["PING"]).await.unwrap();
    for answered in [0, 1, 3, 7] {
        let commands = ["INCR n"; 8];
        server.cli(&["SET", "n", "0"]);
        // An answer is `:1` and a line end, and half of the next one is let through as well.
        proxy.cut_after(answered * 4 + 2);
        let replies = run(&redis, &commands).await.unwrap();
        assert_eq!(replies.len(), 8);
        for (index, reply) in replies.iter().enumerate() {
            match index < answered {
                true => assert_eq!(*reply, format!(":{}", index + 1)),
                false => assert!(reply.starts_with("unknown"), "{answered}: {replies:?}"),
            }
        }
        // In doubt it was, executed as well.
        assert_eq!(server.cli(&["GET", "n"]).trim(), "8");
        proxy.mend();
        until_ok(|| run(&redis, &["PING"])).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_has_left_behind_is_settled_before_the_plugins_next_command_goes() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port).await;
    let redis = at(&format!("redis://127.0.0.1:{}", proxy.port));
    run(&redis, &["PING"]).await.unwrap();
    proxy.fall_silent();
    // It takes a moment until the connection has heard of it.
    sleep(Duration::from_millis(100)).await;
    let left = timeout(Duration::from_millis(100), run(&redis, &["RPUSH l x"])).await;
    assert!(left.is_err(), "it waits for its reply");
    proxy.mend();
    // Both go over another connection, which works.
    let range = written(&["LRANGE l 0 -1"]);
    let other = RedisPermit::new(
        "other",
        "main",
        vec![rights("commands = ['*']\nkeys = ['*']")],
        Some(vec![RedisRights::default()]),
    );
    redis.pipeline(&other, range.clone()).await.unwrap();
    assert_eq!(
        redis.status().lost_connections,
        0,
        "another plugin need not wait"
    );
    let permit = anything();
    let mut waits = Box::pin(redis.pipeline(&permit, range));
    let gives_up = timeout(Duration::from_millis(100), &mut waits).await;
    assert!(
        gives_up.is_err(),
        "it is not known what became of the first one"
    );
    timeout(PATIENCE, waits).await.unwrap().unwrap();
    assert_eq!(redis.status().lost_connections, 1, "now it is");
    until_ok(|| run(&redis, &["PING"])).await;

    // When Redis answers, the next command sees what was left behind.
    server.freeze();
    let left = timeout(Duration::from_millis(100), run(&redis, &["RPUSH l y"])).await;
    assert!(left.is_err());
    server.thaw();
    let found = run(&redis, &["LRANGE l -1 -1"]).await.unwrap();
    assert!(found[0].contains("y"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_noticed_and_its_connections_are_replaced() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let sub = subscription(&redis);
    subscribe(&sub, Kind::Channel, &["c"]).await;
    run(&redis, &["PING"]).await.unwrap();
    server.freeze();
    let since = Instant::now();
    let in_doubt = run(&redis, &["PUBLISH c x"]).await.unwrap();
    assert!(in_doubt[0].starts_with("unknown"), "{in_doubt:?}");
    assert!(
        since.elapsed() < Duration::from_secs(4),
        "{:?}",
        since.elapsed()
    );
    eventually("the subscription notices", async || {
        redis.status().subscriptions[0].trouble.is_some()
    })
    .await;
    server.thaw();
    let mut seen = Vec::new();
    while !seen.contains(&"lagged".to_owned()) {
        seen.extend(events(&sub, 1).await);
    }
    until_ok(|| run(&redis, &["PUBLISH c y"])).await;
    assert!(events(&sub, 1).await.contains(&"channel c: y".to_owned()));
    assert_eq!(redis.status().subscriptions[0].gaps, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_kept_alive_and_a_dead_one_noticed_without_a_call() {
    let server = Server::start(&[]);
    let redis = client(&server);
    run(&redis, &["PING"]).await.unwrap();
    sleep(Duration::from_millis(1200)).await;
    assert_eq!(redis.status().lost_connections, 0);
    server.freeze();
    eventually("the dead connection is noticed", async || {
        redis.status().lost_connections > 0
    })
    .await;
    server.thaw();
    until_ok(|| run(&redis, &["PING"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_whose_connection_breaks_says_so_and_connects_again() {
    let mut server = Server::start(&[]);
    let redis = client(&server);
    let permit = anything();
    let mut reader = redis.reader(&permit).unwrap();
    let read = written(&["XREAD BLOCK 20000 STREAMS s 0"]);
    let short = Duration::from_millis(100);
    assert_eq!(reader.read(&permit, &read, short).await, Ok(None));
    server.kill();
    let error = reader.read(&permit, &read, PATIENCE).await.unwrap_err();
    assert!(matches!(error, RedisError::Unavailable(_)), "{error}");
    server.restart();
    run_until(&redis, "XADD s 1-1 a b").await;
    let reply = reader
        .read(&permit, &read, PATIENCE)
        .await
        .unwrap()
        .unwrap();
    assert!(shown(&reply).contains("1-1"), "{reply:?}");
}

async fn run_until(redis: &Redis, command: &str) {
    until_ok(|| run(redis, std::slice::from_ref(&command))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_no_longer_the_master_is_left() {
    let master = Server::start(&[]);
    let server = Server::start(&[]);
    let redis = client(&server);
    run(&redis, &["SET k v"]).await.unwrap();
    let port = master.port.to_string();
    server.cli(&["REPLICAOF", "127.0.0.1", &port]);
    let error = run(&redis, &["SET k w"]).await.unwrap();
    assert!(error[0].starts_with("not executed: READONLY"), "{error:?}");
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    eventually("a new connection serves", async || {
        run(&redis, &["SET k w"])
            .await
            .is_ok_and(|replies| replies == ["+OK"])
    })
    .await;
    assert_eq!(redis.status().lost_connections, 1);
}
