//! How much is told of many sockets at once.

use super::*;
use crate::adapter::tests::log::Log;

/// What one answer may hold is a limit of the answer, not of a socket.
#[tokio::test]
async fn sockets_beyond_the_limit_of_descriptions_are_listed_without_them() {
    const SOCKETS: usize = 5;
    let mut config = alone();
    // Room for two sockets of some 600 bytes, and not for three.
    config.cluster.max_description_bytes = 1_500;
    let server = Server::build(SocketIo::builder(), config).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    server.board.socket_data(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        "x".repeat(300)
    });
    let mut ids = Vec::new();
    for _ in 0..SOCKETS {
        let sid = server.connect(open(), &["40"]).await;
        server.described("/", sid).await;
        ids.push(sid);
    }
    calls.store(0, Ordering::Relaxed);

    let (log, _guard) = Log::of_this_thread();
    let all = server.local("/").sockets(&Target::default());
    let described = |info: &&SocketInfo| json(&info.data) != json!({});
    let (with, without): (Vec<_>, Vec<_>) = all.iter().partition(described);
    assert_eq!((with.len(), without.len()), (2, 3));
    let bytes: usize = with
        .iter()
        .map(|info| info.handshake.len() + info.data.len())
        .sum();
    assert!(bytes <= 1_500, "{bytes}");
    assert_eq!(
        calls.load(Ordering::Relaxed),
        3,
        "after the first that did not fit nothing is described for nobody"
    );
    for info in without {
        let nothing = json!({"headers": {}, "query": {}, "auth": {}});
        assert_eq!(json(&info.handshake), nothing);
        assert!(
            info.rooms.contains(&Room::from(&*info.id)),
            "what it is called and where it is stays known"
        );
    }
    let told = log.lines_with("max_description_bytes");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("count=3"), "{told:?}");
    for sid in ids {
        let alone = server.described("/", sid).await;
        assert_ne!(json(&alone.data), json!({}), "the next answer starts anew");
    }
}
