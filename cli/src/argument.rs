//! One argument of an event, as it is typed in a shell.

use std::str::FromStr;

use serde::{Serialize, Serializer, ser::SerializeTuple};
use serde_json::Value;

/// JSON; text that is no JSON; or `@FILE`, a file's content as binary.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Argument {
    Json(Value),
    Binary(Vec<u8>),
}

impl FromStr for Argument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(file) = text.strip_prefix('@') {
            let bytes = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
            return Ok(Self::Binary(bytes));
        }
        match serde_json::from_str(text) {
            Ok(value) => Ok(Self::Json(value)),
            // What starts like JSON was meant to be: not sent as text in silence.
            Err(error) if text.starts_with(['{', '[', '"']) => Err(format!("not JSON: {error}")),
            Err(_) => Ok(Self::Json(Value::String(text.to_owned()))),
        }
    }
}

impl Serialize for Argument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Json(value) => value.serialize(serializer),
            Self::Binary(bytes) => serializer.serialize_bytes(bytes),
        }
    }
}

/// All arguments of an event: a tuple, so that each is one of its own.
#[derive(Debug)]
pub(crate) struct Arguments<'a>(pub(crate) &'a [Argument]);

impl Serialize for Arguments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for argument in self.0 {
            tuple.serialize_element(argument)?;
        }
        tuple.end()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_argument_is_json_or_else_text() {
        for (typed, meant) in [
            ("1", json!(1)),
            ("null", json!(null)),
            (r#"{"a":[1]}"#, json!({"a": [1]})),
            (r#""1""#, json!("1")),
            ("hello", json!("hello")),
            ("10 o'clock", json!("10 o'clock")),
            ("", json!("")),
        ] {
            assert_eq!(typed.parse(), Ok(Argument::Json(meant)), "{typed}");
        }
        for broken in ["{\"a\":", "[1,", "\"open"] {
            assert!(broken.parse::<Argument>().is_err(), "{broken}");
        }
    }

    #[test]
    fn a_file_is_sent_as_binary() {
        let file = std::env::temp_dir().join(format!("switchboard-cli-{}", std::process::id()));
        std::fs::write(&file, [0, 255]).unwrap();
        let typed = format!("@{}", file.display());
        assert_eq!(typed.parse(), Ok(Argument::Binary(vec![0, 255])));
        std::fs::remove_file(&file).unwrap();
        let error = typed.parse::<Argument>().unwrap_err();
        assert!(error.contains(file.to_str().unwrap()), "{error}");
    }
}
