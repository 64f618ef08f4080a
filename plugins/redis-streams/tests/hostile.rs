//! Whatever arrives is read or refused, but never worse: no panic, and no more memory than a small
//! multiple of what was sent.
//!
//! Runs for two seconds; FUZZ_SECONDS sets another time, FUZZ_SEED the first seed. A failure prints
//! its seed.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use support::{
    Fields, Source, Vector,
    damage::{BASE_BYTES, GROWTH, Random, TELLING, damage, held},
    trees, vectors,
};
use switchboard_transport_redis_streams::wire::{base64, entry, session};

/// What of a vector is damaged: a payload, the data of an entry (inside the base64, if it is that),
/// or any field as it stands.
fn harm(random: &mut Random, from: &Source, other: &[u8]) -> Source {
    match from {
        Source::Channel { name, payload } => {
            let payload = harmed(random, payload, other);
            let name = name.clone();
            Source::Channel { name, payload }
        }
        Source::Stream { name, fields } => {
            let mut fields = fields.clone();
            let at = random.below(fields.len());
            let is_inside = random.below(4) > 0;
            match fields.iter_mut().find(|(name, _)| name == b"data") {
                Some((_, data)) if is_inside && data.first() == Some(&b'{') => {
                    *data = harmed(random, data, other);
                }
                Some((_, data)) if is_inside => {
                    let bytes = harmed(random, &base64::decode(data), other);
                    *data = base64::encode(&bytes).into_bytes();
                }
                _ => match random.below(8) {
                    0 => drop(fields.remove(at)),
                    1 => fields.push(fields[at].clone()),
                    2 => fields[at].0 = harmed(random, &fields[at].0, other),
                    3 => fields.push((b"n".to_vec(), harmed(random, b"00000000000000ab-7", other))),
                    _ => fields[at].1 = harmed(random, &fields[at].1, other),
                },
            }
            let name = name.clone();
            Source::Stream { name, fields }
        }
    }
}

fn harmed(random: &mut Random, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = match random.below(10) {
        0 => (0..random.below(60)).map(|_| random.next() as u8).collect(),
        1 => (0..random.below(60))
            .map(|_| TELLING[random.below(TELLING.len())])
            .collect(),
        _ => bytes.to_vec(),
    };
    damage(random, &mut bytes, other);
    bytes
}

fn bytes_of(from: &Source) -> &[u8] {
    match from {
        Source::Channel { payload, .. } => payload,
        Source::Stream { fields, .. } => fields.last().map_or(&[], |(_, value)| value),
    }
}

fn len(from: &Source) -> usize {
    match from {
        Source::Channel { payload, .. } => payload.len(),
        Source::Stream { fields, .. } => fields.iter().map(|(n, v)| n.len() + v.len()).sum(),
    }
}

fn check(vector: &Vector, from: &Source) -> bool {
    let Ok(Some(message)) = vector.decode_as("me", from) else {
        return false;
    };
    let (held, limit) = (held(&message), BASE_BYTES + GROWTH * len(from));
    assert!(held <= limit, "{held} bytes of {}", len(from));
    // What was read can be shown, so its JSON is valid, and written again or refused.
    trees::show(&message);
    for only_plaintext in [false, true] {
        if let Ok(entry::Written { data, .. }) = entry::write(&message, only_plaintext) {
            let data = data.map_or(0, |data| data.len());
            assert!(data <= BASE_BYTES + GROWTH * len(from), "{data} bytes");
        }
    }
    true
}

#[test]
fn damaged_messages_are_read_or_refused_but_never_worse() {
    let vectors = vectors();
    let (runs, read) = fuzz(|random| {
        let vector = &vectors[random.below(vectors.len())];
        let other = &vectors[random.below(vectors.len())];
        let from = harm(random, &vector.from, bytes_of(&other.from));
        let shown = match &from {
            Source::Channel { name, payload } => {
                format!("{name}: {}", String::from_utf8_lossy(payload))
            }
            Source::Stream { fields, .. } => shown(fields),
        };
        (shown, move || check(vector, &from))
    });
    println!("{runs} messages, {read} of them read");
    assert!(
        read * 20 > runs,
        "the test reaches the interesting part: {read} of {runs}"
    );
}

#[test]
fn damaged_sessions_are_read_or_refused_but_never_worse() {
    let text = "hKNzaWS0Tm5ESHpYR3RkdmdMUHpZd0FBQUGjcGlktDdxcU8zalNfTjYybjJaenlBQUFCpXJvb21zkrRObkRIelhHdGR2Z0xQell3QUFBQaVyb29tMaRkYXRhgaR1c2VyonUx";
    let bytes = base64::decode(text.as_bytes());
    let (runs, read) = fuzz(|random| {
        let harmed = harmed(random, &bytes, &bytes);
        let text = base64::encode(&harmed);
        (text.clone(), move || {
            let Ok(session) = session::read(text.as_bytes()) else {
                return false;
            };
            let held =
                session.pid.capacity() + session.sid.capacity() + session.data.json.capacity();
            assert!(held <= BASE_BYTES + GROWTH * text.len(), "{held} bytes");
            // What was read can be kept again, with the same meaning.
            let again = session::read(session::write(&session).unwrap().as_bytes()).unwrap();
            assert_eq!((again.pid, again.sid), (session.pid, session.sid));
            assert_eq!(again.data.json, session.data.json);
            true
        })
    });
    println!("{runs} sessions, {read} of them read");
    assert!(
        read * 20 > runs,
        "the test reaches the interesting part: {read} of {runs}"
    );
}

/// Runs cases for a while; counts those that were read. A case says how it is shown.
fn fuzz<Run: FnOnce() -> bool>(mut case: impl FnMut(&mut Random) -> (String, Run)) -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seconds = number("FUZZ_SECONDS").unwrap_or(2);
    let mut seed = number("FUZZ_SEED").unwrap_or(1);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut read, mut runs) = (0u64, 0u64);
    while Instant::now() < end || runs == 0 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (shown, run) = case(&mut random);
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
            Ok(was_read) => read += u64::from(was_read),
            Err(_) => panic!("seed {seed}: {shown}"),
        }
        runs += 1;
        seed += 1;
    }
    (runs, read)
}

fn shown(fields: &Fields) -> String {
    let field = |(name, value): &(Vec<u8>, Vec<u8>)| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!("{} {}", text(name), text(value))
    };
    fields.iter().map(field).collect::<Vec<_>>().join(" ")
}

#[test]
fn entries_made_to_grow_stay_in_bounds() {
    let vector = vectors()
        .into_iter()
        .find(|vector| vector.case == "base64-msgpack")
        .unwrap();
    let data = |event: &[u8]| {
        let mut bytes = b"\x82\xa4opts\x80\xa6packet\x81\xa4data".to_vec();
        bytes.extend(event);
        base64::encode(&bytes).into_bytes()
    };
    // Arrays that promise four billion elements, thousands of empty parts, control characters.
    let mut read = 0;
    for event in [
        vec![0xdd, 255, 255, 255, 255],
        [vec![0xdc, 0x27, 0x10], [0xc4, 0].repeat(10_000)].concat(),
        [vec![0xdc, 0xff, 0xff], vec![0xe0; 65_535]].concat(),
        [vec![0x91, 0xda, 0xff, 0xff], vec![1; 65_535]].concat(),
        [0x91; 60_000].to_vec(),
        [0xdd, 255, 255, 255, 255].repeat(10_000),
    ] {
        read += usize::from(check(&vector, &stream(data(&event))));
    }
    assert_eq!(read, 3, "what is large but right is read");
    for data in [
        b"{\"packet\":".repeat(10_000),
        b"[".repeat(100_000),
        base64::encode(&[0x93; 50_000]).into_bytes(),
        vec![b'='; 100_000],
    ] {
        assert!(!check(&vector, &stream(data)));
    }
}

fn stream(data: Vec<u8>) -> Source {
    let field = |name: &str, value: &str| (name.into(), value.into());
    let mut fields: Fields = vec![field("uid", "other"), field("nsp", "/"), field("type", "3")];
    fields.push((b"data".to_vec(), data));
    Source::Stream {
        name: "socket.io".to_owned(),
        fields,
    }
}
