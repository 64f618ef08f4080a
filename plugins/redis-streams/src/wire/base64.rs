//! Base64 as Node's `Buffer.from(text, "base64")` reads it: either alphabet, with or without
//! padding, and past whatever belongs to neither.

use base64::{
    Engine as _,
    alphabet::STANDARD as ALPHABET,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Standard, padded base64.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of a text. Of a text that is not base64, those that Node would find in it.
pub fn decode(text: &[u8]) -> Vec<u8> {
    LENIENT.decode(text).unwrap_or_else(|_| scrape(text))
}

/// Rare: the other alphabet, blanks, or no base64 at all.
fn scrape(text: &[u8]) -> Vec<u8> {
    let mut sextets: Vec<u8> = text
        .iter()
        .take_while(|byte| **byte != b'=')
        .filter_map(|byte| match byte {
            b'-' => Some(b'+'),
            b'_' => Some(b'/'),
            b'+' | b'/' => Some(*byte),
            byte if byte.is_ascii_alphanumeric() => Some(*byte),
            _ => None,
        })
        .collect();
    // Six bits alone are no byte.
    if sextets.len() % 4 == 1 {
        sextets.pop();
    }
    LENIENT.decode(&sextets).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_standard_and_padded() {
        assert_eq!(encode(&[0xfb, 0xff]), "+/8=");
        assert_eq!(decode(b"+/8="), [0xfb, 0xff]);
    }

    #[test]
    fn it_is_read_as_node_reads_it() {
        for (text, bytes) in [
            ("-_8", &[0xfb, 0xff][..]),
            ("+/8", &[0xfb, 0xff]),
            ("+/9", &[0xfb, 0xff]),
            (" +/\n8= ", &[0xfb, 0xff]),
            ("+/8=AAAA", &[0xfb, 0xff]),
            ("A", &[]),
            ("AAAAA", &[0, 0, 0]),
            ("", &[]),
            ("ключ", &[]),
        ] {
            assert_eq!(decode(text.as_bytes()), bytes, "{text}");
        }
    }
}
