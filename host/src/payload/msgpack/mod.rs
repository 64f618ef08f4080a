//! Msgpack, as the msgpack parser of Socket.IO writes it, to and from the cluster's JSON text.
//!
//! Both directions stream from one text to the other without a tree between them, in the dialect
//! of notepack.io, which Node.js servers and clients use: binary becomes an attachment, dates
//! become ISO 8601 text, other extensions become `[type, binary]`. Nothing here panics, recurses
//! without a limit or writes much more than it reads, whatever the bytes.

mod from_json;
mod to_json;
mod token;

pub(super) use from_json::from_json;
pub(super) use to_json::to_json;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cluster::message::Payload;

    /// A small generator (xorshift), so that a failure can be repeated.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, limit: u64) -> u64 {
            self.next() % limit
        }

        fn pick<T: Copy>(&mut self, from: &[T]) -> T {
            from[self.below(from.len() as u64) as usize]
        }
    }

    /// A value in the form that both directions write: smallest markers, keys as strings, no
    /// extensions.
    fn value(random: &mut Random, depth: u32, out: &mut Vec<u8>) {
        let kinds = if depth == 0 { 6 } else { 8 };
        match random.below(kinds) {
            0 => out.push(random.pick(&[0xc0, 0xc2, 0xc3])),
            1 => {
                let number = random.next() >> random.below(64);
                rmp::encode::write_uint(out, number).unwrap();
            }
            2 => {
                let number = (random.next() >> random.below(64)) as i64;
                rmp::encode::write_sint(out, -number.saturating_abs()).unwrap();
            }
            3 => {
                let number = f64::from_bits(random.next());
                rmp::encode::write_f64(out, if number.is_finite() { number } else { 0.5 }).unwrap();
            }
            4 => text(random, out),
            5 => {
                let len = random.pick(&[0, 1, 31, 255, 256, 70_000]);
                rmp::encode::write_bin(out, &vec![random.next() as u8; len]).unwrap();
            }
            6 => {
                let len = random.pick(&[0, 1, 2, 15, 16, 17]);
                rmp::encode::write_array_len(out, len).unwrap();
                (0..len).for_each(|_| value(random, depth - 1, out));
            }
            _ => {
                let len = random.pick(&[0, 1, 2, 15, 16]);
                rmp::encode::write_map_len(out, len).unwrap();
                for _ in 0..len {
                    text(random, out);
                    value(random, depth - 1, out);
                }
            }
        }
    }

    fn text(random: &mut Random, out: &mut Vec<u8>) {
        let chars = [
            'a',
            '"',
            '\\',
            '\u{1}',
            '\n',
            'é',
            '\u{2028}',
            '\u{1F600}',
            '\u{fffd}',
        ];
        let len = random.pick(&[0, 1, 5, 31, 32, 300]);
        let text: String = (0..len).map(|_| random.pick(&chars)).collect();
        rmp::encode::write_str(out, &text).unwrap();
    }

    /// Also guards `serde_json`'s feature `float_roundtrip`, without which it reads some numbers a
    /// little wrong.
    #[test]
    fn values_come_back_as_they_were() {
        for seed in 1..500 {
            let mut msgpack = Vec::new();
            value(&mut Random(seed), 4, &mut msgpack);
            let msgpack = Bytes::from(msgpack);
            let payload = to_json(&msgpack).unwrap();
            serde_json::from_str::<serde::de::IgnoredAny>(&payload.json).unwrap();
            assert!(from_json(&payload).unwrap() == msgpack, "seed {seed}");
        }
    }

    #[test]
    fn random_bytes_are_read_or_refused_but_never_worse() {
        let mut random = Random(0x5eed);
        let mut read = 0;
        for _ in 0..20_000 {
            let len = random.below(40);
            let bytes: Bytes = (0..len).map(|_| random.next() as u8).collect();
            if let Ok(payload) = to_json(&bytes) {
                serde_json::from_str::<serde::de::IgnoredAny>(&payload.json).unwrap();
                from_json(&payload).unwrap();
                read += 1;
            }
        }
        assert!(read > 100, "the test reaches the interesting part: {read}");
    }

    #[test]
    fn damaged_values_are_read_or_refused_but_never_worse() {
        for seed in 1..2000 {
            let mut random = Random(seed);
            let mut msgpack = Vec::new();
            value(&mut random, 3, &mut msgpack);
            let at = random.below(msgpack.len() as u64) as usize;
            msgpack[at] = random.next() as u8;
            if let Ok(payload) = to_json(&msgpack.into()) {
                let mut json = payload.json.to_string().into_bytes();
                let at = random.below(json.len() as u64) as usize;
                json[at] = random.pick(b"\"\\{}[],:019ud\x00 _");
                if let Ok(json) = String::from_utf8(json) {
                    let attachments = payload.attachments;
                    let _ = from_json(&Payload {
                        json: json.into(),
                        attachments,
                    });
                }
            }
        }
    }
}
