//! Disconnecting clients from their whole connection.

use super::*;
use crate::adapter::tests::log::Log;

#[tokio::test]
async fn disconnecting_with_close_takes_a_client_out_of_every_namespace() {
    let server = Server::start().await;
    let both = &["40", "40/chat,"];
    let (a, b) = (
        server.connect(open(), both).await,
        server.connect(open(), both).await,
    );
    for (namespace, sid) in [("/", a), ("/chat", a), ("/", b), ("/chat", b)] {
        server.described(namespace, sid).await;
    }
    server.local("/chat").disconnect(&only(a), false);
    assert!(server.is_in("/", a) && !server.is_in("/chat", a));

    server.local("/chat").disconnect(&only(b), true);
    assert!(!server.is_in("/", b) && !server.is_in("/chat", b));
    assert!(server.is_in("/", a), "nobody meant it");

    server.local("/").disconnect(&Target::default(), true);
    assert!(!server.is_in("/", a));
}

#[tokio::test]
async fn without_an_attached_server_close_concerns_the_namespace_and_the_log_says_so_once() {
    let board = board().await;
    let (service, io) = SocketIo::builder()
        .with_adapter::<Adapter<_>>(board.clone())
        .build_with_inner_svc(NotFound);
    for namespace in ["/", "/chat"] {
        io.ns(namespace, async |_: SocketRef<Adapter<_>>| {});
    }
    let server = Server {
        service: HandshakeLayer::new().layer(service),
        board,
        io,
    };
    let (log, _guard) = Log::of_this_thread();
    for _ in 0..2 {
        let sid = server.connect(open(), &["40", "40/chat,"]).await;
        server.described("/chat", sid).await;
        server.described("/", sid).await;
        server.local("/chat").disconnect(&only(sid), true);
        assert!(server.is_in("/", sid) && !server.is_in("/chat", sid));
    }
    let told = log.lines_with("is not attached");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("WARN") && told[0].contains("/chat"),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_closed_board_closes_no_connections_and_nobody_is_blamed() {
    let server = Server::start().await;
    let sid = server.connect(open(), &["40", "40/chat,"]).await;
    server.described("/chat", sid).await;
    server.described("/", sid).await;
    let (log, _guard) = Log::of_this_thread();
    server.board.attachment().close();
    server.local("/chat").disconnect(&only(sid), true);
    assert!(server.is_in("/", sid) && !server.is_in("/chat", sid));
    assert!(log.lines_with("is not attached").is_empty());
}
