//! Damaged and hostile bytes: what reads them neither panics nor grows. `FUZZ_SECONDS` says for how
//! long (2), `FUZZ_SEED` where it begins.

#![allow(clippy::unwrap_used)]

#[path = "../../sdk/tests/support/damage.rs"]
mod damage;
mod support;

use std::time::{Duration, Instant};

use damage::{Random, damage};
use support::broadcast;
use switchboard_plugin::wire::envelope;
use switchboard_transport_nats::wire::{
    inbox::Inbox,
    letter::Head,
    protocol::{self, Said},
};

/// Messages of several senders, some in parts, as a server would send them.
fn stream(random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    if random.below(4) == 0 {
        out.extend_from_slice(b"INFO {\"max_payload\":1048576}\r\nPING\r\n+OK\r\n-ERR 'x'\r\n");
    }
    for number in 0..random.below(6) as u64 {
        let content =
            envelope::write(&broadcast("/", "a", "[\"event\",1,{\"a\":[null]}]")).unwrap();
        let parts = 1 + random.below(3) as u32;
        let size = content.len().div_ceil(parts as usize);
        let pieces: Vec<_> = content.chunks(size).collect();
        for (part, piece) in pieces.iter().enumerate() {
            let head = Head {
                number,
                epoch: 1 + random.below(2) as u64,
                seq: number,
                part: part as u32,
                parts: pieces.len() as u32,
                node: ["a", "b", "me"][random.below(3)],
            };
            let payload = [head.line().as_bytes(), piece].concat();
            out.extend_from_slice(format!("MSG s.t 1 {}\r\n", payload.len()).as_bytes());
            out.extend_from_slice(&payload);
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}

/// As the subscriber reads: how many messages came of it.
fn check(inbox: &mut Inbox, bytes: &[u8]) -> u64 {
    let mut at = 0;
    let mut count = 0;
    while let Ok(Some((said, len))) = protocol::read(&bytes[at..]) {
        assert!(len > 0, "it would stand still");
        if let Said::Message { payload, .. } = said
            && let Ok(taken) = inbox.take("me", payload, at as u64)
            && let Some(message) = taken.message
        {
            assert!(message.len() <= bytes.len() * 4, "it has grown");
            count += u64::from(matches!(
                envelope::read(&message, "me", |_| true),
                Ok(Some(_))
            ));
        }
        at += len;
    }
    count
}

#[test]
fn damaged_streams_are_read_or_refused_but_never_worse() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seconds = number("FUZZ_SECONDS").unwrap_or(2);
    let mut seed = number("FUZZ_SEED").unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut runs, mut read) = (0_u64, 0_u64);
    while Instant::now() < end || runs == 0 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut bytes = stream(&mut random);
        let other = stream(&mut random);
        if random.below(10) > 0 {
            damage(&mut random, &mut bytes, &other);
        }
        let result = std::panic::catch_unwind(|| {
            let mut inbox = Inbox::default();
            check(&mut inbox, &bytes) + check(&mut inbox, &other)
        });
        match result {
            Ok(count) => read += count,
            Err(_) => panic!("seed {seed}: {}", String::from_utf8_lossy(&bytes)),
        }
        runs += 1;
        seed += 1;
    }
    println!("{runs} streams, {read} messages read");
    assert!(read * 2 > runs, "the test reaches the interesting part");
}
