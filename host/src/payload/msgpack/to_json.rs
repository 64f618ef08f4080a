//! From msgpack to JSON text and attachments.
//!
//! What JSON has no form for is written as Node.js writes the same value: NaN and infinities as
//! `null`, `undefined` as `null` in an array and left out of an object, keys that are not strings
//! as their text, dates as ISO 8601, any other extension as `[type, binary]`.

use std::io::Write as _;

use bytes::Bytes;
use serde::Serialize;
use socketioxide_core::Str;

use super::token::{Reader, Token};
use crate::{
    cluster::message::Payload,
    payload::{DEPTH_LIMIT, MAX_ATTACHMENTS, PayloadError, date},
};

/// The type of msgpack's own timestamps.
const EXT_TIMESTAMP: i8 = -1;
/// The type of notepack.io's `undefined` (1 byte) and old dates (8 bytes).
const EXT_JAVASCRIPT: i8 = 0;
/// How `undefined` begins: one byte of that type follows, which says nothing.
const UNDEFINED: [u8; 2] = [0xd4, 0x00];
const UNDEFINED_LEN: usize = 3;
/// JavaScript writes whole numbers below this without an exponent.
const MAX_PLAIN_WHOLE: f64 = 1e21;

/// Reads one msgpack value. Attachments are slices of `msgpack`, not copies.
///
/// Takes time and memory in proportion to the input. Fails on what is not msgpack, on
/// [`DEPTH_LIMIT`], [`MAX_ATTACHMENTS`], text that is not UTF-8 and containers as keys.
pub(in crate::payload) fn to_json(msgpack: &Bytes) -> Result<Payload, PayloadError> {
    let mut transcoder = Transcoder {
        whole: msgpack,
        reader: Reader(msgpack),
        json: Vec::with_capacity(msgpack.len() + msgpack.len() / 4),
        attachments: Vec::new(),
    };
    transcoder.value(0)?;
    let trailing = transcoder.reader.0.len();
    if trailing > 0 {
        return Err(PayloadError::Trailing(trailing));
    }
    let json = String::from_utf8(transcoder.json).map_err(|_| PayloadError::NotUtf8)?;
    Ok(Payload {
        json: Str::from(json),
        attachments: transcoder.attachments,
    })
}

struct Transcoder<'a> {
    whole: &'a Bytes,
    reader: Reader<'a>,
    json: Vec<u8>,
    attachments: Vec<Bytes>,
}

impl<'a> Transcoder<'a> {
    /// One value that has `depth` containers around it.
    fn value(&mut self, depth: usize) -> Result<(), PayloadError> {
        match self.reader.token()? {
            Token::Nil => self.put("null"),
            Token::Bool(value) => self.scalar(&value)?,
            Token::Unsigned(number) => self.scalar(&number)?,
            Token::Signed(number) => self.scalar(&number)?,
            // Writes `null` when it is not finite.
            Token::Float(number) => self.scalar(&number)?,
            Token::Text(text) => self.scalar(text)?,
            Token::Binary(bytes) => self.attachment(bytes)?,
            Token::Extension(kind, bytes) => self.extension(kind, bytes)?,
            Token::Array(len) => self.elements(len, deeper(depth)?)?,
            Token::Map(len) => self.members(len, deeper(depth)?)?,
        }
        Ok(())
    }

    fn elements(&mut self, len: u32, depth: usize) -> Result<(), PayloadError> {
        self.json.push(b'[');
        for index in 0..len {
            if index > 0 {
                self.json.push(b',');
            }
            self.value(depth)?;
        }
        self.json.push(b']');
        Ok(())
    }

    fn members(&mut self, len: u32, depth: usize) -> Result<(), PayloadError> {
        self.json.push(b'{');
        let mut first = true;
        for _ in 0..len {
            let before = self.json.len();
            if !first {
                self.json.push(b',');
            }
            let key = self.reader.token()?;
            self.key(&key)?;
            if self.reader.0.starts_with(&UNDEFINED) && self.reader.0.len() >= UNDEFINED_LEN {
                self.reader.0 = &self.reader.0[UNDEFINED_LEN..];
                self.json.truncate(before);
                continue;
            }
            self.json.push(b':');
            self.value(depth)?;
            first = false;
        }
        self.json.push(b'}');
        Ok(())
    }

    /// A key as JavaScript makes one of the value.
    fn key(&mut self, key: &Token<'_>) -> Result<(), PayloadError> {
        match *key {
            Token::Text(text) => self.scalar(text),
            Token::Unsigned(number) => self.scalar(&number.to_string()),
            Token::Signed(number) => self.scalar(&number.to_string()),
            Token::Float(number) => self.scalar(&javascript_number(number)),
            Token::Bool(value) => self.scalar(&value.to_string()),
            Token::Nil => self.scalar("null"),
            Token::Binary(bytes) => self.scalar(&String::from_utf8_lossy(bytes)),
            Token::Extension(..) | Token::Array(_) | Token::Map(_) => {
                Err(PayloadError::UnsupportedKey)
            }
        }
    }

    fn extension(&mut self, kind: i8, bytes: &'a [u8]) -> Result<(), PayloadError> {
        if (kind, bytes.len()) == (EXT_JAVASCRIPT, 1) {
            self.put("null");
            return Ok(());
        }
        if let Some(time_ms) = time_ms(kind, bytes) {
            // An invalid date is `null` in JavaScript's JSON.
            return self.scalar(&time_ms.and_then(date::iso8601));
        }
        self.json.push(b'[');
        self.scalar(&kind)?;
        self.json.push(b',');
        self.attachment(bytes)?;
        self.json.push(b']');
        Ok(())
    }

    fn attachment(&mut self, bytes: &'a [u8]) -> Result<(), PayloadError> {
        let num = self.attachments.len();
        if num >= MAX_ATTACHMENTS {
            return Err(PayloadError::TooManyAttachments);
        }
        self.attachments.push(self.whole.slice_ref(bytes));
        self.put("{\"_placeholder\":true,\"num\":");
        self.scalar(&num)?;
        self.put("}");
        Ok(())
    }

    fn put(&mut self, json: &str) {
        self.json.extend_from_slice(json.as_bytes());
    }

    fn scalar<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PayloadError> {
        Ok(serde_json::to_writer(self.json.by_ref(), value)?)
    }
}

/// The depth inside one more container.
fn deeper(depth: usize) -> Result<usize, PayloadError> {
    if depth + 1 >= DEPTH_LIMIT {
        Err(PayloadError::TooDeep)
    } else {
        Ok(depth + 1)
    }
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

/// A number as JavaScript's `String(n)` writes it, but for the form of exponents.
fn javascript_number(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .to_owned()
    } else if number == 0.0 {
        "0".to_owned()
    } else if number.abs() < MAX_PLAIN_WHOLE {
        format!("{number}")
    } else {
        format!("{number:e}")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn transcode(msgpack: &[u8]) -> Result<Payload, PayloadError> {
        to_json(&Bytes::copy_from_slice(msgpack))
    }

    #[track_caller]
    fn check(msgpack: &[u8], json: &str) {
        let payload = transcode(msgpack).unwrap();
        assert_eq!(payload.json.as_str(), json);
        assert!(payload.attachments.is_empty());
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
        check(&[0xff], "-1");
        check(&[0xcf, 0, 0x20, 0, 0, 0, 0, 0, 1], "9007199254740993");
    }

    #[test]
    fn floats_stay_floats_and_what_json_lacks_is_null() {
        check_double(1.0, "1.0");
        check_double(-0.0, "-0.0");
        check_double(5e-324, "5e-324");
        check_double(f64::NAN, "null");
        check_double(f64::INFINITY, "null");
        check(&[0xca, 0x3d, 0xcc, 0xcc, 0xcd], "0.10000000149011612");
    }

    #[test]
    fn strings_are_escaped() {
        check(&[0xa4, b'"', b'\\', b'\n', 0x01], r#""\"\\\n\u0001""#);
        check(&[0xa3, 0xe2, 0x80, 0xa8], "\"\u{2028}\"");
    }

    #[test]
    fn binary_becomes_numbered_attachments_that_share_the_bytes() {
        let msgpack =
            Bytes::from_static(&[0x93, 0xa1, b'e', 0xc4, 1, 7, 0x81, 0xa1, b'k', 0xc4, 0]);
        let payload = to_json(&msgpack).unwrap();
        assert_eq!(
            payload.json.as_str(),
            r#"["e",{"_placeholder":true,"num":0},{"k":{"_placeholder":true,"num":1}}]"#
        );
        assert_eq!(
            payload.attachments,
            [Bytes::from_static(&[7]), Bytes::new()]
        );
        assert_eq!(payload.attachments[0].as_ptr(), msgpack[5..].as_ptr());
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
        let negative = [
            0xc7, 12, 0xff, 0x1d, 0xcd, 0x65, 0, 255, 255, 255, 255, 255, 255, 255, 254,
        ];
        check(&negative, "\"1969-12-31T23:59:58.500Z\"");
        check(
            &[0xd7, 0, 0, 0, 0, 0, 0, 0, 3, 0xe8],
            "\"1970-01-01T00:00:01.000Z\"",
        );
        let far = [
            0xc7, 12, 0xff, 0, 0, 0, 0, 127, 255, 255, 255, 255, 255, 255, 255,
        ];
        check(&far, "null");
        check(&[0x92, 0xd4, 0, 0, 0x01], "[null,1]");

        let payload = transcode(&[0xd4, 5, 9]).unwrap();
        assert_eq!(
            payload.json.as_str(),
            r#"[5,{"_placeholder":true,"num":0}]"#
        );
        assert_eq!(payload.attachments, [Bytes::from_static(&[9])]);
    }

    #[test]
    fn undefined_members_are_left_out() {
        check(&[0x82, 0xa1, b'a', 0xd4, 0, 0, 0xa1, b'b', 1], r#"{"b":1}"#);
        check(&[0x82, 0xa1, b'a', 1, 0xa1, b'b', 0xd4, 0, 0], r#"{"a":1}"#);
        check(&[0x81, 0xa1, b'a', 0xd4, 0, 0], "{}");
        assert!(matches!(
            transcode(&[0x81, 0xa1, b'a', 0xd4, 0]),
            Err(PayloadError::Truncated)
        ));
    }

    #[test]
    fn keys_become_text() {
        check(
            &[0x83, 0x2a, 1, 0xff, 2, 0xc3, 3],
            r#"{"42":1,"-1":2,"true":3}"#,
        );
        check(&[0x82, 0xc0, 1, 0xc4, 1, b'x', 2], r#"{"null":1,"x":2}"#);
        for (number, text) in [
            (1.0, "1"),
            (1.5, "1.5"),
            (f64::NAN, "NaN"),
            (-f64::INFINITY, "-Infinity"),
            (-0.0, "0"),
        ] {
            let mut bytes = vec![0x81, 0xcb];
            bytes.extend(f64::to_be_bytes(number));
            bytes.push(1);
            check(&bytes, &format!("{{\"{text}\":1}}"));
        }
        assert!(matches!(
            transcode(&[0x81, 0x90, 1]),
            Err(PayloadError::UnsupportedKey)
        ));
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |containers: usize| {
            let mut bytes = vec![0x91; containers - 1];
            bytes.push(0x90);
            bytes
        };
        assert!(transcode(&nested(DEPTH_LIMIT - 1)).is_ok());
        assert!(matches!(
            transcode(&nested(DEPTH_LIMIT)),
            Err(PayloadError::TooDeep)
        ));
        assert!(matches!(
            transcode(&vec![0x81; 1 << 20]),
            Err(PayloadError::UnsupportedKey)
        ));
        assert!(matches!(
            transcode(&vec![0x91; 1 << 20]),
            Err(PayloadError::TooDeep)
        ));
    }

    #[test]
    fn attachments_have_a_limit() {
        let parts = |count: u16| {
            let mut bytes = vec![0xdc];
            bytes.extend(count.to_be_bytes());
            bytes.extend([0xc4, 0].repeat(count.into()));
            bytes
        };
        assert_eq!(
            transcode(&parts(10_000)).unwrap().attachments.len(),
            MAX_ATTACHMENTS
        );
        assert!(matches!(
            transcode(&parts(10_001)),
            Err(PayloadError::TooManyAttachments)
        ));
    }

    #[test]
    fn bytes_that_are_too_many_or_too_few_are_errors() {
        assert!(matches!(
            transcode(&[0xc0, 0xc0]),
            Err(PayloadError::Trailing(1))
        ));
        assert!(matches!(transcode(&[]), Err(PayloadError::Truncated)));
        assert!(matches!(
            transcode(&[0xdd, 255, 255, 255, 255]),
            Err(PayloadError::Truncated)
        ));
    }
}
