//! Messages captured from Node's adapter and emitter, and hand-made ones that its receiver was shown:
//! we read them as Node does, and Node's adapter itself reads what we write.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use support::{
    Read, Vector,
    trees::{expected_of_envelope, normal, show, to_base64},
    vectors,
};
use switchboard_plugin::{postgres::Notice, types::Message};
use switchboard_transport_postgres::wire::letter::{Writer, told_apart};

/// Nothing may come of these, as in Node.
const IGNORED: &[&str] = &[
    "postgres-primary: unrelated-process-message",
    "injected-postgres: wrong-channel",
];

/// Node's error handler gets these; we refuse them.
const REFUSED: &[&str] = &[
    "injected-postgres: not-json",
    "injected-postgres: attachment-json-row",
];

/// Node passes over these, and we do not: an emitter's message without a namespace is meant for that
/// of its channel, and a header without a sender is nobody's own.
const UNDERSTOOD: &[&str] = &[
    "injected-postgres: emitter-uid-without-nsp",
    "injected-postgres: attachment-header-without-uid",
    "injected-postgres: attachment-no-nsp-in-row",
];

#[test]
fn every_vector_reads_as_the_message_that_node_means() {
    let (mut ignored, mut refused, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for vector in vectors() {
        match vector.decode() {
            Err(_) => refused.push(vector.name()),
            Ok(Read::Nothing) => ignored.push(vector.name()),
            Ok(Read::NoRow) => missing.push(vector.name()),
            Ok(Read::Message(message)) => {
                assert_eq!(show(&message), expected(&vector), "{}", vector.name());
            }
        }
    }
    assert_eq!(ignored, IGNORED);
    assert_eq!(refused, REFUSED);
    assert_eq!(missing, ["injected-postgres: attachment-missing-row"]);
}

#[test]
fn what_the_emitter_sends_is_understood_although_it_names_no_namespace() {
    let is_emitters = |vector: &Vector| vector.envelope["uid"] == "emitter";
    let mut count = 0;
    for vector in vectors().into_iter().filter(is_emitters) {
        let Ok(Read::Message(message)) = vector.decode() else {
            panic!("{}", vector.name());
        };
        assert_eq!(message.namespace, vector.namespace());
        count += usize::from(vector.envelope.get("nsp").is_none());
    }
    assert!(count > 8, "{count}");
}

#[test]
fn ones_own_messages_are_passed_over() {
    let mut count = 0;
    for vector in vectors().iter().filter(|vector| vector.is_captured()) {
        // Node's other members stand behind these, which makes a check of the end fail.
        let Some(own) = vector.envelope["uid"].as_str() else {
            continue;
        };
        let got = vector.decode_as(own).unwrap();
        assert!(matches!(got, Read::Nothing), "{}", vector.name());
        count += 1;
    }
    assert!(count > 130, "{count}");
}

/// What Node sent is written again by us, in the ways that we send it, and read by Node's adapter.
#[test]
fn node_reads_what_we_write_as_what_node_wrote() {
    let is_message = |vector: &Vector| matches!(vector.decode(), Ok(Read::Message(_)));
    let captured = |vector: &Vector| vector.is_captured() && is_message(vector);
    let vectors: Vec<Vector> = vectors().into_iter().filter(captured).collect();
    for (threshold, keeps) in [(8000, false), (0, false), (8000, true)] {
        let writer = Writer::new(support::PREFIX, threshold, keeps);
        let mut rows = 0;
        let lines: Vec<Value> = vectors
            .iter()
            .map(|vector| {
                let Ok(Read::Message(message)) = vector.decode() else {
                    panic!("{}", vector.name());
                };
                let line = line(&writer, &message, vector);
                rows += usize::from(line.get("row").is_some());
                line
            })
            .collect();
        let is_all = rows == vectors.len();
        assert_eq!(is_all, threshold == 0, "{rows}");
        for package in PACKAGES {
            for (vector, seen) in vectors.iter().zip(ask_node(package, &lines)) {
                let seen = comparable(&normal(&seen));
                let meant = comparable(&vector.envelope);
                assert_eq!(seen, meant, "{} ({package})", vector.name());
            }
        }
    }
}

#[test]
fn node_passes_over_what_tells_equal_notifications_apart() {
    let vectors = vectors();
    let vector = vectors.iter().find(|v| v.case == "emit-text").unwrap();
    let Ok(Read::Message(message)) = vector.decode() else {
        panic!("{}", vector.name());
    };
    let writer = Writer::new(support::PREFIX, 8000, false);
    let Notice::Inline(notice) = writer.letter(&message, 0).unwrap() else {
        panic!("it is small");
    };
    let apart = told_apart(&notice, 77).unwrap();
    assert_ne!(apart.payload, notice.payload);
    let line = json!({ "payload": apart.payload, "nsp": "/" });
    let seen = ask_node(PACKAGES[0], &[line]).remove(0);
    assert_eq!(comparable(&normal(&seen)), comparable(&vector.envelope));
    // And so do we.
    let apart = Vector {
        notification: apart.payload,
        ..vector.clone()
    };
    let Ok(Read::Message(again)) = apart.decode() else {
        panic!("it is a message");
    };
    assert_eq!(show(&again), show(&message));
}

/// A tree without what this transport, or Node's primary, adds, and what an emitter repeats.
fn comparable(tree: &Value) -> Value {
    let mut tree = tree.clone();
    if let Some(members) = tree.as_object_mut() {
        for ours in ["source", "requesterUid", "nodeId", "n", "kept", "nsp"] {
            members.remove(ours);
        }
        if let Some(Value::Object(packet)) =
            members.get_mut("data").and_then(|d| d.get_mut("packet"))
        {
            packet.remove("nsp");
        }
        // Absent means none, and Node's emitter leaves it out.
        if let Some(Value::Object(opts)) = members.get_mut("data").and_then(|d| d.get_mut("opts")) {
            opts.entry("flags").or_insert_with(|| json!({}));
        }
    }
    tree
}

fn line(writer: &Writer, message: &Message, vector: &Vector) -> Value {
    let nsp = vector.namespace();
    match writer.letter(message, 5).unwrap() {
        Notice::Inline(notice) => {
            assert_eq!(notice.channel, vector.channel);
            json!({ "payload": notice.payload, "nsp": nsp })
        }
        Notice::Stored(notice) => {
            assert_eq!(notice.channel, vector.channel);
            let payload = format!("{}17{}", notice.before, notice.after);
            json!({ "payload": payload, "nsp": nsp, "row": to_base64(&notice.body) })
        }
    }
}

const PACKAGES: [&str; 2] = ["@socket.io/postgres-adapter", "postgres-adapter-0.4"];

/// What Node's adapter makes of these lines. The folder with the adapter is that of the integration
/// tests, or SWITCHBOARD_NODE_DIR.
fn ask_node(package: &str, lines: &[Value]) -> Vec<Value> {
    let crate_dir = env!("CARGO_MANIFEST_DIR");
    let packages = std::env::var("SWITCHBOARD_NODE_DIR")
        .unwrap_or_else(|_| format!("{crate_dir}/../../tests/node"));
    let mut node = Command::new("node")
        .arg(format!("{crate_dir}/tests/vectors.mjs"))
        .args([&packages, package])
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
        "Node's Postgres adapters are installed in {packages} (cargo xtask setup)"
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
    let envelope = &vector.envelope;
    if envelope["nsp"].is_null() {
        let is_emitters = envelope["uid"] == "emitter" && vector.is_captured();
        let name = vector.name();
        assert!(is_emitters || UNDERSTOOD.contains(&name.as_str()), "{name}");
    }
    json!({
        "nsp": vector.namespace(), "uid": envelope["uid"].as_str().unwrap_or_default(),
        "to": envelope["requesterUid"], "kind": kind, "body": body,
    })
}
