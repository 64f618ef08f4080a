//! A master, its replica and the sentinels that watch them.

use super::*;
use crate::capabilities::redis::{SentinelOptions, subscription::Start};

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_followed_by_commands_subscriptions_and_streams() {
    let mut master = Server::start(&[]);
    let port = master.port.to_string();
    let replica = Server::start(&["--replicaof", "127.0.0.1", &port]);
    eventually("the replica follows", async || {
        replica
            .cli(&["INFO", "replication"])
            .contains("master_link_status:up")
    })
    .await;
    let configuration = format!(
        "sentinel monitor chat 127.0.0.1 {port} 2\n\
         sentinel down-after-milliseconds chat 500\n\
         sentinel failover-timeout chat 5000\n"
    );
    let sentinels: Vec<_> = (0..3).map(|_| Server::sentinel(&configuration)).collect();
    for sentinel in &sentinels {
        eventually(
            "the sentinels know each other and the replica",
            async || {
                let known = sentinel.cli(&["SENTINEL", "MASTER", "chat"]);
                let lines: Vec<_> = known.lines().collect();
                let has = |key, value| lines.windows(2).any(|pair| pair == [key, value]);
                has("num-other-sentinels", "2") && has("num-slaves", "1")
            },
        )
        .await;
    }
    let dead = format!("redis://127.0.0.1:{}", server::free_port());
    let options = |master: &str| {
        let urls = std::iter::once(&dead)
            .cloned()
            .chain(sentinels.iter().map(Server::url));
        quick(RedisOptions {
            sentinel: Some(SentinelOptions {
                urls: urls.map(|url| url.parse().unwrap()).collect(),
                master: master.to_owned(),
                ..SentinelOptions::default()
            }),
            ..RedisOptions::default()
        })
    };
    let unknown = Redis::new("main", options("unknown")).unwrap();
    let error = run(&unknown, &["PING"]).await.unwrap_err();
    assert!(
        matches!(&error, RedisError::Denied(why) if why.contains("sentinel.master")),
        "{error}"
    );
    let redis = Redis::new("main", options("chat")).unwrap();
    let sub = subscription(&redis);
    subscribe(&sub, Kind::Channel, &["c"]).await;
    let (stream, _) = redis.subscription(&anything(), "stream").unwrap();
    streams::read(&stream, &["s"], Start::New).await;
    run(&redis, &["XADD s 1-0 f 1"]).await.unwrap();
    assert_eq!(events(&stream, 1).await, ["s 1-0: f=1"]);
    // What the replica has not got is lost with the master.
    eventually("the replica has the entry", async || {
        replica.cli(&["XLEN", "s"]).trim() == "1"
    })
    .await;
    assert_eq!(
        run(&redis, &["SET k v", "PUBLISH c 1"]).await.unwrap(),
        ["+OK", ":1"]
    );
    assert_eq!(events(&sub, 1).await, ["channel c: 1"]);
    master.kill();
    eventually("the replica is the master now, and serves", async || {
        run(&redis, &["SET k w"])
            .await
            .is_ok_and(|replies| replies == ["+OK"])
    })
    .await;
    assert_eq!(replica.cli(&["GET", "k"]).trim(), "w");
    until_ok(|| run(&redis, &["XADD s 2-0 f 2"])).await;
    assert_eq!(events(&stream, 1).await, ["s 2-0: f=2"]);
    eventually("the subscription is there as well", async || {
        run(&redis, &["PUBLISH c 2"])
            .await
            .is_ok_and(|replies| replies == [":1"])
    })
    .await;
    assert_eq!(events(&sub, 2).await, ["lagged", "channel c: 2"]);
}
