//! One argument of an event, as it is typed in a shell.

use serde::{Serialize, Serializer, ser::SerializeTuple};
use serde_json::Value;

/// JSON, or text that is none; with `--files` also `@FILE`, a file's content as binary.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Argument {
    Json(Value),
    Binary(Vec<u8>),
}

impl Argument {
    /// Reads what was typed. Files only when the caller asked for them: text that comes from
    /// elsewhere must not be able to name one.
    pub(crate) fn read(text: &str, files: bool) -> Result<Self, String> {
        match text.strip_prefix('@') {
            Some(file) if files => std::fs::read(file)
                .map(Self::Binary)
                .map_err(|error| format!("{file}: {error}")),
            _ => Self::json(text),
        }
    }

    fn json(text: &str) -> Result<Self, String> {
        match serde_json::from_str(text) {
            Ok(value) => Ok(Self::Json(value)),
            // What starts like JSON was meant to be: not sent as text in silence.
            Err(error) if text.starts_with(['{', '[', '"']) => {
                Err(format!("{text} is not JSON: {error}"))
            }
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
            ("-5", json!(-5)),
            ("null", json!(null)),
            (r#"{"a":[1]}"#, json!({"a": [1]})),
            (r#""1""#, json!("1")),
            ("hello", json!("hello")),
            ("10 o'clock", json!("10 o'clock")),
            ("@ada, hi", json!("@ada, hi")),
            ("", json!("")),
        ] {
            assert_eq!(
                Argument::read(typed, false),
                Ok(Argument::Json(meant)),
                "{typed}"
            );
        }
        for broken in ["{\"a\":", "[1,", "\"open"] {
            assert!(Argument::read(broken, false).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_file_is_sent_as_binary_only_when_files_are_asked_for() {
        let file = std::env::temp_dir().join(format!("switchboard-cli-{}", std::process::id()));
        std::fs::write(&file, [0, 255]).unwrap();
        let typed = format!("@{}", file.display());
        assert_eq!(
            Argument::read(&typed, true),
            Ok(Argument::Binary(vec![0, 255]))
        );
        assert_eq!(
            Argument::read(&typed, false),
            Ok(Argument::Json(json!(typed)))
        );
        std::fs::remove_file(&file).unwrap();
        let error = Argument::read(&typed, true).unwrap_err();
        assert!(error.contains(file.to_str().unwrap()), "{error}");
    }
}
