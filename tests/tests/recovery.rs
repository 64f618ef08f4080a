//! The optional session store of a transport: its own instance, its own faults.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use switchboard::{
    Config,
    cluster::{Broadcast, Namespace, Offset, Payload, Room, Target},
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

async fn open() -> OpenTransport {
    let (plugins, cache) = (built::fixtures("sessions").unwrap(), built::cache());
    let config = Config::builder()
        .transport("sessions")
        .plugins(plugins)
        .cache(switchboard::config::Cache::Folder(cache))
        .build()
        .unwrap();
    OpenTransport::open(config).await.unwrap()
}

#[tokio::test]
async fn a_session_comes_back_whole_with_what_was_missed_and_only_once() {
    let transport = open().await;
    let recovery = transport.handle.recovery().unwrap();
    recovery.persist(&session("p1"), TTL).await.unwrap();

    let (namespace, offset) = (Namespace::from("/chat"), Offset::from("1-0"));
    let restored = recovery
        .restore(&namespace, "p1", &offset)
        .await
        .unwrap()
        .unwrap();
    let data = r#"["asked","/chat","1-0",10000]"#;
    let expected = Restored {
        session: session("p1"),
        missed: vec![Missed {
            broadcast: Broadcast {
                target: Target {
                    rooms: session("p1").rooms,
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
    assert_eq!(
        recovery.restore(&namespace, "p1", &offset).await.unwrap(),
        None
    );
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
    assert_eq!(transport.publisher.publish(&[]).await, Ok(Vec::new()));

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
