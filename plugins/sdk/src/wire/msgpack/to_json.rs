//! From msgpack to JSON text and attachments.
//!
//! What JSON has no form for is written as Node writes the same value: NaN and infinities as
//! `null`, `undefined` as `null` in an array and left out of an object, keys that are not strings
//! as their text, dates as ISO 8601, any other extension as `[type, binary]`.

use std::borrow::Cow;

use super::{
    date,
    read::{Reader, Token, to_text},
};
use crate::wire::{
    error::WireError,
    json,
    limits::{MAX_ATTACHMENTS, MAX_DEPTH},
};

/// The type of msgpack's own timestamps.
const EXT_TIMESTAMP: i8 = -1;
/// The type of notepack.io's `undefined` (1 byte), old dates (8 bytes) and buffers (with a length).
const EXT_JAVASCRIPT: i8 = 0;
/// Node loses a member of this name, so nothing of ours may find it either.
const PROTO: &[u8] = b"__proto__";

/// Where one payload is gathered; it can be written to again and again.
#[derive(Debug, Default)]
pub struct Json {
    /// JSON so far. What was not UTF-8 is not yet.
    pub(crate) text: Vec<u8>,
    /// The binary parts that its marks name.
    attachments: Vec<Vec<u8>>,
}

/// A value is measured before it is read, so that its text has room from the beginning. One that can be no
/// longer than this has room for so much: little enough that many small ones hold no more than a small
/// multiple of what was sent.
const MEASURED_FROM: usize = 256;

type Result<T> = std::result::Result<T, WireError>;

impl Json {
    /// Takes one value off and appends it, in time and memory in proportion to it.
    pub fn append(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        let mut bytes = reader.0.len();
        if bytes > MEASURED_FROM {
            let mut measured = *reader;
            // What is wrong with it shows when it is read.
            bytes = measured.skip().map_or(0, <[u8]>::len);
        }
        // Most payloads are text, which stays as long as it is.
        self.text.reserve(bytes + bytes / 8);
        self.value(reader, MAX_DEPTH)
    }

    /// The text, with U+FFFD for what was not UTF-8, and the binary parts.
    pub fn finish(self) -> (String, Vec<Vec<u8>>) {
        let text = match String::from_utf8(self.text) {
            Ok(text) => text,
            // JSON's own characters end whatever is cut off before them: it comes to the same as if each
            // string had been read by itself.
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        };
        (text, self.attachments)
    }

    /// One value that may hold `depth - 1` containers inside each other.
    fn value(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<()> {
        match reader.token()? {
            Token::Nil => self.put("null"),
            Token::Bool(value) => self.put(if value { "true" } else { "false" }),
            Token::Unsigned(number) => self.whole(number),
            Token::Signed(number) => self.whole(number),
            Token::Float(number) => json::write_float(&mut self.text, number),
            Token::Text(text) => json::write_bytes(&mut self.text, text),
            Token::Binary(bytes) => self.attachment(bytes)?,
            Token::Extension { kind, bytes, fixed } => self.extension(kind, bytes, fixed)?,
            Token::Array(len) => self.elements(reader, len, json::deeper(depth)?)?,
            Token::Map(len) => self.members(reader, len, json::deeper(depth)?)?,
        }
        Ok(())
    }

    fn elements(&mut self, reader: &mut Reader<'_>, len: u32, depth: usize) -> Result<()> {
        self.text.push(b'[');
        for index in 0..len {
            if index > 0 {
                self.text.push(b',');
            }
            self.value(reader, depth)?;
        }
        self.text.push(b']');
        Ok(())
    }

    fn members(&mut self, reader: &mut Reader<'_>, len: u32, depth: usize) -> Result<()> {
        self.text.push(b'{');
        let mut first = true;
        for _ in 0..len {
            let token = reader.token()?;
            let key = match token {
                Token::Text(key) => Cow::Borrowed(key),
                _ => match key_text(token, reader)? {
                    Cow::Borrowed(key) => Cow::Borrowed(key.as_bytes()),
                    Cow::Owned(key) => Cow::Owned(key.into_bytes()),
                },
            };
            if token == Token::Text(PROTO) || is_undefined(*reader) {
                reader.skip()?;
                continue;
            }
            if !first {
                self.text.push(b',');
            }
            json::write_bytes(&mut self.text, &key);
            self.text.push(b':');
            self.value(reader, depth)?;
            first = false;
        }
        self.text.push(b'}');
        Ok(())
    }

    fn extension(&mut self, kind: i8, bytes: &[u8], fixed: bool) -> Result<()> {
        match (kind, fixed, bytes.len()) {
            (EXT_JAVASCRIPT, true, 1) => self.put("null"),
            (EXT_JAVASCRIPT, false, _) => self.attachment(bytes)?,
            _ => match time_ms(kind, bytes) {
                Some(time_ms) => match time_ms.and_then(date::iso8601) {
                    Some(text) => json::write_text(&mut self.text, &text),
                    // An invalid date is `null` in JavaScript's JSON.
                    None => self.put("null"),
                },
                None => {
                    self.text.push(b'[');
                    self.whole(kind);
                    self.text.push(b',');
                    self.attachment(bytes)?;
                    self.text.push(b']');
                }
            },
        }
        Ok(())
    }

    fn attachment(&mut self, bytes: &[u8]) -> Result<()> {
        let num = self.attachments.len();
        if num >= MAX_ATTACHMENTS {
            return Err(WireError::TooManyAttachments);
        }
        self.attachments.push(bytes.to_vec());
        self.put("{\"_placeholder\":true,\"num\":");
        self.whole(num);
        self.put("}");
        Ok(())
    }

    fn put(&mut self, json: &str) {
        self.text.extend_from_slice(json.as_bytes());
    }

    fn whole(&mut self, number: impl itoa::Integer) {
        let mut digits = itoa::Buffer::new();
        self.put(digits.format(number));
    }
}

/// Whether notepack.io's `undefined` comes next.
fn is_undefined(reader: Reader<'_>) -> bool {
    reader.0.starts_with(&[0xd4, EXT_JAVASCRIPT as u8])
}

/// A key as JavaScript makes one of the value. `reader` stands behind the key's first token.
pub fn key_text<'a>(key: Token<'a>, reader: &mut Reader<'a>) -> Result<Cow<'a, str>> {
    Ok(match key {
        Token::Text(text) | Token::Binary(text) => to_text(text),
        Token::Unsigned(number) => number.to_string().into(),
        Token::Signed(number) => number.to_string().into(),
        Token::Float(number) => json::javascript(number).into(),
        Token::Bool(value) => if value { "true" } else { "false" }.into(),
        Token::Nil => "null".into(),
        // Nobody means such a key: its text is the same for all of them, its value is kept.
        Token::Extension { .. } => "[object]".into(),
        Token::Array(len) => pass_all(reader, len.into())?,
        Token::Map(len) => pass_all(reader, 2 * u64::from(len))?,
    })
}

fn pass_all<'a>(reader: &mut Reader<'a>, count: u64) -> Result<Cow<'a, str>> {
    for _ in 0..count {
        reader.skip()?;
    }
    Ok("[object]".into())
}

/// The milliseconds since 1970 that an extension stands for, if it is a date; `Some(None)` for a
/// date that is out of range.
fn time_ms(kind: i8, bytes: &[u8]) -> Option<Option<i64>> {
    let (seconds, nanos) = match (kind, bytes.len()) {
        (EXT_JAVASCRIPT, 8) => return Some(Some(i64::from_be_bytes(*bytes.first_chunk()?))),
        (EXT_TIMESTAMP, 4) => (i64::from(u32::from_be_bytes(*bytes.first_chunk()?)), 0),
        (EXT_TIMESTAMP, 8) => {
            let packed = u64::from_be_bytes(*bytes.first_chunk()?);
            let seconds = packed & 0x3_ffff_ffff;
            (i64::try_from(seconds).ok()?, (packed >> 34) as u32)
        }
        (EXT_TIMESTAMP, 12) => (
            i64::from_be_bytes(*bytes.last_chunk()?),
            u32::from_be_bytes(*bytes.first_chunk()?),
        ),
        _ => return None,
    };
    // JavaScript cuts towards zero, as this division does.
    let time_ms = (i128::from(seconds) * 1_000_000_000 + i128::from(nanos)) / 1_000_000;
    Some(i64::try_from(time_ms).ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn transcode(msgpack: &[u8]) -> Result<(String, Vec<Vec<u8>>)> {
        let (mut json, mut reader) = (Json::default(), Reader(msgpack));
        json.append(&mut reader)?;
        reader.end()?;
        Ok(json.finish())
    }

    #[track_caller]
    fn check(msgpack: &[u8], json: &str) {
        assert_eq!(transcode(msgpack), Ok((json.to_owned(), Vec::new())));
    }

    #[track_caller]
    fn check_double(number: f64, json: &str) {
        let mut bytes = vec![0xcb];
        bytes.extend(number.to_be_bytes());
        check(&bytes, json);
    }

    #[test]
    fn integers_keep_every_digit() {
        check(
            &[0xcf, 255, 255, 255, 255, 255, 255, 255, 255],
            "18446744073709551615",
        );
        check(&[0xd3, 128, 0, 0, 0, 0, 0, 0, 0], "-9223372036854775808");
        check(&[0xe0], "-32");
    }

    #[test]
    fn floats_read_as_javascript_prints_them() {
        check_double(1.5, "1.5");
        check_double(7.0, "7");
        check_double(1e300, "1e+300");
        check_double(f64::NAN, "null");
        check_double(f64::INFINITY, "null");
        check(&[0xca, 0x3d, 0xcc, 0xcc, 0xcd], "0.10000000149011612");
    }

    #[test]
    fn text_that_is_not_utf8_gets_replacement_characters() {
        check(&[0xa2, 0xff, 0xfe], "\"\u{fffd}\u{fffd}\"");
        check(&[0xa3, 0xed, 0xa0, 0x80], "\"\u{fffd}\u{fffd}\u{fffd}\"");
    }

    #[test]
    fn binary_becomes_numbered_attachments() {
        let msgpack = [0x93, 0xa1, b'e', 0xc4, 1, 7, 0x81, 0xa1, b'k', 0xc4, 0];
        let json = r#"["e",{"_placeholder":true,"num":0},{"k":{"_placeholder":true,"num":1}}]"#;
        assert_eq!(
            transcode(&msgpack),
            Ok((json.to_owned(), vec![vec![7], vec![]]))
        );
    }

    #[test]
    fn extensions_read_as_node_reads_them() {
        check(&[0xd6, 0xff, 0, 0, 0, 1], "\"1970-01-01T00:00:01.000Z\"");
        // 2 s and 999,999,999 ns
        check(
            &[0xd7, 0xff, 0xee, 0x6b, 0x27, 0xfc, 0, 0, 0, 2],
            "\"1970-01-01T00:00:02.999Z\"",
        );
        // 500,000,000 ns and -2 s
        check(
            &[
                0xc7, 12, 0xff, 0x1d, 0xcd, 0x65, 0, 255, 255, 255, 255, 255, 255, 255, 254,
            ],
            "\"1969-12-31T23:59:58.500Z\"",
        );
        check(
            &[0xd7, 0, 0, 0, 0, 0, 0, 0, 3, 0xe8],
            "\"1970-01-01T00:00:01.000Z\"",
        );
        let far = [
            0xc7, 12, 0xff, 0, 0, 0, 0, 127, 255, 255, 255, 255, 255, 255, 255,
        ];
        check(&far, "null");
        check(&[0x92, 0xd4, 0, 0, 0x01], "[null,1]");
        for (bytes, json, attached) in [
            (
                &[0xd4, 5, 9][..],
                r#"[5,{"_placeholder":true,"num":0}]"#,
                vec![9],
            ),
            (
                &[0xc7, 1, 0, 9],
                r#"{"_placeholder":true,"num":0}"#,
                vec![9],
            ),
            (&[0xc7, 0, 0], r#"{"_placeholder":true,"num":0}"#, vec![]),
            (
                &[0xc7, 3, 0xff, 1, 2, 3],
                r#"[-1,{"_placeholder":true,"num":0}]"#,
                vec![1, 2, 3],
            ),
        ] {
            assert_eq!(
                transcode(bytes),
                Ok((json.to_owned(), vec![attached])),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn undefined_members_and_proto_are_left_out() {
        check(&[0x82, 0xa1, b'a', 0xd4, 0, 0, 0xa1, b'b', 1], r#"{"b":1}"#);
        check(&[0x82, 0xa1, b'a', 1, 0xa1, b'b', 0xd4, 0, 0], r#"{"a":1}"#);
        check(&[0x81, 0xa1, b'a', 0xd4, 0, 0], "{}");
        let mut proto = vec![0x82, 0xa9];
        proto.extend(b"__proto__");
        proto.extend([0x91, 0x90, 0xa1, b'b', 1]);
        check(&proto, r#"{"b":1}"#);
        assert_eq!(
            transcode(&[0x81, 0xa1, b'a', 0xd4, 0]),
            Err(WireError::Truncated)
        );
    }

    #[test]
    fn keys_become_text() {
        check(
            &[0x83, 0x2a, 1, 0xff, 2, 0xc3, 3],
            r#"{"42":1,"-1":2,"true":3}"#,
        );
        check(&[0x82, 0xc0, 1, 0xc4, 1, b'x', 2], r#"{"null":1,"x":2}"#);
        check(
            &[0x82, 0x91, 0x81, 1, 2, 7, 0xd4, 0, 0, 8],
            r#"{"[object]":7,"[object]":8}"#,
        );
        check(
            &[0x81, 0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 1],
            r#"{"1.5":1}"#,
        );
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |containers: usize| {
            let mut bytes = vec![0x91; containers - 1];
            bytes.push(0x90);
            bytes
        };
        assert!(transcode(&nested(MAX_DEPTH - 1)).is_ok());
        assert_eq!(transcode(&nested(MAX_DEPTH)), Err(WireError::TooDeep));
        assert_eq!(transcode(&vec![0x91; 1 << 20]), Err(WireError::TooDeep));
    }

    #[test]
    fn attachments_have_a_limit() {
        let parts = |count: u16| {
            let mut bytes = vec![0xdc];
            bytes.extend(count.to_be_bytes());
            bytes.extend([0xc4, 0].repeat(count.into()));
            bytes
        };
        assert_eq!(transcode(&parts(10_000)).unwrap().1.len(), MAX_ATTACHMENTS);
        assert_eq!(
            transcode(&parts(10_001)),
            Err(WireError::TooManyAttachments)
        );
    }

    #[test]
    fn bytes_that_are_too_many_or_too_few_are_errors() {
        assert_eq!(transcode(&[0xc0, 0xc0]), Err(WireError::Trailing(1)));
        assert_eq!(transcode(&[]), Err(WireError::Truncated));
        assert_eq!(
            transcode(&[0xdd, 255, 255, 255, 255]),
            Err(WireError::Truncated)
        );
    }
}
