//! Both directions together.

use super::*;
use crate::wire::{json, testing::Random};

/// A value in the form that both directions write: smallest markers, keys as strings, no
/// extensions.
fn value(random: &mut Random, depth: u32, out: &mut Vec<u8>) {
    let kinds = if depth == 0 { 6 } else { 8 };
    match random.below(kinds) {
        0 => out.push(random.pick(&[0xc0, 0xc2, 0xc3])),
        1 => write_unsigned(out, random.next() >> random.below(64)),
        2 => {
            let number = (random.next() >> random.below(64)) as i64;
            head::write_negative(out, -number.saturating_abs() - 1);
        }
        3 => {
            let number = f64::from_bits(random.next());
            // Whole floats come back as integers, as they do in JavaScript.
            let fraction = number.is_finite() && number.fract() != 0.0;
            write_float(out, if fraction { number } else { 0.5 });
        }
        4 => text(random, out),
        5 => {
            let len = random.pick(&[0, 1, 31, 255, 256, 70_000]);
            head::write_binary(out, &vec![random.next() as u8; len]);
        }
        6 => {
            let len = random.pick(&[0, 1, 2, 15, 16, 17]);
            write_array_len(out, len);
            (0..len).for_each(|_| value(random, depth - 1, out));
        }
        _ => {
            let len = random.pick(&[0, 1, 2, 15, 16]);
            write_map_len(out, len);
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
    write_text(out, &text);
}

#[test]
fn values_come_back_as_they_were() {
    for seed in 1..300 {
        let mut msgpack = Vec::new();
        value(&mut Random(seed), 4, &mut msgpack);
        let mut json = Json::default();
        json.append(&mut Reader(&msgpack)).unwrap();
        let (text, attachments) = json.finish();
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        let mut again = Vec::new();
        write_json(&mut again, &mut json::Reader::new(&text), &attachments).unwrap();
        assert!(again == msgpack, "seed {seed}");
    }
}
