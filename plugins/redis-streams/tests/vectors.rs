//! Messages and sessions captured from Node's adapter, and hand-made ones that its receiver was
//! shown: we read them as Node does, and Node's adapter itself reads what we write.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use support::{
    Source, Vector, entries,
    trees::{expected_of_envelope, normal, show, to_base64},
    vectors,
};
use switchboard_plugin::{
    types::{Body, Message, Payload, Room, Session, Target},
    wire::{Format, envelope, pubsub},
};
use switchboard_transport_redis_streams::wire::{
    entry, is_kept,
    mark::{self, Mark},
    names::Streams,
    session,
};

/// Nothing may come of these, as in Node.
const IGNORED: &[&str] = &["injected-streams: no-nsp"];

/// Node fails on these; we refuse them. (It takes no JSON over Pub/Sub; the subscriber passes over
/// it before it gets here.)
const REFUSED: &[&str] = &[
    "injected-streams: msgpack-trailing",
    "injected-streams: json-leading-space",
];

#[test]
fn every_vector_reads_as_the_message_that_node_means() {
    let (mut ignored, mut refused) = (Vec::new(), Vec::new());
    for vector in vectors() {
        match vector.decode() {
            Err(_) => refused.push(vector.name()),
            Ok(None) => ignored.push(vector.name()),
            Ok(Some(message)) => {
                assert_eq!(show(&message), expected(&vector), "{}", vector.name());
            }
        }
    }
    assert_eq!(ignored, IGNORED);
    assert_eq!(refused, REFUSED);
}

#[test]
fn ones_own_messages_are_passed_over() {
    let mut count = 0;
    for vector in vectors().iter().filter(|vector| vector.is_captured()) {
        let own = vector.envelope["uid"].as_str().unwrap();
        let got = vector.decode_as(own, &vector.from).unwrap();
        assert!(got.is_none(), "{}", vector.name());
        count += 1;
    }
    assert_eq!(count, 115);
}

#[test]
fn every_entry_is_in_the_stream_of_its_namespace() {
    let (one, three) = (Streams::new("socket.io", 1), Streams::new("st", 3));
    let mut count = 0;
    for vector in vectors() {
        if let Source::Stream { name, .. } = &vector.from {
            let streams = match vector.file {
                "redis-streams-3" => &three,
                _ => &one,
            };
            assert_eq!(streams.of(vector.namespace()), name, "{}", vector.name());
            assert!(streams.all().contains(name), "{}", vector.name());
            count += 1;
        }
    }
    assert!(count > 80, "{count}");
}

#[test]
fn the_streams_are_those_that_node_computes() {
    let mut count = 0;
    for case in entries(include_str!("vectors/redis-streams-hash.json")) {
        let namespace = case["nsp"].as_str().unwrap();
        for (streams, name) in case["streamNameByStreamCount"].as_object().unwrap() {
            let streams = Streams::new("socket.io", streams.parse().unwrap());
            assert_eq!(streams.of(namespace), name, "{namespace}");
            assert!(streams.all().iter().any(|one| one == name), "{namespace}");
            count += 1;
        }
    }
    assert_eq!(count, 85);
}

/// What Node sent is written again by us, in the way that we send it, and read by Node's adapter.
#[test]
fn node_reads_what_we_write_as_what_node_wrote() {
    let vectors: Vec<Vector> = vectors().into_iter().filter(Vector::is_captured).collect();
    let lines: Vec<Value> = vectors
        .iter()
        .map(|vector| shown_to_node(&vector.decode().unwrap().unwrap(), false))
        .collect();
    let of_entries = lines.iter().filter(|line| line.get("fields").is_some());
    assert!(of_entries.count() > 70);
    for ((vector, line), seen) in vectors.iter().zip(&lines).zip(ask_node(&lines)) {
        assert_eq!(normal(&seen), vector.envelope, "{}", vector.name());
        // And over the same way, but for requests.
        let kind = vector.envelope["type"].as_f64().unwrap() as u32;
        let is_request =
            [7, 9].contains(&kind) || vector.envelope["data"].get("requestId").is_some();
        match (&vector.from, line.get("fields")) {
            (Source::Stream { fields, .. }, Some(ours)) => {
                let volatile = vector.envelope["data"]["opts"]["flags"]
                    .get("volatile")
                    .is_some();
                let theirs = fields[2].1.as_slice();
                let ours = ours[2][1].as_str().unwrap().as_bytes();
                assert_eq!(ours == theirs, !volatile, "{}", vector.name());
            }
            (Source::Channel { .. }, Some(_)) => assert!(is_request, "{}", vector.name()),
            (Source::Channel { .. }, None) => assert!(!vector.envelope["data"].is_null()),
            (Source::Stream { .. }, None) => panic!("{}", vector.name()),
        }
    }
}

#[test]
fn data_is_written_byte_for_byte_as_node_writes_it() {
    let (mut same, mut differ) = (0, Vec::new());
    for vector in vectors().iter().filter(|vector| vector.is_captured()) {
        let Source::Stream { fields, .. } = &vector.from else {
            continue;
        };
        let message = vector.decode().unwrap().unwrap();
        let data = entry::write(&message, false).unwrap().data.unwrap();
        let (name, theirs) = &fields[3];
        assert_eq!(name, b"data");
        if data == *theirs {
            same += 1;
        } else {
            differ.push(vector.name());
        }
    }
    // Node writes an `ArrayBuffer` as an empty map, and takes it for binary. These hold dates, which
    // are text here, and a NaN, which JSON does not have.
    assert_eq!(
        differ,
        [
            "redis-streams: binary-arraybuffer",
            "redis-streams: values-binary-path",
            "redis-streams: values-toplevel-binary",
        ]
    );
    assert!(same > 60, "{same}");
}

#[test]
fn node_sees_a_buffer_as_text_where_only_text_is_wanted() {
    let mut message = event("x");
    if let Body::Broadcast(event) = &mut message.body {
        event.data.json = r#"["x",{"_placeholder":true,"num":0}]"#.to_owned();
        event.data.attachments = Some(vec![vec![1, 2]]);
    }
    let seen = ask_node(&[
        shown_to_node(&message, true),
        shown_to_node(&message, false),
    ]);
    let argument = |seen: &Value| normal(&seen["data"]["packet"]["data"][1]);
    assert_eq!(
        argument(&seen[0]),
        normal(&json!({ "type": "Buffer", "data": [1, 2] }))
    );
    assert_eq!(argument(&seen[1]), json!({ "$bin": "AQI=" }));
}

/// The session that the vectors have, and one of every kind of value.
fn sessions() -> Vec<(Session, Value)> {
    let csr = entries(include_str!("vectors/redis-streams-csr.json"));
    let captured = csr.iter().find(|entry| entry.get("key").is_some()).unwrap();
    let text = captured["payload_utf8"].as_str().unwrap();
    let captured = (
        session::read(text.as_bytes()).unwrap(),
        captured["decoded"].clone(),
    );
    let made = Session {
        pid: "pid-of-20-characters".to_owned(),
        sid: "0123456789abcdef".to_owned(),
        rooms: vec![
            Room::Text("0123456789abcdef".to_owned()),
            Room::Number(-1.5),
            Room::Text("комната".to_owned()),
        ],
        data: Payload {
            json: r#"{"a":[1,null,true,"é"],"b":{"_placeholder":true,"num":0}}"#.to_owned(),
            attachments: Some(vec![vec![0, 255]]),
        },
    };
    let tree = json!({
        "sid": made.sid, "pid": made.pid, "rooms": ["0123456789abcdef", -1.5, "комната"],
        "data": { "a": [1, null, true, "é"], "b": { "$bin": "AP8=" } },
    });
    vec![captured, (made, tree)]
}

#[test]
fn a_session_that_node_saved_is_read() {
    let (session, tree) = &sessions()[0];
    assert_eq!(session.pid, tree["pid"].as_str().unwrap());
    assert_eq!(session.sid, tree["sid"].as_str().unwrap());
    assert_eq!(session.data.json, tree["data"].to_string());
    let rooms: Vec<Value> = session
        .rooms
        .iter()
        .map(|room| match room {
            Room::Text(text) => json!(text),
            Room::Number(number) => json!(*number as i64),
        })
        .collect();
    assert_eq!(json!(rooms), tree["rooms"]);
}

#[test]
fn node_saves_a_session_in_the_very_bytes_that_we_write() {
    let (session, tree) = &sessions()[0];
    // In Node's order of members.
    let members = ["sid", "pid", "rooms", "data"].map(|key| json!([key, tree[key]]));
    let stored = ask_node(&[json!({ "session": members })]).remove(0);
    assert_eq!(stored["key"], format!("sio:session:{}", session.pid));
    assert_eq!(stored["value"], session::write(session).unwrap());
    assert_eq!(stored["ttlMs"], 45000);
}

#[test]
fn node_restores_a_session_of_ours_with_what_it_missed_and_no_more() {
    let (volatile, asked) = (
        with(event("volatile"), |event| event.target.volatile = true),
        with(event("asked"), |event| event.request = Some("q".to_owned())),
    );
    let room = |name: &str| vec![Room::Text(name.to_owned())];
    let other_room = with(event("other"), |event| event.target.rooms = room("other"));
    let own_room = |sid: &str| with(event("own"), |event| event.target.rooms = room(sid));
    for (session, tree) in sessions() {
        let messages = [
            event("got"),
            event("first"),
            volatile.clone(),
            asked.clone(),
            other_room.clone(),
            own_room(&session.sid),
            event("last"),
        ];
        let stream = messages.iter().enumerate().map(|(index, message)| {
            let line = shown_to_node(message, false);
            json!([format!("17-{index}"), line["fields"]])
        });
        let line = json!({
            "pid": session.pid, "offset": "17-0", "kept": session::write(&session).unwrap(),
            "entries": stream.collect::<Vec<_>>(),
        });
        let mut restored = ask_node(&[line]).remove(0);
        let missed = restored.as_object_mut().unwrap().remove("missedPackets");
        assert_eq!(
            missed.unwrap(),
            json!([["first", "17-1"], ["own", "17-5"], ["last", "17-6"]])
        );
        assert_eq!(normal(&restored), normal(&tree));
    }
}

fn event(name: &str) -> Message {
    let target = Target {
        rooms: Vec::new(),
        except: None,
        volatile: false,
        other_flags: None,
    };
    let data = Payload {
        json: json!([name]).to_string(),
        attachments: None,
    };
    Message {
        namespace: "/".to_owned(),
        sender: "ours".to_owned(),
        recipient: None,
        body: Body::Broadcast(switchboard_plugin::types::Broadcast {
            target,
            data,
            packet_id: None,
            request: None,
        }),
    }
}

fn with(
    mut message: Message,
    change: impl FnOnce(&mut switchboard_plugin::types::Broadcast),
) -> Message {
    if let Body::Broadcast(event) = &mut message.body {
        change(event);
    }
    message
}

/// A message in the way that we send it, for the script.
fn shown_to_node(message: &Message, only_plaintext: bool) -> Value {
    if !is_kept(&message.body) {
        let payload = envelope::write_as(message, Format::Msgpack).unwrap();
        let public = pubsub::public_channel("io", &message.namespace);
        assert!(public.starts_with("io#/"));
        return json!({ "payload": to_base64(&payload) });
    }
    let written = entry::write(message, only_plaintext).unwrap();
    let mut mark = Vec::new();
    Mark {
        node: "node-of_ours",
        number: u64::MAX,
    }
    .write(&mut mark);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut fields = vec![
        json!(["uid", message.sender]),
        json!(["nsp", message.namespace]),
        json!(["type", written.kind]),
    ];
    fields.extend(written.data.map(|data| json!(["data", text(&data)])));
    fields.push(json!([text(mark::FIELD), text(&mark)]));
    json!({ "fields": fields })
}

/// What Node's adapter makes of these lines. The folder with the adapter is that of the integration
/// tests, or SWITCHBOARD_NODE_DIR.
fn ask_node(lines: &[Value]) -> Vec<Value> {
    let crate_dir = env!("CARGO_MANIFEST_DIR");
    let packages = std::env::var("SWITCHBOARD_NODE_DIR")
        .unwrap_or_else(|_| format!("{crate_dir}/../../tests/node"));
    let mut node = Command::new("node")
        .arg(format!("{crate_dir}/tests/vectors.mjs"))
        .arg(&packages)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Node.js is installed");
    let mut input = node.stdin.take().unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = node.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(
        output.status.success(),
        "Node's Redis adapters are installed in {packages} (cargo xtask setup)"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let seen: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(seen.len(), lines.len());
    seen
}

/// The message that a vector means, from its tree.
fn expected(vector: &Vector) -> Value {
    let (kind, body) = expected_of_envelope(&vector.envelope);
    json!({
        "nsp": vector.namespace(), "uid": vector.envelope["uid"].as_str().unwrap_or_default(),
        "to": vector.private_node(), "kind": kind, "body": body,
    })
}
