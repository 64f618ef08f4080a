//! Names that people choose: for a cluster, a connection, a plugin. They become file names and
//! parts of environment variables, so one narrow rule holds for all.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer};

/// Longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// What is wrong with a name. The fault is with who chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name is 1 to {MAX_NAME_BYTES} lower-case letters, digits and hyphens, and starts with a \
     letter or a digit"
)]
#[non_exhaustive]
pub struct InvalidName;

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1 to [`MAX_NAME_BYTES`] of `a-z`, `0-9` and `-`, not starting with a hyphen.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if is_name(text) { Ok(Self(Arc::from(text))) } else { Err(InvalidName) }
            }
        }
        impl TryFrom<&str> for $name {
            type Error = InvalidName;

            fn try_from(text: &str) -> Result<Self, InvalidName> {
                text.parse()
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// Names a cluster on this machine: processes with the same name find one another.
    ClusterName
}
name! {
    /// Names a connection, for example `main`. Plugins know connections by these names only.
    ConnectionName
}
name! {
    /// Names a plugin: `local` is `local.wasm` in the plugin folder.
    PluginName
}

impl Default for ClusterName {
    /// `default`
    fn default() -> Self {
        Self(Arc::from("default"))
    }
}

impl ConnectionName {
    /// `main`: the one that exists without configuration, where a kind of connection has one.
    pub fn main() -> Self {
        Self(Arc::from("main"))
    }
}

impl PluginName {
    /// `local`: the transport of an empty configuration.
    pub fn local() -> Self {
        Self(Arc::from("local"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_lower_case_letters_digits_and_inner_hyphens() {
        let longest = "a".repeat(MAX_NAME_BYTES);
        for good in ["main", "redis-streams", "7", "a-", longest.as_str()] {
            assert!(good.parse::<PluginName>().is_ok(), "{good:?} is a name");
        }
        let too_long = "a".repeat(MAX_NAME_BYTES + 1);
        for bad in [
            "",
            "-a",
            "Main",
            "a_b",
            "a.b",
            "../a",
            "a/b",
            "ä",
            "a b",
            too_long.as_str(),
        ] {
            assert!(bad.parse::<PluginName>().is_err(), "{bad:?} is no name");
        }
    }
}
