//! Whatever arrives is read or refused, but never worse: no panic, and no more memory than a
//! small multiple of what was sent.
//!
//! Each mode's decoders are fed for two seconds; FUZZ_SECONDS sets another time, FUZZ_SEED the first
//! seed. A failure prints its seed.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use switchboard_transport_redis::wire::Publication;

use support::{
    Vector,
    damage::{BASE_BYTES, GROWTH, Random, TELLING, damage, held},
    decode, trees, vectors,
};

fn check(vector: &Vector, channel: &str, payload: &[u8]) -> bool {
    let decoded = decode(vector, "me", channel, payload);
    let Ok(decoded) = decoded else { return false };
    if let Some(message) = &decoded.message {
        let (held, limit) = (held(message), BASE_BYTES + GROWTH * payload.len());
        assert!(held <= limit, "{held} bytes of {}", payload.len());
    }
    // What was read can be shown, so its JSON is valid, and published again or refused.
    if let Some(message) = &decoded.message {
        trees::show(message);
        let _ = vector
            .encoder()
            .encode(message, &mut Publication::default());
    }
    decoded.message.is_some()
}

#[test]
fn damaged_messages_are_read_or_refused_but_never_worse_classic() {
    feed_damaged(|vector| !vector.sharded);
}

#[test]
fn damaged_messages_are_read_or_refused_but_never_worse_sharded() {
    feed_damaged(|vector| vector.sharded);
}

fn feed_damaged(is_wanted: fn(&Vector) -> bool) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seconds = number("FUZZ_SECONDS").unwrap_or(2);
    let first_seed = number("FUZZ_SEED").unwrap_or(1);
    let mut vectors = vectors();
    vectors.retain(is_wanted);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut read, mut runs) = (0u64, 0u64);
    let mut seed = first_seed;
    while Instant::now() < end || runs == 0 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let vector = &vectors[random.below(vectors.len())];
        let other = &vectors[random.below(vectors.len())];
        let mut payload = match random.below(10) {
            0 => (0..random.below(60)).map(|_| random.next() as u8).collect(),
            1 => (0..random.below(60))
                .map(|_| TELLING[random.below(TELLING.len())])
                .collect(),
            _ => vector.payload.clone(),
        };
        damage(&mut random, &mut payload, &other.payload);
        // Also where it does not belong.
        let same_prefix = vector.prefix() == other.prefix();
        let channel = if same_prefix && random.below(8) == 0 {
            &other.channel
        } else {
            &vector.channel
        };
        let result = std::panic::catch_unwind(|| check(vector, channel, &payload));
        match result {
            Ok(was_read) => read += u64::from(was_read),
            Err(_) => panic!(
                "seed {seed}: {} on {channel}: {}",
                vector.name(),
                String::from_utf8_lossy(&payload)
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
    let vector = vectors()
        .into_iter()
        .find(|vector| vector.case == "mp-minimal")
        .unwrap();
    let classic = vectors()
        .into_iter()
        .find(|vector| vector.case == "emit-text")
        .unwrap();
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
        read += usize::from(check(&vector, &vector.channel, &envelope(&data)));
    }
    assert_eq!(read, 3, "what is large but right is read");
    let deep = b"{\"type\":9,\"data\":".repeat(10_000);
    check(&vector, &vector.channel, &deep);
    check(&classic, &classic.channel, &[0x93; 50_000]);
}
