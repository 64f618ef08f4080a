//! How a connection comes about.

use super::*;
use crate::capabilities::{ports::free_port, tcp::SocketState};

#[tokio::test]
async fn failed_attempts_are_told_and_go_on_until_the_peer_is_there() {
    let addr = format!("127.0.0.1:{}", free_port());
    let options = TcpOptions {
        addresses: vec![addr.parse().unwrap()],
        ..TcpOptions::default()
    };
    let tcp = Tcp::new("main", options).unwrap();
    let mut instance = Instance::of(&tcp);
    for _ in 0..3 {
        let told = instance.try_connect(PATIENCE).await;
        let Err(TcpError::Unavailable(why)) = told else {
            panic!("{told:?}");
        };
        let port = addr.rsplit(':').next().unwrap();
        assert!(why.contains("refused") && !why.contains(port), "{why}");
    }
    let status = tcp.status().sockets.remove(0);
    assert_eq!(status.state, SocketState::Away);
    assert!(status.last_error.unwrap().contains(&addr));
    let listener = TcpListener::bind(&addr).await.unwrap();
    let accepting = tokio::spawn(async move { listener.accept().await.unwrap().0 });
    let connecting = async {
        loop {
            if let Ok(Some(linked)) = instance.try_connect(PATIENCE).await {
                return linked;
            }
        }
    };
    timeout(PATIENCE, connecting).await.unwrap();
    accepting.await.unwrap();
    assert_eq!(tcp.status().sockets[0].state, SocketState::Connected);
}

#[tokio::test]
async fn an_attempt_survives_the_call_that_began_it() {
    let peer = Peer::new().await;
    let tcp = peer.tcp();
    let mut instance = Instance::of(&tcp);
    assert!(
        instance
            .try_connect(Duration::ZERO)
            .await
            .unwrap()
            .is_none()
    );
    let mut stream = peer.accept().await;
    instance.connect().await;
    say(&mut stream, "x").await;
    assert_eq!(instance.read(1).await, "x", "it is the same connection");
}

#[tokio::test]
async fn addresses_stand_for_each_other_and_the_last_good_one_is_tried_first() {
    let [gone, peer, other] = [Peer::new().await, Peer::new().await, Peer::new().await];
    let addresses = [&gone, &peer, &other].map(|peer| peer.addr.parse().unwrap());
    let options = TcpOptions {
        addresses: addresses.to_vec(),
        ..TcpOptions::default()
    };
    drop(gone);
    let tcp = Tcp::new("main", options).unwrap();
    let mut instance = Instance::of(&tcp);
    for _ in 0..2 {
        instance.connect().await;
        peer.accept().await;
        instance.socket.close(instance.owner);
    }
    drop(peer);
    instance.connect().await;
    other.accept().await;
}

#[tokio::test]
async fn a_place_that_the_plugin_names_must_be_granted_or_configured() {
    let [peer, other] = [Peer::new().await, Peer::new().await];
    let tcp = peer.tcp();
    let denied = tcp.endpoint(&permit(), &other.addr).unwrap_err();
    let TcpError::Denied(why) = denied else {
        panic!("{denied:?}");
    };
    assert!(
        why.contains(&format!("endpoints = [\"{}\"]", other.addr)),
        "{why}"
    );
    assert!(tcp.endpoint(&permit(), &peer.addr).is_ok());
    let nonsense = tcp.endpoint(&permit(), "nowhere").unwrap_err();
    assert!(matches!(nonsense, TcpError::Denied(_)), "{nonsense:?}");

    let endpoints = vec!["127.0.0.1:*".parse().unwrap()];
    let granted = TcpPermit::new("test", "main", vec![TcpRights { endpoints }], None);
    let endpoint = tcp.endpoint(&granted, &other.addr).unwrap();
    let socket = tcp.socket(&granted, "publisher", "out").unwrap();
    let mut owner = None;
    let linked = socket.connect(&mut owner, Some(&endpoint), PATIENCE).await;
    assert!(linked.unwrap().is_some());
    other.accept().await;
}
