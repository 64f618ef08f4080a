//! Streams of a subscription: where reading begins and what is handed out; what is missing
//! (`gaps`), what may be asked for (`limits`), and what happens when Redis is away (`faults`) or is
//! a cluster.

mod cluster;
mod faults;
mod gaps;
mod limits;

use std::ops::Range;

use super::*;
use crate::capabilities::{
    handout::Rollback,
    redis::subscription::{EntryId, Start},
};

/// Reads streams; waits until Redis has said where from.
pub(super) async fn read(sub: &Subscription, names: &[&str], start: Start) {
    let permit = anything();
    until_ok(|| try_read(sub, &permit, names, start)).await;
}

async fn try_read(
    sub: &Subscription,
    permit: &RedisPermit,
    names: &[&str],
    start: Start,
) -> Result<(), RedisError> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    sub.read_streams(permit, names, start, 100).await
}

fn after(id: &str) -> Start {
    Start::After(EntryId::read(id.as_bytes()).unwrap())
}

/// Adds entries `f=number` with these ids.
async fn add(redis: &Redis, stream: &str, numbers: Range<u32>, options: &str) {
    let commands: Vec<_> = numbers
        .map(|n| format!("XADD {stream} {options}{n}-0 f {n}"))
        .collect();
    let commands: Vec<_> = commands.iter().map(String::as_str).collect();
    for reply in run(redis, &commands).await.unwrap() {
        assert!(reply.ends_with("-0") && !reply.contains(' '), "{reply}");
    }
}

fn expected(stream: &str, numbers: Range<u32>) -> Vec<String> {
    numbers.map(|n| format!("{stream} {n}-0: f={n}")).collect()
}

/// What happened, in order: the numbers of entries, and how many were missed.
#[derive(Debug, PartialEq)]
enum Seen {
    Entry(u32),
    Lagged(Option<u32>),
}

/// Takes events until an entry with this number is among them.
async fn until_number(sub: &Subscription, last: u32) -> Vec<Seen> {
    let until = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while !seen.contains(&Seen::Entry(last)) {
        let count = seen.len();
        assert!(Instant::now() < until, "{last} never came, after {count}");
        let wait = Duration::from_millis(200);
        let Ok(events) = sub.next(wait, 100, 1 << 20, copied).await else {
            continue;
        };
        sub.commit();
        seen.extend(events.iter().map(|event| match event {
            RedisEvent::Entry(entry) => {
                let (_, value) = entry.fields().next().unwrap();
                Seen::Entry(std::str::from_utf8(value).unwrap().parse().unwrap())
            }
            RedisEvent::Lagged { missed, .. } => Seen::Lagged(*missed),
            RedisEvent::Message { .. } => panic!("{event:?}"),
        }));
    }
    seen
}

/// All of these, each once and in order, and nothing else; shows the first that differs.
fn assert_entries(seen: &[Seen], numbers: Range<u32>) {
    let expected = entries(numbers);
    let is_same = |at: &usize| seen.get(*at) == expected.get(*at);
    let same = (0..expected.len().max(seen.len())).take_while(is_same);
    let at = same.count();
    let around = |list: &[Seen]| format!("{:?}", list.iter().skip(at).take(5).collect::<Vec<_>>());
    assert!(
        seen == expected,
        "from {at} on {}, not {}",
        around(seen),
        around(&expected)
    );
}

fn entries(numbers: Range<u32>) -> Vec<Seen> {
    numbers.map(Seen::Entry).collect()
}

async fn queued(redis: &Redis, count: usize) {
    eventually("the events are queued", async || {
        redis.status().subscriptions[0].queued_events >= count
    })
    .await;
}

/// Waits until the reader has nothing more to read.
async fn is_idle(redis: &Redis) {
    sleep(Duration::from_millis(50)).await;
    assert_eq!(redis.status().subscriptions[0].trouble, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_stream_begins_with_what_is_added_from_then_on() {
    let server = Server::start(&[]);
    let redis = client(&server);
    add(&redis, "s", 1..4, "").await;
    let sub = subscription(&redis);
    read(&sub, &["s", "not-there-yet"], Start::New).await;
    run(
        &redis,
        &["XADD s 4-7 a 1 b 2 a 3", "XADD not-there-yet 1-1 x y"],
    )
    .await
    .unwrap();
    let mut seen = events(&sub, 2).await;
    seen.sort();
    assert_eq!(seen, ["not-there-yet 1-1: x=y", "s 4-7: a=1 b=2 a=3"]);
    assert_eq!(sub.streams(), ["not-there-yet".into(), "s".into()]);
    let status = redis.status().subscriptions.remove(0);
    assert_eq!((status.streams, status.unconfirmed, status.gaps), (2, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_can_be_read_from_its_beginning_or_after_an_entry() {
    let server = Server::start(&[]);
    let redis = client(&server);
    add(&redis, "s", 1..500, "").await;
    add(&redis, "t", 1..4, "").await;
    let sub = subscription(&redis);
    read(&sub, &["s"], after("0-0")).await;
    assert_eq!(events(&sub, 499).await, expected("s", 1..500));
    read(&sub, &["t"], after("2")).await;
    assert_eq!(events(&sub, 1).await, expected("t", 3..4));
    // Those that are read already go on where they are.
    read(&sub, &["s", "t"], after("0-0")).await;
    add(&redis, "s", 500..502, "").await;
    assert_eq!(events(&sub, 2).await, expected("s", 500..502));
    assert_eq!(redis.status().subscriptions[0].gaps, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_left_is_forgotten_and_may_begin_anew() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let sub = subscription(&redis);
    read(&sub, &["s"], Start::New).await;
    add(&redis, "s", 1..3, "").await;
    queued(&redis, 2).await;
    sub.leave_streams(&["s".to_owned(), "never".to_owned()]);
    assert!(sub.streams().is_empty());
    eventually("its connection is closed", async || {
        !server.cli(&["CLIENT", "LIST"]).contains("cmd=xread")
    })
    .await;
    add(&redis, "s", 3..5, "").await;
    assert_eq!(events(&sub, 2).await, expected("s", 1..3), "had arrived");
    // Left and wanted again at once: the old reader must not add to what the new one reads.
    for round in 0..20 {
        read(&sub, &["s"], after("2")).await;
        assert_eq!(events(&sub, 2).await, expected("s", 3..5), "round {round}");
        sub.leave_streams(&["s".to_owned()]);
    }
    // And none of the twenty that are gone reads on.
    read(&sub, &["s"], after("4")).await;
    add(&redis, "s", 5..105, "").await;
    assert_eq!(events(&sub, 100).await, expected("s", 5..105));
    is_idle(&redis).await;
    assert_eq!(redis.status().subscriptions[0].queued_events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_and_messages_come_in_the_order_of_their_arrival() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let sub = subscription(&redis);
    subscribe(&sub, Kind::Channel, &["c"]).await;
    read(&sub, &["s"], Start::New).await;
    let mut sent = Vec::new();
    for n in 1..6 {
        run(&redis, &[&format!("XADD s {n}-0 f {n}")])
            .await
            .unwrap();
        queued(&redis, sent.len() + 1).await;
        sent.push(format!("s {n}-0: f={n}"));
        run(&redis, &[&format!("PUBLISH c {n}")]).await.unwrap();
        queued(&redis, sent.len() + 1).await;
        sent.push(format!("channel c: {n}"));
    }
    let together = sub.next(PATIENCE, 100, 1 << 20, copied).await.unwrap();
    assert_eq!(together.iter().map(event).collect::<Vec<_>>(), sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_committed_is_handed_out_again_in_order_also_to_a_successor() {
    let server = Server::start(&[]);
    let redis = client(&server);
    let (first, opening) = redis.subscription(&anything(), "sub").unwrap();
    read(&first, &["s"], Start::New).await;
    add(&redis, "s", 1..11, "").await;
    queued(&redis, 10).await;
    let shown = |events: Vec<RedisEvent>| events.iter().map(event).collect::<Vec<_>>();
    let taken = first.next(PATIENCE, 3, 1 << 20, copied).await.unwrap();
    assert_eq!(shown(taken), expected("s", 1..4));
    let taken = first.next(PATIENCE, 2, 1 << 20, copied).await.unwrap();
    assert_eq!(shown(taken), expected("s", 4..6));
    first.rollback(Rollback::Harmless);
    let taken = first.next(PATIENCE, 4, 1 << 20, copied).await.unwrap();
    assert_eq!(shown(taken), expected("s", 1..5));
    first.commit();
    let taken = first.next(PATIENCE, 4, 1 << 20, copied).await.unwrap();
    assert_eq!(shown(taken), expected("s", 5..9));
    let (second, second_opening) = redis.subscription(&anything(), "sub").unwrap();
    first.rollback(Rollback::Fault);
    redis.end(&first, opening);
    drop(first);
    assert_eq!(second.streams(), ["s".into()]);
    read(&second, &["s"], Start::New).await;
    add(&redis, "s", 11..13, "").await;
    assert_eq!(events(&second, 8).await, expected("s", 5..13));
    redis.end(&second, second_opening);
    eventually("nobody reads", async || {
        !server.cli(&["CLIENT", "LIST"]).contains("cmd=xread")
    })
    .await;
}

/// Adds entries one after the other, each again until it is there, while something goes on.
async fn keep_adding(redis: Redis, count: u32) {
    for n in 1..=count {
        let command = format!("XADD s {n}-0 f {n}");
        until_ok(async || {
            let reply = run(&redis, &[&command]).await.map_err(|e| e.to_string())?;
            match reply[0] == format!("{n}-0") || reply[0].contains("equal or smaller") {
                true => Ok(()),
                false => Err(reply[0].clone()),
            }
        })
        .await;
    }
}
