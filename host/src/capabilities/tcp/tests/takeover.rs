//! What instances leave to each other.

use super::*;
use crate::capabilities::tcp::MAX_FAULTS;

#[tokio::test]
async fn a_successor_goes_on_where_the_instance_before_had_consumed() {
    let peer = Peer::new().await;
    let tcp = peer.tcp();
    let mut first = Instance::of(&tcp);
    first.connect().await;
    let mut stream = peer.accept().await;
    say(&mut stream, "one;two;thr").await;
    assert_eq!(first.read(11).await, "one;two;thr");
    first.keeps(4, "after one");
    // In a call that never returns.
    first.flow().consume(4);
    first.flow().keep(b"after two".to_vec()).unwrap();
    first.dies();
    say(&mut stream, "ee;").await;

    let mut second = Instance::of(&tcp);
    let note = second.connect().await.note;
    assert_eq!(note.as_deref(), Some(b"after one".as_slice()));
    assert_eq!(second.read(10).await, "two;three;");
    second.write("ok").await;
    assert_eq!(hear(&mut stream, 2).await, "ok");
    assert_eq!(tcp.status().sockets[0].lost_connections, 0);
}

#[tokio::test]
async fn what_the_peer_sent_before_it_went_away_is_left_to_the_successor_too() {
    let peer = Peer::new().await;
    let tcp = peer.tcp();
    let mut first = Instance::of(&tcp);
    first.connect().await;
    let mut stream = peer.accept().await;
    first.keeps(0, "");
    drop(first);
    say(&mut stream, "bye").await;
    drop(stream);
    let mut second = Instance::of(&tcp);
    assert!(second.connect().await.note.is_some());
    assert_eq!(second.read(3).await, "bye");
    let end = second.flow().read(1, PATIENCE).await;
    assert_eq!(end, Ok(Received::End));
    // Now it asks for another one.
    assert!(second.connect().await.note.is_none());
    peer.accept().await;
}

#[tokio::test]
async fn without_a_note_the_connection_ends_with_the_instance() {
    let peer = Peer::new().await;
    let tcp = peer.tcp();
    let mut first = Instance::of(&tcp);
    first.connect().await;
    let mut stream = peer.accept().await;
    first.flow().keep(b"never".to_vec()).unwrap();
    first.dies();
    assert_ended(&mut stream).await;
    let mut second = Instance::of(&tcp);
    let linked = second.connect().await;
    assert!(linked.note.is_none());
    assert!(!linked.is_first, "something may have been missed");
    peer.accept().await;
}

#[tokio::test]
async fn a_connection_over_which_instances_die_one_after_the_other_is_given_up() {
    let peer = Peer::new().await;
    let tcp = peer.tcp();
    let mut instance = Instance::of(&tcp);
    instance.connect().await;
    let mut stream = peer.accept().await;
    instance.keeps(0, "");
    say(&mut stream, "deadly").await;
    for death in 1..=MAX_FAULTS {
        instance.read(6).await;
        instance.dies();
        instance = Instance::of(&tcp);
        let note = instance.connect().await.note;
        assert_eq!(note.is_some(), death < MAX_FAULTS, "after {death} deaths");
    }
    assert_ended(&mut stream).await;
    peer.accept().await;
}

#[tokio::test]
async fn deaths_are_forgotten_when_something_was_consumed() {
    let peer = Peer::new().await;
    let tcp = peer.tcp();
    let mut instance = Instance::of(&tcp);
    instance.connect().await;
    let mut stream = peer.accept().await;
    instance.keeps(0, "");
    for _ in 0..MAX_FAULTS * 3 {
        instance.dies();
        instance = Instance::of(&tcp);
        assert!(instance.connect().await.note.is_some());
        say(&mut stream, "x").await;
        instance.read(1).await;
        instance.keeps(1, "");
    }
}

#[tokio::test]
async fn an_instance_that_was_superseded_can_take_the_stream_back() {
    let peer = Peer::new().await;
    let tcp = peer.tcp();
    let mut old = Instance::of(&tcp);
    old.connect().await;
    let mut stream = peer.accept().await;
    say(&mut stream, "one;two;").await;
    assert_eq!(old.read(8).await, "one;two;");
    old.keeps(4, "old");
    // A new version opens, reads, and then refuses.
    let mut new = Instance::of(&tcp);
    assert!(new.connect().await.note.is_some());
    assert_eq!(new.read(4).await, "two;");
    new.flow().consume(4);
    let refused = old.socket.flow(old.owner).err();
    assert!(matches!(&refused, Some(TcpError::Unavailable(why)) if why.contains("taken")));
    new.flow().rollback(Rollback::Harmless);
    drop(new);
    let note = old.connect().await.note;
    assert_eq!(note.as_deref(), Some(b"old".as_slice()));
    assert_eq!(old.read(4).await, "two;");
}

#[tokio::test]
async fn closing_ends_what_nobody_has_taken_over() {
    let peer = Peer::new().await;
    let tcp = peer.tcp();
    let mut first = Instance::of(&tcp);
    first.connect().await;
    let mut stream = peer.accept().await;
    first.keeps(0, "");
    first.write("the end").await;
    drop(first);
    tcp.close().await;
    assert_eq!(hear(&mut stream, 7).await, "the end");
    assert_ended(&mut stream).await;
}
