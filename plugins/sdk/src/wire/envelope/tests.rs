use crate::types::{
    AckAnswer, Body, Broadcast, CountAnswer, CustomQuery, Disconnection, Message, Payload, Query,
    Room, RoomChange, ServerEvent, Socket, SocketsAnswer, Target, ValueAnswer,
};

use super::{read, read_parts, tail, write, write_as, write_parts};
use crate::wire::{
    cursor::Cursor,
    error::{Rejected, WireError},
    limits::{MAX_ROOMS, MAX_SOCKETS},
    writer::Format,
};

fn payload(json: &str, attachments: &[&[u8]]) -> Payload {
    Payload::new(json, attachments.iter().map(|part| part.to_vec()).collect())
}

fn target() -> Target {
    Target {
        rooms: vec![Room::Text("комната 🚪\"".into()), Room::Number(42.0)],
        except: Some(vec![Room::Text(String::new()), Room::Number(-0.5)]),
        volatile: true,
        other_flags: Some(r#"{"compress":false,"timeout":5000}"#.into()),
    }
}

/// One message of every kind that the envelope carries, with every field present, with or without
/// binary.
fn every_kind(binary: bool) -> Vec<Message> {
    let data = |json: &str| {
        if binary {
            let mark = r#"{"_placeholder":true,"num":0}"#;
            payload(&json.replace("null", mark), &[&[0, 255, 123]])
        } else {
            payload(json, &[])
        }
    };
    let request = || "0123456789abcdef".to_owned();
    let change = || RoomChange {
        target: target(),
        rooms: vec![Room::Number(7.0), Room::Text("7".into())],
    };
    let value = |error: Option<&str>| ValueAnswer {
        request: request(),
        data: Some(data(r#"{"v":null}"#)),
        error: error.map(Into::into),
    };
    let ack = |error: Option<&str>| AckAnswer {
        request: request(),
        socket: Some("s".into()),
        data: data(r#"[1,null,"more"]"#),
        error: error.map(Into::into),
    };
    [
        Body::InitialHeartbeat,
        Body::Heartbeat,
        Body::AdapterClose,
        Body::Broadcast(Broadcast {
            target: target(),
            data: data(r#"["e",null,2.5]"#),
            packet_id: Some("7".into()),
            request: Some(request()),
        }),
        Body::SocketsJoin(change()),
        Body::SocketsLeave(change()),
        Body::DisconnectSockets(Disconnection {
            target: target(),
            close: true,
        }),
        Body::FetchSockets(Query {
            request: request(),
            target: target(),
        }),
        Body::ServerEvent(ServerEvent {
            data: data(r#"["e",null]"#),
            request: Some(request()),
        }),
        Body::CustomQuery(CustomQuery {
            request: request(),
            kind: "custom".into(),
            data: data("null"),
        }),
        Body::SocketsAnswer(SocketsAnswer {
            request: request(),
            sockets: vec![Socket {
                id: "20-characters-of-id-".into(),
                rooms: vec![Room::Text("a".into())],
                handshake: payload(r#"{"headers":{}}"#, &[]),
                data: data(r#"{"n":null}"#),
            }],
        }),
        Body::ClientCount(CountAnswer {
            request: request(),
            clients: u32::MAX,
        }),
        Body::ClientAck(ack(None)),
        Body::ClientAck(ack(Some("timeout"))),
        Body::ServerEventAnswer(value(None)),
        Body::ServerEventAnswer(value(Some("why"))),
        Body::CustomAnswer(value(None)),
        Body::CustomAnswer(value(Some("why"))),
    ]
    .into_iter()
    .map(|body| Message {
        namespace: "/admin?x=1".into(),
        sender: "me".into(),
        recipient: None,
        body,
    })
    .collect()
}

// The generated types have no PartialEq; their Debug text says the same.
fn text(message: &Message) -> String {
    format!("{message:#?}")
}

#[test]
fn every_kind_of_message_survives_a_round_trip_in_both_formats() {
    for binary in [false, true] {
        let mut formats = [0, 0];
        for sent in every_kind(binary) {
            let bytes = write(&sent).unwrap();
            formats[usize::from(bytes[0] == b'{')] += 1;
            let got = read(&bytes, "you", |namespace| namespace == "/admin?x=1");
            assert_eq!(text(&got.unwrap().unwrap()), text(&sent));
        }
        assert_eq!(formats, if binary { [10, 8] } else { [0, 18] });
    }
}

/// A 12 or a 10 would be counted as an answer by Node, whatever it holds.
#[test]
fn errors_are_of_kinds_that_node_passes_over() {
    let (mut errors, mut answers) = (Vec::new(), Vec::new());
    for sent in every_kind(false) {
        let json: serde_json::Value = serde_json::from_slice(&write(&sent).unwrap()).unwrap();
        let kinds = match json["data"]["error"].is_null() {
            true => &mut answers,
            false => &mut errors,
        };
        kinds.push(json["type"].as_u64().unwrap());
    }
    assert_eq!(errors, [36, 37, 35]);
    assert_eq!(answers, [1, 2, 13, 3, 4, 5, 6, 7, 9, 34, 8, 11, 12, 10, 35]);
}

#[test]
fn everything_ends_as_ones_own_messages_are_known() {
    for binary in [false, true] {
        for sent in every_kind(binary) {
            let bytes = write(&sent).unwrap();
            let own = tail("me", "/admin?x=1");
            assert!(own.iter().any(|tail| bytes.ends_with(tail)), "{sent:?}");
            let other = tail("e", "/admin?x=1");
            assert!(!other.iter().any(|tail| bytes.ends_with(tail)), "{sent:?}");
        }
    }
}

#[test]
fn the_order_of_members_does_not_matter_and_the_last_of_two_wins() {
    let json = br#"{"nsp":"/","data":{"rooms":["a"],"rooms":["b"],"opts":{}},"type":99,"uid":"x","type":4}"#;
    let Some(Message {
        body: Body::SocketsJoin(change),
        ..
    }) = read(json, "me", |_| true).unwrap()
    else {
        panic!("a join");
    };
    assert!(matches!(&change.rooms[..], [Room::Text(room)] if room == "b"));
}

#[test]
fn flags_are_kept_as_they_are() {
    let flags = |flags: &str| {
        let json = format!(
            r#"{{"type":3,"data":{{"packet":{{"data":["e"]}},"opts":{{"flags":{flags}}}}},"uid":"x","nsp":"/"}}"#
        );
        let Some(Message {
            body: Body::Broadcast(b),
            ..
        }) = read(json.as_bytes(), "me", |_| true).unwrap()
        else {
            panic!("a broadcast");
        };
        (b.target.volatile, b.target.other_flags)
    };
    assert_eq!(flags("{}"), (false, None));
    assert_eq!(flags("null"), (false, None));
    assert_eq!(flags(r#"{"volatile":true}"#), (true, None));
    for kept in [
        r#"{"volatile":false}"#,
        r#"{"volatile":null}"#,
        r#"{"volatile":1}"#,
    ] {
        assert_eq!(flags(kept), (false, Some(kept.to_owned())), "{kept}");
    }
    assert_eq!(
        flags(r#"{"a\"b":[1], "volatile":true,"compress":false}"#),
        (true, Some(r#"{"a\"b":[1],"compress":false}"#.to_owned()))
    );
}

#[test]
fn an_answer_to_an_id_that_cannot_be_ours_is_ignored() {
    for id in ["null", "7", "{}"] {
        for kind in [8, 10, 11, 12, 35] {
            let json = format!(
                r#"{{"type":{kind},"data":{{"requestId":{id},"sockets":[],"clientCount":1}},"uid":"x","nsp":"/"}}"#
            );
            assert!(
                read(json.as_bytes(), "me", |_| true).unwrap().is_none(),
                "{json}"
            );
        }
    }
}

#[test]
fn a_count_that_is_no_count_is_refused() {
    for count in ["-1", "1.5", "4294967296", "1e300"] {
        let json = format!(
            r#"{{"type":11,"data":{{"requestId":"q","clientCount":{count}}},"uid":"x","nsp":"/"}}"#
        );
        let refused = read(json.as_bytes(), "me", |_| true);
        assert!(
            matches!(refused, Err(WireError::Unexpected { .. })),
            "{count}"
        );
    }
}

#[test]
fn data_of_unwanted_namespaces_is_not_decoded() {
    let json = br#"{"type":3,"data":{},"uid":"x","nsp":"/other"}"#;
    assert!(
        read(json, "me", |namespace| namespace == "/")
            .unwrap()
            .is_none()
    );
    assert!(read(json, "me", |_| true).is_err());
}

#[test]
fn deep_data_is_refused_both_ways() {
    let deep = "[".repeat(200) + &"]".repeat(200);
    let json = format!(r#"{{"type":9,"data":{{"packet":{deep}}},"uid":"x","nsp":"/"}}"#);
    assert_eq!(
        read(json.as_bytes(), "me", |_| true).err(),
        Some(WireError::TooDeep)
    );
    let mark = r#"{"_placeholder":true,"num":0}"#;
    let event = ServerEvent {
        data: payload(&format!("[{mark},{deep}]"), &[&[1]]),
        request: None,
    };
    let message = Message {
        namespace: "/".into(),
        sender: "me".into(),
        recipient: None,
        body: Body::ServerEvent(event),
    };
    assert_eq!(write(&message), Err(Rejected::Data(WireError::TooDeep)));
}

#[test]
fn lists_have_a_limit() {
    let answer = |member: &str, count: usize, element: &[u8]| {
        let mut bytes =
            b"\x84\xa4type\x08\xa3uid\xa1x\xa3nsp\xa1/\xa4data\x83\xa9requestId\xa1q".to_vec();
        bytes.extend(b"\xa4opts\x80\xa7sockets");
        bytes.extend(if member == "sockets" {
            &[][..]
        } else {
            &[0x91, 0x82, 0xa2, b'i', b'd', 0xa1, b's', 0xa5]
        });
        bytes.extend(if member == "sockets" {
            &b""[..]
        } else {
            b"rooms"
        });
        bytes.push(0xdd);
        bytes.extend(u32::try_from(count).unwrap().to_be_bytes());
        bytes.extend(element.repeat(count));
        read(&bytes, "me", |_| true).map(|message| message.is_some())
    };
    assert_eq!(answer("sockets", MAX_SOCKETS, b"\xa1s"), Ok(true));
    assert_eq!(
        answer("sockets", MAX_SOCKETS + 1, b"\xa1s"),
        Err(WireError::TooManySockets)
    );
    assert_eq!(answer("rooms", MAX_ROOMS, b"\x07"), Ok(true));
    assert_eq!(
        answer("rooms", MAX_ROOMS + 1, b"\x07"),
        Err(WireError::TooManyRooms)
    );
    assert!(matches!(
        answer("sockets", 1, b"\xa0"),
        Err(WireError::Missing(_))
    ));
}

#[test]
fn parts_say_the_same_as_the_whole() {
    let mut count = 0;
    for binary in [false, true] {
        for message in every_kind(binary) {
            let parts = write_parts(&message).unwrap();
            let data = parts.data.as_deref();
            let body = read_parts(
                parts.kind,
                data.map(|data| Cursor::of_message(data).unwrap()),
            );
            let whole = read(&write(&message).unwrap(), "", |_| true)
                .unwrap()
                .unwrap();
            let body = body.unwrap().unwrap();
            assert_eq!(format!("{body:?}"), format!("{:?}", whole.body));
            let is_json = data.is_some_and(|data| data.starts_with(b"{"));
            assert_eq!(is_json, data.is_some() && parts.format == Format::Json);
            count += usize::from(parts.format == Format::Msgpack);
        }
    }
    assert!(count > 5, "{count}");
}

#[test]
fn nothing_may_follow_the_data_of_parts() {
    let read = |data: &'static [u8]| read_parts(9, Some(Cursor::of_message(data).unwrap()));
    assert!(read(b"{\"packet\":[1]} ").is_ok());
    assert_eq!(
        read(b"{\"packet\":[1]}}").err(),
        Some(WireError::Trailing(1))
    );
    assert_eq!(
        read(b"\x81\xa6packet\x90\xc0").err(),
        Some(WireError::Trailing(1))
    );
    assert_eq!(read_parts(9, None).err(), Some(WireError::Missing("data")));
    // Of kinds without data, and of unknown ones, none is looked at.
    for kind in [1, 2, 13, 99] {
        assert!(
            read_parts(kind, Some(Cursor::of_message(b"{").unwrap())).is_ok(),
            "{kind}"
        );
    }
}

#[test]
fn a_message_is_msgpack_where_it_must_be() {
    for message in every_kind(false) {
        let bytes = write_as(&message, Format::Msgpack).unwrap();
        assert_ne!(bytes[0], b'{');
        let got = read(&bytes, "", |_| true).unwrap().unwrap();
        assert_eq!(format!("{:?}", got.body), format!("{:?}", message.body));
    }
}
