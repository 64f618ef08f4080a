//! Pipelines and readers against one server.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn replies_are_typed_and_in_order() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let replies = run(
        &redis,
        &[
            "SET k v",
            "GET k",
            "GET none",
            "INCR n",
            "LPUSH k x",
            "RPUSH l a b",
            "LRANGE l 0 -1",
            "EVAL return{1,{2,{}},'x'} 0",
            "SET big 9223372036854775807",
            "INCRBY big 0",
            "publish c hello",
        ],
    )
    .await
    .unwrap();
    assert_eq!(replies.get(..4).unwrap(), ["+OK", "v", "nil", ":1"]);
    assert!(replies[4].starts_with("-WRONGTYPE"), "{replies:?}");
    assert_eq!(replies[5], ":2");
    assert_eq!(replies[6], r#"[Bulk(b"a"), Bulk(b"b")]"#);
    let nested = r#"[Integer(1), Array(2), Integer(2), Array(0), Bulk(b"x")]"#;
    assert_eq!(replies[7], nested);
    assert_eq!(replies[9], format!(":{}", i64::MAX));
    assert_eq!(replies[10], ":0");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_share_a_connection_and_get_their_own_replies() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..50 {
        let redis = redis.clone();
        callers.spawn(async move {
            for call in 0..20 {
                // Some are long enough for the other connection.
                let pad = "x".repeat(if call % 10 == 9 { 300_000 } else { 10 });
                let texts: Vec<_> = (0..5)
                    .map(|n| format!("ECHO {caller}-{call}-{n}-{pad}"))
                    .collect();
                let commands: Vec<_> = texts.iter().map(String::as_str).collect();
                let replies = run(&redis, &commands).await.unwrap();
                let expected: Vec<_> = texts.iter().map(|t| t.replace("ECHO ", "")).collect();
                assert!(replies == expected, "caller {caller} got another's replies");
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    let clients = server.cli(&["CLIENT", "LIST"]);
    let own = clients
        .lines()
        .filter(|line| line.contains("name=switchboard"))
        .count();
    assert_eq!(
        own, 2,
        "one for what is short and one for what is long: {clients}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_pipeline_does_not_hold_up_a_short_one() {
    let server = Server::start(&[]);
    let redis = client(&server);
    run(&redis, &["PING"]).await.unwrap();
    let long = {
        let redis = redis.clone();
        // A reply that takes Redis's whole attention would hold up everybody; this one is only
        // long to be carried.
        let value = "x".repeat(1 << 20);
        tokio::spawn(async move {
            run(&redis, &[&format!("SET big {value}")]).await.unwrap();
            let mut commands = vec!["GETRANGE big 0 -1"; 40];
            commands.push("LRANGE none 0 -1");
            let commands = written(&commands);
            redis.pipeline(&anything(), commands).await.unwrap().len()
        })
    };
    for _ in 0..200 {
        assert_eq!(run(&redis, &["ECHO short"]).await.unwrap(), ["short"]);
    }
    assert_eq!(long.await.unwrap(), 41);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_or_not_offered_is_not_executed_at_all() {
    let server = Server::start(&[]);
    let redis = client(&server);
    for (asked, command) in [
        ("", "GET k"),
        ("commands = ['SET']\nkeys = ['a*']", "SET b 1"),
        ("commands = ['*']\nkeys = ['*']", "FLUSHALL"),
        ("commands = ['*']\nkeys = ['*']", "SUBSCRIBE c"),
        ("commands = ['*']\nkeys = ['*']", "BLPOP l 1"),
        (
            "commands = ['*']\nkeys = ['*']",
            "XREAD BLOCK 10 STREAMS s $",
        ),
    ] {
        let commands = written(&["PUBLISH c m", command]);
        let error = redis.pipeline(&permit(asked), commands).await.unwrap_err();
        assert!(matches!(error, RedisError::Denied(_)), "{command}: {error}");
    }
    assert!(!server.cli(&["INFO", "commandstats"]).contains("publish"));
    let streams = permit("commands = ['XREAD']\nkeys = ['*']");
    let plain = written(&["XREAD COUNT 1 STREAMS s 0"]);
    assert_eq!(redis.pipeline(&streams, plain).await, Ok(vec![Reply::Nil]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_the_limit_is_refused_and_the_connection_lives_on() {
    let server = Server::start(&[]);
    let options = RedisOptions {
        max_pending_bytes: 1 << 20,
        max_reply_bytes: 1 << 20,
        ..quick(RedisOptions::new(server.url().parse().unwrap()))
    };
    let redis = Redis::new("main", options).unwrap();
    let large = format!("SET k {}", "x".repeat(2 << 20));
    let limit = 1 << 20;
    assert_eq!(
        run(&redis, &[&large]).await,
        Err(RedisError::TooLarge { limit })
    );
    assert_eq!(run(&redis, &["PING"]).await.unwrap(), ["+PONG"]);
    server.cli(&["SETRANGE", "long", "2000000", "x"]);
    let replies = run(&redis, &["GET long"]).await.unwrap();
    assert!(replies[0].contains("max_reply_bytes"), "{replies:?}");
    until_ok(|| run(&redis, &["PING"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_serves_as_well() {
    let server = Server::start(&[]);
    let redis = at(&format!("unix://{}", server.socket().display()));
    assert_eq!(run(&redis, &["PING"]).await.unwrap(), ["+PONG"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_selected_on_every_connection() {
    let server = Server::start(&[]);
    let redis = at(&format!("{}/3", server.url()));
    run(&redis, &["SET k in-three", "LRANGE l 0 -1"])
        .await
        .unwrap();
    assert_eq!(server.cli(&["-n", "3", "GET", "k"]).trim(), "in-three");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_waits_without_holding_up_commands_and_can_be_interrupted() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let permit = anything();
    let mut reader = redis.reader(&permit).unwrap();
    let read = written(&["XREAD BLOCK 30000 STREAMS s $"]);
    for _ in 0..3 {
        // Time is up here, not in Redis: the same command goes on.
        let wait = Duration::from_millis(100);
        let reply = reader.read(&permit, &read, wait).await.unwrap();
        assert_eq!(reply, None);
    }
    let wait = Duration::from_secs(30);
    // Interrupted, as a wake-up does it.
    let interrupted = timeout(Duration::from_millis(50), reader.read(&permit, &read, wait));
    assert!(interrupted.await.is_err());
    assert_eq!(run(&redis, &["XADD s 5-1 a b"]).await.unwrap(), ["5-1"]);
    let reply = reader.read(&permit, &read, wait).await.unwrap().unwrap();
    assert!(
        shown(&reply).contains("5-1"),
        "added between two calls: {reply:?}"
    );
    let blocked = server.cli(&["INFO", "clients"]);
    assert!(blocked.contains("blocked_clients:0"), "{blocked}");
    // Another command on the same connection, and one that Redis ends itself.
    let next = written(&["XREAD BLOCK 50 STREAMS s 5-1"]);
    assert_eq!(
        reader.read(&permit, &next, wait).await.unwrap(),
        Some(Reply::Nil)
    );
    let error = reader
        .read(&permit, &written(&["XREAD BLOCK 0 STREAMS s 0"]), wait)
        .await;
    assert!(matches!(error, Err(RedisError::Denied(_))), "{error:?}");
    let before = server.cli(&["CLIENT", "LIST"]).lines().count();
    drop(reader);
    eventually("the connection is closed", async || {
        server.cli(&["CLIENT", "LIST"]).lines().count() == before - 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_are_limited_and_come_back_when_dropped() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let permit = anything();
    let readers: Vec<_> = (0..16).map(|_| redis.reader(&permit).unwrap()).collect();
    assert!(redis.reader(&permit).is_err());
    drop(readers);
    assert!(redis.reader(&permit).is_ok());
}
