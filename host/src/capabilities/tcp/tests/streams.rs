//! Bytes in both directions, and ends.

use super::*;

#[tokio::test]
async fn bytes_go_both_ways_and_each_side_ends_on_its_own() {
    let peer = Peer::new().await;
    let tcp = peer.tcp();
    let mut instance = Instance::of(&tcp);
    let linked = instance.connect().await;
    assert!(linked.note.is_none() && linked.is_first);
    let mut stream = peer.accept().await;
    instance.write("hello").await;
    assert_eq!(hear(&mut stream, 5).await, "hello");
    instance.flow().finish();
    assert_ended(&mut stream).await;
    let refused = instance.flow().write(b"more", PATIENCE).await;
    assert!(matches!(refused, Err(TcpError::Denied(_))), "{refused:?}");
    say(&mut stream, "still here").await;
    assert_eq!(instance.read(10).await, "still here");
    drop(stream);
    let end = instance.flow().read(1, PATIENCE).await;
    assert_eq!(end, Ok(Received::End));
}

#[tokio::test]
async fn after_the_peers_end_writing_goes_on() {
    let peer = Peer::new().await;
    let tcp = peer.tcp();
    let mut instance = Instance::of(&tcp);
    instance.connect().await;
    let mut stream = peer.accept().await;
    stream.shutdown().await.unwrap();
    let end = instance.flow().read(1, PATIENCE).await;
    assert_eq!(end, Ok(Received::End));
    instance.write("bye").await;
    assert_eq!(hear(&mut stream, 3).await, "bye");
}

#[tokio::test]
async fn a_read_ends_in_time_and_loses_nothing() {
    let peer = Peer::new().await;
    let tcp = peer.tcp();
    let mut instance = Instance::of(&tcp);
    instance.connect().await;
    let mut stream = peer.accept().await;
    let nothing = instance.flow().read(9, Duration::from_millis(10)).await;
    assert_eq!(nothing, Ok(Received::Nothing));
    {
        // As when the host needs the instance.
        let flow = instance.flow();
        let abandoned = flow.read(9, PATIENCE);
        tokio::select! {
            biased;
            early = abandoned => panic!("{early:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    say(&mut stream, "there").await;
    assert_eq!(instance.read(5).await, "there");
}

#[tokio::test]
async fn what_arrived_before_the_peer_died_can_be_read_and_then_it_is_over() {
    let peer = Peer::new().await;
    let tcp = peer.tcp();
    let mut instance = Instance::of(&tcp);
    instance.connect().await;
    let mut stream = peer.accept().await;
    instance.write("unread").await;
    hear(&mut stream, 1).await;
    say(&mut stream, "last words").await;
    assert_eq!(instance.read(4).await, "last");
    // With bytes of ours unread, this is a reset and no end.
    drop(stream);
    let is_over = async {
        while instance.flow().is_open() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, is_over).await.unwrap();
    assert_eq!(instance.read(6).await, " words");
    let over = instance.flow().read(1, PATIENCE).await;
    assert!(matches!(over, Err(TcpError::Unavailable(_))), "{over:?}");
    let over = instance.flow().write(b"x", PATIENCE).await;
    assert!(matches!(over, Err(TcpError::Unavailable(_))), "{over:?}");
    let status = &tcp.status().sockets[0];
    assert_eq!(status.lost_connections, 1, "{status:?}");
    assert!(status.last_error.as_ref().unwrap().contains(&peer.addr));
    // The next one is another connection.
    assert!(instance.connect().await.note.is_none());
    say(&mut peer.accept().await, "anew").await;
    assert_eq!(instance.read(4).await, "anew");
}

#[tokio::test]
async fn a_connection_counts_as_lost_when_the_peer_ends_it_and_not_when_the_plugin_does() {
    let peer = Peer::new().await;
    let tcp = peer.tcp();
    let mut instance = Instance::of(&tcp);
    for plugin_finishes in [true, false] {
        instance.connect().await;
        let mut stream = peer.accept().await;
        if plugin_finishes {
            instance.flow().finish();
            assert_ended(&mut stream).await;
        }
        drop(stream);
        let end = instance.flow().read(1, PATIENCE).await;
        assert_eq!(end, Ok(Received::End));
        // What every plugin does when the peer has gone.
        instance.flow().close();
    }
    let is_counted = async {
        while tcp.status().sockets[0].lost_connections == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, is_counted).await.unwrap();
    assert_eq!(tcp.status().sockets[0].lost_connections, 1);
}

#[tokio::test]
async fn what_was_written_is_sent_also_when_the_stream_is_closed_at_once() {
    let peer = Peer::new().await;
    let tcp = peer.tcp();
    let mut instance = Instance::of(&tcp);
    instance.connect().await;
    let mut stream = peer.accept().await;
    let large = "x".repeat(3_000_000);
    instance.write(&large).await;
    instance.socket.close(instance.owner);
    assert_eq!(hear(&mut stream, large.len()).await, large);
    assert_ended(&mut stream).await;
    let closed = instance.socket.flow(instance.owner).err();
    assert!(
        matches!(closed, Some(TcpError::Unavailable(_))),
        "{closed:?}"
    );
}

#[tokio::test]
async fn a_flood_of_single_bytes_arrives_whole_and_in_order() {
    const COUNT: usize = 20_000;
    let peer = Peer::new().await;
    let tcp = peer.tcp();
    let mut instance = Instance::of(&tcp);
    instance.connect().await;
    let mut stream = peer.accept().await;
    stream.set_nodelay(true).unwrap();
    let flood = tokio::spawn(async move {
        for n in 0..COUNT {
            stream.write_all(&[n as u8]).await.unwrap();
        }
        stream
    });
    let mut expected = 0_u8;
    let mut count = 0;
    while count < COUNT {
        let Received::Bytes(bytes) = instance.flow().read(7, PATIENCE).await.unwrap() else {
            panic!("it ends after {count}");
        };
        for byte in &bytes {
            assert_eq!(*byte, expected);
            expected = expected.wrapping_add(1);
        }
        count += bytes.len();
        instance.keeps(bytes.len(), "");
    }
    flood.await.unwrap();
    assert_eq!(tcp.status().sockets[0].waiting_bytes, 0);
}
