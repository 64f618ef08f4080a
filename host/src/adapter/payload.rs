//! Payloads between socketioxide's form, which depends on the server's parser, and the cluster's,
//! which is always JSON text with marks for its binary parts.
//!
//! The common parser's form is that text already, so it passes without a copy. The msgpack parser's
//! is transcoded by `msgpack/`. Who gets a payload is not decided here.

use std::collections::VecDeque;

use serde::de::IgnoredAny;
use socketioxide_core::{Value, parser::Parse};

use super::msgpack;
use crate::cluster::message::Payload;

/// A value with this many containers inside each other is refused. The limit of `serde_json` and
/// of socketioxide's own parsers, so nothing that they can read is refused here.
pub(super) const DEPTH_LIMIT: usize = 128;

/// A msgpack value with more binary parts than this is refused. The number that socketioxide
/// accepts from a client by default; it keeps two-byte parts from growing into large ones.
pub(super) const MAX_ATTACHMENTS: usize = 10_000;

/// Why a payload cannot be carried. On the way out the fault is the application's (or, in an
/// acknowledgement, the client's); on the way in it is the sending node's.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The outermost value is not an array, so it is neither an event nor an acknowledgement.
    #[error("the payload is not an array: send an event's name and its arguments in one")]
    NotAnArray,
    /// The JSON text has a raw control character, which could break up a client's frames.
    #[error("the payload's JSON text holds a raw control character: escape it")]
    ControlCharacter,
    /// The text is not JSON.
    #[error("the payload is not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The msgpack ends in the middle of a value.
    #[error("the payload's msgpack ends in the middle of a value")]
    Truncated,
    /// There are bytes after the msgpack value.
    #[error("the payload's msgpack is followed by {0} more bytes")]
    Trailing(usize),
    /// 0xC1, which msgpack does not use.
    #[error("the payload's msgpack uses the reserved marker 0xC1")]
    ReservedMarker,
    /// A msgpack string is not UTF-8.
    #[error("a msgpack string of the payload is not UTF-8: send it as binary")]
    NotUtf8,
    /// A map's key is an array, a map or an extension, which JSON cannot express.
    #[error("a map's key is a container or an extension: use a string, a number or a boolean")]
    UnsupportedKey,
    /// 128 or more containers inside each other.
    #[error("the payload nests {DEPTH_LIMIT} or more arrays and objects: flatten it")]
    TooDeep,
    /// More than 10,000 binary parts in one msgpack value.
    #[error("the payload holds more than {MAX_ATTACHMENTS} binary parts: join them")]
    TooManyAttachments,
    /// A mark names a binary part that is not there, or one that was used before.
    #[error("the payload refers to a binary part that is missing or already used")]
    NoSuchAttachment,
}

/// Which form the server's own parser gives to payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    /// JSON text and attachments.
    Common,
    /// Msgpack bytes.
    Msgpack,
}

impl Codec {
    /// The one that fits a parser, found by trying it.
    pub(super) fn of(parser: impl Parse) -> Self {
        match parser.encode_value(&0u8, None) {
            Ok(Value::Bytes(_)) => Self::Msgpack,
            Ok(Value::Str(..)) | Err(_) => Self::Common,
        }
    }

    /// From the cluster's form to the server's own. The value is an array, whoever sent it.
    ///
    /// The common form is checked for what could break up a client's frames, not parsed: the
    /// receiver of the text does that.
    pub(super) fn decode(self, payload: &Payload) -> Result<Value, PayloadError> {
        check_array(&payload.json)?;
        match self {
            Self::Common => {
                let attachments = (!payload.attachments.is_empty())
                    .then(|| VecDeque::from(payload.attachments.clone()));
                Ok(Value::Str(payload.json.clone(), attachments))
            }
            Self::Msgpack => msgpack::from_json(payload).map(|bytes| Value::Bytes(bytes.into())),
        }
    }
}

/// From the form of the server's parser to the cluster's, for what this server wrote itself.
pub(super) fn encode(value: Value) -> Result<Payload, PayloadError> {
    match value {
        Value::Str(json, attachments) => Ok(Payload {
            json,
            attachments: attachments.map(Vec::from).unwrap_or_default(),
        }),
        Value::Bytes(msgpack) => msgpack::to_json(&msgpack),
    }
}

/// Like [`encode`], for what a client wrote: socketioxide hands on the text of an acknowledgement
/// unread, and no other node should have to find out that it is not JSON.
pub(super) fn encode_untrusted(value: Value) -> Result<Payload, PayloadError> {
    if let Value::Str(json, _) = &value {
        serde_json::from_str::<IgnoredAny>(json)?;
        if nesting(json) >= DEPTH_LIMIT {
            return Err(PayloadError::TooDeep);
        }
    }
    let payload = encode(value)?;
    check_array(&payload.json)?;
    Ok(payload)
}

fn check_array(json: &str) -> Result<(), PayloadError> {
    let text = json.trim_ascii();
    if !(text.starts_with('[') && text.ends_with(']')) {
        return Err(PayloadError::NotAnArray);
    }
    // By chunks without an early exit, which compiles to vector instructions.
    let control = |chunk: &[u8]| {
        chunk.iter().fold(false, |found, &b| {
            found | ((b < 0x20) & !matches!(b, b'\t' | b'\n' | b'\r'))
        })
    };
    if text.as_bytes().chunks(256).any(control) {
        return Err(PayloadError::ControlCharacter);
    }
    Ok(())
}

/// How many containers stand inside each other at most, in text that is known to be JSON.
fn nesting(json: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;
    use socketioxide_core::Str;
    use socketioxide_parser_common::CommonParser;
    use socketioxide_parser_msgpack::MsgPackParser;

    use super::*;

    const PARTS: [&[u8]; 2] = [&[1, 2, 3], &[255; 300]];

    fn bin(part: usize) -> Bytes {
        Bytes::from_static(PARTS[part])
    }

    type Args = (String, Bytes, Vec<Bytes>, i64, f64, Option<bool>);

    fn args() -> Args {
        (
            "häl\"lo\u{1F600}\u{2028}\n".into(),
            bin(0),
            vec![bin(1), bin(0)],
            i64::MIN,
            1.5,
            None,
        )
    }

    #[test]
    fn the_codec_is_found_by_trying_the_parser() {
        assert_eq!(Codec::of(CommonParser), Codec::Common);
        assert_eq!(Codec::of(MsgPackParser), Codec::Msgpack);
    }

    #[test]
    fn a_payload_of_the_common_parser_passes_without_a_copy() {
        let value = CommonParser.encode_value(&args(), Some("event")).unwrap();
        let Value::Str(json, Some(parts)) = value.clone() else {
            panic!("text and parts")
        };
        let payload = encode(value.clone()).unwrap();
        assert_eq!(payload.json.as_ptr(), json.as_ptr());
        assert_eq!(payload.attachments[0].as_ptr(), parts[0].as_ptr());
        assert_eq!(payload.attachments.len(), 3);
        assert_eq!(Codec::Common.decode(&payload).unwrap(), value);
    }

    #[test]
    fn a_payload_without_binary_has_no_attachments_in_either_form() {
        let value = CommonParser.encode_value(&"x", Some("event")).unwrap();
        let payload = encode(value.clone()).unwrap();
        assert_eq!(payload, Payload::text("[\"event\",\"x\"]"));
        assert_eq!(
            Codec::Common.decode(&payload).unwrap(),
            Value::Str(payload.json, None)
        );
    }

    #[test]
    fn both_parsers_write_the_same_cluster_payload() {
        let common = encode(CommonParser.encode_value(&args(), Some("event")).unwrap()).unwrap();
        let msgpack = encode(MsgPackParser.encode_value(&args(), Some("event")).unwrap()).unwrap();
        assert_eq!(common, msgpack);
    }

    #[test]
    fn what_one_parser_writes_the_other_reads() {
        for with_event in [Some("event"), None] {
            let written = CommonParser.encode_value(&args(), with_event).unwrap();
            let mut read = Codec::Msgpack.decode(&encode(written).unwrap()).unwrap();
            let back: Args = MsgPackParser
                .decode_value(&mut read, with_event.is_some())
                .unwrap();
            assert_eq!(back, args());

            let written = MsgPackParser.encode_value(&args(), with_event).unwrap();
            let mut read = Codec::Common.decode(&encode(written).unwrap()).unwrap();
            let back: Args = CommonParser
                .decode_value(&mut read, with_event.is_some())
                .unwrap();
            assert_eq!(back, args());
        }
    }

    #[test]
    fn msgpack_bytes_come_back_as_they_were() {
        let written = MsgPackParser.encode_value(&args(), Some("event")).unwrap();
        let read = Codec::Msgpack
            .decode(&encode(written.clone()).unwrap())
            .unwrap();
        assert_eq!(read, written);
    }

    #[test]
    fn a_literal_mark_without_attachments_stays_data_in_both_parsers() {
        let data = json!([{"_placeholder": true, "num": 0}]);
        for (codec, value) in [
            (
                Codec::Common,
                CommonParser.encode_value(&data, Some("event")).unwrap(),
            ),
            (
                Codec::Msgpack,
                MsgPackParser.encode_value(&data, Some("event")).unwrap(),
            ),
        ] {
            let payload = encode(value.clone()).unwrap();
            assert!(payload.attachments.is_empty());
            assert_eq!(codec.decode(&payload).unwrap(), value);
        }
    }

    #[test]
    fn text_that_could_break_frames_is_refused_by_both() {
        for codec in [Codec::Common, Codec::Msgpack] {
            let decode = |json: &str| codec.decode(&Payload::text(Str::from(json.to_owned())));
            assert!(matches!(decode("{}"), Err(PayloadError::NotAnArray)));
            assert!(matches!(decode(""), Err(PayloadError::NotAnArray)));
            assert!(matches!(
                decode("[\"a\u{1e}b\"]"),
                Err(PayloadError::ControlCharacter)
            ));
            assert!(decode(" [\n\t\"a\" ]\r\n").is_ok());
        }
    }

    #[test]
    fn a_clients_acknowledgement_is_checked_before_it_goes_out() {
        let check = |json: String| encode_untrusted(Value::Str(json.into(), None));
        assert!(check("[1,{\"a\":\"[[[\\\"{{\"}]".into()).is_ok());
        assert!(
            check("[\"\\ud800\"]".into()).is_ok(),
            "half a pair is still JSON"
        );
        assert!(matches!(check("[1,,]".into()), Err(PayloadError::Json(_))));
        assert!(matches!(check("1".into()), Err(PayloadError::NotAnArray)));
        assert!(matches!(check(String::new()), Err(PayloadError::Json(_))));
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(check(nested(DEPTH_LIMIT - 1)).is_ok());
        assert!(matches!(
            check(nested(DEPTH_LIMIT)),
            Err(PayloadError::TooDeep)
        ));
        assert!(matches!(
            check(nested(1_000_000)),
            Err(PayloadError::TooDeep)
        ));
    }
}
