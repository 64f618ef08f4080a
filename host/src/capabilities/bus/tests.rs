//! Several members in one process, over a real socket.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap, io::Write, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tempfile::TempDir;

use super::{Bus, BusError, BusEvent, BusOptions, BusRole, Rollback};

/// No test waits longer; none waits for time to pass.
const DEADLINE: Duration = Duration::from_secs(60);

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("bus.sock")
    }

    fn options(&self) -> BusOptions {
        BusOptions {
            path: self.path(),
            ..BusOptions::default()
        }
    }

    fn join(&self, id: &str) -> Bus {
        Bus::start(id, self.options()).unwrap()
    }

    /// Members that all know each other.
    async fn joined<const N: usize>(&self, ids: [&str; N]) -> [Bus; N] {
        let members = ids.map(|id| self.join(id));
        for member in &members {
            until("everybody is there", || member.status().members.len() == N - 1).await;
        }
        members
    }
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let wait = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait)
        .await
        .unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

/// A frame that says which it is, `len` bytes or a little more.
fn numbered(number: u32, len: usize) -> Bytes {
    let mut frame = number.to_le_bytes().to_vec();
    frame.resize(len.max(4), number as u8);
    frame.into()
}

fn number(frame: &Bytes) -> u32 {
    u32::from_le_bytes(frame[..4].try_into().unwrap())
}

async fn send(bus: &Bus, number: u32, len: usize) {
    bus.reserve(vec![numbered(number, len)]).await.unwrap().commit();
}

/// Takes events, one committed batch after the other, until `enough` of what came so far.
async fn take(bus: &Bus, enough: impl Fn(&[BusEvent]) -> bool) -> Vec<BusEvent> {
    let mut all = Vec::new();
    let taking = async {
        while !enough(&all) {
            // An election on the way is no failure of the test.
            if let Ok(events) = bus.next(Duration::from_secs(5), 100, 1 << 20).await {
                all.extend(events);
                bus.commit();
            }
        }
    };
    if tokio::time::timeout(DEADLINE, taking).await.is_err() {
        panic!("not enough came: {} events, the last {:?}", all.len(), all.last());
    }
    all
}

/// The numbers that came, by sender.
fn by_sender(events: &[BusEvent]) -> HashMap<String, Vec<u32>> {
    let mut numbers: HashMap<String, Vec<u32>> = HashMap::new();
    for event in events {
        match event {
            BusEvent::Frame { sender, data } => {
                numbers.entry(sender.to_string()).or_default().push(number(data));
            }
            BusEvent::Lagged(missed) => panic!("missed {missed:?}"),
            BusEvent::Joined(_) | BusEvent::Left(_) => {}
        }
    }
    numbers
}

async fn take_numbers(bus: &Bus, from: &str, count: u32) -> Vec<u32> {
    let came = |events: &[BusEvent]| {
        let is_one = |event: &&BusEvent| {
            matches!(event, BusEvent::Frame { sender, .. } if &**sender == from)
        };
        events.iter().filter(is_one).count() >= count as usize
    };
    by_sender(&take(bus, came).await).remove(from).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_send_at_once_arrives_at_all_others_in_the_order_of_each_sender() {
    const COUNT: u32 = 1000;
    let place = Place::new();
    let ids = ["a", "b", "c"];
    let members = place.joined(ids).await;
    let mut senders = tokio::task::JoinSet::new();
    for bus in members.clone() {
        senders.spawn(async move {
            for n in 0..COUNT {
                // 4 B to 64 KiB, now and then 1 MiB.
                let len = if n % 250 == 249 { 1 << 20 } else { 1 << (n % 16) };
                send(&bus, n, len).await;
            }
        });
    }
    let mut receivers = tokio::task::JoinSet::new();
    for (bus, id) in members.clone().into_iter().zip(ids) {
        receivers.spawn(async move {
            let frames = |events: &[BusEvent]| {
                let is_frame = |event: &&BusEvent| matches!(event, BusEvent::Frame { .. });
                events.iter().filter(is_frame).count() >= 2 * COUNT as usize
            };
            let events = take(&bus, frames).await;
            let numbers = by_sender(&events);
            assert!(!numbers.contains_key(id), "{id} got its own frames");
            assert_eq!(numbers.len(), 2);
            for (sender, numbers) in numbers {
                assert!(numbers.into_iter().eq(0..COUNT), "{sender} to {id}");
            }
        });
    }
    while let Some(done) = senders.join_next().await {
        done.unwrap();
    }
    while let Some(done) = receivers.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn a_frame_larger_than_what_may_be_unstable_goes_alone() {
    let place = Place::new();
    let [a, b] = place.joined(["a", "b"]).await;
    send(&a, 0, 10).await;
    send(&a, 1, 20 << 20).await;
    send(&a, 2, 10).await;
    assert_eq!(take_numbers(&b, "a", 3).await, [0, 1, 2]);
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused_and_nothing_is_sent() {
    let place = Place::new();
    let [a, b] = place.joined(["a", "b"]).await;
    let limit = place.options().max_frame_bytes;
    let frames = vec![numbered(0, 10), Bytes::from(vec![0; limit + 1])];
    assert_eq!(a.reserve(frames).await.err(), Some(BusError::TooLarge { limit }));
    send(&a, 1, 10).await;
    assert_eq!(take_numbers(&b, "a", 1).await, [1]);
}

#[tokio::test]
async fn what_is_staged_and_not_committed_is_never_sent_and_gives_its_room_back() {
    let place = Place::new();
    let [a, b] = place.joined(["a", "b"]).await;
    for _ in 0..100 {
        drop(a.reserve(vec![numbered(7, 1 << 20)]).await.unwrap());
    }
    send(&a, 1, 10).await;
    assert_eq!(take_numbers(&b, "a", 1).await, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_repeated_when_one_hub_after_the_other_is_killed() {
    const BEFORE_EACH: u32 = 300;
    let place = Place::new();
    let mut others: Vec<Bus> = place.joined(["x", "y", "z"]).await.into();
    let [a, b] = ["a", "b"].map(|id| place.join(id));
    for bus in [&a, &b] {
        until("everybody is there", || bus.status().members.len() == 4).await;
    }
    let total = BEFORE_EACH * 4;
    let sender = {
        let a = a.clone();
        tokio::spawn(async move {
            for n in 0..total {
                send(&a, n, 2000).await;
            }
        })
    };
    let receiver = {
        let b = b.clone();
        tokio::spawn(async move { take_numbers(&b, "a", total).await })
    };
    while !others.is_empty() {
        until("there is a hub that may die, or none of them is it", || {
            let serves = |bus: &Bus| bus.status().role == BusRole::Hub;
            others.iter().any(serves) || serves(&a) || serves(&b)
        })
        .await;
        let hub = others.iter().position(|bus| bus.status().role == BusRole::Hub);
        others.remove(hub.unwrap_or(0)).kill();
    }
    sender.await.unwrap();
    assert!(receiver.await.unwrap().into_iter().eq(0..total));
}

#[tokio::test]
async fn a_member_that_dies_is_reported_to_the_others_and_so_is_the_hub() {
    let place = Place::new();
    let hub = place.join("hub");
    until("it serves", || hub.status().role == BusRole::Hub).await;
    let [a, b] = place.joined_with(["a", "b"], 2).await;
    let left = |id: &'static str| {
        move |events: &[BusEvent]| events.contains(&BusEvent::Left(Arc::from(id)))
    };
    b.kill();
    take(&a, left("b")).await;
    hub.kill();
    take(&a, left("hub")).await;
    until("another serves", || a.status().role == BusRole::Hub).await;
}

#[tokio::test]
async fn a_hub_that_closes_hands_over_and_only_it_has_left() {
    let place = Place::new();
    let hub = place.join("hub");
    until("it serves", || hub.status().role == BusRole::Hub).await;
    let [a, b] = place.joined_with(["a", "b"], 2).await;
    send(&hub, 1, 10).await;
    hub.close().await;
    for bus in [&a, &b] {
        let left = |events: &[BusEvent]| events.contains(&BusEvent::Left(Arc::from("hub")));
        let events = take(bus, left).await;
        assert_eq!(by_sender(&events)["hub"], [1]);
        let left = events.iter().filter(|event| matches!(event, BusEvent::Left(_)));
        assert_eq!(left.count(), 1);
    }
    send(&a, 2, 10).await;
    assert_eq!(take_numbers(&b, "a", 1).await, [2]);
}

#[tokio::test]
async fn events_stay_until_they_are_committed() {
    let place = Place::new();
    let [a, b] = place.joined(["a", "b"]).await;
    take(&b, |events| !events.is_empty()).await;
    send(&a, 1, 10).await;
    for reason in [Rollback::Harmless, Rollback::Fault] {
        let events = b.next(DEADLINE, 10, 1000).await.unwrap();
        assert_eq!(by_sender(&events)["a"], [1]);
        b.rollback(reason);
    }
    assert_eq!(take_numbers(&b, "a", 1).await, [1]);
    let nothing = b.next(Duration::from_millis(1), 10, 1000).await;
    assert_eq!(nothing, Ok(Vec::new()));
}

#[tokio::test]
async fn senders_wait_for_a_member_that_takes_nothing_until_it_is_cut_off_and_told() {
    let place = Place::new();
    let options = BusOptions {
        max_unstable_bytes: 64 << 10,
        max_queued_bytes: 64 << 10,
        send_timeout: Duration::from_millis(200),
        stall_timeout: Duration::from_secs(2),
        ..place.options()
    };
    let [a, b, c] = ["a", "b", "c"].map(|id| Bus::start(id, options.clone()).unwrap());
    for bus in [&a, &b, &c] {
        until("everybody is there", || bus.status().members.len() == 2).await;
    }
    // `c` takes nothing; `b` takes all.
    let receiver = tokio::spawn(async move { take_numbers(&b, "a", 100).await });
    let mut refused = 0;
    let mut sent = 0;
    while sent < 100 {
        match a.reserve(vec![numbered(sent, 8 << 10)]).await {
            Ok(staged) => {
                staged.commit();
                sent += 1;
            }
            Err(BusError::Unavailable(why)) => {
                assert!(why.contains("wait for members"), "{why}");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 0, "the sender never had to wait");
    assert!(receiver.await.unwrap().into_iter().eq(0..100), "the others are not disturbed");
    let lagged = |events: &[BusEvent]| {
        events.iter().any(|event| matches!(event, BusEvent::Lagged(Some(missed)) if *missed > 0))
    };
    // It is back by itself once it takes again, and the next frame shows the gap.
    let taking = tokio::spawn(async move { take(&c, lagged).await });
    while !taking.is_finished() {
        if let Ok(staged) = a.reserve(vec![numbered(0, 10)]).await {
            staged.commit();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    taking.await.unwrap();
}

#[tokio::test]
async fn rubbish_on_the_socket_ends_that_connection_and_disturbs_nobody() {
    let place = Place::new();
    let [a, b] = place.joined(["a", "b"]).await;
    let hello = |id: &str| {
        let mut body = b"\x01swbrdbus\x01".to_vec();
        body.push(id.len() as u8);
        body.extend_from_slice(id.as_bytes());
        let mut frame = (body.len() as u32).to_le_bytes().to_vec();
        frame.extend(body);
        frame
    };
    let then = |id: &str, frame: &[u8]| [hello(id).as_slice(), frame].concat();
    let data = |seq: u64| {
        let mut frame = 14u32.to_le_bytes().to_vec();
        frame.push(3);
        frame.extend(seq.to_le_bytes());
        frame.push(0);
        frame.extend([0; 4]);
        frame
    };
    let rubbish: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xff; 100],
        vec![0; 100],
        then("evil1", &[0xff; 64]),
        then("evil2", &[1, 0, 0, 0, 99]),
        // Confirms what it was not given.
        then("evil3", &[9, 0, 0, 0, 4, 255, 255, 0, 0, 0, 0, 0, 0]),
        // Its numbers go back.
        then("evil4", &[data(5), data(5)].concat()),
    ];
    for bytes in rubbish {
        let path = place.path();
        let ended = tokio::task::spawn_blocking(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            stream.write_all(&bytes).unwrap();
            std::io::copy(&mut stream, &mut std::io::sink()).is_ok()
        });
        assert!(ended.await.unwrap(), "the hub did not end the connection");
    }
    send(&a, 1, 10).await;
    let frames = take_numbers(&b, "a", 1).await;
    assert_eq!(frames, [1]);
}

#[tokio::test]
async fn the_socket_is_for_its_user_alone() {
    let place = Place::new();
    let path = place.folder.path().join("new folder").join("bus.sock");
    let options = BusOptions {
        path: path.clone(),
        ..BusOptions::default()
    };
    let bus = Bus::start("a", options).unwrap();
    until("it serves", || bus.status().role == BusRole::Hub).await;
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[tokio::test]
async fn a_folder_that_others_may_write_is_refused_with_the_key_to_set() {
    let place = Place::new();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(place.folder.path(), open).unwrap();
    let bus = place.join("a");
    until("it has looked", || bus.status().trouble.is_some()).await;
    let trouble = bus.status().trouble.unwrap();
    assert!(trouble.contains("can be written by others") && trouble.contains("`path`"), "{trouble}");
}

#[test]
fn a_path_that_is_too_long_and_limits_out_of_range_are_configuration_errors() {
    for (options, part) in [
        (
            BusOptions {
                path: PathBuf::from(format!("/tmp/{}", "x".repeat(200))),
                ..BusOptions::default()
            },
            "set `path` to a shorter one",
        ),
        (BusOptions::default(), "has 0 bytes"),
        (
            BusOptions {
                path: "/tmp/x".into(),
                max_frame_bytes: 0,
                ..BusOptions::default()
            },
            "max_frame_bytes = 0",
        ),
    ] {
        match Bus::start("a", options) {
            Err(BusError::Config(why)) => assert!(why.contains(part), "{why}"),
            other => panic!("{:?}", other.map(|_| ())),
        }
    }
}

#[tokio::test]
async fn a_socket_that_a_dead_process_left_behind_is_taken_over() {
    let place = Place::new();
    drop(std::os::unix::net::UnixListener::bind(place.path()).unwrap());
    let [a, b] = place.joined(["a", "b"]).await;
    send(&a, 1, 10).await;
    assert_eq!(take_numbers(&b, "a", 1).await, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_start_at_once_find_one_another() {
    for _ in 0..5 {
        let place = Place::new();
        let ids = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let members = place.joined(ids).await;
        let hubs = members.iter().filter(|bus| bus.status().role == BusRole::Hub);
        assert_eq!(hubs.count(), 1);
    }
}

#[tokio::test]
async fn alone_on_the_bus_everything_is_taken_at_once() {
    let place = Place::new();
    let bus = place.join("a");
    for n in 0..100 {
        send(&bus, n, 1 << 20).await;
    }
    until("all is stable", || bus.status().unstable_frames == 0).await;
    bus.close().await;
    assert!(matches!(
        bus.reserve(vec![numbered(0, 1)]).await,
        Err(BusError::Unavailable(_))
    ));
}

impl Place {
    /// As [`Place::joined`], when others are on the bus already.
    async fn joined_with<const N: usize>(&self, ids: [&str; N], others: usize) -> [Bus; N] {
        let members = ids.map(|id| self.join(id));
        for member in &members {
            until("everybody is there", || member.status().members.len() == others).await;
        }
        members
    }
}
