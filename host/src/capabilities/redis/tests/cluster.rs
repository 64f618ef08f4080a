//! A cluster of three masters, with a replica for the first where a test needs one.

use super::*;
use crate::capabilities::redis::slots::slot_of;

pub(super) struct TestCluster {
    pub(super) nodes: Vec<Server>,
}

const CLUSTER: [&str; 8] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "1000",
    "--cluster-require-full-coverage",
    "no",
    "--cluster-allow-replica-migration",
    "no",
];

impl TestCluster {
    pub(super) async fn start(nodes: usize) -> Self {
        let nodes: Vec<_> = (0..nodes).map(|_| Server::start(&CLUSTER)).collect();
        let addresses: Vec<_> = nodes
            .iter()
            .map(|n| format!("127.0.0.1:{}", n.port))
            .collect();
        let mut create = vec!["--cluster", "create"];
        create.extend(addresses.iter().take(3).map(String::as_str));
        create.push("--cluster-yes");
        let created = nodes[0].cli(&create);
        assert!(created.contains("All 16384 slots covered"), "{created}");
        let cluster = Self { nodes };
        for replica in cluster.nodes.iter().skip(3) {
            let first = cluster.nodes[0].port.to_string();
            replica.cli(&["CLUSTER", "MEET", "127.0.0.1", &first]);
            let id = cluster.nodes[0].cli(&["CLUSTER", "MYID"]);
            eventually("the replica has joined", async || {
                replica
                    .cli(&["CLUSTER", "REPLICATE", id.trim()])
                    .contains("OK")
            })
            .await;
            eventually("the replica follows", async || {
                replica
                    .cli(&["INFO", "replication"])
                    .contains("master_link_status:up")
            })
            .await;
        }
        for node in &cluster.nodes {
            eventually("all nodes know all", async || {
                let info = node.cli(&["CLUSTER", "INFO"]);
                let known = format!("cluster_known_nodes:{}", cluster.nodes.len());
                info.contains("cluster_state:ok") && info.contains(&known)
            })
            .await;
        }
        cluster
    }

    pub(super) fn client(&self) -> Redis {
        let urls = self
            .nodes
            .iter()
            .rev()
            .take(2)
            .map(|node| node.url().parse().unwrap());
        let options = RedisOptions {
            cluster: urls.collect(),
            ..RedisOptions::default()
        };
        Redis::new("main", quick(options)).unwrap()
    }

    /// A name whose slot the node owns at first.
    pub(super) fn name_at(&self, node: usize, salt: &str) -> String {
        let bounds = [0, 5461, 10923, 16384];
        let range = bounds[node]..bounds[node + 1];
        let mut names = (0..).map(|n| format!("{salt}{n}"));
        names
            .find(|name| range.contains(&slot_of(name.as_bytes())))
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_spread_over_the_nodes_and_its_replies_are_in_order() {
    let cluster = TestCluster::start(3).await;
    let redis = cluster.client();
    let sets: Vec<_> = (0..300).map(|n| format!("SET key{n} {n}")).collect();
    let gets: Vec<_> = (0..300).map(|n| format!("GET key{n}")).collect();
    let all: Vec<_> = sets.iter().chain(&gets).map(String::as_str).collect();
    let replies = run(&redis, &all).await.unwrap();
    for (n, reply) in replies.iter().skip(300).enumerate() {
        assert_eq!(*reply, n.to_string());
    }
    for node in &cluster.nodes {
        let size: usize = node.cli(&["DBSIZE"]).trim().parse().unwrap();
        assert!(size > 50, "{size} keys on one node");
    }
    let mixed = run(&redis, &["PING", "MGET key1 key2", "GET key1"])
        .await
        .unwrap();
    assert_eq!((mixed[0].as_str(), mixed[2].as_str()), ("+PONG", "1"));
    assert!(mixed[1].starts_with("-CROSSSLOT"), "{mixed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_reach_subscribers_on_all_nodes_and_counts_are_summed() {
    let cluster = TestCluster::start(3).await;
    let (one, two) = (cluster.client(), cluster.client());
    let subs = [
        subscription(&one),
        two.subscription(&anything(), "another").unwrap().0,
    ];
    let shards: Vec<_> = (0..3).map(|node| cluster.name_at(node, "shard")).collect();
    let names: Vec<_> = shards.iter().map(String::as_str).collect();
    for sub in &subs {
        subscribe(sub, Kind::Channel, &["c"]).await;
        subscribe(sub, Kind::Shard, &names).await;
    }
    let commands = [
        "PUBSUB NUMSUB c none".to_owned(),
        format!("PUBSUB SHARDNUMSUB {}", names[1]),
    ];
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    let counts = run(&one, &commands).await.unwrap();
    assert!(
        counts[0].contains("Integer(2)") && counts[0].ends_with("Integer(0)]"),
        "{counts:?}"
    );
    assert!(counts[1].contains("Integer(2)"), "{counts:?}");
    let mut sent = vec!["PUBLISH c 1".to_owned()];
    for round in 0..20 {
        sent.extend(shards.iter().map(|name| format!("SPUBLISH {name} {round}")));
    }
    let sent: Vec<_> = sent.iter().map(String::as_str).collect();
    run(&one, &sent).await.unwrap();
    for sub in &subs {
        let seen = events(sub, 61).await;
        assert!(seen.contains(&"channel c: 1".to_owned()), "{seen:?}");
        for name in &shards {
            let prefix = format!("shard {name}: ");
            let rounds: Vec<_> = seen
                .iter()
                .filter_map(|e| e.strip_prefix(&prefix))
                .collect();
            let expected: Vec<_> = (0..20).map(|n| n.to_string()).collect();
            assert_eq!(rounds, expected, "in order, on {name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_takes_its_keys_and_shard_channels_along() {
    let cluster = TestCluster::start(3).await;
    let redis = cluster.client();
    let name = cluster.name_at(0, "moving");
    let slot = slot_of(name.as_bytes()).to_string();
    let sub = subscription(&redis);
    subscribe(&sub, Kind::Shard, &[&name]).await;
    subscribe(&sub, Kind::Channel, &["c"]).await;
    let publish = format!("SPUBLISH {name} x");
    let get = format!("GET {name}");
    run(&redis, &[&format!("SET {name} v")]).await.unwrap();
    let id = |node: &Server| node.cli(&["CLUSTER", "MYID"]).trim().to_owned();
    let (from, to) = (&cluster.nodes[0], &cluster.nodes[2]);
    let (from_id, to_id) = (id(from), id(to));
    to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
    from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
    let port = to.port.to_string();
    from.cli(&["MIGRATE", "127.0.0.1", &port, &name, "0", "5000"]);
    // The key has moved, the slot has not yet: the old node says ASK.
    assert_eq!(
        run(&redis, &[&get, "PING", &get]).await.unwrap(),
        ["v", "+PONG", "v"]
    );
    for node in [to, from, &cluster.nodes[1]] {
        node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    }
    assert_eq!(run(&redis, &[&get]).await.unwrap(), ["v"]);
    eventually(
        "the shard channel is subscribed at the new owner",
        async || {
            run(&redis, &[&publish])
                .await
                .is_ok_and(|replies| replies == [":1"])
        },
    )
    .await;
    let expected = ["lagged".to_owned(), format!("shard {name}: x")];
    assert_eq!(events(&sub, 2).await, expected);
    assert_eq!(redis.status().subscriptions[0].gaps, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_master_dies_its_replica_gets_commands_and_subscriptions() {
    let mut cluster = TestCluster::start(4).await;
    let redis = cluster.client();
    let sub = subscription(&redis);
    let names: Vec<_> = (0..3).map(|node| cluster.name_at(node, "shard")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    subscribe(&sub, Kind::Shard, &names).await;
    subscribe(&sub, Kind::Channel, &["c"]).await;
    let publish: Vec<_> = names
        .iter()
        .map(|name| format!("SPUBLISH {name} x"))
        .collect();
    let publish: Vec<_> = publish.iter().map(String::as_str).collect();
    assert_eq!(run(&redis, &publish).await.unwrap(), [":1", ":1", ":1"]);
    assert_eq!(events(&sub, 3).await.len(), 3);
    cluster.nodes[0].kill();
    eventually(
        "the loss is noticed, and only for what was there",
        async || {
            let replies = run(&redis, &publish).await.unwrap();
            assert_eq!(replies[1..], [":1", ":1"], "{replies:?}");
            replies[0].starts_with("not executed")
        },
    )
    .await;
    eventually("all is served again", async || {
        run(&redis, &publish)
            .await
            .is_ok_and(|replies| replies == [":1", ":1", ":1"])
    })
    .await;
    let first = format!("shard {}: x", names[0]);
    let mut seen = Vec::new();
    while !seen.contains(&first) {
        seen.extend(events(&sub, 1).await);
    }
    let at = seen.iter().position(|event| *event == first).unwrap();
    assert!(seen[..at].contains(&"lagged".to_owned()), "{seen:?}");
    // The count of `PUBLISH` is that of one node, so what arrives is looked at.
    eventually("channels are served, wherever they were", async || {
        let _ = run(&redis, &["PUBLISH c y"]).await;
        let wait = Duration::from_millis(100);
        let arrived = sub.next(wait, 1000, 1 << 20, copied).await;
        let arrived = arrived.unwrap_or_default();
        sub.commit();
        arrived
            .iter()
            .any(|arrived| event(arrived) == "channel c: y")
    })
    .await;
}
