//! Whatever arrives is read or refused, but never worse: no panic, and no more memory than a
//! small multiple of what was sent.
//!
//! Runs for two seconds; FUZZ_SECONDS sets another time, FUZZ_SEED the first seed. A failure prints
//! its seed.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use support::{
    PREFIX, Read, Vector,
    damage::{BASE_BYTES, GROWTH, Random, TELLING, damage, held},
    read, trees, vectors,
};
use switchboard_transport_postgres::wire::{
    inbox::{self, Inbox},
    letter::Writer,
};

/// Whether it was read as a message.
fn check(vector: &Vector, notification: &str, row: Option<&[u8]>) -> bool {
    let mut inbox = Inbox::new(PREFIX, "me");
    inbox.enter(vector.namespace());
    let sent = notification.len() + row.map_or(0, <[u8]>::len);
    if let Some(row) = row {
        // What looks into rows of unknown kinds.
        let _ = inbox::mark(row);
        let _ = inbox::kept_event(row, vector.namespace());
    }
    let message = match read(&inbox, &vector.channel, notification, row) {
        Ok(Read::Message(message)) => message,
        Ok(Read::Nothing | Read::NoRow) | Err(_) => return false,
    };
    let (held, limit) = (held(&message), BASE_BYTES + GROWTH * sent);
    assert!(held <= limit, "{held} bytes of {sent}");
    // What was read can be shown, so its JSON is valid, and published again or refused.
    trees::show(&message);
    for keeps in [false, true] {
        let _ = Writer::new(PREFIX, 8000, keeps).letter(&message, 1);
    }
    true
}

#[test]
fn damaged_messages_are_read_or_refused_but_never_worse() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seconds = number("FUZZ_SECONDS").unwrap_or(2);
    let first_seed = number("FUZZ_SEED").unwrap_or(1);
    let vectors = vectors();
    let with_rows: Vec<&Vector> = vectors.iter().filter(|v| v.row.is_some()).collect();
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut read, mut runs) = (0u64, 0u64);
    let mut seed = first_seed;
    while Instant::now() < end || runs == 0 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let is_row = random.below(2) == 0;
        let any = &vectors[random.below(vectors.len())];
        let vector = match is_row {
            true => with_rows[random.below(with_rows.len())],
            false => any,
        };
        let whole = match is_row {
            true => vector.row.clone().unwrap(),
            false => vector.notification.clone().into_bytes(),
        };
        let mut bytes = match random.below(10) {
            0 => (0..random.below(60)).map(|_| random.next() as u8).collect(),
            1 => (0..random.below(60))
                .map(|_| TELLING[random.below(TELLING.len())])
                .collect(),
            _ => whole,
        };
        let other = any.row.clone();
        damage(
            &mut random,
            &mut bytes,
            &other.unwrap_or_else(|| any.notification.clone().into_bytes()),
        );
        let result = std::panic::catch_unwind(|| match is_row {
            true => check(vector, &vector.notification, Some(&bytes)),
            // Postgres hands out text.
            false => check(
                vector,
                &String::from_utf8_lossy(&bytes),
                vector.row.as_deref(),
            ),
        });
        match result {
            Ok(was_read) => read += u64::from(was_read),
            Err(_) => panic!(
                "seed {seed}: {}: {}",
                vector.name(),
                String::from_utf8_lossy(&bytes)
            ),
        }
        runs += 1;
        seed += 1;
    }
    println!("{runs} messages, {read} of them read");
    assert!(
        read * 20 > runs,
        "the test reaches the interesting part: {read} of {runs}"
    );
}

#[test]
fn messages_made_to_grow_stay_in_bounds() {
    let vectors = vectors();
    let vector = vectors.iter().find(|v| v.row.is_some()).unwrap();
    let envelope = |data: &[u8]| {
        let mut payload =
            b"\x84\xa4type\x09\xa3uid\xa1x\xa3nsp\xa1/\xa4data\x81\xa6packet".to_vec();
        payload.extend(data);
        payload
    };
    // Arrays that promise four billion elements, thousands of empty parts, control characters.
    let mut read = 0;
    for data in [
        vec![0xdd, 255, 255, 255, 255],
        [vec![0xdc, 0x27, 0x10], [0xc4, 0].repeat(10_000)].concat(),
        [vec![0xdc, 0xff, 0xff], vec![0xe0; 65_535]].concat(),
        [vec![0x91, 0xda, 0xff, 0xff], vec![1; 65_535]].concat(),
        [0x91; 60_000].to_vec(),
        [0xdd, 255, 255, 255, 255].repeat(10_000),
    ] {
        read += usize::from(check(vector, &vector.notification, Some(&envelope(&data))));
    }
    assert_eq!(read, 3, "what is large but right is read");
    for deep in ["{\"type\":9,\"data\":", "[", "{\"a\":"] {
        check(vector, &deep.repeat(4000), None);
        check(
            vector,
            &vector.notification,
            Some(deep.repeat(4000).as_bytes()),
        );
    }
    check(vector, &vector.notification, Some(&[0x93; 50_000]));
}
