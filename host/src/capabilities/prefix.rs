//! Names in grants: exact, or all that begin in one way.

use serde::{Deserialize, Deserializer};

/// Longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 512;

/// A name (a key, a channel, a table), or with a `*` at the end all that begin so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    text: String,
    is_open: bool,
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || text.len() > MAX_PATTERN_BYTES {
            return Err(serde::de::Error::custom(format!(
                "a name has 1 to {MAX_PATTERN_BYTES} bytes here; \"*\" means all"
            )));
        }
        Ok(Self::from(text.as_str()))
    }
}

impl From<&str> for Prefix {
    fn from(text: &str) -> Self {
        let is_open = text.ends_with('*');
        Self {
            text: text.strip_suffix('*').unwrap_or(text).to_owned(),
            is_open,
        }
    }
}

impl Prefix {
    /// As the operator wrote it.
    pub(crate) fn shown(&self) -> String {
        let end = if self.is_open { "*" } else { "" };
        format!("{}{end}", self.text)
    }

    /// Is the name one of those that are meant?
    pub(crate) fn covers(&self, name: &[u8]) -> bool {
        match self.is_open {
            true => name.starts_with(self.text.as_bytes()),
            false => name == self.text.as_bytes(),
        }
    }

    /// Does it cover all that begins so? A name that is exact has no more than itself.
    pub(crate) fn covers_all_of(&self, beginning: &[u8], is_open: bool) -> bool {
        match is_open {
            true => self.is_open && beginning.starts_with(self.text.as_bytes()),
            false => self.covers(beginning),
        }
    }

    /// What a name must begin with, or be.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}
