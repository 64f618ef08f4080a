//! What is too much.

use super::*;
use crate::capabilities::tcp::{MAX_NAME_BYTES, MAX_NOTE_BYTES, MAX_SOCKETS};

const LIMIT: usize = 64 << 10;

async fn connected(peer: &Peer) -> (Tcp, Instance, TcpStream) {
    let options = TcpOptions {
        max_read_bytes: LIMIT,
        max_write_bytes: LIMIT,
        ..peer.options()
    };
    let tcp = Tcp::new("main", options).unwrap();
    let mut instance = Instance::of(&tcp);
    instance.connect().await;
    let stream = peer.accept().await;
    (tcp, instance, stream)
}

#[tokio::test]
async fn when_the_plugin_takes_nothing_the_peer_waits() {
    let peer = Peer::new().await;
    let (tcp, instance, mut stream) = connected(&peer).await;
    let data = vec![b'x'; 64 << 20];
    let all = data.len();
    let flood = tokio::spawn(async move { stream.write_all(&data).await });
    let is_full = async {
        while tcp.status().sockets[0].waiting_bytes < LIMIT {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, is_full).await.unwrap();
    tokio::time::sleep(A_MOMENT).await;
    assert!(!flood.is_finished(), "64 MiB fit nowhere");
    // One read of the network may go over it.
    let waiting = tcp.status().sockets[0].waiting_bytes;
    assert!(waiting < LIMIT + (128 << 10), "{waiting}");
    let mut count = 0;
    while count < all {
        let Received::Bytes(bytes) = instance.flow().read(1 << 20, PATIENCE).await.unwrap() else {
            panic!("it ends after {count}");
        };
        count += bytes.len();
        instance.keeps(bytes.len(), "");
    }
    flood.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_consumes_nothing_is_told_when_there_is_no_room_left() {
    let peer = Peer::new().await;
    let (_tcp, instance, mut stream) = connected(&peer).await;
    let flood = tokio::spawn(async move { stream.write_all(&[b'x'; 8 << 20]).await });
    let too_large = async {
        loop {
            match instance.flow().read(1 << 20, PATIENCE).await {
                Ok(Received::Bytes(_)) => {}
                other => return other,
            }
        }
    };
    let told = timeout(PATIENCE, too_large).await.unwrap();
    assert_eq!(told, Err(TcpError::TooLarge { limit: LIMIT }));
    flood.abort();
}

#[tokio::test]
async fn a_write_is_taken_whole_or_not_at_all_and_in_time() {
    let peer = Peer::new().await;
    let (tcp, instance, stream) = connected(&peer).await;
    let too_large = instance.flow().write(&[0; LIMIT + 1], PATIENCE).await;
    assert_eq!(too_large, Err(TcpError::TooLarge { limit: LIMIT }));
    // The kernel's buffers take some of it, but not for ever.
    let mut taken = 0_u64;
    let full = loop {
        match instance.flow().write(&[0; LIMIT], A_MOMENT).await {
            Ok(()) => taken += LIMIT as u64,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, TcpError::Unavailable(_)), "{full:?}");
    let counts = &tcp.status().sockets[0];
    let known = counts.sent_bytes + counts.unsent_bytes as u64;
    assert_eq!(
        known, taken,
        "nothing of the last one was taken: {counts:?}"
    );
    let (mut half, _other) = stream.into_split();
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        half.read_to_end(&mut all).await.map(|_| all.len() as u64)
    });
    instance.flow().write(b"!", PATIENCE).await.unwrap();
    instance.flow().finish();
    let count = timeout(PATIENCE, reading).await.unwrap().unwrap().unwrap();
    assert_eq!(count, taken + 1);
}

#[tokio::test]
async fn names_and_notes_and_sockets_have_limits() {
    let peer = Peer::new().await;
    let (tcp, instance, _stream) = connected(&peer).await;
    let note = instance.flow().keep(vec![0; MAX_NOTE_BYTES + 1]);
    let limit = MAX_NOTE_BYTES;
    assert_eq!(note, Err(TcpError::TooLarge { limit }));
    let socket = |role, name: &str| tcp.socket(&permit(), role, name);
    for name in ["", &"x".repeat(MAX_NAME_BYTES + 1)] {
        assert!(matches!(
            socket("publisher", name),
            Err(TcpError::Denied(_))
        ));
    }
    for n in 0..MAX_SOCKETS {
        assert!(socket("publisher", &n.to_string()).is_ok());
    }
    let Err(TcpError::Denied(why)) = socket("publisher", "one more") else {
        panic!("there is a limit");
    };
    assert!(why.contains("16 sockets"), "{why}");
    assert!(socket("publisher", "3").is_ok(), "it is there already");
    assert!(
        socket("recovery", "one more").is_ok(),
        "roles share nothing"
    );
}
