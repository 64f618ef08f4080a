//! Subscriptions on one server: names, the queue, what outlives a plugin's instance.

use super::*;
use crate::capabilities::handout::Rollback;

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_every_kind_arrive_once_for_each_match() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let sub = subscription(&redis);
    subscribe(&sub, Kind::Channel, &["news", "other"]).await;
    subscribe(&sub, Kind::Pattern, &["n*"]).await;
    subscribe(&sub, Kind::Shard, &["news"]).await;
    let sent = run(
        &redis,
        &["PUBLISH news 1", "SPUBLISH news 2", "PUBLISH other 3"],
    )
    .await;
    assert_eq!(sent.unwrap(), [":2", ":1", ":1"]);
    assert_eq!(
        events(&sub, 4).await,
        [
            "channel news: 1",
            "pattern(n*) news: 1",
            "shard news: 2",
            "channel other: 3"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_can_be_left_and_wanted_again_in_any_order() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let sub = subscription(&redis);
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    for round in 0..50 {
        subscribe(&sub, Kind::Channel, &["a", "b"]).await;
        sub.unsubscribe(Kind::Channel, names(&["a"]));
        if round % 2 == 0 {
            // Time for it to be sent, or not.
            tokio::task::yield_now().await;
        }
        subscribe(&sub, Kind::Channel, &["a"]).await;
        sub.unsubscribe(Kind::Channel, names(&["b", "never there"]));
        let count = run(&redis, &["PUBLISH a x"]).await.unwrap();
        assert_eq!(count, [":1"], "round {round}");
    }
    assert_eq!(events(&sub, 50).await, vec!["channel a: x"; 50]);
    let listed: Vec<_> = sub.names(Kind::Channel).into_iter().collect();
    assert_eq!(listed, ["a".into()]);
    eventually("b is left", async || {
        run(&redis, &["PUBSUB NUMSUB a b"]).await.unwrap()[0]
            == r#"[Bulk(b"a"), Integer(1), Bulk(b"b"), Integer(0)]"#
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_names_are_subscribed_in_a_moment() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let sub = subscription(&redis);
    let names: Vec<String> = (0..10_000).map(|n| format!("room-{n}")).collect();
    sub.subscribe(&anything(), Kind::Shard, names)
        .await
        .unwrap();
    let sent = run(&redis, &["SPUBLISH room-9999 x"]).await.unwrap();
    assert_eq!(sent, [":1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_goes_on_where_the_last_instance_stopped() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let (first, first_opening) = redis.subscription(&anything(), "sub").unwrap();
    subscribe(&first, Kind::Channel, &["c"]).await;
    run(&redis, &["PUBLISH c 1", "PUBLISH c 2", "PUBLISH c 3"])
        .await
        .unwrap();
    assert_eq!(events(&first, 3).await.len(), 3);
    run(&redis, &["PUBLISH c 4"]).await.unwrap();
    let taken = first.next(PATIENCE, 10, 1000, copied).await.unwrap();
    assert_eq!(taken.len(), 1);
    first.rollback(Rollback::Fault);
    let (second, second_opening) = redis.subscription(&anything(), "sub").unwrap();
    // The old instance says goodbye after the new one has begun.
    redis.end(&first, first_opening);
    drop(first);
    assert_eq!(events(&second, 1).await, ["channel c: 4"]);
    run(&redis, &["PUBLISH c 5"]).await.unwrap();
    assert_eq!(events(&second, 1).await, ["channel c: 5"]);
    redis.end(&second, second_opening);
    eventually("nobody is subscribed", async || {
        run(&redis, &["PUBLISH c 6"]).await.unwrap() == [":0"]
    })
    .await;
    assert_eq!(redis.status().subscriptions, []);
    let (third, _) = redis.subscription(&anything(), "sub").unwrap();
    assert!(third.names(Kind::Channel).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_do_not_share_subscriptions_of_the_same_name() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let other = RedisPermit::new("other", "main", vec![rights("")], Some(vec![rights("")]));
    let (mine, _) = redis.subscription(&anything(), "sub").unwrap();
    let (others, _) = redis.subscription(&other, "sub").unwrap();
    assert!(!mine.is_same(&others));
    assert!(redis.subscription(&other, "").is_err());
    assert!(redis.subscription(&other, &"x".repeat(65)).is_err());
    for n in 1..16 {
        redis.subscription(&other, &format!("sub{n}")).unwrap();
    }
    assert!(redis.subscription(&other, "one-more").is_err());
    assert!(redis.subscription(&other, "sub").is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_holds_redis_up_and_loses_nothing() {
    let server = Server::start(&["--client-output-buffer-limit", "pubsub 0 0 0"]);
    let options = RedisOptions {
        max_queued_bytes: 100_000,
        ..quick(RedisOptions::new(server.url().parse().unwrap()))
    };
    let redis = Redis::new("main", options).unwrap();
    let sub = subscription(&redis);
    subscribe(&sub, Kind::Channel, &["c"]).await;
    // Far more than the queue, the sockets' buffers and the reader hold.
    let pad = "x".repeat(10_000);
    for batch in 0..20 {
        let texts: Vec<_> = (0..100)
            .map(|n| format!("PUBLISH c {}-{pad}", batch * 100 + n))
            .collect();
        let commands: Vec<_> = texts.iter().map(String::as_str).collect();
        run(&redis, &commands).await.unwrap();
    }
    // Longer than a connection that is read may be silent.
    sleep(Duration::from_millis(1500)).await;
    let queued = redis.status().subscriptions[0].queued_bytes;
    assert!(queued < 120_000, "{queued} bytes in the queue");
    let mut expected = 0;
    while expected < 2000 {
        for event in events(&sub, 1).await {
            let start = format!("channel c: {expected}-");
            assert!(
                event.starts_with(&start),
                "{expected} expected, not {:.40}",
                event
            );
            expected += 1;
        }
    }
    assert_eq!(redis.status().subscriptions[0].gaps, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_redis_cuts_off_for_slowness_is_told() {
    let server = Server::start(&["--client-output-buffer-limit", "pubsub 1mb 1mb 1"]);
    let options = RedisOptions {
        max_queued_bytes: 10_000,
        ..quick(RedisOptions::new(server.url().parse().unwrap()))
    };
    let redis = Redis::new("main", options).unwrap();
    let sub = subscription(&redis);
    subscribe(&sub, Kind::Channel, &["c"]).await;
    let pad = "x".repeat(100_000);
    let command = format!("PUBLISH c {pad}");
    eventually("Redis gives up", async || {
        run(&redis, &[&command]).await.unwrap() == [":0"]
    })
    .await;
    let mut lagged = 0;
    while lagged == 0 {
        lagged += events(&sub, 1)
            .await
            .iter()
            .filter(|e| *e == "lagged")
            .count();
    }
    run(&redis, &["PUBLISH c after"]).await.unwrap();
    assert_eq!(events(&sub, 1).await, ["channel c: after"]);
    assert_eq!(redis.status().subscriptions[0].gaps, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_over_the_limit_or_not_granted_are_refused_together() {
    let server = Server::start(&[]);
    let options = RedisOptions {
        max_names: 3,
        ..quick(RedisOptions::new(server.url().parse().unwrap()))
    };
    let redis = Redis::new("main", options).unwrap();
    let sub = subscription(&redis);
    subscribe(&sub, Kind::Channel, &["a", "b"]).await;
    for (asked, names) in [
        ("", ["a", "c", "d"]),
        ("channels = ['a*']", ["a", "a2", "b2"]),
    ] {
        let names = names.map(str::to_owned).to_vec();
        let error = sub.subscribe(&permit(asked), Kind::Channel, names).await;
        assert!(matches!(error, Err(RedisError::Denied(_))), "{error:?}");
    }
    assert_eq!(sub.names(Kind::Channel).len(), 2);
    subscribe(&sub, Kind::Channel, &["a", "b", "c"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_redis_refuses_is_told_and_the_others_are_subscribed() {
    let server = Server::start(&[]);
    let acl = [
        "ACL",
        "SETUSER",
        "u",
        "on",
        ">p",
        "+@all",
        "allcommands",
        "resetchannels",
        "&ok*",
    ];
    assert!(server.cli(&acl).contains("OK"));
    let redis = at(&format!("redis://u:p@127.0.0.1:{}", server.port));
    let sub = subscription(&redis);
    let names = ["ok1", "bad", "ok2"].map(str::to_owned).to_vec();
    let error = sub.subscribe(&anything(), Kind::Channel, names).await;
    assert!(
        matches!(&error, Err(RedisError::Denied(why)) if why.contains("NOPERM")),
        "{error:?}"
    );
    let listed: Vec<_> = sub.names(Kind::Channel).into_iter().collect();
    assert_eq!(listed, ["ok1".into(), "ok2".into()]);
    server.cli(&["PUBLISH", "ok1", "x"]);
    server.cli(&["PUBLISH", "ok2", "y"]);
    assert_eq!(events(&sub, 2).await, ["channel ok1: x", "channel ok2: y"]);
}
