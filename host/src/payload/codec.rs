//! Payloads between socketioxide's form, which depends on the server's parser, and the cluster's.
//!
//! The common parser's form is the cluster's already, so it passes without a copy. The msgpack
//! parser's is transcoded by `msgpack/`.

use std::{borrow::Cow, collections::VecDeque};

use serde::de::IgnoredAny;
use socketioxide_core::{Value, parser::Parse};

use super::{
    DEPTH_LIMIT, PayloadError, msgpack, nesting, surrogates::replace_lone_surrogates, tree::Tree,
};
use crate::cluster::message::Payload;

/// Which form the server's own parser gives to payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// JSON text and attachments.
    Common,
    /// Msgpack bytes.
    Msgpack,
}

impl Codec {
    /// The one that fits a parser, found by trying it.
    pub(crate) fn of(parser: impl Parse) -> Self {
        match parser.encode_value(&0u8, None) {
            Ok(Value::Bytes(_)) => Self::Msgpack,
            Ok(Value::Str(..)) | Err(_) => Self::Common,
        }
    }

    /// From the cluster's form to the server's own. The value is an array, whoever sent it.
    ///
    /// The common form is checked for what could break up a client's frames, not parsed: the
    /// receiver of the text does that.
    pub(crate) fn decode(self, payload: Payload) -> Result<Value, PayloadError> {
        check_array(&payload.json)?;
        match self {
            Self::Common => {
                let Payload { json, attachments } = payload;
                let attachments = (!attachments.is_empty()).then(|| VecDeque::from(attachments));
                Ok(Value::Str(json, attachments))
            }
            Self::Msgpack => msgpack::from_json(&payload).map(|bytes| Value::Bytes(bytes.into())),
        }
    }
}

/// From the form of the server's parser to the cluster's, for what this server wrote itself.
pub(crate) fn encode(value: Value) -> Result<Payload, PayloadError> {
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
pub(crate) fn encode_untrusted(value: Value) -> Result<Payload, PayloadError> {
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

/// Any one value that a client wrote, in the form of this server's parser: read in full, so that it
/// can become a part of larger ones. Lone surrogates are replaced, because no strict reader takes
/// them: the larger value would be lost with this one. Refused if `max_nesting` containers or more
/// stand inside each other.
pub(crate) fn encode_one_untrusted(
    value: Value,
    max_nesting: usize,
) -> Result<Payload, PayloadError> {
    let mut payload = encode(value)?;
    if let Cow::Owned(repaired) = replace_lone_surrogates(&payload.json) {
        payload.json = repaired.into();
    }
    if nesting(&payload.json) >= max_nesting {
        return Err(PayloadError::TooDeep);
    }
    Tree::parse(&payload)?;
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
        assert_eq!(Codec::Common.decode(payload.clone()).unwrap(), value);
    }

    #[test]
    fn a_payload_without_binary_has_no_attachments_in_either_form() {
        let value = CommonParser.encode_value(&"x", Some("event")).unwrap();
        let payload = encode(value.clone()).unwrap();
        assert_eq!(payload, Payload::text("[\"event\",\"x\"]"));
        assert_eq!(
            Codec::Common.decode(payload.clone()).unwrap(),
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
            let mut read = Codec::Msgpack.decode(encode(written).unwrap()).unwrap();
            let back: Args = MsgPackParser
                .decode_value(&mut read, with_event.is_some())
                .unwrap();
            assert_eq!(back, args());

            let written = MsgPackParser.encode_value(&args(), with_event).unwrap();
            let mut read = Codec::Common.decode(encode(written).unwrap()).unwrap();
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
            .decode(encode(written.clone()).unwrap())
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
            assert_eq!(codec.decode(payload.clone()).unwrap(), value);
        }
    }

    #[test]
    fn text_that_could_break_frames_is_refused_by_both() {
        for codec in [Codec::Common, Codec::Msgpack] {
            let decode = |json: &str| codec.decode(Payload::text(Str::from(json.to_owned())));
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
    fn one_value_of_a_client_is_read_before_it_becomes_a_part_of_others() {
        let text = |json: &'static str| encode_one_untrusted(Value::Str(json.into(), None), 4);
        assert_eq!(text("{\"a\":1}").unwrap(), Payload::text("{\"a\":1}"));
        assert!(text("\"a\"").is_ok());
        assert!(text("[[[]]]").is_ok());
        assert!(matches!(text("[[[[]]]]"), Err(PayloadError::TooDeep)));
        for broken in ["", "{", "1 2", "{},\"x\":{}"] {
            assert!(
                matches!(text(broken), Err(PayloadError::Json(_))),
                "{broken}"
            );
        }
        let halves = text(r#"{"n":"\ud83d","\udc00":"\ud83d\ude00"}"#).unwrap();
        assert_eq!(
            &*halves.json, r#"{"n":"\ufffd","\ufffd":"\ud83d\ude00"}"#,
            "it goes out as everybody can read it"
        );
        let msgpack =
            |bytes: &'static [u8]| encode_one_untrusted(Value::Bytes(Bytes::from_static(bytes)), 4);
        let part = msgpack(&[0x81, 0xa1, b'k', 0xc4, 1, 7]).unwrap();
        assert_eq!(part.attachments, [Bytes::from_static(&[7])]);
        assert!(msgpack(&[0xc1]).is_err());
        // A part, and text that looks like the mark of it.
        let marks = MsgPackParser
            .encode_default(&(bin(0), json!({"_placeholder": true, "num": 0})))
            .unwrap();
        assert!(matches!(
            encode_one_untrusted(marks, 4),
            Err(PayloadError::NoSuchAttachment)
        ));
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
