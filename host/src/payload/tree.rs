//! A payload as a tree in memory, its binary parts in place: what applications read their types
//! from.
//!
//! Bytes are a kind of their own here, so they are found wherever they stand, also behind options,
//! newtypes and untagged enums.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::{
    Deserializer,
    de::{
        self, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
        Visitor,
        value::{Error, MapAccessDeserializer, MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

use super::{PayloadError, surrogates::replace_lone_surrogates};
use crate::cluster::message::Payload;

/// One value.
#[derive(Debug)]
pub(super) enum Tree {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    Binary(Bytes),
    List(Vec<Self>),
    Object(Vec<(Key, Self)>),
}

/// The name of an object's member. JSON has text for it, whatever the map it was made of had.
#[derive(Debug)]
pub(super) struct Key(String);

impl Tree {
    /// Parses the text and puts the binary parts in their places, each at most once.
    /// `serde_json` limits the nesting to [`DEPTH_LIMIT`](super::DEPTH_LIMIT).
    pub(super) fn parse(payload: &Payload) -> Result<Self, PayloadError> {
        match parse(&payload.json, &payload.attachments) {
            Err(PayloadError::Json(error)) => match replace_lone_surrogates(&payload.json) {
                Cow::Borrowed(_) => Err(PayloadError::Json(error)),
                Cow::Owned(repaired) => parse(&repaired, &payload.attachments),
            },
            parsed => parsed,
        }
    }
}

fn parse(json: &str, attachments: &[Bytes]) -> Result<Tree, PayloadError> {
    let mut parts = Parts {
        left: attachments.iter().cloned().map(Some).collect(),
        missing: false,
    };
    let mut json = serde_json::Deserializer::from_str(json);
    let parsed = Node(&mut parts)
        .deserialize(&mut json)
        .and_then(|tree| json.end().map(|()| tree));
    if parts.missing {
        return Err(PayloadError::NoSuchAttachment);
    }
    Ok(parsed?)
}

struct Parts {
    /// None where one has been used.
    left: Vec<Option<Bytes>>,
    /// A mark named a part that is not there: `serde_json`'s error cannot say so.
    missing: bool,
}

impl Parts {
    fn take(&mut self, num: u64) -> Option<Bytes> {
        self.left.get_mut(usize::try_from(num).ok()?)?.take()
    }
}

/// Parses one value.
struct Node<'p>(&'p mut Parts);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::Unsigned(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
        Ok(Tree::Signed(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
        Ok(Tree::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Tree, E> {
        Ok(Tree::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(Node(self.0))? {
            list.push(element);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Tree, A::Error> {
        let mut object = Vec::new();
        while let Some(key) = members.next_key::<String>()? {
            object.push((Key(key), members.next_value_seed(Node(self.0))?));
        }
        // Without binary parts there are no marks, whatever the object looks like.
        if self.0.left.is_empty() || !is_mark(&object) {
            return Ok(Tree::Object(object));
        }
        let num = object.iter().rev().find_map(|(key, value)| match value {
            Tree::Unsigned(num) if key.0 == "num" => Some(*num),
            _ => None,
        });
        match num.and_then(|num| self.0.take(num)) {
            Some(part) => Ok(Tree::Binary(part)),
            None => {
                self.0.missing = true;
                Err(de::Error::custom("no such attachment"))
            }
        }
    }
}

fn is_mark(object: &[(Key, Tree)]) -> bool {
    object
        .iter()
        .any(|(key, value)| key.0 == "_placeholder" && matches!(value, Tree::Bool(true)))
}

impl IntoDeserializer<'_, Error> for Tree {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Tree {
    type Error = Error;

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct map struct identifier ignored_any
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Bool(value) => visitor.visit_bool(value),
            Self::Unsigned(number) => visitor.visit_u64(number),
            Self::Signed(number) => visitor.visit_i64(number),
            Self::Float(number) => visitor.visit_f64(number),
            Self::Text(text) => visitor.visit_string(text),
            Self::Binary(bytes) => visitor.visit_byte_buf(bytes.into()),
            Self::List(list) => {
                let mut elements = SeqDeserializer::new(list.into_iter());
                let value = visitor.visit_seq(&mut elements)?;
                elements.end()?;
                Ok(value)
            }
            Self::Object(object) => {
                let mut members = MapDeserializer::new(object.into_iter());
                let value = visitor.visit_map(&mut members)?;
                members.end()?;
                Ok(value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_none(),
            value => visitor.visit_some(value),
        }
    }

    /// Bytes are good enough for a list of numbers.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Binary(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.into_iter())),
            value => value.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    /// The name of a variant, or an object of that name and what the variant holds.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Self::Text(name) => visitor.visit_enum(name.into_deserializer()),
            Self::Object(object) if object.len() == 1 => visitor.visit_enum(
                MapAccessDeserializer::new(MapDeserializer::new(object.into_iter())),
            ),
            Self::Object(_) => Err(Error::invalid_value(
                Unexpected::Map,
                &"an object with one member, named like a variant",
            )),
            value => value.deserialize_any(visitor),
        }
    }
}

impl IntoDeserializer<'_, Error> for Key {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed_keys {
    ($($method:ident => $visit:ident;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0.parse() {
                Ok(key) => visitor.$visit(key),
                Err(_) => visitor.visit_string(self.0),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Key {
    type Error = Error;

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.0)
    }

    parsed_keys! {
        deserialize_bool => visit_bool;
        deserialize_i8 => visit_i8;
        deserialize_i16 => visit_i16;
        deserialize_i32 => visit_i32;
        deserialize_i64 => visit_i64;
        deserialize_i128 => visit_i128;
        deserialize_u8 => visit_u8;
        deserialize_u16 => visit_u16;
        deserialize_u32 => visit_u32;
        deserialize_u64 => visit_u64;
        deserialize_u128 => visit_u128;
        deserialize_f32 => visit_f32;
        deserialize_f64 => visit_f64;
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

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.0.into_deserializer())
    }
}
