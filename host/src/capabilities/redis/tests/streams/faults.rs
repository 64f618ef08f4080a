//! Redis is away, for a while or again and again: nothing is lost, and nothing comes twice.

use super::*;

/// With the usual `everysec`, Redis may answer before it has written, and a kill loses that.
const PERSISTENT: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_again_and_again_loses_and_repeats_nothing() {
    let server = Server::start(&[]);
    let proxy = proxy::Proxy::start(server.port).await;
    let redis = at(&format!("redis://127.0.0.1:{}", proxy.port));
    let sub = subscription(&redis);
    read(&sub, &["s"], Start::New).await;
    let adding = tokio::spawn(keep_adding(client(&server), 20_000));
    let cutting = tokio::spawn(async move {
        let mut bytes = 1;
        loop {
            proxy.cut_after(bytes);
            bytes = bytes * 7 % 30_011;
            sleep(Duration::from_millis(40)).await;
            proxy.mend();
            sleep(Duration::from_millis(40)).await;
        }
    });
    assert_entries(&until_number(&sub, 20_000).await, 1..20_001);
    cutting.abort();
    adding.await.unwrap();
    assert!(redis.status().lost_connections > 3, "{:?}", redis.status());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_killed_and_restarted_with_its_data_loses_and_repeats_nothing() {
    let mut server = Server::start(&PERSISTENT);
    let redis = client(&server);
    let sub = subscription(&redis);
    read(&sub, &["s"], Start::New).await;
    let adding = tokio::spawn(keep_adding(client(&server), 3000));
    let mut seen = Vec::new();
    for round in 1..4 {
        seen.extend(until_number(&sub, round * 600).await);
        server.kill();
        sleep(Duration::from_millis(300)).await;
        server.restart();
    }
    seen.extend(until_number(&sub, 3000).await);
    assert_entries(&seen, 1..3001);
    adding.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_falls_silent_is_replaced_within_two_seconds() {
    let server = Server::start(&[]);
    let proxy = proxy::Proxy::start(server.port).await;
    let direct = client(&server);
    let options = RedisOptions::new(format!("redis://127.0.0.1:{}", proxy.port).parse().unwrap());
    // With the usual deadlines.
    let redis = Redis::new("main", options).unwrap();
    let sub = subscription(&redis);
    read(&sub, &["s"], Start::New).await;
    add(&direct, "s", 1..3, "").await;
    assert_eq!(until_number(&sub, 2).await, entries(1..3));
    is_idle(&redis).await;
    proxy.fall_silent();
    sleep(Duration::from_millis(100)).await;
    proxy.mend();
    add(&direct, "s", 3..5, "").await;
    let since = Instant::now();
    assert_eq!(until_number(&sub, 4).await, entries(3..5));
    let took = since.elapsed();
    // Not at once, or it would not have been silent.
    assert!(took > Duration::from_millis(300), "{took:?}");
    assert!(took < Duration::from_millis(2500), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_slow_for_a_while_is_read_in_the_end() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let sub = subscription(&redis);
    read(&sub, &["s"], Start::New).await;
    server.freeze();
    eventually("the silence is noticed", async || {
        redis.status().subscriptions[0].trouble.is_some()
    })
    .await;
    let error = until_unavailable(&sub).await;
    assert!(matches!(error, RedisError::Unavailable(_)), "{error}");
    server.thaw();
    until_ok(|| run(&redis, &["XADD s 1-0 f 1"])).await;
    assert_eq!(until_number(&sub, 1).await, entries(1..2));
    assert_eq!(redis.status().subscriptions[0].trouble, None);
}

async fn until_unavailable(sub: &Subscription) -> RedisError {
    loop {
        if let Err(error) = sub.next(Duration::from_millis(50), 1, 1, copied).await {
            return error;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_wanted_while_redis_is_away_are_read_when_it_is_back() {
    let mut server = Server::start(&PERSISTENT);
    let redis = client(&server);
    add(&redis, "s", 1..4, "").await;
    server.kill();
    let sub = subscription(&redis);
    for (stream, start) in [("s", after("1-0")), ("t", Start::New)] {
        let error = try_read(&sub, &anything(), &[stream], start).await;
        assert!(
            matches!(error, Err(RedisError::Unavailable(_))),
            "{error:?}"
        );
    }
    assert_eq!(
        sub.streams(),
        ["s".into(), "t".into()],
        "added all the same"
    );
    server.restart();
    read(&sub, &["s", "t"], Start::New).await;
    assert_eq!(until_number(&sub, 3).await, entries(2..4));
    add(&client(&server), "t", 1..2, "").await;
    assert_eq!(events(&sub, 1).await, expected("t", 1..2));
}
