//! What is in a cell, to and from the wire. Values have Postgres' binary form both ways; text
//! parameters of free SQL go as text, so that the statement decides what they are.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use tokio_postgres::{
    Row,
    types::{Format, FromSql, IsNull, ToSql, Type},
};

use super::{Param, invalid};
use crate::capabilities::postgres::PostgresError;

/// What a value counts beside its bytes.
const VALUE_BYTES: usize = 16;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Text(String),
    Bytes(Vec<u8>),
    Integer(i64),
    Float(f64),
    Boolean(bool),
}

/// How a column's values are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Bytes,
    Integer,
    Float,
    Boolean,
}

/// A column and how to treat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

impl Kind {
    /// As the target of a cast.
    pub(super) fn sql(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Bytes => "bytea",
            Self::Integer => "bigint",
            Self::Float => "float8",
            Self::Boolean => "boolean",
        }
    }
}

impl Value {
    pub(super) fn bytes(&self) -> usize {
        let bytes = match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        bytes + VALUE_BYTES
    }

    /// As a parameter of free SQL.
    pub(super) fn param(&self) -> (Param<'_>, Type) {
        match self {
            Self::Null => (Box::new(AsText(None)), Type::UNKNOWN),
            Self::Text(text) => (Box::new(AsText(Some(text))), Type::UNKNOWN),
            Self::Bytes(bytes) => (Box::new(bytes.as_slice()), Type::BYTEA),
            Self::Integer(number) => (Box::new(*number), Type::INT8),
            Self::Float(number) => (Box::new(*number), Type::FLOAT8),
            Self::Boolean(is) => (Box::new(*is), Type::BOOL),
        }
    }
}

/// The values of one column, as an array.
pub(super) fn array<'a>(
    kind: Kind,
    values: impl Iterator<Item = &'a Value>,
) -> Result<(Param<'a>, Type), PostgresError> {
    macro_rules! all {
        ($kind:ident, $value:ident => $out:expr, $type:expr) => {{
            let mut all = Vec::new();
            for value in values {
                all.push(match value {
                    Value::Null => None,
                    Value::$kind($value) => Some($out),
                    _ => return invalid("a value is not of its column's kind"),
                });
            }
            (Box::new(all), $type)
        }};
    }
    Ok(match kind {
        Kind::Text => all!(Text, text => text.as_str(), Type::TEXT_ARRAY),
        Kind::Bytes => all!(Bytes, bytes => bytes.as_slice(), Type::BYTEA_ARRAY),
        Kind::Integer => all!(Integer, number => *number, Type::INT8_ARRAY),
        Kind::Float => all!(Float, number => *number, Type::FLOAT8_ARRAY),
        Kind::Boolean => all!(Boolean, is => *is, Type::BOOL_ARRAY),
    })
}

/// The cells of a row.
///
/// # Errors
/// A column has a type that is not known here; says which.
pub(in crate::capabilities::postgres) fn read(row: &Row) -> Result<Vec<Value>, PostgresError> {
    let cells = row.columns().iter().enumerate();
    cells
        .map(|(index, column)| {
            let raw: Raw<'_> = match row.try_get::<_, Option<Raw<'_>>>(index) {
                Ok(Some(raw)) => raw,
                Ok(None) => return Ok(Value::Null),
                Err(_) => return unreadable(column),
            };
            match cell(column.type_(), raw.0) {
                Some(value) => Ok(value),
                None => unreadable(column),
            }
        })
        .collect()
}

fn unreadable<T>(column: &tokio_postgres::Column) -> Result<T, PostgresError> {
    let (name, kind) = (column.name(), column.type_());
    invalid(format!(
        "the column {name:?} of the result is of type {kind}: cast it to text"
    ))
}

fn cell(kind: &Type, raw: &[u8]) -> Option<Value> {
    let value = match *kind {
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON | Type::UNKNOWN => {
            Value::Text(std::str::from_utf8(raw).ok()?.to_owned())
        }
        Type::BYTEA => Value::Bytes(raw.to_vec()),
        Type::INT8 => Value::Integer(i64::from_be_bytes(raw.try_into().ok()?)),
        Type::INT4 => Value::Integer(i32::from_be_bytes(raw.try_into().ok()?).into()),
        Type::INT2 => Value::Integer(i16::from_be_bytes(raw.try_into().ok()?).into()),
        Type::OID => Value::Integer(u32::from_be_bytes(raw.try_into().ok()?).into()),
        Type::FLOAT8 => Value::Float(f64::from_be_bytes(raw.try_into().ok()?)),
        Type::FLOAT4 => Value::Float(f32::from_be_bytes(raw.try_into().ok()?).into()),
        Type::BOOL => Value::Boolean(raw != [0]),
        // What functions such as pg_notify return.
        Type::VOID => Value::Null,
        _ => return None,
    };
    Some(value)
}

/// A cell's bytes as they came.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A parameter whose type the statement decides.
#[derive(Debug)]
struct AsText<'a>(Option<&'a str>);

impl ToSql for AsText<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self.0 {
            None => Ok(IsNull::Yes),
            Some(text) => {
                out.put_slice(text.as_bytes());
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    tokio_postgres::types::to_sql_checked!();
}
