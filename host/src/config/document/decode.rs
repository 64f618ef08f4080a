//! The tree into typed values: a serde format whose errors carry a path and a place.
//!
//! It is stricter than serde asks for: a key that a struct does not have is always an error, also
//! when the struct forgot `deny_unknown_fields`.

use std::fmt;

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, Expected, IntoDeserializer, MapAccess,
        SeqAccess, Unexpected, Visitor,
    },
    forward_to_deserialize_any,
};

use super::{
    error::{Segment, Wording},
    origin::Origin,
    tree::{Entry, Node, Value},
};
use crate::suggest;

/// Reads a typed value.
pub(super) fn decode<T: DeserializeOwned>(node: &Node) -> Result<T, Error> {
    T::deserialize(Reader { node })
}

/// The first thing that is wrong.
#[derive(Debug)]
pub(super) struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    /// From the inside out: each level adds its own segment while the error passes.
    path: Vec<Segment>,
    /// Of the innermost thing that has a place.
    origin: Option<Origin>,
    wording: Wording,
}

impl Error {
    /// From the root to what is wrong.
    pub(super) fn path(&self) -> Vec<Segment> {
        self.0.path.iter().rev().cloned().collect()
    }

    /// Where it stands.
    pub(super) fn origin(&self) -> Origin {
        self.0.origin.clone().unwrap_or_default()
    }

    /// What is wrong.
    pub(super) fn into_wording(self) -> Wording {
        self.0.wording
    }

    fn new(wording: Wording) -> Self {
        Self(Box::new(Inner {
            path: Vec::new(),
            origin: None,
            wording,
        }))
    }

    fn predicate(text: String) -> Self {
        Self::new(Wording::Predicate(text))
    }

    fn unknown_key(known: &[&str]) -> Self {
        Self::new(Wording::UnknownKey {
            known: known.iter().map(|&key| key.to_owned()).collect(),
        })
    }

    fn at(mut self, origin: &Origin) -> Self {
        self.0.origin.get_or_insert_with(|| origin.clone());
        self
    }

    fn inside(mut self, segment: Segment) -> Self {
        self.0.path.push(segment);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.wording)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Wording::Sentence(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::predicate(format!(
            "must be {}, not {}",
            wanted(expected),
            described(found)
        ))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        let hint = match suggest::nearest(found, known.iter().copied()) {
            Some(right) => format!("; did you mean `{right}`?"),
            None => String::new(),
        };
        Self::predicate(format!("must be one of {}{hint}", suggest::listed(known)))
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Self::unknown_key(known)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::predicate(format!("needs the key `{field}`"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::predicate(format!("has the key `{field}` twice, under two names"))
    }
}

/// serde's names for types in the words of TOML's users.
fn wanted(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "u8" => "a whole number, 0 to 255".into(),
        "u16" => "a whole number, 0 to 65535".into(),
        "u32" => "a whole number, 0 to 4294967295".into(),
        "u64" | "usize" => "a whole number, 0 or more".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "`true` or `false`".into(),
        "a string" | "path string" | "string" => "text".into(),
        "a sequence" => "a list".into(),
        "a map" => "a table".into(),
        other if other.starts_with("struct ") => "a table".into(),
        other if other.starts_with("a nonzero ") => "a whole number, 1 or more".into(),
        _ => text,
    }
}

/// Text is not repeated: it may be a secret in the wrong place.
fn described(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(_) => "text".into(),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a table".into(),
        other => other.to_string(),
    }
}

fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Text(text) => Unexpected::Str(text),
        Value::Integer(number) => Unexpected::Signed(*number),
        Value::Float(number) => Unexpected::Float(*number),
        Value::Boolean(boolean) => Unexpected::Bool(*boolean),
        Value::List(_) => Unexpected::Seq,
        Value::Table(_) => Unexpected::Map,
    }
}

struct Reader<'a> {
    node: &'a Node,
}

impl<'a> Reader<'a> {
    fn visit_any<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Text(text) => visitor.visit_str(text),
            Value::Integer(number) => match u64::try_from(*number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_i64(*number),
            },
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(boolean) => visitor.visit_bool(*boolean),
            Value::List(items) => visitor.visit_seq(Items {
                items: items.iter(),
            }),
            Value::Table(table) => visitor.visit_map(Entries {
                table: table.iter(),
                value: None,
            }),
        }
    }

    fn visit_text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match (&self.node.value, &self.node.verbatim) {
            (Value::Integer(_) | Value::Float(_) | Value::Boolean(_), Some(text)) => {
                visitor.visit_str(text)
            }
            _ => self.visit_any(visitor),
        }
    }

    fn visit_struct<'de, V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // A derived visitor would also take a list, field by field.
        let Value::Table(table) = &self.node.value else {
            return Err(Error::invalid_type(
                unexpected(&self.node.value),
                &"a table",
            ));
        };
        for (key, entry) in table {
            if !fields.contains(&key.as_str()) {
                let error = Error::unknown_key(fields).at(&entry.key_origin);
                return Err(error.inside(Segment::Key(key.clone())));
            }
        }
        self.visit_any(visitor)
    }

    /// Variants with content do not occur in configuration.
    fn visit_enum<'de, V: Visitor<'de>>(
        self,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            other => {
                let choices = format!("one of {}", suggest::listed(variants));
                Err(Error::invalid_type(unexpected(other), &choices.as_str()))
            }
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_any(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_text(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.visit_struct(fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.visit_enum(variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'a> {
    items: std::slice::Iter<'a, (usize, Node)>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some((index, node)) = self.items.next() else {
            return Ok(None);
        };
        let value = seed.deserialize(Reader { node });
        value
            .map(Some)
            .map_err(|error| error.at(&node.origin).inside(Segment::Index(*index)))
    }
}

struct Entries<'a> {
    table: std::collections::btree_map::Iter<'a, String, Entry>,
    value: Option<(&'a str, &'a Node)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some((key, entry)) = self.table.next() else {
            return Ok(None);
        };
        self.value = Some((key, &entry.node));
        let read = seed.deserialize(IntoDeserializer::<Error>::into_deserializer(key.as_str()));
        read.map(Some).map_err(|error| {
            error
                .at(&entry.key_origin)
                .inside(Segment::Key(key.clone()))
        })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((key, node)) = self.value.take() else {
            return Err(Error::custom("a value was asked for before its key"));
        };
        let value = seed.deserialize(Reader { node });
        value.map_err(|error| error.at(&node.origin).inside(Segment::Key(key.to_owned())))
    }
}
