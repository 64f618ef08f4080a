//! What the captured vectors do not show: channels, our own additions, what is kept and dropped.

use switchboard_plugin::Batch;
use switchboard_plugin::types::{
    AckAnswer, Body, Broadcast, CountAnswer, CustomQuery, Message, Payload, Query, Room,
    RoomChange, RoomsAnswer, ServerEvent, Socket, SocketsAnswer, Target, ValueAnswer,
};

use crate::wire::{
    Decoded, Decoder, Encoder, Local, Publication, Subscription, SubscriptionMode, Wire,
};
use switchboard_plugin::wire::WireError;

struct Server(&'static [&'static str]);

impl Local for Server {
    fn has_room(&self, _: &str, room: &Room) -> bool {
        let name = match room {
            Room::Text(text) => format!("text {text}"),
            Room::Number(number) => format!("number {number}"),
        };
        self.0.contains(&name.as_str())
    }
}

const EMPTY: Server = Server(&[]);

fn wire(specific_responses: bool) -> Wire {
    Wire::Classic { specific_responses }
}

fn message(sender: &str, body: Body) -> Message {
    Message {
        namespace: "/".into(),
        sender: sender.into(),
        recipient: None,
        body,
    }
}

fn target(rooms: &[&str]) -> Target {
    Target {
        rooms: rooms
            .iter()
            .map(|room| Room::Text((*room).into()))
            .collect(),
        except: None,
        volatile: false,
        other_flags: None,
    }
}

fn payload(json: &str) -> Payload {
    Payload {
        json: json.into(),
        attachments: None,
    }
}

fn broadcast(target: Target, request: Option<&str>) -> Body {
    Body::Broadcast(Broadcast {
        target,
        data: payload(r#"["e",1]"#),
        packet_id: None,
        request: request.map(Into::into),
    })
}

fn publish(specific: bool, message: &Message) -> Publication {
    let mut publication = Publication::default();
    Encoder::new("io", wire(specific))
        .encode(message, &mut publication)
        .unwrap();
    publication
}

struct Delivered {
    message: Option<Message>,
    reply: Option<Publication>,
}

impl From<Decoded<'_>> for Delivered {
    fn from(decoded: Decoded<'_>) -> Self {
        Self {
            message: decoded.message.map(Message::from),
            reply: decoded.reply,
        }
    }
}

/// What `node` makes of a publication, if it is subscribed.
fn deliver(node: &str, publication: &Publication, local: &Server) -> Result<Delivered, WireError> {
    let mut decoder = Decoder::new("io", wire(false), node);
    let pattern = decoder
        .enter("/")
        .into_iter()
        .find_map(|subscription| match subscription {
            Subscription::Pattern(pattern) => Some(pattern),
            _ => None,
        });
    let pattern = pattern.filter(|pattern| {
        let prefix = pattern.trim_end_matches('*');
        publication.channel.starts_with(prefix)
    });
    decoder
        .channel(
            pattern.as_deref().map(str::as_bytes),
            publication.channel.as_bytes(),
            local,
        )
        .decode(&publication.payload, local)
        .map(Delivered::from)
}

fn text(message: &Message) -> String {
    format!("{message:#?}")
}

fn received(node: &str, message: &Message) -> Option<Message> {
    deliver(node, &publish(false, message), &EMPTY)
        .unwrap()
        .message
}

#[test]
fn a_server_subscribes_to_five_channels_and_unsubscribes_from_the_same() {
    let mut decoder = Decoder::new("io", wire(false), "me");
    let expected = [
        Subscription::Pattern("io#/we\\[i\\]rd\\*#*".into()),
        Subscription::Channel("io-request#/we[i]rd*#".into()),
        Subscription::Channel("io-response#/we[i]rd*#".into()),
        Subscription::Channel("io-response#/we[i]rd*#me#".into()),
        Subscription::Channel("io-switchboard#/we[i]rd*#".into()),
    ];
    assert_eq!(decoder.enter("/we[i]rd*"), expected);
    assert_eq!(decoder.leave("/we[i]rd*"), expected);
    let encoder = Encoder::new("io", wire(false));
    assert_eq!(encoder.count_channel("/chat"), "io-request#/chat#");
}

#[test]
fn one_more_event_goes_as_the_broadcast_that_it_is() {
    let event = message("a", broadcast(target(&["r"]), None));
    let batch = Batch::from(vec![event.clone(), event.clone()]);
    let wires = [wire(false), Wire::Sharded(SubscriptionMode::Dynamic)];
    for encoder in wires.map(|wire| Encoder::new("io", wire)) {
        let [first, again, whole] = [
            batch.iter().next().unwrap(),
            batch.iter().nth(1).unwrap(),
            (&event).into(),
        ]
        .map(|message| {
            let mut publication = Publication::default();
            encoder.encode(message, &mut publication).unwrap();
            publication
        });
        assert_eq!((&first, &again), (&whole, &whole));
    }
    let again = batch.iter().nth(1).unwrap();
    assert!(matches!(again.body, Body::Again(_)));
}

#[test]
fn only_broadcasts_to_one_room_take_the_rooms_channel() {
    let channel = |target| publish(false, &message("a", broadcast(target, None))).channel;
    assert_eq!(channel(target(&[])), "io#/#");
    assert_eq!(channel(target(&["a#b#"])), "io#/#a#b##");
    assert_eq!(channel(target(&["a", "b"])), "io#/#");
    let mut number = target(&[]);
    number.rooms.push(Room::Number(1e21));
    assert_eq!(channel(number), "io#/#1e+21#");
    let ack = publish(false, &message("a", broadcast(target(&["a"]), Some("r"))));
    assert_eq!(ack.channel, "io-request#/#");
}

#[test]
fn a_room_without_local_sockets_is_passed_over_without_decoding() {
    let mut publication = publish(false, &message("a", broadcast(target(&["42"]), None)));
    for (local, expected) in [
        (&["text 42"][..], true),
        (&["number 42"], true),
        (&["text 4", "number 2"], false),
    ] {
        let decoded = deliver("b", &publication, &Server(local)).unwrap();
        assert_eq!(decoded.message.is_some(), expected, "{local:?}");
    }
    publication.payload = b"not msgpack".to_vec();
    assert!(
        deliver("b", &publication, &EMPTY)
            .unwrap()
            .message
            .is_none()
    );
    assert!(deliver("b", &publication, &Server(&["text 42"])).is_err());
}

#[test]
fn an_own_broadcast_is_passed_over_without_decoding() {
    let mut publication = publish(false, &message("me", broadcast(target(&[]), None)));
    assert_eq!(super::peek_sender(&publication.payload), Some("me"));
    publication.payload.truncate(10);
    assert!(
        deliver("me", &publication, &EMPTY)
            .unwrap()
            .message
            .is_none()
    );
    assert!(deliver("you", &publication, &EMPTY).is_err());
}

#[test]
fn one_namespaces_room_is_not_anothers_main_channel() {
    let mut decoder = Decoder::new("io", wire(false), "me");
    decoder.enter("/a");
    decoder.enter("/a#b");
    let mut sent = message("x", broadcast(target(&["b"]), None));
    sent.namespace = "/a".into();
    let publication = publish(false, &sent);
    assert_eq!(publication.channel, "io#/a#b#");
    let read = |pattern: &str| {
        let local = Server(&["text b"]);
        decoder
            .channel(
                Some(pattern.as_bytes()),
                publication.channel.as_bytes(),
                &local,
            )
            .decode(&publication.payload, &local)
            .unwrap()
            .message
            .map(Message::from)
    };
    assert_eq!(text(&read("io#/a#*").unwrap()), text(&sent));
    assert!(read("io#/a#b#*").is_none());
    assert!(read("io#/unknown#*").is_none());
}

#[test]
fn requests_survive_a_round_trip() {
    let mut loud = target(&["r"]);
    loud.except = Some(vec![Room::Number(-0.5)]);
    loud.volatile = true;
    loud.other_flags = Some(r#"{"compress":false,"timeout":5}"#.into());
    let query = |target| Query {
        request: "q".into(),
        target,
    };
    for body in [
        broadcast(loud.clone(), Some("q")),
        Body::SocketsJoin(RoomChange {
            target: loud.clone(),
            rooms: vec![Room::Number(7.0)],
        }),
        Body::SocketsLeave(RoomChange {
            target: loud.clone(),
            rooms: loud.rooms.clone(),
        }),
        Body::FetchSockets(query(loud.clone())),
        Body::FetchRooms(query(target(&[]))),
        Body::ServerEvent(ServerEvent {
            data: Payload {
                json: r#"["e",{"_placeholder":true,"num":0}]"#.into(),
                attachments: Some(vec![vec![1, 2]]),
            },
            request: Some("q".into()),
        }),
    ] {
        let sent = message("a", body);
        assert_eq!(text(&received("b", &sent).unwrap()), text(&sent));
        assert!(received("a", &sent).is_none(), "one's own");
    }
}

#[test]
fn answers_name_their_sender_and_find_their_asker() {
    let mut all_arguments = AckAnswer {
        request: "q".into(),
        socket: Some("s".into()),
        data: payload(r#"["first",{"k":2},null]"#),
        error: None,
    };
    let more = all_arguments.clone();
    all_arguments.data = payload("[]");
    for body in [
        Body::ClientAck(more),
        Body::ClientAck(all_arguments),
        Body::ClientCount(CountAnswer {
            request: "q".into(),
            clients: u32::MAX,
        }),
        Body::RoomsAnswer(RoomsAnswer {
            request: "q".into(),
            rooms: target(&["a"]).rooms,
        }),
        Body::SocketsAnswer(SocketsAnswer {
            request: "q".into(),
            sockets: vec![Socket {
                id: "s".into(),
                rooms: vec![Room::Number(1.0)],
                handshake: payload("{}"),
                data: Payload {
                    json: r#"{"b":{"_placeholder":true,"num":0}}"#.into(),
                    attachments: Some(vec![vec![9]]),
                },
            }],
        }),
        Body::ServerEventAnswer(ValueAnswer {
            request: "q".into(),
            data: None,
            error: None,
        }),
        Body::ServerEventAnswer(ValueAnswer {
            request: "q".into(),
            data: Some(payload("null")),
            error: None,
        }),
    ] {
        let mut sent = message("b", body);
        sent.recipient = Some("a".into());
        for specific in [false, true] {
            let publication = publish(specific, &sent);
            let channel = if specific {
                "io-response#/#a#"
            } else {
                "io-response#/#"
            };
            assert_eq!(publication.channel, channel);
            let got = deliver("a", &publication, &EMPTY).unwrap().message.unwrap();
            assert_eq!(text(&got), text(&sent));
            let other = deliver("c", &publication, &EMPTY).unwrap().message;
            assert!(other.is_none(), "not for a third node");
        }
    }
}

#[test]
fn what_this_wire_has_no_form_for_goes_where_node_does_not_listen() {
    let failed = |data| ValueAnswer {
        request: "q".into(),
        data,
        error: Some("why".into()),
    };
    for body in [
        Body::InitialHeartbeat,
        Body::Heartbeat,
        Body::AdapterClose,
        Body::CustomQuery(CustomQuery {
            request: "q".into(),
            kind: "custom".into(),
            data: payload("[1]"),
        }),
        Body::CustomAnswer(failed(None)),
        Body::ServerEventAnswer(failed(None)),
        Body::ClientAck(AckAnswer {
            request: "q".into(),
            socket: Some("s".into()),
            data: payload("[]"),
            error: Some("timeout".into()),
        }),
    ] {
        let sent = message("a", body);
        let publication = publish(true, &sent);
        assert_eq!(publication.channel, "io-switchboard#/#");
        // Neither of the patterns that Node subscribes to.
        assert!(!publication.channel.starts_with("io#/#"));
        let got = deliver("b", &publication, &EMPTY).unwrap().message.unwrap();
        assert_eq!(text(&got), text(&sent));
    }
}

#[test]
fn rooms_of_some_sockets_are_asked_for_through_the_sockets() {
    let asked = message(
        "a",
        Body::FetchRooms(Query {
            request: "q".into(),
            target: target(&["r"]),
        }),
    );
    let Some(Message {
        body: Body::FetchSockets(query),
        ..
    }) = received("b", &asked)
    else {
        panic!("the sockets are asked for");
    };
    let socket = |id: &str| Socket {
        id: id.into(),
        rooms: vec![
            Room::Text(id.into()),
            Room::Text("r".into()),
            Room::Number(1.0),
        ],
        handshake: payload("{}"),
        data: payload("{}"),
    };
    let answer = SocketsAnswer {
        request: query.request,
        sockets: vec![socket("s1"), socket("s2")],
    };
    let got = received("a", &message("b", Body::SocketsAnswer(answer))).unwrap();
    let expected = RoomsAnswer {
        request: "q".into(),
        rooms: vec![Room::Text("r".into()), Room::Number(1.0)],
    };
    assert_eq!(text(&got), text(&message("b", Body::RoomsAnswer(expected))));
}

#[test]
fn a_question_for_ids_is_answered_with_ids() {
    let publication = Publication {
        channel: "io-request#/#".into(),
        payload: br#"{"uid":"old","requestId":"q","type":0,"rooms":[]}"#.to_vec(),
    };
    let asked = deliver("b", &publication, &EMPTY).unwrap().message.unwrap();
    let Body::FetchSockets(query) = asked.body else {
        panic!("{asked:?}");
    };
    let socket = Socket {
        id: "s1".into(),
        rooms: Vec::new(),
        handshake: payload("{}"),
        data: payload("{}"),
    };
    let answer = SocketsAnswer {
        request: query.request,
        sockets: vec![socket],
    };
    let written = publish(false, &message("b", Body::SocketsAnswer(answer))).payload;
    assert_eq!(written, br#"{"requestId":"q","sockets":["s1"],"uid":"b"}"#);
}

#[test]
fn the_old_form_is_left_to_the_server_that_has_the_socket() {
    let publication = Publication {
        channel: "io-request#/#".into(),
        payload: br#"{"uid":"old","type":4,"requestId":null,"sid":"s1","close":true}"#.to_vec(),
    };
    let elsewhere = deliver("b", &publication, &EMPTY).unwrap();
    assert!(elsewhere.message.is_none() && elsewhere.reply.is_none());
    let here = deliver("b", &publication, &Server(&["text s1"])).unwrap();
    assert!(matches!(
        here.message.unwrap().body,
        Body::DisconnectSockets(disconnection) if disconnection.close
    ));
    assert_eq!(here.reply.unwrap().payload, br#"{"requestId":null}"#);
}

#[test]
fn an_emitter_writes_what_nodes_emitter_writes() {
    let change = RoomChange {
        target: target(&["a"]),
        rooms: target(&["b"]).rooms,
    };
    let join = publish(false, &message("emitter", Body::SocketsJoin(change))).payload;
    assert_eq!(
        join,
        br#"{"type":2,"opts":{"rooms":["a"],"except":[]},"rooms":["b"]}"#
    );
    let event = ServerEvent {
        data: payload("[\"e\"]"),
        request: None,
    };
    let event = publish(false, &message("emitter", Body::ServerEvent(event))).payload;
    assert_eq!(event, br#"{"uid":"emitter","type":6,"data":["e"]}"#);
    let emit = message("emitter", broadcast(target(&[]), None));
    assert_eq!(text(&received("b", &emit).unwrap()), text(&emit));
}

#[test]
fn a_room_that_is_neither_text_nor_number_never_becomes_everybody() {
    for rooms in ["[null]", "[true]", "[{}]", "\"r\"", "7"] {
        let payload = format!(
            r#"{{"uid":"x","type":4,"opts":{{"rooms":{rooms},"except":[]}},"close":true}}"#
        );
        let publication = Publication {
            channel: "io-request#/#".into(),
            payload: payload.into_bytes(),
        };
        assert!(deliver("b", &publication, &EMPTY).is_err(), "{rooms}");
    }
}

#[test]
fn other_opts_than_the_last_ones_are_read_anew() {
    let mut decoder = Decoder::new("io", wire(false), "you");
    decoder.enter("/");
    let local = Server(&["text a", "text b"]);
    for room in ["a", "a", "b", "a"] {
        let sent = message("me", broadcast(target(&[room]), None));
        let publication = publish(false, &sent);
        let channel = publication.channel.as_bytes();
        let channel = decoder.channel(Some(b"io#/#*"), channel, &local);
        let read = channel.decode(&publication.payload, &local).unwrap();
        assert_eq!(text(&read.message.unwrap().into()), text(&sent));
    }
}

#[test]
fn a_nodes_own_broadcasts_are_known_by_their_beginning() {
    let own = Decoder::new("io", wire(false), "me").own();
    let is_own = |sender: &str| {
        let sent = publish(false, &message(sender, broadcast(target(&["a"]), None)));
        let payload = sent.payload;
        own.beginnings.iter().any(|it| payload.starts_with(it))
    };
    assert!(is_own("me"));
    assert!(!is_own("you"));
    assert!(!is_own("mee"));
}
