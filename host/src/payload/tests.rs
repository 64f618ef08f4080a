//! Values of Rust, out and back in.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, net::IpAddr};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use socketioxide_core::parser::Parse;
use socketioxide_parser_common::CommonParser;

use super::{read::ReadError, *};
use crate::cluster::message::Payload;

const PART: Bytes = Bytes::from_static(&[0, 159, 146, 150]);
const MARK: &str = r#"{"_placeholder":true,"num":0}"#;

#[test]
fn an_error_that_quotes_a_payload_is_short() {
    let long = "ä".repeat(1_000_000);
    let payload = from_event("e", &long).unwrap();
    for error in [
        to_args::<u32>(&payload).unwrap_err(),
        to_args::<(u32,)>(&payload).unwrap_err(),
        to_value::<u32>(&from_value(&long).unwrap()).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.contains("invalid type"), "{}", &text[..100]);
        assert!(text.chars().count() < MAX_QUOTE_CHARS + 20);
        assert!(text.ends_with('…'));
    }
}

#[test]
fn a_text_is_shortened_between_characters() {
    assert_eq!(shortened("äöü", 3), "äöü");
    assert_eq!(shortened("äöüß", 3), "äö…");
    assert_eq!(shortened("", 0), "");
}

/// Bytes for serde without a type of their own, as `serde_bytes` has it.
mod as_bytes {
    use serde::{Deserializer, Serializer, de::Visitor};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct ByteVisitor;
        impl Visitor<'_> for ByteVisitor {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        from.deserialize_byte_buf(ByteVisitor)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Raw(#[serde(with = "as_bytes")] Vec<u8>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Name(String);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Key {
    A,
    B,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Names(Vec<String>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Point(i64, i64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pair((u8, u8));

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Unit,
    Newtype(Bytes),
    Tuple(u8, Bytes),
    Struct { part: Option<Bytes> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Text(String),
    Part(Raw),
}

/// The value comes back, alone, as an argument and as an acknowledgement.
#[track_caller]
fn there_and_back<T>(value: T)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let alone = from_value(&value).unwrap();
    serde_json::from_str::<Value>(&alone.json).unwrap();
    assert_eq!(to_value::<T>(&alone).unwrap(), value);
    let event = from_event("event", &value).unwrap();
    assert!(event.json.starts_with("[\"event\""), "{event:?}");
    assert_eq!(to_args::<T>(&event).unwrap(), value);
    let ack = Payload {
        json: event.json.replacen("\"event\",", "", 1).into(),
        attachments: event.attachments,
    };
    assert_eq!(to_ack::<T>(&ack).unwrap(), value);
}

#[test]
fn values_come_back_as_they_were() {
    there_and_back("häl\"lo\u{1F600}\u{2028}\n\u{1}".to_owned());
    there_and_back(true);
    there_and_back(None::<u8>);
    there_and_back(Some(5u8));
    there_and_back((1u8, "two".to_owned(), vec![3.5f64]));
    there_and_back([1u8, 2, 3]);
    there_and_back(Vec::<u8>::new());
    there_and_back(vec![(1u8, 2u8)]);
    there_and_back(Name("n".into()));
    there_and_back(Names(vec!["a".into(), "b".into()]));
    there_and_back(Point(1, -2));
    there_and_back(Pair((1, 2)));
    there_and_back(BTreeMap::from([(7u32, "seven".to_owned())]));
    there_and_back(BTreeMap::from([(-1i128, 1)]));
    there_and_back(BTreeMap::from([(true, Name("yes".into()))]));
    there_and_back(BTreeMap::from([(Name("n".into()), 1)]));
    there_and_back(BTreeMap::from([(Key::A, 1), (Key::B, 2)]));
    there_and_back(json!({"a": [1, -1, 0.5, null, true, {"b": "c"}], "_placeholder": true}));
    there_and_back(IpAddr::from([127, 0, 0, 1]));
    there_and_back(Kind::Unit);
}

#[test]
fn bytes_come_back_wherever_they_stand() {
    there_and_back(PART);
    there_and_back(Bytes::new());
    there_and_back(Some(PART));
    there_and_back(Some(Some(PART)));
    there_and_back(Raw(PART.to_vec()));
    there_and_back(Some(Raw(PART.to_vec())));
    there_and_back(vec![PART, Bytes::new(), PART]);
    there_and_back((PART, "text".to_owned(), Some(vec![Raw(vec![1])])));
    there_and_back(BTreeMap::from([("k".to_owned(), Some(PART))]));
    there_and_back(Kind::Newtype(PART));
    there_and_back(Kind::Tuple(1, PART));
    there_and_back(Kind::Struct { part: Some(PART) });
    there_and_back(Kind::Struct { part: None });
    there_and_back(Either::Part(Raw(PART.to_vec())));
    there_and_back(Either::Text("t".into()));
    there_and_back(Bytes::from(vec![7; 2 << 20]));
}

#[test]
fn numbers_keep_every_digit() {
    there_and_back(u64::MAX);
    there_and_back(i64::MIN);
    there_and_back((1u64 << 53) + 1);
    there_and_back(u128::from(u64::MAX));
    there_and_back(-5i128);
    there_and_back(0.1f64);
    there_and_back(0.1f32);
    there_and_back(5e-324);
    assert_eq!(from_value(&1).unwrap().json.as_str(), "1");
    assert_eq!(from_value(&u128::from(5u8)).unwrap().json.as_str(), "5");
    assert_eq!(from_value(&0.1f32).unwrap().json.as_str(), "0.1");
    assert_eq!(from_value(&f64::NAN).unwrap().json.as_str(), "null");
    // A whole number is good enough for a float, but not the other way round.
    assert_eq!(to_value::<f64>(&Payload::text("3")).unwrap(), 3.0);
    assert!(to_value::<u32>(&Payload::text("3.0")).is_err());
    assert!(to_value::<u8>(&Payload::text("256")).is_err());
}

#[test]
fn events_are_written_as_socketioxide_writes_them() {
    #[track_caller]
    fn check<T: Serialize + ?Sized>(data: &T) {
        let ours = from_event("e\"", data).unwrap();
        let theirs = CommonParser.encode_value(data, Some("e\"")).unwrap();
        assert_eq!(ours, encode(theirs).unwrap());
    }
    check("text");
    check(&5);
    check(&None::<u8>);
    check(&Some((1, 2)));
    check(&vec![1, 2]);
    check(&(1, "two", vec![3], PART));
    check(&[1, 2]);
    check(&[0u8; 0]);
    check(&((1, 2),));
    check(&Point(1, 2));
    check(&json!({"b": 1, "a": [true]}));
    check(&(json!([1]), json!(null)));
    check(&Kind::Struct { part: None });
}

#[test]
fn a_newtype_is_what_it_holds() {
    let event = |json: &str| Payload::text(json.to_owned());
    assert_eq!(
        from_event("e", &Name("n".into())).unwrap(),
        event(r#"["e","n"]"#)
    );
    let names = Names(vec!["a".into(), "b".into()]);
    assert_eq!(
        from_event("e", &names).unwrap(),
        event(r#"["e",["a","b"]]"#)
    );
    assert_eq!(
        from_event("e", &Pair((1, 2))).unwrap(),
        event(r#"["e",1,2]"#)
    );
}

#[test]
fn no_value_is_no_argument() {
    assert_eq!(from_event("e", &()).unwrap(), Payload::text(r#"["e"]"#));
    assert_eq!(from_value(&()).unwrap(), Payload::text("null"));
    to_args::<()>(&Payload::text(r#"["e"]"#)).unwrap();
    to_args::<()>(&Payload::text(r#"["e",null]"#)).unwrap();
    to_ack::<()>(&Payload::text("[]")).unwrap();
    to_value::<()>(&Payload::text("null")).unwrap();
}

#[test]
fn text_that_javascript_has_cut_in_the_middle_of_a_character_is_read() {
    let cut = Payload::text(r#"["e","a\ud83d"]"#);
    assert_eq!(to_args::<String>(&cut).unwrap(), "a\u{fffd}");
}

#[test]
fn a_part_is_used_once_and_a_mark_without_parts_is_data() {
    let twice = Payload {
        json: format!("[{MARK},{MARK}]").into(),
        attachments: vec![PART],
    };
    assert!(matches!(
        to_value::<Vec<Bytes>>(&twice),
        Err(ReadError::Payload(PayloadError::NoSuchAttachment))
    ));
    let data: Value = to_value(&Payload::text(MARK)).unwrap();
    assert_eq!(data, json!({"_placeholder": true, "num": 0}));
}

#[test]
fn bytes_read_as_a_list_of_numbers_too() {
    let part = from_value(&PART).unwrap();
    assert_eq!(to_value::<Vec<u8>>(&part).unwrap(), PART);
    assert_eq!(to_value::<[u8; 4]>(&part).unwrap(), PART[..]);
}

#[test]
fn arguments_that_nobody_asks_for_are_left_out() {
    let event = Payload {
        json: format!(r#"["e",1,{{"deep":[[[]]]}},"three",{MARK}]"#).into(),
        attachments: vec![PART],
    };
    assert_eq!(to_args::<u8>(&event).unwrap(), 1);
    assert_eq!(to_args::<(u8, Value)>(&event).unwrap().0, 1);
    assert_eq!(
        to_args::<(u8, Value, String, Bytes)>(&event).unwrap().3,
        PART
    );
}

#[test]
fn a_missing_argument_is_named_unless_it_may_be_missing() {
    let event = Payload::text(r#"["e",1]"#);
    assert_eq!(
        to_args::<(u8, Option<u8>, ())>(&event).unwrap(),
        (1, None, ())
    );
    assert_eq!(to_ack::<Option<u8>>(&Payload::text("[]")).unwrap(), None);
    let error = |read: Result<(), ReadError>| read.unwrap_err().to_string();
    assert_eq!(
        error(to_args::<(u8, String)>(&event).map(drop)),
        "argument 2: it is missing, expected a string"
    );
    assert_eq!(
        error(to_ack::<Name>(&Payload::text("[]")).map(drop)),
        "argument 1: it is missing, expected a string"
    );
}

#[test]
fn what_does_not_fit_is_told_with_its_number() {
    let error = |read: Result<(), ReadError>| read.unwrap_err().to_string();
    let event = Payload::text(r#"["e",1,"two"]"#);
    let told = error(to_args::<(u8, u8)>(&event).map(drop));
    assert!(
        told.starts_with("argument 2: invalid type: string \"two\""),
        "{told}"
    );
    let told = error(to_args::<String>(&event).map(drop));
    assert!(
        told.starts_with("argument 1: invalid type: integer `1`"),
        "{told}"
    );
    let told = error(to_value::<String>(&event).map(drop));
    assert!(told.starts_with("invalid type: sequence"), "{told}");
    assert!(matches!(
        to_args::<u8>(&Payload::text("{}")),
        Err(ReadError::Payload(PayloadError::NotAnArray))
    ));
    assert!(matches!(
        to_value::<u8>(&Payload::text("1 2")),
        Err(ReadError::Payload(PayloadError::Json(_)))
    ));
    let no_such_part = Payload {
        json: MARK.into(),
        attachments: Vec::new(),
    };
    assert!(to_value::<Bytes>(&no_such_part).is_err());
}

/// A list in a list in a list …
struct Nested(usize);

impl Serialize for Nested {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => serializer.collect_seq([0u8; 0]),
            n => serializer.collect_seq([Self(n - 1)]),
        }
    }
}

#[test]
fn nesting_has_the_same_limit_in_both_directions() {
    let deepest = from_value(&Nested(DEPTH_LIMIT - 2)).unwrap();
    to_value::<Value>(&deepest).unwrap();
    assert!(matches!(
        from_value(&Nested(DEPTH_LIMIT - 1)),
        Err(PayloadError::TooDeep)
    ));
    let too_deep = Payload::text("[".repeat(DEPTH_LIMIT) + &"]".repeat(DEPTH_LIMIT));
    assert!(to_value::<Value>(&too_deep).is_err());
    // An event is one container more.
    let event = from_event("e", &Nested(DEPTH_LIMIT - 3)).unwrap();
    to_args::<Value>(&event).unwrap();
    assert!(matches!(
        from_event("e", &Nested(DEPTH_LIMIT - 2)),
        Err(PayloadError::TooDeep)
    ));
    assert!(
        matches!(from_value(&Nested(1_000_000)), Err(PayloadError::TooDeep)),
        "and stops there"
    );
}

#[test]
fn binary_parts_have_a_limit() {
    assert!(from_value(&vec![Bytes::new(); MAX_ATTACHMENTS]).is_ok());
    assert!(matches!(
        from_value(&vec![Bytes::new(); MAX_ATTACHMENTS + 1]),
        Err(PayloadError::TooManyAttachments)
    ));
}

#[test]
fn what_json_cannot_say_is_an_error() {
    let odd = BTreeMap::from([(vec![1u8], 1u8)]);
    let error = from_event("e", &odd).unwrap_err();
    assert!(matches!(error, PayloadError::NotJson(_)), "{error}");
}

/// Takes as many arguments as there are.
struct All(Vec<u32>);

impl<'de> Deserialize<'de> for All {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = All;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("numbers")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<All, A::Error> {
                let mut all = Vec::new();
                while let Some(number) = seq.next_element()? {
                    all.push(number);
                }
                Ok(All(all))
            }
        }
        deserializer.deserialize_tuple(0, Visitor)
    }
}

#[test]
fn a_type_that_takes_what_there_is_gets_all_arguments() {
    for (json, expected) in [
        (r#"["event",1,2,3]"#, &[1, 2, 3][..]),
        (r#"["event"]"#, &[]),
    ] {
        let All(all) = to_args(&Payload::text(json.to_owned())).unwrap();
        assert_eq!(all, expected);
    }
}
