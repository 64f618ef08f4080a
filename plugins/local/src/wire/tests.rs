#![allow(clippy::unwrap_used)]

use switchboard_plugin::types::{
    AckAnswer, Body, Broadcast, CountAnswer, CustomQuery, Disconnection, Message, Payload, Query,
    Room, RoomChange, RoomsAnswer, ServerEvent, Socket, SocketsAnswer, Target, ValueAnswer,
};
use switchboard_plugin::{Batch, MessageRef};

use super::{Malformed, frames, read};

fn payload(json: &str, attachments: &[&[u8]]) -> Payload {
    Payload::new(json, attachments.iter().map(|a| a.to_vec()).collect())
}

fn target() -> Target {
    Target {
        rooms: vec![Room::Text("комната 🚪".into()), Room::Number(42.0)],
        except: Some(vec![Room::Text(String::new())]),
        volatile: true,
        other_flags: Some(r#"{"compress":false}"#.into()),
    }
}

/// One message of every kind, with every field present.
fn every_kind() -> Vec<Message> {
    let request = || "0123456789abcdef".to_owned();
    let query = || Query {
        request: request(),
        target: target(),
    };
    let value = || ValueAnswer {
        request: request(),
        data: Some(payload("[1]", &[])),
        error: Some("why".into()),
    };
    let change = || RoomChange {
        target: target(),
        rooms: vec![Room::Number(-0.5)],
    };
    [
        Body::InitialHeartbeat,
        Body::Heartbeat,
        Body::AdapterClose,
        Body::Broadcast(Broadcast {
            target: target(),
            data: payload(r#"["e",{"_placeholder":true,"num":0}]"#, &[&[0, 255], &[]]),
            packet_id: Some("7".into()),
            request: Some(request()),
        }),
        Body::SocketsJoin(change()),
        Body::SocketsLeave(change()),
        Body::DisconnectSockets(Disconnection {
            target: target(),
            close: true,
        }),
        Body::FetchSockets(query()),
        Body::FetchRooms(query()),
        Body::ServerEvent(ServerEvent {
            data: payload("[]", &[]),
            request: Some(request()),
        }),
        Body::CustomQuery(CustomQuery {
            request: request(),
            kind: "custom".into(),
            data: payload("null", &[]),
        }),
        Body::SocketsAnswer(SocketsAnswer {
            request: request(),
            sockets: vec![Socket {
                id: "20-characters-of-id-".into(),
                rooms: vec![Room::Text("a".into())],
                handshake: payload("{}", &[]),
                data: payload(r#"{"n":1}"#, &[]),
            }],
        }),
        Body::RoomsAnswer(RoomsAnswer {
            request: request(),
            rooms: vec![Room::Text("r".into())],
        }),
        Body::ClientCount(CountAnswer {
            request: request(),
            clients: u32::MAX,
        }),
        Body::ClientAck(AckAnswer {
            request: request(),
            socket: Some("s".into()),
            data: payload("[1,2]", &[&[9]]),
            error: Some("timeout".into()),
        }),
        Body::ServerEventAnswer(value()),
        Body::CustomAnswer(value()),
    ]
    .into_iter()
    .map(|body| Message {
        namespace: "/admin?x=1".into(),
        sender: "me".into(),
        recipient: Some("you".into()),
        body,
    })
    .collect()
}

// The generated types have no PartialEq; their Debug text says the same.
fn text(messages: &[Message]) -> String {
    format!("{messages:#?}")
}

#[test]
fn every_kind_of_message_survives_a_round_trip() {
    let sent = every_kind();
    let frames = frames(&sent, "me", usize::MAX);
    assert_eq!(frames.len(), 1, "a small batch is one frame");
    let got = read(&frames[0], "me", |_| true).unwrap();
    assert_eq!(text(&got), text(&sent));
}

#[test]
fn one_more_event_is_written_as_the_broadcast_that_it_is() {
    let mut messages = every_kind();
    messages.retain_mut(|message| match &mut message.body {
        Body::Broadcast(event) => {
            (event.packet_id, event.request) = (None, None);
            true
        }
        _ => false,
    });
    let messages = [messages.clone(), messages].concat();
    let batch = Batch::from(messages.clone());
    let again = |message: MessageRef<'_>| matches!(message.body, Body::Again(_));
    assert_eq!(batch.iter().map(again).collect::<Vec<_>>(), [false, true]);
    assert_eq!(
        frames(batch.iter(), "me", 9999),
        frames(&messages, "me", 9999)
    );
}

#[test]
fn the_member_that_sent_the_frame_is_the_sender_unless_another_is_named() {
    let mut messages = every_kind();
    messages.truncate(2);
    messages[1].sender = "emitter".into();
    let frames = frames(&messages, "me", usize::MAX);
    let got = read(&frames[0], "vouched-for", |_| true).unwrap();
    assert_eq!(got[0].sender, "vouched-for");
    assert_eq!(got[1].sender, "emitter");
}

#[test]
fn a_large_batch_is_cut_into_frames_that_keep_the_order() {
    let messages: Vec<Message> = (0..100u32)
        .map(|n| Message {
            namespace: "/".into(),
            sender: "me".into(),
            recipient: None,
            body: Body::ClientCount(CountAnswer {
                request: "r".repeat(50),
                clients: n,
            }),
        })
        .collect();
    let frames = frames(&messages, "me", 1000);
    assert!(frames.len() > 5, "{} frames", frames.len());
    let got: Vec<Message> = frames
        .iter()
        .flat_map(|frame| read(frame, "me", |_| true).unwrap())
        .collect();
    assert_eq!(text(&got), text(&messages));
}

#[test]
fn other_namespaces_are_passed_over() {
    let mut messages = every_kind();
    messages[3].namespace = "/chat".into();
    let frames = frames(&messages, "me", usize::MAX);
    let got = read(&frames[0], "me", |namespace| namespace == "/chat").unwrap();
    assert_eq!(text(&got), text(&messages[3..4]));
}

#[test]
fn unknown_kinds_and_appended_fields_are_passed_over() {
    let messages = every_kind();
    let heartbeat = frames(&messages[1..2], "me", usize::MAX).remove(0);

    let mut unknown = heartbeat.clone();
    unknown[5] = 200;
    assert!(read(&unknown, "me", |_| true).unwrap().is_empty());

    let mut longer = heartbeat.clone();
    longer.extend_from_slice(b"later");
    let len = u32::from_le_bytes(longer[1..5].try_into().unwrap()) + 5;
    longer[1..5].copy_from_slice(&len.to_le_bytes());
    assert_eq!(
        text(&read(&longer, "me", |_| true).unwrap()),
        text(&messages[1..2])
    );
}

#[test]
fn another_version_is_named() {
    assert_eq!(
        read(&[9, 1, 2], "me", |_| true).unwrap_err(),
        Malformed::Version(9)
    );
}

#[test]
fn a_frame_cut_anywhere_is_an_error_or_holds_fewer_messages() {
    let messages = every_kind();
    let frame = frames(&messages, "me", usize::MAX).remove(0);
    for len in 0..frame.len() {
        match read(&frame[..len], "me", |_| true) {
            Ok(got) => assert!(got.len() < messages.len(), "cut at {len}"),
            Err(error) => assert_eq!(error, Malformed::Short, "cut at {len}"),
        }
    }
}

#[test]
fn damaged_frames_never_panic_and_never_allocate_what_they_promise() {
    let frame = frames(&every_kind(), "me", usize::MAX).remove(0);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..20_000 {
        let mut damaged = frame.clone();
        for _ in 0..=random() % 4 {
            let at = (random() as usize) % damaged.len();
            damaged[at] = random() as u8;
        }
        let _ = read(&damaged, "me", |_| true);
    }
}
