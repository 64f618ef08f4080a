//! Messages captured from Node's Redis adapters and emitters, and hand-made ones that Node's
//! receivers were shown: we read them as Node does, and Node's own decoders read what we write.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use support::{
    Vector, msgpack_vectors,
    trees::{
        ack, broadcast, count, expected_of_envelope, opts, request, show, show_payload, sockets,
        to_base64, value,
    },
    vectors,
};
use switchboard_plugin::types::{Body, Message};
use switchboard_transport_redis::wire::Publication;

/// Node ignores these (or fails on them): nothing may come of them.
const IGNORED: &[&str] = &[
    "injected-classic: nil-nsp",
    "injected-classic: other-nsp",
    "injected-classic: room-channel-unknown",
    "injected-sharded: json-type-string",
    "injected-sharded: json-no-nsp",
    "injected-sharded: json-unknown-type",
];

/// Node fails on these; we refuse them.
const REFUSED: &[&str] = &[
    "injected-classic: two-elements",
    "injected-classic: msgpack-map-on-broadcast-channel",
    "injected-classic: garbage",
    "injected-classic: req-garbage",
    "injected-classic: req-no-opts",
    "injected-classic: ioredis-two-elements",
    "injected-classic: ioredis-msgpack-map",
    "injected-classic: ioredis-garbage",
    "injected-sharded: json-leading-space",
    "injected-sharded: mp-trailing",
    "injected-sharded: mp-0xc1",
];

#[test]
fn every_vector_reads_as_the_message_that_node_means() {
    let (mut ignored, mut refused) = (Vec::new(), Vec::new());
    for vector in vectors() {
        match vector.decode() {
            Err(_) => refused.push(vector.name()),
            Ok(decoded) => match decoded.message {
                None => ignored.push(vector.name()),
                Some(message) => {
                    assert_eq!(show(&message), expected(&vector), "{}", vector.name());
                }
            },
        }
    }
    assert_eq!(ignored, IGNORED);
    assert_eq!(refused, REFUSED);
}

#[test]
fn ones_own_messages_are_passed_over() {
    let mut count = 0;
    for vector in vectors().into_iter().filter(Vector::is_captured) {
        let decoded = &vector.decoded;
        let uid = decoded["uid"].as_str().or_else(|| decoded[0].as_str());
        if let Some(uid) = uid {
            let got = support::decode(&vector, uid, &vector.channel, &vector.payload).unwrap();
            assert!(got.message.is_none(), "{}", vector.name());
            count += 1;
        }
    }
    assert!(count > 150, "{count}");
}

#[test]
fn an_old_request_for_one_socket_is_answered_by_its_server_alone() {
    let mut answered = Vec::new();
    for vector in vectors() {
        let Ok(decoded) = vector.decode() else {
            continue;
        };
        if let Some(reply) = decoded.reply {
            assert_eq!(reply.channel, "socket.io-response#/#");
            answered.push((vector.case, String::from_utf8(reply.payload).unwrap()));
        }
    }
    let expected = [
        (
            "req-join-sid".to_owned(),
            r#"{"requestId":"q0"}"#.to_owned(),
        ),
        (
            "req-leave-sid".to_owned(),
            r#"{"requestId":"q1"}"#.to_owned(),
        ),
    ];
    assert_eq!(answered, expected);
}

/// What Node captured is written again by us, and read by Node's decoders.
#[test]
fn node_reads_what_we_write_as_what_node_wrote() {
    let vectors: Vec<Vector> = vectors().into_iter().filter(Vector::is_captured).collect();
    let mut payloads = Vec::new();
    for vector in &vectors {
        let message = vector.decode().unwrap().message.unwrap();
        let mut publication = Publication::default();
        vector.encoder().encode(&message, &mut publication).unwrap();
        assert_eq!(publication.channel, vector.channel, "{}", vector.name());
        payloads.push(publication.payload);
    }
    for (vector, seen) in vectors.iter().zip(read_by_node(&payloads)) {
        let name = vector.name();
        assert_eq!(
            seen["isJson"],
            json!(vector.text),
            "{name}: the same format"
        );
        let mut adapter = support::trees::normal(&seen["adapter"]["value"]);
        let mut other = support::trees::normal(&seen["other"]["value"]);
        let mut expected = vector.decoded.clone();
        for tree in [&mut adapter, &mut other, &mut expected] {
            strip_ours(vector, tree);
        }
        assert_eq!(adapter, expected, "{name}");
        assert_eq!(other, expected, "{name}: by @msgpack/msgpack");
    }
}

/// Answers of ours name their sender and their asker, which Node passes over.
fn strip_ours(vector: &Vector, tree: &mut Value) {
    if vector.channel.contains("-response#")
        && let Some(members) = tree.as_object_mut()
    {
        members.remove("uid");
        members.remove("requesterUid");
    }
}

#[test]
fn values_in_notepacks_msgpack_read_as_node_reads_them() {
    let cases = msgpack_vectors(include_str!("vectors/msgpack-decode.json"));
    let mut differ = Vec::new();
    for (case, bytes, expected) in &cases {
        let got = broadcast_of(bytes).map(|message| data_of(&message));
        if got != *expected {
            differ.push(case.as_str());
        }
    }
    // What notepack.io fails on, but other decoders read; a key that nobody means; and more
    // nesting than the readers behind us take.
    assert_eq!(
        differ,
        [
            "map array key",
            "timestamp with bad length 3",
            "timestamp 32 as ext 8",
            "timestamp 64 as ext 8",
            "nesting 200 arrays",
        ]
    );
    assert_eq!(cases.len(), 55);
}

#[test]
fn values_of_notepacks_encoder_read_right_and_are_written_alike() {
    let cases = msgpack_vectors(include_str!("vectors/msgpack-encode.json"));
    let mut changed = Vec::new();
    let mut payloads = Vec::new();
    for (case, bytes, expected) in &cases {
        let message = broadcast_of(bytes).unwrap_or_else(|| panic!("{case}"));
        assert_eq!(data_of(&message), *expected.as_ref().unwrap(), "{case}");
        let encoder = broadcast_vector().encoder();
        let mut publication = Publication::default();
        encoder.encode(&message, &mut publication).unwrap();
        let written = publication.payload;
        if !written.windows(bytes.len()).any(|window| window == bytes) {
            changed.push(case.as_str());
        }
        payloads.push(written);
    }
    // Dates are text in JSON, and there is no NaN. The numbers are those that notepack.io wraps to
    // 64 bits: what is left of them is not in its shortest form.
    changed.retain(|case| !case.starts_with("Date "));
    assert_eq!(
        changed,
        [
            "number 18446744073709552000",
            "number 1e+300",
            "number -10000000000000000000",
            "number -1e+300",
            "number 1.5e300",
            "NaN",
            "Infinity",
            "-Infinity",
        ]
    );
    for ((case, _, expected), seen) in cases.iter().zip(read_by_node(&payloads)) {
        let value = support::trees::normal(&seen["adapter"]["value"]);
        assert_eq!(Some(&value[1]["data"][1]), expected.as_ref(), "{case}");
    }
}

/// Numbers that notepack.io destroys when Node sends them arrive whole when we do.
#[test]
fn node_reads_our_large_numbers_whole() {
    let numbers = [
        "1e300",
        "-1e+300",
        "18446744073709551616",
        "1.5e300",
        "9007199254740992",
    ];
    let mut message = broadcast_of(&[0xc0]).unwrap();
    if let Body::Broadcast(broadcast) = &mut message.body {
        broadcast.data.json = format!("[\"x\",{}]", numbers.join(","));
    }
    let mut publication = Publication::default();
    broadcast_vector()
        .encoder()
        .encode(&message, &mut publication)
        .unwrap();
    let seen = read_by_node(&[publication.payload]).remove(0);
    let expected: Vec<f64> = numbers
        .iter()
        .map(|number| number.parse().unwrap())
        .collect();
    for reader in ["adapter", "other"] {
        let data = support::trees::normal(&seen[reader]["value"][1]["data"]);
        assert_eq!(data[0], json!("x"));
        assert_eq!(data.as_array().unwrap()[1..], expected[..], "{reader}");
    }
}

/// A vector of the classic wire's main channel, for its settings.
fn broadcast_vector() -> Vector {
    let find = |vector: &Vector| vector.name() == "redis-classic: emit-text";
    vectors().into_iter().find(find).unwrap()
}

/// A broadcast of the event `x` with one argument in msgpack.
fn broadcast_of(argument: &[u8]) -> Option<Message> {
    let vector = broadcast_vector();
    let mut payload = b"\x93\xa1u\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1x".to_vec();
    payload.extend(argument);
    payload.push(0x80);
    let decoded = support::decode(&vector, "me", &vector.channel, &payload);
    decoded.ok()?.message
}

fn data_of(message: &Message) -> Value {
    match &message.body {
        Body::Broadcast(broadcast) => show_payload(&broadcast.data)[1].clone(),
        other => panic!("{other:?}"),
    }
}

/// What Node's decoders make of payloads. The folder with the adapters is that of the integration
/// tests, or SWITCHBOARD_NODE_DIR.
fn read_by_node(payloads: &[Vec<u8>]) -> Vec<Value> {
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
    let lines: Vec<String> = payloads.iter().map(|payload| to_base64(payload)).collect();
    let writer = std::thread::spawn(move || writeln!(input, "{}", lines.join("\n")));
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
    assert_eq!(seen.len(), payloads.len());
    seen
}

/// The message that a vector means, from its tree.
fn expected(vector: &Vector) -> Value {
    let tree = &vector.decoded;
    let (uid, kind, body) = if vector.sharded {
        let (kind, body) = expected_of_envelope(tree);
        (&tree["uid"], kind, body)
    } else if tree.is_array() {
        let packet = &tree[1];
        let body = json!({
            "opts": opts(&tree[2]), "data": packet["data"], "id": packet.get("id"), "request": null,
        });
        (&tree[0], "broadcast", body)
    } else if vector.channel.contains("-request#") {
        classic_request(tree)
    } else {
        classic_response(tree)
    };
    json!({
        "nsp": vector.namespace(), "uid": uid.as_str().unwrap_or_default(),
        "to": vector.private_node(), "kind": kind, "body": body,
    })
}

fn classic_request(tree: &Value) -> (&Value, &'static str, Value) {
    let old = tree.get("opts").is_none();
    let target = |tree: &Value| match tree.get("sid") {
        Some(sid) => json!({ "rooms": [sid], "except": [], "flags": {} }),
        None => opts(&tree["opts"]),
    };
    let rooms = if old {
        json!([tree["room"]])
    } else {
        tree["rooms"].clone()
    };
    let everybody = || json!({ "rooms": [], "except": [], "flags": {} });
    let (kind, body) = match tree["type"].as_f64().unwrap() as u32 {
        0 => {
            let opts = json!({ "rooms": tree["rooms"], "except": [], "flags": {} });
            (
                "fetch",
                json!({ "request": format!("~ids~{}", tree["requestId"]), "opts": opts }),
            )
        }
        1 => (
            "fetch-rooms",
            json!({ "request": request(tree), "opts": everybody() }),
        ),
        2 => ("join", json!({ "opts": target(tree), "rooms": rooms })),
        3 => ("leave", json!({ "opts": target(tree), "rooms": rooms })),
        4 => (
            "disconnect",
            json!({ "opts": target(tree), "close": tree["close"] }),
        ),
        5 => (
            "fetch",
            json!({ "request": request(tree), "opts": opts(&tree["opts"]) }),
        ),
        6 => (
            "server-event",
            json!({ "data": tree["data"], "request": request(tree) }),
        ),
        7 => ("broadcast", broadcast(tree)),
        other => panic!("type {other}"),
    };
    (&tree["uid"], kind, body)
}

fn classic_response(tree: &Value) -> (&Value, &'static str, Value) {
    let (kind, body) = match tree["type"].as_f64().map(|kind| kind as u32) {
        Some(6) => ("value", value(tree, "data")),
        Some(8) => ("count", count(tree)),
        Some(9) => ("ack", ack(tree)),
        None if tree.get("sockets").is_some() => ("sockets", sockets(tree)),
        None => (
            "rooms",
            json!({ "request": tree["requestId"], "rooms": tree["rooms"] }),
        ),
        other => panic!("type {other:?}"),
    };
    (&tree["uid"], kind, body)
}
