//! What may be asked for, and how much of it is kept.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_stops_the_reading_and_loses_nothing() {
    let server = Server::start(&[]);
    let options = RedisOptions {
        max_queued_bytes: 100_000,
        ..quick(RedisOptions::new(server.url().parse().unwrap()))
    };
    let redis = Redis::new("main", options).unwrap();
    let sub = subscription(&redis);
    read(&sub, &["s"], Start::New).await;
    let pad = "x".repeat(1000);
    for batch in 0..20 {
        let texts: Vec<_> = (0..100)
            .map(|n| {
                format!(
                    "XADD s {}-0 f {} pad {pad}",
                    batch * 100 + n + 1,
                    batch * 100 + n + 1
                )
            })
            .collect();
        let commands: Vec<_> = texts.iter().map(String::as_str).collect();
        run(&redis, &commands).await.unwrap();
    }
    // Longer than Redis may be silent while it is listened to.
    sleep(Duration::from_millis(2500)).await;
    let status = redis.status().subscriptions.remove(0);
    assert!(status.queued_bytes < 102_000, "{status:?}");
    assert_eq!((status.trouble, redis.status().lost_connections), (None, 0));
    assert_entries(&until_number(&sub, 2000).await, 1..2001);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_streams_nor_channels_keep_the_others_from_a_full_queue() {
    let server = Server::start(&["--client-output-buffer-limit", "pubsub 0 0 0"]);
    let options = RedisOptions {
        max_queued_bytes: 20_000,
        ..quick(RedisOptions::new(server.url().parse().unwrap()))
    };
    let redis = Redis::new("main", options).unwrap();
    let sub = subscription(&redis);
    subscribe(&sub, Kind::Channel, &["c"]).await;
    read(&sub, &["s", "t"], Start::New).await;
    for stream in ["s", "t"] {
        add(&redis, stream, 1..5001, "").await;
    }
    for batch in 0..20 {
        let texts: Vec<_> = (0..250)
            .map(|n| format!("PUBLISH c {}", batch * 250 + n))
            .collect();
        let commands: Vec<_> = texts.iter().map(String::as_str).collect();
        run(&redis, &commands).await.unwrap();
    }
    let mut last = [0_usize; 3];
    let mut shares = [0_usize; 3];
    let mut total = 0;
    while total < 15_000 {
        for seen in events(&sub, 1).await {
            let (kind, number) = match seen.split_once(": ").unwrap() {
                ("channel c", n) => (0, n.parse::<usize>().unwrap() + 1),
                (id, n) => (
                    1 + usize::from(id.starts_with('t')),
                    n.strip_prefix("f=").unwrap().parse().unwrap(),
                ),
            };
            assert_eq!(number, last[kind] + 1, "in order, of {kind}");
            last[kind] = number;
            total += 1;
            if total <= 7500 {
                shares[kind] += 1;
            }
        }
    }
    // Not the same for all: whoever is kept out has nothing here.
    assert!(shares.iter().all(|share| *share > 100), "{shares:?}");
    assert_eq!(redis.status().subscriptions[0].gaps, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_are_too_many_for_one_reply_are_read_in_several() {
    let server = Server::start(&[]);
    let options = RedisOptions {
        max_reply_bytes: 200_000,
        ..quick(RedisOptions::new(server.url().parse().unwrap()))
    };
    let redis = Redis::new("main", options).unwrap();
    let sub = subscription(&redis);
    let pad = "x".repeat(60_000);
    let add = |n: u32| format!("XADD s {n}-0 f {n} pad {pad}");
    for n in 1..101 {
        run(&redis, &[&add(n)]).await.unwrap();
    }
    read(&sub, &["s"], after("0-0")).await;
    assert_entries(&until_number(&sub, 100).await, 1..101);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_over_the_limit_is_not_passed_over_in_silence() {
    let server = Server::start(&[]);
    let options = RedisOptions {
        max_reply_bytes: 2000,
        ..quick(RedisOptions::new(server.url().parse().unwrap()))
    };
    let redis = Redis::new("main", options).unwrap();
    let sub = subscription(&redis);
    read(&sub, &["s"], Start::New).await;
    // In one go, so that it comes in one reply with those before it.
    let script = "for n = 1, 2 do redis.call('XADD', 's', n .. '-0', 'f', n) end \
                  redis.call('XADD', 's', '3-0', 'f', string.rep('x', 3000))";
    server.cli(&["EVAL", script, "1", "s"]);
    assert_eq!(until_number(&sub, 2).await, entries(1..3));
    eventually("the operator is told which limit to raise", async || {
        let trouble = redis.status().subscriptions[0].trouble.clone();
        trouble.is_some_and(|why| why.contains("max_reply_bytes") && why.contains("\"s\""))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_not_granted_are_refused_together() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let sub = subscription(&redis);
    let granted = permit("commands = ['XREAD']\nkeys = ['sio:*']");
    try_read(&sub, &granted, &["sio:1"], Start::New)
        .await
        .unwrap();
    for (permit, names) in [
        (&granted, vec!["sio:2", "other"]),
        (
            &permit("commands = ['XADD']\nkeys = ['sio:*']"),
            vec!["sio:2"],
        ),
        (&permit("commands = ['XREAD']"), vec!["sio:2"]),
    ] {
        let error = try_read(&sub, permit, &names, Start::New).await;
        assert!(matches!(error, Err(RedisError::Denied(_))), "{error:?}");
    }
    for count in [0, 1001] {
        let names = vec!["sio:2".to_owned()];
        let error = sub.read_streams(&granted, names, Start::New, count).await;
        assert!(matches!(error, Err(RedisError::Denied(_))), "{error:?}");
    }
    let names = (0..64).map(|n| format!("sio:x{n}")).collect();
    let error = sub.read_streams(&granted, names, Start::New, 1).await;
    assert!(
        matches!(&error, Err(RedisError::Denied(why)) if why.contains("64 streams")),
        "{error:?}"
    );
    assert_eq!(sub.streams(), ["sio:1".into()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_refuses_is_told_and_the_other_streams_are_read() {
    let server = Server::start(&[]);
    run(&client(&server), &["SET text x"]).await.unwrap();
    let acl = [
        "ACL",
        "SETUSER",
        "u",
        "on",
        ">p",
        "+@all",
        "-xinfo",
        "+xinfo|stream",
        "~ok*",
        "~text",
    ];
    assert!(server.cli(&acl).contains("OK"));
    let redis = at(&format!("redis://u:p@127.0.0.1:{}", server.port));
    let sub = subscription(&redis);
    for (name, code) in [("text", "WRONGTYPE"), ("bad", "NOPERM")] {
        let error = try_read(&sub, &anything(), &["ok1", name], Start::New).await;
        assert!(
            matches!(&error, Err(RedisError::Denied(why)) if why.contains(code)),
            "{error:?}"
        );
    }
    assert_eq!(sub.streams(), ["ok1".into()]);
    server.cli(&["XADD", "ok1", "1-0", "f", "1"]);
    assert_eq!(events(&sub, 1).await, expected("ok1", 1..2));
    server.cli(&["ACL", "SETUSER", "u", "-xinfo|stream"]);
    let error = try_read(&sub, &anything(), &["ok2"], Start::New).await;
    assert!(
        matches!(&error, Err(RedisError::Denied(why)) if why.contains("+xinfo|stream")),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_are_not_wanted_are_passed_over_and_are_no_gap() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let sub = subscription(&redis);
    sub.ignore(vec![b"*2\r\n$3\r\nown\r\n".to_vec()], Vec::new());
    read(&sub, &["s"], Start::New).await;
    for (id, name) in [(1, "own"), (2, "f"), (3, "own"), (4, "f"), (5, "own")] {
        run(&redis, &[&format!("XADD s {id}-0 {name} {id}")])
            .await
            .unwrap();
    }
    // The place is behind them as well: they may be trimmed.
    is_idle(&redis).await;
    server.cli(&["XTRIM", "s", "MAXLEN", "1"]);
    add(&redis, "s", 6..7, "").await;
    let seen = until_number(&sub, 6).await;
    assert_eq!(seen, [2, 4, 6].map(Seen::Entry));
    assert_eq!(redis.status().subscriptions[0].gaps, 0);
}
