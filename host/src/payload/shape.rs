//! Which values are several arguments of an event: socketioxide's rule, for values on the way out
//! and types on the way in.
//!
//! A tuple, an array and a tuple struct are several. A newtype is what it holds (socketioxide's own
//! parsers write events of newtypes without a name).

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer, de::Visitor, forward_to_deserialize_any,
    ser::Impossible,
};

/// How many arguments a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `()`.
    Nothing,
    One,
    /// As many as it has elements.
    Several,
}

impl Shape {
    pub(super) fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        match value.serialize(Probe) {
            Ok(shape) | Err(Found(shape)) => shape,
        }
    }

    /// Of a type that is to be read: one or several.
    pub(super) fn of_type<'de, T: Deserialize<'de>>() -> Self {
        match T::deserialize(Probe) {
            // It needs nothing to be read.
            Ok(_) => Self::One,
            Err(Found(shape)) => shape,
        }
    }
}

/// Looks at the outermost part of a value and stops.
struct Probe;

/// How it stops.
#[derive(Debug)]
struct Found(Shape);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for Found {}

// A value that cannot be written, or a type that asks for what is not there: one argument, and
// whoever writes or reads it reports the error.
impl serde::ser::Error for Found {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(Shape::One)
    }
}

impl serde::de::Error for Found {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(Shape::One)
    }
}

impl<'de> Deserializer<'de> for Probe {
    type Error = Found;

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct seq map struct enum identifier ignored_any
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Found> {
        Err(Found(Shape::One))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Found> {
        Err(Found(Shape::Several))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        _: V,
    ) -> Result<V::Value, Found> {
        Err(Found(Shape::Several))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Found> {
        visitor.visit_newtype_struct(self)
    }
}

macro_rules! one {
    ($($method:ident($($name:ident: $argument:ty),*) -> $result:ty;)*) => {
        $(fn $method(self, $($name: $argument),*) -> Result<$result, Found> {
            Err(Found(Shape::One))
        })*
    };
}

type Nowhere = Impossible<Shape, Found>;

impl Serializer for Probe {
    type Ok = Shape;
    type Error = Found;
    type SerializeSeq = Nowhere;
    type SerializeTuple = Nowhere;
    type SerializeTupleStruct = Nowhere;
    type SerializeTupleVariant = Nowhere;
    type SerializeMap = Nowhere;
    type SerializeStruct = Nowhere;
    type SerializeStructVariant = Nowhere;

    one! {
        serialize_bool(_a: bool) -> Shape;
        serialize_i8(_a: i8) -> Shape;
        serialize_i16(_a: i16) -> Shape;
        serialize_i32(_a: i32) -> Shape;
        serialize_i64(_a: i64) -> Shape;
        serialize_i128(_a: i128) -> Shape;
        serialize_u8(_a: u8) -> Shape;
        serialize_u16(_a: u16) -> Shape;
        serialize_u32(_a: u32) -> Shape;
        serialize_u64(_a: u64) -> Shape;
        serialize_u128(_a: u128) -> Shape;
        serialize_f32(_a: f32) -> Shape;
        serialize_f64(_a: f64) -> Shape;
        serialize_char(_a: char) -> Shape;
        serialize_str(_a: &str) -> Shape;
        serialize_bytes(_a: &[u8]) -> Shape;
        serialize_none() -> Shape;
        serialize_unit_struct(_a: &'static str) -> Shape;
        serialize_unit_variant(_a: &'static str, _b: u32, _c: &'static str) -> Shape;
        serialize_seq(_a: Option<usize>) -> Nowhere;
        serialize_map(_a: Option<usize>) -> Nowhere;
        serialize_struct(_a: &'static str, _b: usize) -> Nowhere;
        serialize_tuple_variant(_a: &'static str, _b: u32, _c: &'static str, _d: usize) -> Nowhere;
        serialize_struct_variant(_a: &'static str, _b: u32, _c: &'static str, _d: usize) -> Nowhere;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<Shape, Found> {
        Ok(Shape::One)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Shape, Found> {
        Ok(Shape::One)
    }

    fn serialize_unit(self) -> Result<Shape, Found> {
        Ok(Shape::Nothing)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Shape, Found> {
        value.serialize(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Nowhere, Found> {
        Err(Found(Shape::Several))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Nowhere, Found> {
        Err(Found(Shape::Several))
    }
}
