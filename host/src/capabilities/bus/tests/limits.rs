//! Limits: who waits, for how long, and what is told then.

use super::*;

#[tokio::test]
async fn what_is_too_large_is_refused() {
    let site = Site::with(|options| {
        options.max_frame_bytes = 4000;
        options.max_unstable_bytes = 6000;
    });
    let bus = site.start("a");
    let frame = |size: usize| Bytes::from(vec![0; size]);
    assert_eq!(
        send(&bus, &[frame(4001)]).await,
        Err(BusError::TooLarge { limit: 4000 })
    );
    assert_eq!(
        send(&bus, &vec![frame(2000); 3]).await,
        Err(BusError::TooLarge { limit: 6000 })
    );
    send(&bus, &[frame(4000)]).await.unwrap();
    send(&bus, &[]).await.unwrap();
}

#[tokio::test]
async fn a_frame_larger_than_all_room_goes_alone() {
    let site = Site::with(|options| options.max_unstable_bytes = 2000);
    let buses = site.start_all(&["a", "b"]).await;
    for _ in 0..20 {
        send(&buses[0], &[Bytes::from(vec![7; 100_000])])
            .await
            .unwrap();
        assert!(buses[0].status().unstable_frames <= 1);
    }
    assert_eq!(take(&buses[1], 21).await.len(), 21);
}

/// A plugin that takes nothing.
fn tight(options: &mut BusOptions) {
    options.max_unstable_bytes = 200_000;
    options.max_queued_bytes = 100_000;
    options.send_timeout = Duration::from_millis(300);
    options.stall_timeout = Duration::from_secs(3600);
}

#[tokio::test]
async fn a_sender_waits_for_a_slow_member_and_then_is_told() {
    let site = Site::with(tight);
    let buses = site.start_all(&["a", "b"]).await;
    let frame = Bytes::from(vec![0; 10_000]);
    let mut accepted = 0;
    let error = loop {
        match send(&buses[0], std::slice::from_ref(&frame)).await {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 1000, "nothing holds it back");
    };
    let BusError::Unavailable(why) = error else {
        panic!("{error}")
    };
    assert!(why.contains("frames wait for other members"), "{why}");
    let (a, b) = (buses[0].status(), buses[1].status());
    assert!(a.unstable_bytes <= 200_000, "{a:?}");
    assert!(b.queued_bytes <= 120_000, "{b:?}");
    // The slow one takes everything, and everything was kept for it.
    assert_eq!(take(&buses[1], 1 + accepted).await.len(), 1 + accepted);
    until("all is stable", || buses[0].status().unstable_frames == 0).await;
    send(&buses[0], &[frame]).await.unwrap();
}

#[tokio::test]
async fn a_plugin_that_takes_nothing_is_told_what_it_missed_and_the_others_go_on() {
    let site = Site::with(|options| {
        tight(options);
        options.send_timeout = Duration::from_secs(60);
        options.stall_timeout = Duration::from_secs(2);
    });
    let buses = site.start_all(&["a", "lazy", "c"]).await;
    for bus in &buses {
        take(bus, 2).await;
    }
    const COUNT: u64 = 300;
    let a = buses[0].clone();
    let sending = tokio::spawn(async move {
        for number in 1..=COUNT {
            send(&a, &[numbered(number, 10_000)]).await.unwrap();
        }
    });
    let mut ledger = Ledger::default();
    while ledger.last.get("a") != Some(&COUNT) {
        ledger.note("c", some(&buses[2]).await);
    }
    assert_eq!(ledger.lagged, 0);
    sending.await.unwrap();
    until("lazy has missed some", || {
        buses[0].status().unstable_frames == 0 && buses[1].status().missed_frames > 0
    })
    .await;
    // It was never cut off: it sends as ever.
    send(&buses[1], &[numbered(1, 10)]).await.unwrap();
    ledger.note("c", some(&buses[2]).await);
    assert_eq!(ledger.last.get("lazy"), Some(&1));
    assert!(ledger.left.is_empty());

    let mut got = 0;
    let mut missed = 0;
    while got + missed < COUNT {
        for event in some(&buses[1]).await {
            match event {
                BusEvent::Frame { data, .. } => {
                    got += 1;
                    assert_eq!(number(&data), got, "what was queued comes first");
                }
                BusEvent::Lagged(count) => missed += u64::from(count.unwrap()),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(got + missed, COUNT);
    send(&buses[0], &[numbered(COUNT + 1, 10)]).await.unwrap();
    let got = take(&buses[1], 1).await;
    assert!(matches!(&got[..], [BusEvent::Frame { data, .. }] if number(data) == COUNT + 1));
}

#[tokio::test]
async fn members_that_come_and_go_while_a_plugin_sleeps_are_told_as_they_are_now() {
    let site = Site::with(|options| {
        tight(options);
        options.stall_timeout = Duration::from_millis(400);
    });
    let buses = site.start_all(&["a", "lazy"]).await;
    take(&buses[1], 1).await;
    while buses[1].status().missed_frames == 0 {
        let _ = send(&buses[0], &[Bytes::from(vec![0; 10_000])]).await;
    }
    let c = site.start("c");
    let d = site.start("d");
    meet(&[buses[0].clone(), buses[1].clone(), c.clone(), d.clone()]).await;
    d.kill().await;
    until("d is gone", || buses[1].status().members.len() == 2).await;
    let mut events = Vec::new();
    while events.last() != Some(&joined("c")) {
        events.extend(take(&buses[1], 1).await);
    }
    events.retain(|event| !matches!(event, BusEvent::Frame { .. }));
    assert!(
        matches!(
            &events[..],
            [BusEvent::Lagged(Some(_)), BusEvent::Joined(_)]
        ),
        "{events:?}"
    );
}

#[tokio::test]
async fn waiting_senders_get_room_in_the_order_in_which_they_came() {
    let site = Site::with(|options| {
        tight(options);
        options.send_timeout = Duration::from_secs(60);
    });
    let buses = site.start_all(&["a", "b"]).await;
    let held = buses[0]
        .reserve(vec![Bytes::from(vec![0; 150_000])])
        .await
        .unwrap();
    let large = tokio::spawn({
        let bus = buses[0].clone();
        async move {
            send(&bus, &[Bytes::from_static(&[1; 100_000])])
                .await
                .unwrap()
        }
    });
    tokio::task::yield_now().await;
    let small = tokio::spawn({
        let bus = buses[0].clone();
        async move { send(&bus, &[Bytes::from_static(&[2; 10])]).await.unwrap() }
    });
    tokio::task::yield_now().await;
    held.commit();
    let got = take(&buses[1], 4).await;
    let sizes: Vec<usize> = got
        .iter()
        .filter_map(|event| match event {
            BusEvent::Frame { data, .. } => Some(data.len()),
            _ => None,
        })
        .collect();
    assert_eq!(sizes, [150_000, 100_000, 10]);
    large.await.unwrap();
    small.await.unwrap();
}
