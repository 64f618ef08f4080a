//! From the cluster's form to values of Rust.

use std::{fmt, vec};

use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, SeqAccess, Visitor,
        value::Error as TypeError,
    },
    forward_to_deserialize_any,
};

use super::{MAX_QUOTE_CHARS, PayloadError, shape::Shape, shortened, tree::Tree};
use crate::cluster::message::Payload;

/// Why a value is not what the application wants to read. The texts are cut to 200 characters:
/// serde quotes what it found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// It is no value at all: the sending node's fault.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// It is of another type.
    #[error("{}", shortened(.0, MAX_QUOTE_CHARS))]
    Type(TypeError),
    /// An argument is of another type, or missing.
    #[error("argument {number}: {}", shortened(.why, MAX_QUOTE_CHARS))]
    Argument {
        /// Counted from 1; an event's name does not count.
        number: usize,
        /// What is wrong with it.
        why: TypeError,
    },
}

/// Reads one value.
pub(crate) fn to_value<T: DeserializeOwned>(payload: &Payload) -> Result<T, ReadError> {
    T::deserialize(Tree::parse(payload)?).map_err(ReadError::Type)
}

/// Reads the arguments of an event: a tuple (also an array or a tuple struct) is several, anything
/// else the first. Arguments that nobody asks for are left out; one that is missing reads as an
/// `Option` or `()` only.
pub(crate) fn to_args<T: DeserializeOwned>(payload: &Payload) -> Result<T, ReadError> {
    let mut arguments = Arguments::parse(payload)?;
    arguments.left.next();
    arguments.read()
}

/// The same for an acknowledgement, which has no name in front.
pub(crate) fn to_ack<T: DeserializeOwned>(payload: &Payload) -> Result<T, ReadError> {
    Arguments::parse(payload)?.read()
}

struct Arguments {
    left: vec::IntoIter<Tree>,
    /// Of the one that is read now, counted from 1.
    number: usize,
    /// How many the type has. One that takes what there is may go on to the end.
    wanted: usize,
}

impl Arguments {
    fn parse(payload: &Payload) -> Result<Self, PayloadError> {
        match Tree::parse(payload)? {
            Tree::List(list) => Ok(Self {
                left: list.into_iter(),
                number: 0,
                wanted: 0,
            }),
            _ => Err(PayloadError::NotAnArray),
        }
    }

    fn read<T: DeserializeOwned>(mut self) -> Result<T, ReadError> {
        let read = match Shape::of_type::<T>() {
            Shape::Several => T::deserialize(&mut self),
            Shape::One | Shape::Nothing => {
                self.number += 1;
                match self.left.next() {
                    Some(argument) => T::deserialize(argument),
                    None => T::deserialize(Missing),
                }
            }
        };
        read.map_err(|why| ReadError::Argument {
            number: self.number,
            why,
        })
    }
}

impl<'de> SeqAccess<'de> for &mut Arguments {
    type Error = TypeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, TypeError> {
        self.number += 1;
        match self.left.next() {
            Some(argument) => seed.deserialize(argument).map(Some),
            None if self.number > self.wanted => Ok(None),
            None => seed.deserialize(Missing).map(Some),
        }
    }
}

/// As a tuple, which is all that is asked for here.
impl<'de> Deserializer<'de> for &mut Arguments {
    type Error = TypeError;

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct seq map struct enum identifier ignored_any
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        visitor.visit_seq(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        self.wanted = len;
        visitor.visit_seq(self)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        self.wanted = len;
        visitor.visit_seq(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        visitor.visit_newtype_struct(self)
    }
}

/// An argument that is not there: `undefined` in JavaScript.
struct Missing;

impl<'de> Deserializer<'de> for Missing {
    type Error = TypeError;

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf seq
        tuple tuple_struct map struct enum identifier
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        let expected = Expected(visitor);
        Err(TypeError::custom(format_args!(
            "it is missing, expected {expected}"
        )))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        visitor.visit_none()
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        visitor.visit_unit()
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        visitor.visit_newtype_struct(self)
    }
}

/// What a visitor wants, in its own words.
struct Expected<V>(V);

impl<'de, V: Visitor<'de>> fmt::Display for Expected<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }
}
