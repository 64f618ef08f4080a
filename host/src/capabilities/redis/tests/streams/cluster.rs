//! Each stream is at the node that owns its slot, and goes with it.

use super::*;
use crate::capabilities::redis::{slots::slot_of, tests::cluster::TestCluster};

#[tokio::test(flavor = "multi_thread")]
async fn streams_on_all_nodes_are_read_together() {
    let cluster = TestCluster::start(3).await;
    let redis = cluster.client();
    let sub = subscription(&redis);
    let names: Vec<_> = (0..3).map(|node| cluster.name_at(node, "s")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    read(&sub, &names, Start::New).await;
    subscribe(&sub, Kind::Channel, &["c"]).await;
    for name in &names {
        add(&redis, name, 1..101, "").await;
    }
    run(&redis, &["PUBLISH c x"]).await.unwrap();
    let seen = events(&sub, 301).await;
    assert!(seen.contains(&"channel c: x".to_owned()));
    for name in &names {
        let prefix = format!("{name} ");
        let of: Vec<_> = seen.iter().filter(|e| e.starts_with(&prefix)).collect();
        let expected = expected(name, 1..101);
        assert_eq!(of, expected.iter().collect::<Vec<_>>());
    }
    assert_eq!(redis.status().subscriptions[0].gaps, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_slot_moves_is_read_on_without_a_gap() {
    let cluster = TestCluster::start(3).await;
    let redis = cluster.client();
    let name = cluster.name_at(0, "moving");
    let slot = slot_of(name.as_bytes()).to_string();
    let sub = subscription(&redis);
    read(&sub, &[&name], Start::New).await;
    add(&redis, &name, 1..101, "").await;
    assert_eq!(until_number(&sub, 100).await, entries(1..101));
    let id = |node: &Server| node.cli(&["CLUSTER", "MYID"]).trim().to_owned();
    let (from, to) = (&cluster.nodes[0], &cluster.nodes[2]);
    let (from_id, to_id) = (id(from), id(to));
    to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
    from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
    let port = to.port.to_string();
    from.cli(&["MIGRATE", "127.0.0.1", &port, &name, "0", "5000"]);
    // The stream has moved, the slot has not yet; entries are added where the stream is, by `ASK`.
    add(&redis, &name, 101..201, "MAXLEN 1000 ").await;
    sleep(Duration::from_millis(500)).await;
    for node in [to, from, &cluster.nodes[1]] {
        node.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
    }
    add(&redis, &name, 201..301, "").await;
    assert_eq!(until_number(&sub, 300).await, entries(101..301));
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_master_dies_its_streams_are_read_on_from_the_replica() {
    let mut cluster = TestCluster::start(4).await;
    let redis = cluster.client();
    let name = cluster.name_at(0, "s");
    let sub = subscription(&redis);
    read(&sub, &[&name], Start::New).await;
    add(&redis, &name, 1..101, "").await;
    assert_eq!(until_number(&sub, 100).await, entries(1..101));
    eventually("the replica has all", async || {
        let replica = &cluster.nodes[3];
        let info = replica.cli(&["INFO", "replication"]);
        let master = cluster.nodes[0].cli(&["INFO", "replication"]);
        let offset = |info: &str, key: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(key));
            line.map(|value| value.trim().to_owned())
        };
        let read = offset(&info, "slave_repl_offset:");
        read.is_some() && read == offset(&master, "master_repl_offset:")
    })
    .await;
    cluster.nodes[0].kill();
    let command = format!("XADD {name} 101-0 f 101");
    eventually("the replica has taken over", async || {
        let replies = run(&redis, &[&command]).await;
        replies.is_ok_and(|replies| replies == ["101-0"])
    })
    .await;
    add(&redis, &name, 102..201, "").await;
    assert_eq!(until_number(&sub, 200).await, entries(101..201));
}
