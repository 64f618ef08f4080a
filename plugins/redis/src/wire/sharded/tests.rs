//! Channels, and what they decide. The messages are tested in `envelope`.

use switchboard_plugin::types::{
    Body, Broadcast, CountAnswer, Message, Payload, Query, Room, Target,
};

use super::SubscriptionMode;
use crate::wire::{Decoder, Encoder, Local, Publication, Subscription, Wire};
use switchboard_plugin::wire::Rejected;

struct Nobody;

impl Local for Nobody {
    fn has_room(&self, _: &str, _: &Room) -> bool {
        false
    }
}

fn message(sender: &str, recipient: Option<&str>, body: Body) -> Message {
    Message {
        namespace: "/".into(),
        sender: sender.into(),
        recipient: recipient.map(Into::into),
        body,
    }
}

fn broadcast(rooms: Vec<Room>, request: Option<&str>) -> Body {
    Body::Broadcast(Broadcast {
        target: Target {
            rooms,
            except: None,
            volatile: false,
            other_flags: None,
        },
        data: Payload {
            json: r#"["e"]"#.into(),
            attachments: None,
        },
        packet_id: None,
        request: request.map(Into::into),
    })
}

fn count() -> Body {
    Body::ClientCount(CountAnswer {
        request: "q".into(),
        clients: 1,
    })
}

fn publish(mode: SubscriptionMode, message: &Message) -> Publication {
    let mut publication = Publication::default();
    let encoder = Encoder::new("io", Wire::Sharded(mode));
    encoder.encode(message, &mut publication).unwrap();
    publication
}

fn read(decoder: &Decoder, channel: &str, payload: &[u8]) -> Option<Message> {
    let channel = decoder.channel(None, channel.as_bytes(), &Nobody);
    let decoded = channel.decode(payload, &Nobody).unwrap();
    decoded.message.map(Message::from)
}

fn decoder(node: &str) -> Decoder {
    let mut decoder = Decoder::new("io", Wire::Sharded(SubscriptionMode::Dynamic), node);
    decoder.enter("/");
    decoder
}

#[test]
fn the_mode_decides_which_rooms_have_channels() {
    let rooms = [
        Room::Text("room1".into()),
        Room::Text("room-of-20-character".into()),
        Room::Text("😀😀😀😀😀😀😀😀😀😀".into()),
        Room::Number(42.0),
        // An id as socketioxide makes them.
        Room::Text("0123456789abcdef".into()),
    ];
    use SubscriptionMode::{Dynamic, DynamicPrivate, Static};
    for (mode, expected) in [
        (Static, [false; 5]),
        (Dynamic, [true, false, false, true, true]),
        (DynamicPrivate, [true; 5]),
    ] {
        let decoder = Decoder::new("io", Wire::Sharded(mode), "me");
        for (room, has_channel) in rooms.iter().zip(expected) {
            let sent = message("a", None, broadcast(vec![room.clone()], None));
            let channel = publish(mode, &sent).channel;
            assert_eq!(channel != "io#/#", has_channel, "{mode:?} {room:?}");
            // Whatever is published there is subscribed to there.
            let subscribed = decoder.room_subscription("/", room);
            let expected = has_channel.then_some(Subscription::Shard(channel));
            assert_eq!(subscribed, expected, "{mode:?} {room:?}");
        }
    }
}

#[test]
fn answers_go_to_the_asker_and_all_else_to_everybody() {
    let channel = |recipient, body| {
        publish(SubscriptionMode::Dynamic, &message("a", recipient, body)).channel
    };
    let room = || Room::Text("r".into());
    assert_eq!(channel(Some("b"), count()), "io#/#b#");
    assert_eq!(channel(None, count()), "io#/#");
    assert_eq!(channel(None, broadcast(vec![room()], Some("q"))), "io#/#");
    assert_eq!(
        channel(None, broadcast(vec![room(), room()], None)),
        "io#/#"
    );
    assert_eq!(channel(None, Body::Heartbeat), "io#/#");
}

#[test]
fn a_server_subscribes_to_the_main_and_its_private_channel() {
    let mut decoder = Decoder::new("io", Wire::Sharded(SubscriptionMode::Dynamic), "me");
    let expected = [
        Subscription::Shard("io#/chat#".into()),
        Subscription::Shard("io#/chat#me#".into()),
    ];
    assert_eq!(decoder.enter("/chat"), expected);
    assert_eq!(decoder.leave("/chat"), expected);
    let sent = message("a", None, Body::Heartbeat);
    let publication = publish(SubscriptionMode::Dynamic, &sent);
    assert!(read(&decoder, &publication.channel, &publication.payload).is_none());
}

#[test]
fn nothing_but_answers_is_taken_from_the_private_channel() {
    let answer = publish(
        SubscriptionMode::Dynamic,
        &message("a", Some("me"), count()),
    );
    let got = read(&decoder("me"), &answer.channel, &answer.payload).unwrap();
    assert_eq!(got.recipient.as_deref(), Some("me"));
    let heartbeat = publish(
        SubscriptionMode::Dynamic,
        &message("a", None, Body::Heartbeat),
    );
    assert!(read(&decoder("me"), "io#/#me#", &heartbeat.payload).is_none());
    assert!(read(&decoder("me"), "io#/#", &heartbeat.payload).is_some());
}

#[test]
fn ones_own_message_is_known_by_its_end() {
    for attachments in [None, Some(vec![vec![1]])] {
        let mut body = broadcast(Vec::new(), None);
        if let Body::Broadcast(broadcast) = &mut body
            && attachments.is_some()
        {
            broadcast.data.json = r#"["e",{"_placeholder":true,"num":0}]"#.into();
            broadcast.data.attachments = attachments;
        }
        let sent = publish(SubscriptionMode::Dynamic, &message("me", None, body));
        let end = &sent.payload[10..];
        // Cut off at the front it is no message any more, yet known.
        assert!(read(&decoder("me"), "io#/#", end).is_none());
        let own = decoder("me").own();
        assert!(own.endings.iter().any(|it| end.ends_with(it)));
        let you = decoder("you");
        let channel = you.channel(None, b"io#/#", &Nobody);
        assert!(channel.decode(end, &Nobody).is_err());
        assert!(read(&decoder("you"), "io#/#", &sent.payload).is_some());
    }
}

#[test]
fn a_message_on_another_namespaces_channel_is_ignored() {
    let mut decoder = decoder("me");
    decoder.enter("/chat");
    let sent = publish(
        SubscriptionMode::Dynamic,
        &message("a", None, Body::Heartbeat),
    );
    assert!(read(&decoder, "io#/#", &sent.payload).is_some());
    assert!(read(&decoder, "io#/chat#", &sent.payload).is_none());
}

#[test]
fn a_question_about_rooms_has_no_form() {
    let query = Query {
        request: "q".into(),
        target: Target {
            rooms: vec![],
            except: None,
            volatile: false,
            other_flags: None,
        },
    };
    let encoder = Encoder::new("io", Wire::Sharded(SubscriptionMode::Dynamic));
    assert!(!encoder.has_rooms_query() && encoder.is_sharded());
    let sent = message("a", None, Body::FetchRooms(query));
    let refused = encoder.encode(&sent, &mut Publication::default());
    assert!(matches!(refused, Err(Rejected::NoSuchForm(_))));
}
