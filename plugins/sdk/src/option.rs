//! Values of options, taken apart with errors that name the key and say what would be right.
//!
//! Serde's own errors for a wrong value do not name the key, so options are read as `Value`s, and
//! these do the rest. What they return in an error is text for
//! [`OpenFailure::InvalidConfig`](crate::OpenFailure::InvalidConfig).

use std::ops::RangeInclusive;

use serde_json::Value;

/// A text that is not empty.
///
/// # Errors
/// It is something else.
pub fn text(key: &str, value: Option<Value>) -> Result<Option<String>, String> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Err(format!(
            "`{key}` is empty: leave it out for the default, or give it a value"
        )),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!(
            "`{key}` is {}: it must be text in quotes",
            shown(other)
        )),
    }
}

/// A text of 1 to `most` bytes.
///
/// # Errors
/// It is something else.
pub fn name(key: &str, value: Option<Value>, default: &str, most: usize) -> Result<String, String> {
    let name = text(key, value)?.unwrap_or_else(|| default.to_owned());
    match name.len() {
        len if len <= most => Ok(name),
        len => Err(format!(
            "`{key}` has {len} bytes: at most {most} are allowed"
        )),
    }
}

/// `true` or `false`.
///
/// # Errors
/// It is something else.
pub fn flag(key: &str, value: Option<Value>, default: bool) -> Result<bool, String> {
    match value {
        None => Ok(default),
        Some(Value::Bool(on)) => Ok(on),
        Some(other) => Err(format!(
            "`{key}` is {}: it must be `true` or `false`",
            shown(other)
        )),
    }
}

/// A whole number in a range.
///
/// # Errors
/// It is something else.
pub fn number(
    key: &str,
    value: Option<Value>,
    default: u32,
    range: RangeInclusive<u32>,
) -> Result<u32, String> {
    let Some(value) = value else {
        return Ok(default);
    };
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    match number {
        Some(number) if range.contains(&number) => Ok(number),
        _ => Err(format!(
            "`{key}` is {}: it must be a whole number from {} to {}",
            shown(value),
            range.start(),
            range.end()
        )),
    }
}

/// A value in a message: the operator's own, but it may be long.
pub fn shown(value: impl Into<Value>) -> String {
    const MAX_CHARS: usize = 64;
    let text = value.into().to_string();
    match text.char_indices().nth(MAX_CHARS) {
        None => text,
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}
