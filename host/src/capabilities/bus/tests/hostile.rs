//! Connections that break the rules are cut, with a reason where they can read one, and nobody else
//! notices.

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use super::{
    super::frame::{self, Frame, Known},
    *,
};

fn bytes(frames: &[Frame]) -> BytesMut {
    let mut out = BytesMut::new();
    frames
        .iter()
        .for_each(|frame| frame::encode(frame, &mut out));
    out
}

fn data(sender: &str, seq: u64, payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    frame::encode_data_head(sender, seq, payload.len(), &mut out);
    out.extend_from_slice(payload);
    out
}

/// Writes this, and reads until the hub ends the connection: its reason, if it gave one.
async fn talk(site: &Site, bytes: &[u8]) -> Option<String> {
    let mut raw = Raw::connect(site).await;
    // The hub may end it before everything is written.
    let _ = raw.stream.write_all(bytes).await;
    let mut reason = None;
    while let Some(frame) = raw.next().await {
        if let Frame::Cut { text, .. } = frame {
            reason = Some(text);
        }
    }
    reason
}

/// Two members that are fine, before and after.
async fn unharmed(buses: &[Bus], round: usize) {
    let text = format!("round {round}");
    send_text(&buses[0], &text).await;
    let got = take_until(&buses[1], &frame("a", &text)).await;
    for event in &got {
        match event {
            BusEvent::Frame { sender, .. } => assert_eq!(&**sender, "a", "{got:?}"),
            BusEvent::Joined(id) | BusEvent::Left(id) => assert_ne!(&**id, "a", "{got:?}"),
            BusEvent::Lagged(_) => panic!("{got:?}"),
        }
    }
}

#[tokio::test]
async fn whoever_breaks_the_protocol_is_cut_and_nobody_else_suffers() {
    let site = Site::new();
    let buses = site.start_all(&["a", "b"]).await;
    take(&buses[1], 1).await;
    let greeting = bytes(&[hello("x")]);
    let after_hello = |rest: &[u8]| [&greeting[..], rest].concat();
    let mut newer = greeting.to_vec();
    newer[13] = 99;
    let mut wrong_magic = greeting.to_vec();
    wrong_magic[7] ^= 1;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("not of a Switchboard bus", wrong_magic),
        ("version 99", newer),
        (
            "unknown kind",
            b"GET / HTTP/1.1\r\nHost: bus\r\n\r\n".to_vec(),
        ),
        (
            "did not begin with hello",
            bytes(&[Frame::Ack { count: 0 }]).to_vec(),
        ),
        ("at most", data("x", 1, &[0; 2000]).to_vec()),
        ("at most", after_hello(&[0xff, 0xff, 0xff, 0xff, 3])),
        ("unknown kind 200", after_hello(&[1, 0, 0, 0, 200])),
        ("another member", after_hello(&data("a", 1, b"forged"))),
        ("an id of 0 bytes", after_hello(&data("", 1, b"nameless"))),
        (
            "frame 2 follows frame 0",
            after_hello(&data("x", 2, b"ahead")),
        ),
        ("number 0", after_hello(&data("x", 0, b"behind"))),
        (
            "may not send",
            after_hello(&bytes(&[Frame::Stable { seq: 1 }])),
        ),
        ("may not send", after_hello(&bytes(&[hello("x")]))),
        (
            "confirmed",
            after_hello(&bytes(&[Frame::Ack { count: 1_000_000 }])),
        ),
        ("unique", bytes(&[hello("a")]).to_vec()),
    ];
    for (round, (expected, bytes)) in cases.into_iter().enumerate() {
        let reason = talk(&site, &bytes).await;
        let reason = reason.unwrap_or_else(|| panic!("no reason for {expected:?}"));
        assert!(
            reason.contains(expected),
            "expected {expected:?}, got {reason:?}"
        );
        unharmed(&buses, round).await;
    }
}

#[tokio::test]
async fn numbers_that_go_back_are_refused() {
    let site = Site::new();
    let buses = site.start_all(&["a", "b"]).await;
    take(&buses[1], 1).await;
    let mut all = bytes(&[hello("x")]);
    all.extend_from_slice(&data("x", 1, b"one"));
    all.extend_from_slice(&data("x", 1, b"one again"));
    let reason = talk(&site, &all).await.unwrap();
    assert!(reason.contains("frame 1 follows frame 1"), "{reason}");
    assert_eq!(
        take(&buses[1], 3).await,
        [joined("x"), frame("x", "one"), left("x")]
    );
}

#[tokio::test]
async fn who_sends_more_than_it_may_have_unstable_is_cut() {
    let site = Site::with(|options| {
        options.max_queued_bytes = 1 << 16;
        options.stall_timeout = Duration::from_secs(3600);
    });
    let buses = site.start_all(&["a", "b"]).await;
    let mut all = bytes(&[hello("x")]);
    for seq in 1..=40 {
        all.extend_from_slice(&data("x", seq, &[0; 100_000]));
    }
    let reason = talk(&site, &all).await.unwrap();
    assert!(reason.contains("not all have taken"), "{reason}");
    drop(buses);
}

#[tokio::test]
async fn random_bytes_hurt_nobody() {
    let site = Site::new();
    let buses = site.start_all(&["a", "b"]).await;
    take(&buses[1], 1).await;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..100 {
        let mut noise: Vec<u8> = (0..random() % 300).map(|_| random() as u8).collect();
        if round % 2 == 0 {
            // After a good beginning.
            noise.splice(0..0, bytes(&[hello("x")]));
        }
        let mut raw = Raw::connect(&site).await;
        let _ = raw.stream.write_all(&noise).await;
        let _ = raw.stream.shutdown().await;
        while raw.next().await.is_some() {}
    }
    unharmed(&buses, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_cut() {
    let site = Site::new();
    let buses = site.start_all(&["a", "b"]).await;
    let reason = talk(&site, &[]).await.unwrap();
    assert!(reason.contains("said nothing"), "{reason}");
    drop(buses);
}

#[tokio::test]
async fn a_process_that_does_not_read_is_cut_and_the_others_go_on() {
    let site = Site::with(|options| {
        options.stall_timeout = Duration::from_secs(1);
        options.max_unstable_bytes = 1 << 20;
        options.send_timeout = Duration::from_secs(60);
    });
    let buses = site.start_all(&["a", "b"]).await;
    take(&buses[1], 1).await;
    let mut frozen = Raw::connect(&site).await;
    frozen.send(&[hello("frozen")]).await;
    assert_eq!(take(&buses[1], 1).await, [joined("frozen")]);
    let a = buses[0].clone();
    let sending = tokio::spawn(async move {
        for number in 1..=100 {
            send(&a, &[numbered(number, 100_000)]).await.unwrap();
        }
    });
    let mut ledger = Ledger::default();
    while ledger.last.get("a") != Some(&100) || ledger.left.is_empty() {
        ledger.note("b", some(&buses[1]).await);
    }
    assert_eq!((ledger.lagged, &*ledger.left[0]), (0, "frozen"));
    sending.await.unwrap();
}

#[tokio::test]
async fn a_member_that_was_cut_off_learns_at_once_what_it_missed() {
    let site = Site::new();
    let buses = site.start_all(&["a", "b"]).await;
    let base_of_a = |members: &[Known]| {
        members
            .iter()
            .find(|member| &*member.id == "a")
            .unwrap()
            .base
    };
    let (raw, members) = Raw::join(&site, hello("x")).await;
    assert_eq!(base_of_a(&members), Some(0));
    drop(raw);
    until("x is gone", || buses[0].status().members.len() == 1).await;
    for _ in 0..5 {
        send_text(&buses[0], "missed").await;
    }
    until("all is stable", || buses[0].status().unstable_frames == 0).await;
    let (_raw, members) = Raw::join(&site, hello("x")).await;
    assert_eq!(base_of_a(&members), Some(5));
}
