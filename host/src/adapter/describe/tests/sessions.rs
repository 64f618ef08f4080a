//! Connection state recovery, as far as it needs a whole server.

use std::{sync::Mutex, time::Duration};

use super::*;
use crate::{PrivateId, RecoveryError, Session, adapter::tests::log::Log};

fn pid() -> PrivateId {
    "0123456789abcdefghij".parse().unwrap()
}

#[tokio::test]
async fn a_socket_that_disconnects_still_has_all_that_is_to_be_kept() {
    let server = Server::start().await;
    server
        .board
        .socket_data(|socket| json!({ "id": socket.id, "part": Bytes::from_static(b"x").len() }));
    let kept: Arc<Mutex<Option<Session>>> = Arc::default();
    let (board, keep) = (server.board.clone(), kept.clone());
    server
        .io
        .ns("/kept", async move |socket: SocketRef<Adapter<_>>| {
            socket.join(["a room", "another"]);
            socket.on_disconnect(async move |socket: SocketRef<Adapter<_>>| {
                tokio::task::yield_now().await;
                *keep.lock().unwrap() = Some(board.session_of(&socket, &pid()));
            });
        });
    let sid = server.connect(open(), &["40/kept,"]).await;
    until(async || server.is_in("/kept", sid)).await;
    server.send(sid, "41/kept,").await;
    until(async || kept.lock().unwrap().is_some()).await;

    let session = kept.lock().unwrap().take().unwrap();
    assert_eq!(session.pid(), &pid());
    assert_eq!(session.sid().as_str(), sid.as_str());
    let mut rooms = session.room_names();
    rooms.sort();
    let mut expected = ["a room".to_owned(), "another".to_owned(), sid.to_string()];
    expected.sort();
    assert_eq!(rooms, expected);
    assert_eq!(session.data(), Ok(json!({ "id": sid, "part": 1 })));
    server.board.close().await;
}

#[tokio::test]
async fn a_transport_without_sessions_says_so_at_start_and_at_every_call() {
    let (log, _guard) = Log::of_this_thread();
    let config = Config::builder()
        .transport("none")
        .connection_state_recovery(true);
    let server = Server::build(SocketIo::builder(), config.build().unwrap()).await;
    let told = log.lines_with("cluster.connection_state_recovery");
    assert_eq!(told.len(), 1, "{told:?}");

    let board = &server.board;
    assert!(!board.supports_recovery());
    let pid = pid();
    let session = Session::new(pid.clone(), "sid", "room");
    let kept = board.persist_session(&session, Duration::from_secs(1));
    assert_eq!(kept.await, Err(RecoveryError::Unsupported));
    let restored = board.restore_session("/", &pid, "1-0", 10);
    assert_eq!(restored.await, Err(RecoveryError::Unsupported));

    // So events do not wait for offsets either.
    assert!(!board.cluster().options().connection_state_recovery);
    server.board.close().await;
}

#[tokio::test]
async fn a_transport_without_sessions_is_fine_when_nobody_wants_them() {
    let (log, _guard) = Log::of_this_thread();
    let server = Server::start().await;
    let told = log.lines_with("recovery");
    assert!(told.is_empty(), "{told:?}");
    server.board.close().await;
}
