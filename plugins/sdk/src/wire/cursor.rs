//! A place in a message of either format.
//!
//! Requests and answers may come as JSON or as msgpack; what they mean is read once, from here.

use std::borrow::Cow;

use crate::types::Payload;

use super::{
    error::WireError,
    json::{self, Number},
    limits::{ENVELOPE_DEPTH, MAX_DEPTH, MAX_MESSAGE_BYTES},
    msgpack::{self, Token},
};

/// What stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`, nil.
    Null,
    /// `true` or `false`.
    Bool,
    /// Of any size and form.
    Number,
    /// A string.
    Text,
    /// A list.
    Array,
    /// A map.
    Object,
    /// Binary or an extension.
    Other,
}

/// A place in a message. Copies are cheap.
#[derive(Debug, Clone, Copy)]
pub enum Cursor<'a> {
    /// In JSON text.
    Json(json::Reader<'a>),
    /// In msgpack.
    Msgpack(msgpack::Reader<'a>),
}

type Result<T> = std::result::Result<T, WireError>;

impl<'a> Cursor<'a> {
    /// Node takes for JSON what begins with `{`, without blanks, and for msgpack all else.
    pub fn of_message(payload: &'a [u8]) -> Result<Self> {
        if payload.first() == Some(&b'{') {
            check_size(payload)?;
            let text = std::str::from_utf8(payload).map_err(|_| WireError::NotUtf8)?;
            Ok(Self::Json(json::Reader::new(text)))
        } else {
            Self::of_msgpack(payload)
        }
    }

    /// The first value of msgpack bytes.
    ///
    /// # Errors
    /// When there are too many of them.
    pub fn of_msgpack(payload: &'a [u8]) -> Result<Self> {
        check_size(payload)?;
        Ok(Self::Msgpack(msgpack::Reader(payload)))
    }

    /// Nothing may follow.
    pub fn end(self) -> Result<()> {
        match self {
            Self::Json(reader) => reader.end(),
            Self::Msgpack(reader) => reader.end(),
        }
    }

    /// What stands here.
    ///
    /// # Errors
    /// At the end, and where no value can begin.
    pub fn kind(&mut self) -> Result<Kind> {
        Ok(match self {
            Self::Json(reader) => match reader.peek()? {
                b'n' => Kind::Null,
                b't' | b'f' => Kind::Bool,
                b'"' => Kind::Text,
                b'[' => Kind::Array,
                b'{' => Kind::Object,
                _ => Kind::Number,
            },
            Self::Msgpack(reader) => match reader.marker()? {
                0xc0 => Kind::Null,
                0xc2 | 0xc3 => Kind::Bool,
                0xa0..=0xbf | 0xd9..=0xdb => Kind::Text,
                0x90..=0x9f | 0xdc | 0xdd => Kind::Array,
                0x80..=0x8f | 0xde | 0xdf => Kind::Object,
                0xc1 => return Err(WireError::ReservedMarker),
                0xc4..=0xc9 | 0xd4..=0xd8 => Kind::Other,
                _ => Kind::Number,
            },
        })
    }

    /// Consumes one value and gives a place that holds only it.
    pub fn take(&mut self) -> Result<Self> {
        Ok(match self {
            Self::Json(reader) => {
                Self::Json(json::Reader::new(reader.skip(MAX_DEPTH + ENVELOPE_DEPTH)?))
            }
            Self::Msgpack(reader) => Self::Msgpack(msgpack::Reader(reader.skip()?)),
        })
    }

    /// Visits the members of an object. What the visitor does not consume is passed over.
    pub fn object(
        &mut self,
        field: &'static str,
        mut visit: impl FnMut(&str, &mut Self) -> Result<()>,
    ) -> Result<()> {
        if self.kind()? != Kind::Object {
            return Err(unexpected(field, "an object"));
        }
        match self {
            Self::Json(reader) => reader.open(b'{')?,
            Self::Msgpack(reader) => {
                let Token::Map(len) = reader.token()? else {
                    return Err(unexpected(field, "an object"));
                };
                for _ in 0..len {
                    let Self::Msgpack(reader) = self else { break };
                    let key = reader.token()?;
                    let key = msgpack::key_text(key, reader)?;
                    self.visit(|cursor| visit(&key, cursor))?;
                }
                return Ok(());
            }
        }
        let mut first = true;
        while let Self::Json(reader) = self {
            let Some(key) = reader.next_key(first)? else {
                break;
            };
            first = false;
            self.visit(|cursor| visit(&key, cursor))?;
        }
        Ok(())
    }

    /// Visits the elements of an array, as [`Self::object`].
    pub fn array(
        &mut self,
        field: &'static str,
        mut visit: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        if self.kind()? != Kind::Array {
            return Err(unexpected(field, "an array"));
        }
        match self {
            Self::Json(reader) => reader.open(b'[')?,
            Self::Msgpack(reader) => {
                let Token::Array(len) = reader.token()? else {
                    return Err(unexpected(field, "an array"));
                };
                for _ in 0..len {
                    self.visit(&mut visit)?;
                }
                return Ok(());
            }
        }
        let mut first = true;
        while let Self::Json(reader) = self {
            if !reader.next_element(first)? {
                break;
            }
            first = false;
            self.visit(&mut visit)?;
        }
        Ok(())
    }

    /// One visit of a member or an element, which it may consume or not.
    fn visit(&mut self, visit: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let before = self.position();
        visit(self)?;
        if self.position() == before {
            self.take()?;
        }
        Ok(())
    }

    /// Grows (or shrinks) with every step; only good for comparing.
    fn position(&self) -> usize {
        match self {
            Self::Json(reader) => reader.position(),
            Self::Msgpack(reader) => reader.0.len(),
        }
    }

    /// Consumes a string. `field` names the place in errors, here and in the others.
    ///
    /// # Errors
    /// When something else stands here.
    pub fn text(&mut self, field: &'static str) -> Result<Cow<'a, str>> {
        if self.kind()? != Kind::Text {
            return Err(unexpected(field, "a string"));
        }
        match self {
            Self::Json(reader) => reader.text(),
            Self::Msgpack(reader) => match reader.token()? {
                Token::Text(text) => Ok(msgpack::to_text(text)),
                _ => Err(unexpected(field, "a string")),
            },
        }
    }

    /// Consumes a number. Beyond 2^53 it is rounded, as JavaScript would.
    ///
    /// # Errors
    /// When something else stands here.
    pub fn number(&mut self, field: &'static str) -> Result<f64> {
        if self.kind()? != Kind::Number {
            return Err(unexpected(field, "a number"));
        }
        Ok(match self {
            Self::Json(reader) => match reader.number()? {
                Number::Unsigned(number) => number as f64,
                Number::Signed(number) => number as f64,
                Number::Float(number) => number,
            },
            Self::Msgpack(reader) => match reader.token()? {
                Token::Unsigned(number) => number as f64,
                Token::Signed(number) => number as f64,
                Token::Float(number) => number,
                _ => return Err(unexpected(field, "a number")),
            },
        })
    }

    /// The number of a kind of message; none for a value that is no such number (a kind as text
    /// is none either).
    pub fn kind_number(&mut self) -> Result<Option<u32>> {
        if self.kind()? != Kind::Number {
            return Ok(None);
        }
        let number = self.number("type")?;
        let kind = number as u32;
        Ok((f64::from(kind) == number).then_some(kind))
    }

    /// Whether exactly `true` stands here. Consumes any value.
    pub fn is_true(&mut self) -> Result<bool> {
        let value = self.take()?;
        Ok(match value {
            Self::Json(mut reader) => reader.literal("true").is_ok(),
            Self::Msgpack(reader) => reader.marker()? == 0xc3,
        })
    }

    /// Any value as JSON text with its attachments.
    pub fn payload(&mut self) -> Result<Payload> {
        if let Self::Json(reader) = self {
            return Ok(Payload {
                json: reader.skip(MAX_DEPTH)?.to_owned(),
                attachments: None,
            });
        }
        let mut payload = msgpack::Json::default();
        self.append_payload(&mut payload)?;
        Ok(finish(payload))
    }

    /// Appends any value to a payload.
    pub fn append_payload(&mut self, payload: &mut msgpack::Json) -> Result<()> {
        match self {
            Self::Json(reader) => {
                let text = reader.skip(MAX_DEPTH)?;
                payload.text.extend_from_slice(text.as_bytes());
                Ok(())
            }
            Self::Msgpack(reader) => payload.append(reader),
        }
    }

    /// Any value as JSON text; none if it holds binary.
    pub fn plain_json(&mut self) -> Result<Option<String>> {
        let payload = self.payload()?;
        Ok(payload.parts().is_empty().then_some(payload.json))
    }
}

/// The payload that was gathered.
pub(crate) fn finish(payload: msgpack::Json) -> Payload {
    let (json, attachments) = payload.finish();
    Payload::new(json, attachments)
}

fn check_size(payload: &[u8]) -> Result<()> {
    if payload.len() > MAX_MESSAGE_BYTES {
        return Err(WireError::TooLarge(payload.len()));
    }
    Ok(())
}

/// The error for a member that is not what it must be.
pub fn unexpected(field: &'static str, expected: &'static str) -> WireError {
    WireError::Unexpected { field, expected }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const JSON: &[u8] = br#"{"a":[1,"x"],"skip":{"deep":[{}]},"b":true,"c":null}"#;
    const MSGPACK: &[u8] = &[
        0x84, 0xa1, b'a', 0x92, 1, 0xa1, b'x', 0xa4, b's', b'k', b'i', b'p', 0x81, 0xa4, b'd',
        b'e', b'e', b'p', 0x91, 0x80, 0xa1, b'b', 0xc3, 0xa1, b'c', 0xc0,
    ];

    #[test]
    fn both_formats_read_alike() {
        for message in [JSON, MSGPACK] {
            let mut cursor = Cursor::of_message(message).unwrap();
            let mut seen = Vec::new();
            cursor
                .object("message", |key, cursor| {
                    match key {
                        "a" => {
                            let payload = cursor.payload()?;
                            seen.push(format!("a={}", payload.json));
                        }
                        "b" => seen.push(format!("b={}", cursor.is_true()?)),
                        "c" => seen.push(format!("c={:?}", cursor.kind()?)),
                        _ => {}
                    }
                    Ok(())
                })
                .unwrap();
            cursor.end().unwrap();
            assert_eq!(seen, [r#"a=[1,"x"]"#, "b=true", "c=Null"]);
        }
    }

    #[test]
    fn what_is_not_wanted_must_still_be_well_formed() {
        for message in [
            &b"{\"a\":}"[..],
            b"{\"a\":1,}",
            b"{\"a\":tru}",
            &[0x81, 0xa1, b'a', 0xc1],
        ] {
            let mut cursor = Cursor::of_message(message).unwrap();
            assert!(
                cursor.object("message", |_, _| Ok(())).is_err(),
                "{message:?}"
            );
        }
    }

    #[test]
    fn blanks_before_json_make_it_msgpack_as_for_node() {
        let mut cursor = Cursor::of_message(b" {}").unwrap();
        assert_eq!(cursor.kind(), Ok(Kind::Number));
    }

    #[test]
    fn a_message_over_the_limit_is_refused_unread() {
        let large = vec![b'{'; MAX_MESSAGE_BYTES + 1];
        assert_eq!(
            Cursor::of_message(&large).err(),
            Some(WireError::TooLarge(large.len()))
        );
    }
}
