//! From JSON text and attachments to msgpack.
//!
//! The text streams through `serde_json`'s tokens straight into msgpack. How long a container is
//! shows only at its end, so its head is one byte first and grows then if it must.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use rmp::encode;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use crate::{
    cluster::message::Payload,
    payload::{PayloadError, surrogates::replace_lone_surrogates},
};

/// Writes a payload as one msgpack value.
///
/// A mark becomes its attachment; each attachment can be used once, so that no output grows
/// beyond text and attachments together. Without attachments there are no marks, whatever the
/// text looks like. `serde_json` limits the nesting to `DEPTH_LIMIT`.
pub(in crate::payload) fn from_json(payload: &Payload) -> Result<Vec<u8>, PayloadError> {
    match write(&payload.json, &payload.attachments) {
        Err(PayloadError::Json(error)) => match replace_lone_surrogates(&payload.json) {
            Cow::Borrowed(_) => Err(PayloadError::Json(error)),
            Cow::Owned(repaired) => write(&repaired, &payload.attachments),
        },
        written => written,
    }
}

fn write(json: &str, attachments: &[Bytes]) -> Result<Vec<u8>, PayloadError> {
    let attached: usize = attachments.iter().map(Bytes::len).sum();
    let mut writer = Writer {
        out: Vec::with_capacity(json.len() + attached),
        attachments: attachments.iter().map(Some).collect(),
        missing: false,
    };
    let mut json = serde_json::Deserializer::from_str(json);
    let written = Value(&mut writer)
        .deserialize(&mut json)
        .and_then(|_| json.end());
    if writer.missing {
        return Err(PayloadError::NoSuchAttachment);
    }
    written?;
    Ok(writer.out)
}

struct Writer<'a> {
    out: Vec<u8>,
    /// None where one has been used.
    attachments: Vec<Option<&'a Bytes>>,
    /// A mark named an attachment that is not there: `serde_json`'s error cannot say so.
    missing: bool,
}

/// Which containers exist, by the markers for their sizes.
struct Heads {
    fix: u8,
    wide: u8,
    widest: u8,
}
const ARRAY: Heads = Heads {
    fix: 0x90,
    wide: 0xdc,
    widest: 0xdd,
};
const MAP: Heads = Heads {
    fix: 0x80,
    wide: 0xde,
    widest: 0xdf,
};

impl Writer<'_> {
    /// Starts a container; returns what [`Self::close`] needs.
    fn open(&mut self) -> usize {
        self.out.push(0);
        self.out.len() - 1
    }

    fn close<E: de::Error>(&mut self, start: usize, len: usize, heads: &Heads) -> Result<(), E> {
        let len = u32::try_from(len).map_err(|_| E::custom("a container is too large"))?;
        match (u8::try_from(len), u16::try_from(len)) {
            (Ok(len @ 0..=15), _) => self.out[start] = heads.fix | len,
            (_, Ok(len)) => self.replace_head(start, heads.wide, len.to_be_bytes()),
            _ => self.replace_head(start, heads.widest, len.to_be_bytes()),
        }
        Ok(())
    }

    fn replace_head<const N: usize>(&mut self, start: usize, marker: u8, len: [u8; N]) {
        self.out[start] = marker;
        let body = start + 1;
        let end = self.out.len();
        self.out.resize(end + N, 0);
        self.out.copy_within(body..end, body + N);
        self.out[body..body + N].copy_from_slice(&len);
    }

    /// Puts attachment `num` where the container at `start` stood, which was its mark.
    fn attach<E: de::Error>(&mut self, start: usize, num: Option<u64>) -> Result<(), E> {
        let attachment = num
            .and_then(|num| usize::try_from(num).ok())
            .and_then(|num| self.attachments.get_mut(num)?.take());
        let Some(bytes) = attachment else {
            self.missing = true;
            return Err(E::custom("no such attachment"));
        };
        self.out.truncate(start);
        encode::write_bin(&mut self.out, bytes).map_err(E::custom)
    }
}

/// What a value turned out to be, as far as it matters to the object around it.
#[derive(PartialEq)]
enum Seen {
    True,
    Whole(u64),
    Other,
}

/// Writes one value.
struct Value<'w, 'a>(&'w mut Writer<'a>);

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = Seen;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Seen, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = Seen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Seen, E> {
        encode::write_nil(&mut self.0.out).map_err(E::custom)?;
        Ok(Seen::Other)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Seen, E> {
        encode::write_bool(&mut self.0.out, value).map_err(E::custom)?;
        Ok(if value { Seen::True } else { Seen::Other })
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Seen, E> {
        encode::write_uint(&mut self.0.out, number).map_err(E::custom)?;
        Ok(Seen::Whole(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Seen, E> {
        encode::write_sint(&mut self.0.out, number).map_err(E::custom)?;
        Ok(Seen::Other)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Seen, E> {
        encode::write_f64(&mut self.0.out, number).map_err(E::custom)?;
        Ok(Seen::Other)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Seen, E> {
        encode::write_str(&mut self.0.out, text).map_err(E::custom)?;
        Ok(Seen::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Seen, A::Error> {
        let start = self.0.open();
        let mut len = 0;
        while elements.next_element_seed(Value(self.0))?.is_some() {
            len += 1;
        }
        self.0.close(start, len, &ARRAY)?;
        Ok(Seen::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Seen, A::Error> {
        let start = self.0.open();
        let mut len = 0;
        let (mut is_mark, mut num) = (false, None);
        while let Some(key) = members.next_key_seed(Key(self.0))? {
            let seen = members.next_value_seed(Value(self.0))?;
            match (key, seen) {
                (Name::Placeholder, seen) => is_mark = seen == Seen::True,
                (Name::Num, Seen::Whole(value)) => num = Some(value),
                (Name::Num, _) => num = None,
                (Name::Other, _) => {}
            }
            len += 1;
        }
        if is_mark && !self.0.attachments.is_empty() {
            self.0.attach(start, num)?;
        } else {
            self.0.close(start, len, &MAP)?;
        }
        Ok(Seen::Other)
    }
}

/// The keys that make an object a mark.
enum Name {
    Placeholder,
    Num,
    Other,
}

/// Writes one key.
struct Key<'w, 'a>(&'w mut Writer<'a>);

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = Name;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_> {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Name, E> {
        encode::write_str(&mut self.0.out, key).map_err(E::custom)?;
        Ok(match key {
            "_placeholder" => Name::Placeholder,
            "num" => Name::Num,
            _ => Name::Other,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::payload::{DEPTH_LIMIT, msgpack::to_json};

    fn transcode(json: &str, attachments: &[&'static [u8]]) -> Result<Vec<u8>, PayloadError> {
        let attachments = attachments
            .iter()
            .map(|part| Bytes::from_static(part))
            .collect();
        from_json(&Payload {
            json: json.to_owned().into(),
            attachments,
        })
    }

    #[track_caller]
    fn check(json: &str, msgpack: &[u8]) {
        assert_eq!(transcode(json, &[]).unwrap(), msgpack, "{json}");
    }

    #[test]
    fn scalars_take_the_smallest_form() {
        check("null", &[0xc0]);
        check("true", &[0xc3]);
        check("127", &[127]);
        check("-1", &[0xff]);
        check(
            "18446744073709551615",
            &[0xcf, 255, 255, 255, 255, 255, 255, 255, 255],
        );
        check("-9223372036854775808", &[0xd3, 128, 0, 0, 0, 0, 0, 0, 0]);
        check("1.0", &[0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
        check(
            "18446744073709551616",
            &[0xcb, 0x43, 0xf0, 0, 0, 0, 0, 0, 0],
        );
        check("\"h\\u0069\"", &[0xa2, b'h', b'i']);
    }

    #[test]
    fn containers_of_every_size_have_the_right_head() {
        for (len, head) in [
            (0usize, vec![0x90]),
            (15, vec![0x9f]),
            (16, vec![0xdc, 0, 16]),
            (65_535, vec![0xdc, 255, 255]),
            (65_536, vec![0xdd, 0, 1, 0, 0]),
        ] {
            let json = format!("[{}]", vec!["1"; len].join(","));
            let msgpack = transcode(&json, &[]).unwrap();
            assert_eq!(msgpack[..head.len()], head);
            assert_eq!(msgpack.len(), head.len() + len);
            assert_eq!(to_json(&msgpack.into()).unwrap().json.as_str(), json);
        }
        let members: Vec<String> = (0..20).map(|i| format!("\"k{i}\":[{i}]")).collect();
        let json = format!("{{{}}}", members.join(","));
        let msgpack = transcode(&json, &[]).unwrap();
        assert_eq!(msgpack[..3], [0xde, 0, 20]);
        assert_eq!(to_json(&msgpack.into()).unwrap().json.as_str(), json);
    }

    #[test]
    fn marks_become_binary_in_any_order_of_members() {
        let json = r#"["e",{"num":1,"_placeholder":true},{"k":{"_placeholder":true,"num":0}}]"#;
        assert_eq!(
            transcode(json, &[&[7], &[8, 9]]).unwrap(),
            [
                0x93, 0xa1, b'e', 0xc4, 2, 8, 9, 0x81, 0xa1, b'k', 0xc4, 1, 7
            ]
        );
    }

    #[test]
    fn what_only_looks_like_a_mark_stays_data() {
        let mark = r#"[{"_placeholder":true,"num":0}]"#;
        let literal = transcode(mark, &[]).unwrap();
        assert_eq!(to_json(&literal.into()).unwrap().json.as_str(), mark);
        for data in [
            r#"[{"_placeholder":false,"num":0}]"#,
            r#"[{"_placeholder":1}]"#,
            r#"[{"num":0}]"#,
        ] {
            let msgpack = transcode(data, &[&[1]]).unwrap();
            assert_eq!(to_json(&msgpack.into()).unwrap().json.as_str(), data);
        }
    }

    #[test]
    fn a_mark_needs_an_attachment_of_its_own() {
        for json in [
            r#"[{"_placeholder":true,"num":1}]"#,
            r#"[{"_placeholder":true}]"#,
            r#"[{"_placeholder":true,"num":"0"}]"#,
            r#"[{"_placeholder":true,"num":-1}]"#,
            r#"[{"_placeholder":true,"num":0.0}]"#,
            r#"[{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#,
        ] {
            let refused = transcode(json, &[&[1, 2, 3]]);
            assert!(
                matches!(refused, Err(PayloadError::NoSuchAttachment)),
                "{json}: {refused:?}"
            );
        }
    }

    #[test]
    fn nesting_has_the_same_limit_as_the_way_out() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(transcode(&nested(DEPTH_LIMIT - 1), &[]).is_ok());
        assert!(matches!(
            transcode(&nested(DEPTH_LIMIT), &[]),
            Err(PayloadError::Json(_))
        ));
        assert!(transcode(&"[".repeat(1 << 20), &[]).is_err());
        assert!(transcode(&"{\"a\":".repeat(1 << 20), &[]).is_err());
    }

    #[test]
    fn half_a_character_becomes_a_replacement_character() {
        for (json, text) in [
            (r#""a\ud83d""#, "a\u{fffd}"),
            (
                r#""\ud83d\ud83d\ude00\ude00b""#,
                "\u{fffd}\u{1f600}\u{fffd}b",
            ),
            (r#""\\ud83d\udc00""#, "\\ud83d\u{fffd}"),
            (r#""\ud83dé\n""#, "\u{fffd}é\n"),
        ] {
            let msgpack = transcode(json, &[]).unwrap();
            assert_eq!(msgpack[0], 0xa0 | text.len() as u8, "{json}");
            assert_eq!(&msgpack[1..], text.as_bytes(), "{json}");
        }
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for json in [
            "",
            "[",
            "[1]2",
            "{1:2}",
            "nul",
            "\"\\",
            "\"\\u",
            "\"\\ud83d",
            "\\é",
            "1e999",
        ] {
            assert!(transcode(json, &[]).is_err(), "{json}");
        }
    }
}
