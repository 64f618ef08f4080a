//! Connection state recovery: the optional session store of a transport, with its own instance and
//! its own faults, and what a server does with it.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use switchboard::{
    AnswerError, Board, Config, PrivateId,
    cluster::{Broadcast, Local, LocalAck, Namespace, Offset, Payload, Room, SocketInfo, Target},
    transport::{Missed, OpenTransport, RecoveryError, Restored, Session},
};
use switchboard_tests::built;

const TTL: Duration = Duration::from_secs(60);

fn session(pid: &str) -> Session {
    Session {
        pid: pid.to_owned(),
        sid: "20-characters-of-id-".to_owned(),
        rooms: vec![Room::from("a room"), Room::Number(42.0)],
        data: Payload {
            json: r#"{"blob":{"_placeholder":true,"num":0}}"#.into(),
            attachments: vec![Bytes::from_static(&[0, 255])],
        },
    }
}

fn config() -> Config {
    let (plugins, cache) = (built::fixtures("sessions").unwrap(), built::cache());
    Config::builder()
        .transport("sessions")
        .plugins(plugins)
        .cache(switchboard::config::Cache::Folder(cache))
        .connection_state_recovery(true)
        .build()
        .unwrap()
}

async fn open() -> OpenTransport {
    OpenTransport::open(config()).await.unwrap()
}

#[tokio::test]
async fn a_session_comes_back_whole_with_what_was_missed_and_only_once() {
    let transport = open().await;
    let recovery = transport.handle.recovery().unwrap();
    recovery.persist(&session("p1"), TTL).await.unwrap();

    let (namespace, offset) = (Namespace::from("/chat"), Offset::from("1-0"));
    let restored = recovery
        .restore(&namespace, "p1", &offset, u32::MAX)
        .await
        .unwrap()
        .unwrap();
    let data = r#"["asked","/chat","1-0",10000]"#;
    let expected = Restored {
        session: session("p1"),
        missed: vec![Missed {
            broadcast: Broadcast {
                target: Target {
                    rooms: session("p1").rooms.into(),
                    ..Target::default()
                },
                data: Payload {
                    json: data.into(),
                    attachments: vec![Bytes::from_static(&[1, 2, 3])],
                },
                packet_id: None,
                request: None,
            },
            offset: "2-0".into(),
        }],
    };
    assert_eq!(restored, expected);
    let again = recovery.restore(&namespace, "p1", &offset, 1).await;
    assert_eq!(again, Ok(None));
}

#[tokio::test]
async fn a_session_that_kills_its_instance_costs_nobody_else_anything() {
    let mut transport = open().await;
    let recovery = transport.handle.recovery().unwrap();
    let refused = recovery.persist(&session(""), TTL).await.unwrap_err();
    assert!(matches!(refused, RecoveryError::Rejected(_)), "{refused}");

    let fault = recovery
        .persist(&session("fault:trap"), TTL)
        .await
        .unwrap_err();
    assert!(matches!(fault, RecoveryError::Unavailable(_)), "{fault}");
    assert_eq!(transport.publisher.publish(&[], 0).await, Ok(Vec::new()));

    // A fresh instance, with an empty memory, is there for the next call.
    recovery.persist(&session("p2"), TTL).await.unwrap();
    let status = transport.handle.status().unwrap();
    let faults: Vec<(&str, u32)> = status
        .instances
        .iter()
        .map(|instance| (instance.role, instance.faults))
        .collect();
    assert_eq!(
        faults,
        [("publisher", 0), ("subscriber", 0), ("recovery", 1)]
    );
}

fn pid(text: &str) -> PrivateId {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_server_takes_a_session_back_with_the_events_that_were_missed() {
    let board = Board::open(config()).await.unwrap();
    assert!(board.supports_recovery());
    let pid = pid("0123456789abcdefghij");
    let rooms = [Room::from("a room"), Room::Number(42.0)];
    let session = switchboard::Session::new(pid.clone(), "20-characters-of-id-", rooms);
    let session = session.with_data(&("ada", Bytes::from_static(&[0, 255])));
    let session = session.unwrap();
    board.persist_session(&session, TTL).await.unwrap();

    // What a client sends is no offset, or of nobody.
    for nonsense in [String::new(), "9".repeat(1_000)] {
        let restored = board.restore_session("/", &pid, nonsense, 10).await;
        assert_eq!(restored, Ok(None));
    }
    let stranger = PrivateId::random().unwrap();
    let restored = board.restore_session("/", &stranger, "1-0", 10).await;
    assert_eq!(restored, Ok(None));

    let restored = board.restore_session("chat", &pid, "1-0", 7).await;
    let restored = restored.unwrap().unwrap();
    assert_eq!(restored.session, session);
    let data: (String, Bytes) = restored.session.data().unwrap();
    assert_eq!(data, ("ada".to_owned(), Bytes::from_static(&[0, 255])));
    assert_eq!(restored.missed.len(), 1);
    let packet = &restored.missed[0];
    assert_eq!(packet.event(), "asked");
    let asked = ("/chat".to_owned(), "1-0".to_owned(), 7);
    assert_eq!(packet.args::<(String, String, u32)>(), Ok(asked));
    assert!(matches!(
        packet.args::<u32>(),
        Err(AnswerError::Unreadable(_))
    ));
    assert_eq!(packet.attachments(), [Bytes::from_static(&[1, 2, 3])]);
    assert_eq!(packet.offset().as_str(), "2-0");

    let again = board.restore_session("chat", &pid, "1-0", 7).await;
    assert_eq!(again, Ok(None), "once");
    board.close().await;
}

#[tokio::test]
async fn the_error_says_whether_to_try_again() {
    let board = Board::open(config()).await.unwrap();
    let keep = async |pid_text: &str| {
        let session = switchboard::Session::new(pid(pid_text), "sid", "room");
        board.persist_session(&session, TTL).await.unwrap_err()
    };
    let away = keep("fault:away--------").await;
    assert_eq!(away, RecoveryError::Unavailable("it is away".to_owned()));
    let refused = keep("fault:reject------").await;
    assert_eq!(refused, RecoveryError::Rejected("not this pid".to_owned()));
    let died = keep("fault:trap--------").await;
    assert!(matches!(died, RecoveryError::Unavailable(_)), "{died}");
    board.close().await;
}

/// A namespace that notes the events for its sockets.
#[derive(Default)]
struct Noted(Mutex<Vec<String>>);

static ROOT: std::sync::LazyLock<Namespace> = std::sync::LazyLock::new(|| Namespace::from("/"));

impl Local for Noted {
    fn namespace(&self) -> &Namespace {
        &ROOT
    }

    fn broadcast(&self, broadcast: Broadcast) -> usize {
        let text = broadcast.data.json.to_string();
        self.0.lock().unwrap().push(text);
        0
    }

    fn broadcast_with_ack(
        &self,
        _: &Broadcast,
        _: Duration,
    ) -> (u32, BoxStream<'static, LocalAck>) {
        (0, stream::empty().boxed())
    }

    fn join(&self, _: &Target, _: &[Room]) {}

    fn leave(&self, _: &Target, _: &[Room]) {}

    fn disconnect(&self, _: &Target, _: bool) {}

    fn sockets(&self, _: &Target) -> Vec<SocketInfo> {
        Vec::new()
    }

    fn rooms(&self, _: &Target) -> Vec<Room> {
        Vec::new()
    }

    fn has_room(&self, _: &Room) -> bool {
        false
    }
}

#[tokio::test]
async fn the_offsets_of_a_plugin_end_the_events_of_its_server() {
    let board = Board::open(config()).await.unwrap();
    let here = Arc::new(Noted::default());
    board.cluster().enter(here.clone());
    for n in 0..3 {
        board.of("/").emit("news", &(n, "x")).await.unwrap();
    }
    board.of("/").volatile().emit("now", &()).await.unwrap();
    board.close().await;
    let mut noted = here.0.lock().unwrap().clone();
    noted.retain(|event| event != r#"["now"]"#);
    let expected = [0, 1, 2].map(|n| format!("[\"news\",{n},\"x\",\"{}-0\"]", n + 1));
    assert_eq!(noted, expected);
}
