//! The log without sockets: what each connection would be written.

#![allow(clippy::unwrap_used)]

use bytes::BytesMut;

use super::*;
use crate::capabilities::bus::{
    frame::{self, Hello, MAX_MEMBERS},
    wire::FrameReader,
};

const STALL: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_secs(2);

fn log() -> Log {
    Log::new("hub".into(), 1, STALL, GRACE)
}

fn hello(id: &str, base: u64, others: &[&str]) -> Hello {
    Hello {
        id: id.into(),
        incarnation: 7,
        base,
        max_frame_bytes: 1000,
        max_unstable_bytes: 1000,
        others: others.iter().map(|id| (Arc::from(*id), 7)).collect(),
    }
}

fn join(log: &mut Log, connection: ConnectionId, hello: Hello) {
    log.connect(connection);
    log.hello(connection, &hello, Instant::now()).unwrap();
}

fn data(sender: &str, seq: u64, size: usize) -> Data {
    let mut out = BytesMut::new();
    frame::encode_data_head(sender, seq, size, &mut out);
    out.resize(out.len() + size, 0);
    match frame::decode(out.freeze()) {
        Ok(Frame::Data(data)) => data,
        other => panic!("{other:?}"),
    }
}

fn send(log: &mut Log, connection: ConnectionId, sender: &str, seq: u64) {
    log.data(connection, data(sender, seq, 10), Instant::now())
        .unwrap();
}

/// What this connection is written now, as text.
async fn written(log: &mut Log, connection: ConnectionId) -> String {
    let mut batch = WriteBatch::new();
    log.gather(connection, &mut batch);
    let mut bytes = Vec::new();
    batch.write_to(&mut bytes).await.unwrap();
    let mut bytes = bytes.as_slice();
    let mut reader = FrameReader::new(1000);
    let mut texts = Vec::new();
    loop {
        while let Some(frame) = reader.next().unwrap() {
            texts.push(match frame {
                Frame::Welcome { members, .. } => {
                    let members = members.iter().map(|Known { id, base, .. }| match base {
                        Some(base) => format!("{id}{base}"),
                        None => format!("{id}?"),
                    });
                    format!("({})", members.collect::<Vec<_>>().join(" "))
                }
                Frame::Data(data) => format!("{}{}", data.sender(), data.seq),
                Frame::Joined(Known { id, base, .. }) => format!("+{id}{}", base.unwrap()),
                Frame::Left { id } => format!("-{id}"),
                Frame::Stable { seq } => format!("ok{seq}"),
                Frame::Cut { text, .. } => text,
                other => panic!("{other:?}"),
            });
        }
        if !reader.fill(&mut bytes).await.unwrap() {
            return texts.join(" ");
        }
    }
}

fn ack(log: &mut Log, connection: ConnectionId, count: u64) {
    log.ack(connection, count, Instant::now()).unwrap();
}

#[tokio::test]
async fn a_frame_is_stable_when_every_other_member_has_taken_it() {
    let mut log = log();
    join(&mut log, 1, hello("a", 0, &[]));
    join(&mut log, 2, hello("b", 0, &[]));
    join(&mut log, 3, hello("c", 0, &[]));
    send(&mut log, 1, "a", 1);
    assert_eq!(written(&mut log, 1).await, "() +b0 +c0");
    assert_eq!(written(&mut log, 2).await, "(a0) +c0 a1");
    assert_eq!(written(&mut log, 3).await, "(a0) +b0 a1");
    ack(&mut log, 1, 2);
    ack(&mut log, 2, 2);
    ack(&mut log, 3, 1);
    assert_eq!(written(&mut log, 1).await, "");
    ack(&mut log, 3, 2);
    assert_eq!(written(&mut log, 1).await, "ok1");
    assert!(log.entries.is_empty());
}

#[tokio::test]
async fn a_sender_alone_is_stable_at_once() {
    let mut log = log();
    join(&mut log, 1, hello("a", 0, &[]));
    send(&mut log, 1, "a", 1);
    send(&mut log, 1, "a", 2);
    assert_eq!(written(&mut log, 1).await, "() ok2");
}

#[tokio::test]
async fn a_member_that_goes_is_not_waited_for_and_its_frames_come_before_its_end() {
    let mut log = log();
    join(&mut log, 1, hello("a", 0, &[]));
    join(&mut log, 2, hello("b", 0, &[]));
    written(&mut log, 1).await;
    ack(&mut log, 1, 1);
    send(&mut log, 1, "a", 1);
    send(&mut log, 2, "b", 1);
    log.leave(2, Instant::now());
    assert_eq!(written(&mut log, 1).await, "ok1 b1 -b");
    ack(&mut log, 1, 3);
    assert!(log.entries.is_empty() && log.senders.len() == 1);
}

#[tokio::test]
async fn whoever_comes_starts_with_the_oldest_frame_that_not_all_have() {
    let mut log = log();
    join(&mut log, 1, hello("a", 0, &[]));
    join(&mut log, 2, hello("b", 0, &[]));
    written(&mut log, 1).await;
    written(&mut log, 2).await;
    ack(&mut log, 1, 1);
    for seq in 1..=3 {
        send(&mut log, 1, "a", seq);
    }
    written(&mut log, 2).await;
    ack(&mut log, 2, 2);
    join(&mut log, 3, hello("c", 0, &[]));
    assert_eq!(written(&mut log, 3).await, "(a2 b0) a3");
}

#[tokio::test]
async fn after_a_takeover_nothing_is_stable_before_all_are_back() {
    let mut log = log();
    join(&mut log, 1, hello("a", 5, &["b", "c"]));
    send(&mut log, 1, "a", 6);
    assert_eq!(written(&mut log, 1).await, "(b? c?)");
    join(&mut log, 2, hello("b", 2, &["a", "c"]));
    assert_eq!(
        written(&mut log, 2).await,
        "(c? a?) +a5 a6",
        "a is in the log"
    );
    ack(&mut log, 2, 2);
    assert_eq!(written(&mut log, 1).await, "+b2");
    ack(&mut log, 1, 1);
    join(&mut log, 3, hello("c", 0, &[]));
    assert_eq!(written(&mut log, 3).await, "(b?) +a5 a6 +b2");
    for connection in [1, 2] {
        assert_eq!(written(&mut log, connection).await, "+c0");
    }
    ack(&mut log, 3, 3);
    ack(&mut log, 1, 2);
    ack(&mut log, 2, 3);
    assert_eq!(written(&mut log, 1).await, "ok6");
}

#[tokio::test]
async fn a_newcomer_that_serves_first_keeps_its_frames_for_those_of_before() {
    let mut log = log();
    log.await_strangers();
    join(&mut log, 1, hello("new", 0, &[]));
    send(&mut log, 1, "new", 1);
    assert_eq!(written(&mut log, 1).await, "()", "nothing is stable yet");
    join(&mut log, 2, hello("old", 4, &["older"]));
    assert_eq!(written(&mut log, 2).await, "(older?) +new0 new1");
    join(&mut log, 3, hello("older", 0, &["old"]));
    for connection in [1, 2, 3] {
        written(&mut log, connection).await;
    }
    ack(&mut log, 2, 3);
    ack(&mut log, 3, 3);
    ack(&mut log, 1, 2);
    assert!(written(&mut log, 1).await.contains("ok1"));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_come_back_in_time_has_left() {
    let mut log = log();
    join(&mut log, 1, hello("a", 0, &["b"]));
    send(&mut log, 1, "a", 1);
    log.tick(TICK, Instant::now());
    assert_eq!(written(&mut log, 1).await, "(b?)");
    tokio::time::advance(GRACE).await;
    log.tick(TICK, Instant::now());
    assert_eq!(written(&mut log, 1).await, "ok1 -b");
    ack(&mut log, 1, 1);
    join(&mut log, 2, hello("late", 0, &["dead"]));
    assert_eq!(
        written(&mut log, 2).await,
        "(a1)",
        "the time for coming back is over"
    );
}

#[tokio::test]
async fn frames_that_are_sent_again_to_the_same_hub_are_not_repeated() {
    let mut log = log();
    join(&mut log, 1, hello("a", 0, &[]));
    join(&mut log, 2, hello("b", 0, &[]));
    written(&mut log, 2).await;
    for seq in 1..=3 {
        send(&mut log, 1, "a", seq);
    }
    // The new connection comes before the end of the old one.
    join(&mut log, 3, hello("a", 0, &["b"]));
    for seq in 1..=4 {
        send(&mut log, 3, "a", seq);
    }
    assert_eq!(written(&mut log, 2).await, "a1 a2 a3 +a3 a4");
    ack(&mut log, 2, 5);
    assert_eq!(written(&mut log, 3).await, "(b?) +b0");
    ack(&mut log, 3, 1);
    assert_eq!(written(&mut log, 3).await, "ok4");
    assert!(log.entries.is_empty());
}

#[tokio::test]
async fn what_became_stable_in_between_need_not_be_sent_again() {
    let mut log = log();
    for (connection, id) in [(1, "a"), (2, "b"), (3, "slow")] {
        join(&mut log, connection, hello(id, 0, &[]));
    }
    for (connection, others) in [(1, 2), (2, 1), (3, 1)] {
        written(&mut log, connection).await;
        ack(&mut log, connection, others);
    }
    for seq in 1..=3 {
        send(&mut log, 1, "a", seq);
    }
    written(&mut log, 2).await;
    written(&mut log, 3).await;
    ack(&mut log, 2, 4);
    join(&mut log, 4, hello("a", 0, &["b", "slow"]));
    send(&mut log, 4, "a", 1);
    ack(&mut log, 3, 4);
    assert_eq!(written(&mut log, 4).await, "(b0 slow0) ok3");
    let ahead = log.data(4, data("a", 5, 10), Instant::now()).unwrap_err();
    assert!(ahead.to_string().contains("frame 5 follows"), "{ahead}");
    send(&mut log, 4, "a", 4);
    let back = log.data(4, data("a", 3, 10), Instant::now()).unwrap_err();
    assert!(back.to_string().contains("frame 3 follows"), "{back}");
}

/// One that lacks frames of another.
async fn behind() -> Log {
    let mut log = log();
    join(&mut log, 1, hello("a", 0, &[]));
    join(&mut log, 2, hello("b", 0, &[]));
    written(&mut log, 1).await;
    ack(&mut log, 1, 1);
    for seq in 1..=2 {
        send(&mut log, 1, "a", seq);
    }
    log
}

#[tokio::test]
async fn a_member_that_replaces_its_connection_loses_nothing() {
    let mut log = behind().await;
    log.grace_until = Instant::now();
    join(&mut log, 3, hello("b", 0, &["a"]));
    log.forget(2);
    assert_eq!(written(&mut log, 3).await, "(a0) a1 a2");
    assert_eq!(written(&mut log, 1).await, "+b0", "and it has not left");
    ack(&mut log, 1, 2);
    ack(&mut log, 3, 2);
    assert_eq!(written(&mut log, 1).await, "ok2");
    assert!(log.entries.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_in_the_grace_may_be_made_again() {
    let mut log = behind().await;
    log.forget(2);
    assert_eq!(written(&mut log, 1).await, "");
    join(&mut log, 3, hello("late", 0, &["b"]));
    assert_eq!(written(&mut log, 3).await, "(a0 b0) a1 a2");
    ack(&mut log, 3, 2);
    join(&mut log, 4, hello("b", 0, &["a"]));
    assert_eq!(written(&mut log, 4).await, "(a0) a1 a2 +late0");
    assert_eq!(written(&mut log, 1).await, "+late0 +b0");
    log.forget(4);
    tokio::time::advance(GRACE).await;
    log.tick(TICK, Instant::now());
    assert_eq!(
        written(&mut log, 1).await,
        "ok2 -b",
        "in the end it is gone"
    );
    log.forget(3);
    assert_eq!(written(&mut log, 1).await, "-late", "the grace is over");
}

#[tokio::test]
async fn who_broke_off_in_the_grace_has_not_left_for_those_who_knew_it() {
    let mut log = log();
    join(&mut log, 1, hello("a", 0, &["c"]));
    join(&mut log, 2, hello("b", 0, &["c"]));
    log.forget(2);
    join(&mut log, 3, hello("c", 0, &["a", "b"]));
    assert_eq!(written(&mut log, 3).await, "(a? b?) +a0 +b0");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_takes_nothing_is_cut_and_one_that_has_nothing_to_take_is_not() {
    let mut log = log();
    join(&mut log, 1, hello("a", 0, &[]));
    join(&mut log, 2, hello("b", 0, &[]));
    join(&mut log, 3, hello("c", 0, &[]));
    for connection in 1..=3 {
        written(&mut log, connection).await;
    }
    ack(&mut log, 1, 2);
    ack(&mut log, 2, 1);
    ack(&mut log, 3, 1);
    let mut cut = Vec::new();
    for second in 0..30 {
        if second == 15 {
            // b had nothing to take for 15 seconds; its time begins now.
            send(&mut log, 1, "a", 1);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        let count = log.connections[&3]
            .receiver
            .as_ref()
            .map_or(0, |c| c.sent_count);
        written(&mut log, 2).await;
        written(&mut log, 3).await;
        if count > 0 {
            ack(&mut log, 3, count);
        }
        for id in log.tick(TICK, Instant::now()) {
            cut.push((second, id));
        }
    }
    let [(second, id)] = &cut[..] else {
        panic!("{cut:?}")
    };
    assert_eq!((&**id, *second >= 15 + 10 - 1), ("b", true), "{cut:?}");
    assert!(written(&mut log, 1).await.contains("ok1"));
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_did_not_run_blames_nobody() {
    let mut log = log();
    join(&mut log, 1, hello("a", 0, &[]));
    join(&mut log, 2, hello("b", 0, &[]));
    send(&mut log, 1, "a", 1);
    log.tick(TICK, Instant::now());
    tokio::time::advance(STALL * 10).await;
    assert!(log.tick(TICK, Instant::now()).is_empty());
    tokio::time::advance(TICK).await;
    assert!(log.tick(TICK, Instant::now()).is_empty());
}

#[tokio::test]
async fn what_a_sender_may_have_unstable_is_enforced() {
    let mut log = log();
    join(&mut log, 1, hello("a", 0, &[]));
    join(&mut log, 2, hello("b", 0, &[]));
    log.data(1, data("a", 1, 600), Instant::now()).unwrap();
    log.data(1, data("a", 2, 400), Instant::now()).unwrap();
    assert!(log.data(1, data("a", 3, 1), Instant::now()).is_err());
}

#[tokio::test]
async fn a_bus_has_a_limited_number_of_members() {
    let mut log = log();
    for number in 0..MAX_MEMBERS as u64 {
        join(&mut log, number, hello(&number.to_string(), 0, &[]));
    }
    log.connect(1000);
    let refused = log
        .hello(1000, &hello("one more", 0, &[]), Instant::now())
        .unwrap_err();
    assert!(refused.to_string().contains("256 members"), "{refused}");
    log.forget(3);
    log.hello(1000, &hello("one more", 0, &[]), Instant::now())
        .unwrap();
}
