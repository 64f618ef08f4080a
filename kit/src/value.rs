//! Event arguments with binary parts: as JSON for commands, and as what Socket.IO serialises.
//!
//! In commands and answers a binary part is `{"$bytes":"0aff"}`, hexadecimal; [`bytes()`] writes one.
//! [`Args`] is the same as a serde type that socketioxide sends and receives as several arguments.

use std::fmt::{self, Write};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
    ser::{SerializeMap, SerializeSeq, SerializeTuple},
};
use serde_json::{Map, Number, Value, json};

/// The key that marks a binary part.
const BYTES_KEY: &str = "$bytes";

/// A binary argument, for use inside `json!`.
pub fn bytes(data: &[u8]) -> Value {
    let mut hex = String::with_capacity(2 * data.len());
    for byte in data {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    json!({ BYTES_KEY: hex })
}

/// The arguments of an event or of an acknowledgement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Args(Vec<Arg>);

/// One argument or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// JSON's null.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text.
    Text(String),
    /// Binary data.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Arg>),
    /// An object, in order.
    Object(Vec<(String, Arg)>),
}

impl Args {
    /// Reads arguments from a command.
    ///
    /// # Errors
    /// Text that says which binary part is malformed.
    pub fn from_json(args: &[Value]) -> Result<Self, String> {
        args.iter()
            .map(Arg::from_json)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Writes arguments into an answer.
    pub fn to_json(&self) -> Vec<Value> {
        self.0.iter().map(Arg::to_json).collect()
    }

    /// The arguments.
    pub fn as_slice(&self) -> &[Arg] {
        &self.0
    }
}

impl From<Vec<Arg>> for Args {
    fn from(args: Vec<Arg>) -> Self {
        Self(args)
    }
}

impl From<Args> for Vec<Arg> {
    fn from(args: Args) -> Self {
        args.0
    }
}

/// A tuple is what socketioxide spreads into several arguments.
impl Serialize for Args {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for arg in &self.0 {
            tuple.serialize_element(arg)?;
        }
        tuple.end()
    }
}

/// A tuple is what socketioxide fills with all arguments; its parsers do not look at the length.
/// (A newtype would get them all too, but without their binary parts.)
impl<'de> Deserialize<'de> for Args {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(0, ArgsVisitor)
    }
}

struct ArgsVisitor;

impl<'de> Visitor<'de> for ArgsVisitor {
    type Value = Args;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the arguments of an event")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Args, A::Error> {
        let mut args = Vec::new();
        while let Some(arg) = seq.next_element()? {
            args.push(arg);
        }
        Ok(Args(args))
    }
}

impl Arg {
    /// Reads one argument from a command.
    ///
    /// # Errors
    /// Text that says which binary part is malformed.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        Ok(match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(value) => Self::Number(value.clone()),
            Value::String(value) => Self::Text(value.clone()),
            Value::Array(values) => Self::List(
                values
                    .iter()
                    .map(Self::from_json)
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(entries) => match entries.get(BYTES_KEY) {
                Some(hex) if entries.len() == 1 => Self::Bytes(read_hex(hex)?),
                _ => Self::Object(
                    entries
                        .iter()
                        .map(|(key, value)| Ok((key.clone(), Self::from_json(value)?)))
                        .collect::<Result<_, String>>()?,
                ),
            },
        })
    }

    /// Writes one argument into an answer.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(value) => Value::Number(value.clone()),
            Self::Text(value) => Value::String(value.clone()),
            Self::Bytes(data) => bytes(data),
            Self::List(values) => Value::Array(values.iter().map(Self::to_json).collect()),
            Self::Object(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, value)| (key.clone(), value.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}

fn read_hex(hex: &Value) -> Result<Vec<u8>, String> {
    let malformed = || format!("`{BYTES_KEY}` takes pairs of hexadecimal digits, not {hex}");
    let hex = hex.as_str().ok_or_else(malformed)?;
    if !hex.len().is_multiple_of(2) {
        return Err(malformed());
    }
    hex.as_bytes()
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).map_err(|_| malformed())?;
            u8::from_str_radix(pair, 16).map_err(|_| malformed())
        })
        .collect()
}

impl Serialize for Arg {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) => value.serialize(serializer),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Bytes(data) => serializer.serialize_bytes(data),
            Self::List(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    list.serialize_element(value)?;
                }
                list.end()
            }
            Self::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Arg {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ArgVisitor)
    }
}

struct ArgVisitor;

impl<'de> Visitor<'de> for ArgVisitor {
    type Value = Arg;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event's argument")
    }

    fn visit_unit<E>(self) -> Result<Arg, E> {
        Ok(Arg::Null)
    }

    fn visit_none<E>(self) -> Result<Arg, E> {
        Ok(Arg::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Arg, D::Error> {
        Arg::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Arg, E> {
        Ok(Arg::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Arg, E> {
        Ok(Arg::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Arg, E> {
        Ok(Arg::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Arg, E> {
        // JSON has no other numbers: what is none of them becomes null, as in JavaScript.
        Ok(Number::from_f64(value).map_or(Arg::Null, Arg::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Arg, E> {
        Ok(Arg::Text(value.to_owned()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Arg, E> {
        Ok(Arg::Bytes(value.to_vec()))
    }

    fn visit_byte_buf<E>(self, value: Vec<u8>) -> Result<Arg, E> {
        Ok(Arg::Bytes(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Arg, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element()? {
            list.push(value);
        }
        Ok(Arg::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Arg, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Arg::Object(entries))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::{Arg, Args, bytes};

    #[test]
    fn arguments_survive_the_way_through_a_command() {
        let args = json!([null, true, -7, 1.5, "é", [1, [2]], { "b": bytes(&[0, 255]), "a": {} }]);
        let args = args.as_array().unwrap();
        assert_eq!(Args::from_json(args).unwrap().to_json(), *args);
    }

    #[test]
    fn an_object_with_more_than_the_mark_is_an_object() {
        let args = [json!({ "$bytes": "00", "other": 1 })];
        assert_eq!(Args::from_json(&args).unwrap().to_json(), args);
    }

    #[test]
    fn malformed_bytes_are_refused() {
        for wrong in [json!(1), json!("0"), json!("zz"), json!("é")] {
            let error = Args::from_json(&[json!({ "$bytes": wrong })]).unwrap_err();
            assert!(error.contains("hexadecimal"), "{error}");
        }
    }

    #[test]
    fn text_that_serde_reads_is_what_it_wrote() {
        let args = Args::from(vec![Arg::Text("a".into()), Arg::List(vec![Arg::Null])]);
        let text = serde_json::to_string(&args).unwrap();
        assert_eq!(text, r#"["a",[null]]"#);
        assert_eq!(serde_json::from_str::<Args>(&text).unwrap(), args);
    }
}
