//! Both halves, natively, against a real nats-server.

#![allow(clippy::unwrap_used)]

mod support;

use support::{Server, broadcast};
use switchboard_plugin::{Failure, types::Message};

fn batch(from: usize, to: usize) -> Vec<Message> {
    let message = |n| broadcast("/", "a", &format!("[{n}]"));
    (from..to).map(message).collect()
}

fn numbers(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("[{n}]")).collect()
}

#[test]
fn what_one_node_publishes_others_get_in_order_and_it_does_not_itself() {
    let server = Server::start(&[]);
    let mut other = server.way_in("b", &["/"]);
    let mut own = server.way_in("a", &["/"]);
    let mut out = server.out("a");
    out.send(&batch(0, 500), 0).unwrap();
    out.send(&batch(500, 700), 500).unwrap();
    assert_eq!(other.hear(700), numbers(0, 700));
    assert_eq!(own.poll(100), [""; 0]);
}

#[test]
fn namespaces_are_apart_whatever_they_are_called() {
    let server = Server::start(&[]);
    let names = ["/", "/a.b", "/a", "/*", "/>", "/ä b?x=1"];
    let mut all: Vec<_> = names.map(|name| server.way_in("b", &[name])).into();
    let mut out = server.out("a");
    for (number, name) in names.iter().enumerate() {
        let message = broadcast(name, "a", &format!("[{name:?}]"));
        out.send(&[message], number as u64).unwrap();
    }
    for (way, name) in all.iter_mut().zip(names) {
        assert_eq!(way.hear(1), [format!("[{name:?}]")]);
        assert_eq!(way.poll(50), [""; 0], "{name}");
    }
    all[0].0.unserve("/");
    out.send(&[broadcast("/", "a", "[1]")], 100).unwrap();
    assert_eq!(all[0].poll(100), [""; 0]);
}

#[test]
fn what_is_for_one_node_reaches_it_alone() {
    let server = Server::start(&[]);
    let mut b = server.way_in("b", &["/"]);
    let mut c = server.way_in("c.x", &["/"]);
    let mut out = server.out("a");
    let mut private = broadcast("/", "a", "[\"private\"]");
    private.recipient = Some("c.x".to_owned());
    out.send(&[private, broadcast("/", "a", "[2]")], 0).unwrap();
    assert_eq!(b.hear(1), ["[2]"]);
    assert_eq!(c.hear(2), ["[\"private\"]", "[2]"]);
}

#[test]
fn messages_that_are_larger_than_nats_takes_go_in_parts_and_in_order() {
    let server = Server::start(&[]);
    let mut other = server.way_in("b", &["/"]);
    let large = format!("[\"{}\"]", "x".repeat(5_000_000));
    let texts = ["[1]", &large, "[2]", &large, "[3]"];
    let batch: Vec<_> = texts.map(|text| broadcast("/", "a", text)).into();
    server.out("a").send(&batch, 0).unwrap();
    assert!(other.hear(5) == texts, "another order, or other contents");
}

#[test]
fn a_batch_that_is_handed_out_again_arrives_once() {
    let server = Server::start(&[]);
    let mut other = server.way_in("b", &["/"]);
    let mut out = server.out("a");
    out.send(&batch(0, 10), 0).unwrap();
    // By the same instance, and by a successor that does not know it.
    out.send(&batch(0, 15), 0).unwrap();
    drop(out);
    let mut successor = server.out("a");
    successor.send(&batch(10, 20), 10).unwrap();
    assert_eq!(other.hear(20), numbers(0, 20));
    assert_eq!(other.poll(100), [""; 0]);
}

#[test]
fn a_namespace_that_is_entered_again_begins_anew() {
    let server = Server::start(&[]);
    let mut other = server.way_in("b", &["/"]);
    let mut out = server.out("a");
    out.send(&batch(0, 1), 0).unwrap();
    assert_eq!(other.hear(1), numbers(0, 1));
    other.0.unserve("/");
    out.send(&batch(1, 4), 1).unwrap();
    // Back on the same subject it is another subscription, which has missed nothing.
    other.0.serve("/".to_owned()).unwrap();
    out.send(&batch(4, 5), 4).unwrap();
    assert_eq!(other.hear(1), numbers(4, 5));
}

#[test]
fn who_may_not_in_is_told_and_a_password_lets_in() {
    let server = Server::start(&["--user", "chat", "--pass", "s3cret"]);
    let Failure::Unavailable(why) = server.out("a").send(&batch(0, 1), 0).unwrap_err().reason
    else {
        panic!("it can be set right in NATS");
    };
    assert!(why.contains("Authorization Violation"), "{why}");
    let options = r#"{"user":"chat","password":"s3cret"}"#;
    let mut out = server.out_with("a", options);
    out.send(&batch(0, 1), 0).unwrap();
}

#[test]
fn what_can_never_go_is_rejected_and_the_rest_goes() {
    let server = Server::start(&[]);
    let mut other = server.way_in("b", &["/"]);
    let mut out = server.out("a");
    let mut batch = batch(0, 3);
    batch[1].namespace = format!("/{}", "x".repeat(2_000));
    let failure = out.send(&batch, 0).unwrap_err();
    assert_eq!(failure.accepted, 1);
    assert!(matches!(failure.reason, Failure::Rejected(_)));
    out.send(&batch[2..], 2).unwrap();
    assert_eq!(other.hear(2), ["[0]", "[2]"]);
}

#[test]
fn a_server_that_went_away_is_told_within_a_moment() {
    let server = Server::start(&[]);
    let mut out = server.out("a");
    out.send(&batch(0, 1), 0).unwrap();
    drop(server);
    let failure = out.send(&batch(1, 2), 1).unwrap_err();
    assert!(matches!(failure.reason, Failure::Unavailable(_)));
    assert_eq!(failure.accepted, 0);
}
