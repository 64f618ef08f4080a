//! What is missing is told, how much of it, and nothing else.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_were_trimmed_before_they_were_read_are_counted_exactly() {
    let server = Server::start(&[]);
    let proxy = proxy::Proxy::start(server.port).await;
    let direct = client(&server);
    let redis = at(&format!("redis://127.0.0.1:{}", proxy.port));
    let sub = subscription(&redis);
    read(&sub, &["s"], Start::New).await;
    add(&direct, "s", 1..11, "").await;
    assert_eq!(until_number(&sub, 10).await, entries(1..11));
    proxy.cut().await;
    add(&direct, "s", 11..1011, "MAXLEN 100 ").await;
    proxy.mend();
    let mut seen = vec![Seen::Lagged(Some(900))];
    seen.extend(entries(911..1011));
    assert_eq!(until_number(&sub, 1010).await, seen);
    // The same once more: the count goes on behind a gap.
    proxy.cut().await;
    add(&direct, "s", 1011..1116, "MAXLEN 100 ").await;
    proxy.mend();
    let mut seen = vec![Seen::Lagged(Some(5))];
    seen.extend(entries(1016..1116));
    assert_eq!(until_number(&sub, 1115).await, seen);
    assert_eq!(redis.status().subscriptions[0].gaps, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_come_and_go_in_one_transaction_are_missed_and_counted() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let sub = subscription(&redis);
    read(&sub, &["s"], Start::New).await;
    add(&redis, "s", 1..2, "").await;
    assert_eq!(until_number(&sub, 1).await, entries(1..2));
    is_idle(&redis).await;
    // 200 are added and 10 are left, before anybody else is served.
    let script = "for n = 2, 201 do redis.call('XADD', 's', 'MAXLEN', 10, n .. '-0', 'f', n) end";
    server.cli(&["EVAL", script, "1", "s"]);
    let mut seen = vec![Seen::Lagged(Some(190))];
    seen.extend(entries(192..202));
    assert_eq!(until_number(&sub, 201).await, seen);
    // Nothing is left at all.
    let script = "redis.call('XADD', 's', '202-0', 'f', 'x') redis.call('XTRIM', 's', 'MAXLEN', 0)";
    server.cli(&["EVAL", script, "1", "s"]);
    eventually("it is noticed all the same", async || {
        redis.status().subscriptions[0].gaps == 2
    })
    .await;
    add(&redis, "s", 203..204, "").await;
    let seen = until_number(&sub, 203).await;
    assert_eq!(seen, [Seen::Lagged(Some(1)), Seen::Entry(203)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn trimming_what_was_read_is_no_gap() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let sub = subscription(&redis);
    add(&redis, "s", 1..100, "MAXLEN 10 ").await;
    read(&sub, &["s"], Start::New).await;
    for round in 1..20 {
        add(&redis, "s", round * 100..round * 100 + 50, "").await;
        let last = round * 100 + 49;
        assert_eq!(until_number(&sub, last).await, entries(last - 49..last + 1));
        let (what, how) = match round % 3 {
            0 => ("MAXLEN", 0),
            1 => ("MAXLEN", 1),
            _ => ("MINID", round * 100 + 30),
        };
        run(&redis, &[&format!("XTRIM s {what} {how}")])
            .await
            .unwrap();
    }
    assert_eq!(redis.status().subscriptions[0].gaps, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_was_trimmed_before_reading_began_is_a_gap() {
    let server = Server::start(&[]);
    let redis = client(&server);
    add(&redis, "s", 1..100, "MAXLEN 10 ").await;
    let sub = subscription(&redis);
    read(&sub, &["s"], after("50-0")).await;
    let seen = until_number(&sub, 99).await;
    assert_eq!(seen[0], Seen::Lagged(None), "nobody knows how many");
    assert_eq!(seen[1..], entries(90..100));
    // From here on they are counted.
    run(&redis, &["XTRIM s MAXLEN 0"]).await.unwrap();
    add(&redis, "s", 100..101, "").await;
    assert_eq!(until_number(&sub, 100).await, entries(100..101));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_deleted_is_told_and_read_from_its_new_beginning() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let sub = subscription(&redis);
    read(&sub, &["s"], Start::New).await;
    add(&redis, "s", 100..105, "").await;
    assert_eq!(until_number(&sub, 104).await, entries(100..105));
    is_idle(&redis).await;
    run(&redis, &["DEL s"]).await.unwrap();
    eventually("it is noticed", async || {
        redis.status().subscriptions[0].gaps == 1
    })
    .await;
    add(&redis, "s", 1..4, "").await;
    let mut seen = vec![Seen::Lagged(None)];
    seen.extend(entries(1..4));
    assert_eq!(until_number(&sub, 3).await, seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_lost_its_data_does_not_make_the_reader_deaf() {
    let mut server = Server::start(&[]);
    let redis = client(&server);
    let sub = subscription(&redis);
    read(&sub, &["s"], Start::New).await;
    add(&redis, "s", 1000..1005, "").await;
    assert_eq!(until_number(&sub, 1004).await, entries(1000..1005));
    server.kill();
    server.restart();
    eventually("it is noticed", async || {
        redis.status().subscriptions[0].gaps == 1
    })
    .await;
    let server_client = client(&server);
    add(&server_client, "s", 1..4, "").await;
    let mut seen = vec![Seen::Lagged(None)];
    seen.extend(entries(1..4));
    assert_eq!(until_number(&sub, 3).await, seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_to_a_replica_that_was_behind_reading_goes_on_from_its_end() {
    let server = Server::start(&[]);
    let proxy = proxy::Proxy::start(server.port).await;
    let direct = client(&server);
    let redis = at(&format!("redis://127.0.0.1:{}", proxy.port));
    let sub = subscription(&redis);
    read(&sub, &["s"], Start::New).await;
    add(&direct, "s", 1..10, "").await;
    assert_eq!(until_number(&sub, 9).await, entries(1..10));
    proxy.cut().await;
    // As the replica had it, when 6 to 9 had not reached it.
    run(&direct, &["DEL s"]).await.unwrap();
    add(&direct, "s", 1..6, "").await;
    proxy.mend();
    eventually("it is noticed", async || {
        redis.status().subscriptions[0].gaps == 1
    })
    .await;
    add(&direct, "s", 6..8, "").await;
    let seen = [Seen::Lagged(None), Seen::Entry(6), Seen::Entry(7)];
    assert_eq!(until_number(&sub, 7).await, seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_went_back_is_told_also_when_new_entries_are_above_the_old() {
    let server = Server::start(&[]);
    let proxy = proxy::Proxy::start(server.port).await;
    let direct = client(&server);
    let redis = at(&format!("redis://127.0.0.1:{}", proxy.port));
    let sub = subscription(&redis);
    read(&sub, &["s"], Start::New).await;
    add(&direct, "s", 1..10, "").await;
    assert_eq!(until_number(&sub, 9).await, entries(1..10));
    proxy.cut().await;
    run(&direct, &["DEL s"]).await.unwrap();
    add(&direct, "s", 1..6, "").await;
    add(&direct, "s", 20..22, "").await;
    proxy.mend();
    let seen = [Seen::Lagged(None), Seen::Entry(20), Seen::Entry(21)];
    assert_eq!(until_number(&sub, 21).await, seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_entry_that_was_deleted_is_no_gap() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let sub = subscription(&redis);
    read(&sub, &["s"], Start::New).await;
    add(&redis, "s", 1..4, "").await;
    assert_eq!(until_number(&sub, 3).await, entries(1..4));
    is_idle(&redis).await;
    run(&redis, &["XDEL s 3-0"]).await.unwrap();
    add(&redis, "s", 4..6, "").await;
    assert_eq!(until_number(&sub, 5).await, entries(4..6));
}
