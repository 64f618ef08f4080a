//! What is sent arrives: all of it, in order, once, and at nobody else's.

use tokio::task::JoinSet;

use super::*;

async fn receive(bus: Bus, id: String, from: usize, count: u64) {
    let mut ledger = Ledger::default();
    while ledger.last.len() < from || ledger.last.values().any(|last| *last < count) {
        ledger.note(&id, some(&bus).await);
    }
    assert_eq!((ledger.lagged, ledger.left.len()), (0, 0), "at {id}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_gets_everything_of_all_others_in_order() {
    const COUNT: u64 = 500;
    let site = Site::new();
    let ids = ["a", "b", "c", "d"];
    let buses = site.start_all(&ids).await;
    let mut work = JoinSet::new();
    for (bus, id) in buses.iter().zip(ids) {
        let sender = bus.clone();
        work.spawn(async move {
            for number in 1..=COUNT {
                let max = if number == COUNT / 2 {
                    20 << 20
                } else {
                    1 << 18
                };
                send(&sender, &[numbered(number, max)]).await.unwrap();
            }
        });
        work.spawn(receive(bus.clone(), id.to_owned(), ids.len() - 1, COUNT));
    }
    soon("all is there", work.join_all()).await;
    for bus in &buses {
        until("all is stable", || bus.status().unstable_frames == 0).await;
        assert_eq!(bus.status().unstable_bytes, 0);
        assert_eq!(bus.status().queued_bytes, 0);
    }
    for bus in &buses {
        soon("the end", bus.close()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_frames_in_large_batches_keep_their_order() {
    const COUNT: u64 = 20_000;
    let site = Site::new();
    let buses = site.start_all(&["a", "b", "c"]).await;
    let mut work = JoinSet::new();
    for (bus, id) in buses.iter().zip(["a", "b", "c"]) {
        let sender = bus.clone();
        work.spawn(async move {
            let numbers: Vec<u64> = (1..=COUNT).collect();
            for part in numbers.chunks(300) {
                let frames: Vec<Bytes> = part.iter().map(|n| numbered(*n, 100)).collect();
                send(&sender, &frames).await.unwrap();
            }
        });
        work.spawn(receive(bus.clone(), id.to_owned(), 2, COUNT));
    }
    soon("all is there", work.join_all()).await;
}

#[tokio::test]
async fn frames_of_every_awkward_size_arrive_unchanged() {
    let site = Site::new();
    let buses = site.start_all(&["a", "b"]).await;
    let sizes = [
        0,
        1,
        1023,
        1024,
        1025,
        65_535,
        65_536,
        65_537,
        262_144,
        1 << 20,
        20 << 20,
        0,
        5,
    ];
    let all = sizes.map(|size| Bytes::from(vec![size as u8; size]));
    let sending = async {
        for data in &all {
            send(&buses[0], std::slice::from_ref(data)).await.unwrap();
        }
    };
    let receiving = async {
        assert_eq!(take(&buses[1], 1).await, [joined("a")]);
        for data in &all {
            let got = take(&buses[1], 1).await;
            let [BusEvent::Frame { sender, data: got }] = &got[..] else {
                panic!("{got:?}")
            };
            assert_eq!(&**sender, "a");
            assert!(got == data, "{} bytes became {}", data.len(), got.len());
        }
    };
    tokio::join!(sending, receiving);
}

#[tokio::test]
async fn nobody_gets_its_own_frames() {
    let site = Site::new();
    let buses = site.start_all(&["a", "b"]).await;
    send_text(&buses[0], "of a").await;
    assert_eq!(take(&buses[1], 2).await, [joined("a"), frame("a", "of a")]);
    send_text(&buses[1], "of b").await;
    assert_eq!(take(&buses[0], 2).await, [joined("b"), frame("b", "of b")]);
}

#[tokio::test]
async fn a_member_alone_sends_into_the_void() {
    let site = Site::new();
    let bus = site.start("a");
    for _ in 0..100 {
        send(&bus, &[Bytes::from(vec![0; 1 << 20])]).await.unwrap();
    }
    until("all is stable", || bus.status().unstable_frames == 0).await;
    soon("the end", bus.close()).await;
}

#[tokio::test]
async fn what_is_sent_before_there_is_a_hub_goes_out_later() {
    let site = Site::new();
    let blocker = crate::socket_place::Place::new(&site.path(), "path")
        .serve()
        .unwrap()
        .unwrap();
    // The lock is taken and nobody listens: an election that does not end.
    std::fs::remove_file(site.path()).unwrap();
    let a = site.start("a");
    send_text(&a, "early").await;
    assert_eq!(
        (a.status().role, a.status().unstable_frames),
        (BusRole::Connecting, 1)
    );
    drop(blocker);
    until("it is stable", || a.status().unstable_frames == 0).await;
}

#[tokio::test]
async fn frames_leave_on_commit_and_never_without() {
    let site = Site::new();
    let buses = site.start_all(&["a", "b"]).await;
    take(&buses[1], 1).await;
    let first = buses[0]
        .reserve(vec![Bytes::from_static(b"first")])
        .await
        .unwrap();
    let second = buses[0]
        .reserve(vec![Bytes::from_static(b"second")])
        .await
        .unwrap();
    let never = buses[0]
        .reserve(vec![Bytes::from_static(b"never")])
        .await
        .unwrap();
    drop(never);
    second.commit();
    first.commit();
    send_text(&buses[0], "third").await;
    let got = take(&buses[1], 3).await;
    assert_eq!(
        got,
        [
            frame("a", "second"),
            frame("a", "first"),
            frame("a", "third")
        ]
    );
}

#[tokio::test]
async fn events_are_handed_out_again_until_they_are_committed() {
    let site = Site::new();
    let buses = site.start_all(&["a", "b"]).await;
    take(&buses[1], 1).await;
    for text in ["1", "2", "3"] {
        send_text(&buses[0], text).await;
    }
    let b = &buses[1];
    until("three frames are queued", || b.status().queued_events == 3).await;
    let next = async |max| b.next(Duration::ZERO, max, 1000).await.unwrap();
    assert_eq!(next(2).await, [frame("a", "1"), frame("a", "2")]);
    assert_eq!(
        next(2).await,
        [frame("a", "3")],
        "what comes after those handed out"
    );
    assert_eq!(next(2).await, [], "no more");
    b.rollback(super::super::Rollback::Harmless);
    assert_eq!(next(9).await.len(), 3);
    b.commit();
    assert_eq!(next(9).await, []);
    assert_eq!(b.status().queued_events, 0);
}

#[tokio::test]
async fn a_frame_that_kills_the_plugin_becomes_lagged_and_the_rest_arrives() {
    let site = Site::new();
    let buses = site.start_all(&["a", "b"]).await;
    take(&buses[1], 1).await;
    for text in ["good", "deadly", "fine"] {
        send_text(&buses[0], text).await;
    }
    let b = &buses[1];
    until("three frames are queued", || b.status().queued_events == 3).await;
    let mut got = Vec::new();
    while b.status().queued_events > 0 {
        let events = b.next(Duration::ZERO, 9, 1000).await.unwrap();
        if events.contains(&frame("a", "deadly")) {
            b.rollback(super::super::Rollback::Fault);
        } else {
            got.extend(events);
            b.commit();
        }
    }
    assert_eq!(
        got,
        [
            frame("a", "good"),
            BusEvent::Lagged(Some(1)),
            frame("a", "fine")
        ]
    );
}

#[tokio::test]
async fn a_wait_may_be_as_long_as_a_duration_can_be() {
    let site = Site::new();
    let buses = site.start_all(&["a", "b"]).await;
    let events = buses[1].next(Duration::MAX, 1, usize::MAX).await.unwrap();
    assert_eq!(events, [joined("a")]);
}

#[tokio::test]
async fn a_wait_that_is_dropped_takes_nothing() {
    let site = Site::new();
    let buses = site.start_all(&["a", "b"]).await;
    take(&buses[1], 1).await;
    for round in 0..50 {
        let text = round.to_string();
        let wait = buses[1].next(PATIENCE, 9, 1000);
        tokio::select! {
            biased;
            () = sleep(Duration::from_micros(round * 20)) => {}
            events = wait => assert!(events.is_err(), "nothing was sent"),
        }
        send_text(&buses[0], &text).await;
        assert_eq!(take(&buses[1], 1).await, [frame("a", &text)]);
    }
}
