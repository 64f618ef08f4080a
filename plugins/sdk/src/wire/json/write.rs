//! Strings to JSON.

use super::scan::plain_prefix;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes a string as `JSON.stringify` does: only what must be escaped is.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    write_bytes(out, text.as_bytes());
}

/// The same for text that may not be UTF-8: what is not stays as it is.
pub(crate) fn write_bytes(out: &mut Vec<u8>, mut rest: &[u8]) {
    out.push(b'"');
    loop {
        let (plain, special) = rest.split_at(plain_prefix(rest));
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else {
            break;
        };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x09 => out.extend_from_slice(b"\\t"),
            0x0a => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            0x0d => out.extend_from_slice(b"\\r"),
            control => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
        rest = after;
    }
    out.push(b'"');
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_like_serde_json_does() {
        let every_char: String = (0..0x300u32).filter_map(char::from_u32).collect();
        for text in ["", "plain", "\"\\", "\u{2028}😀\u{7f}", every_char.as_str()] {
            let mut out = Vec::new();
            write_text(&mut out, text);
            assert_eq!(
                String::from_utf8(out).unwrap(),
                serde_json::to_string(text).unwrap()
            );
        }
    }
}
