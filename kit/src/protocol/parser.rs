//! How servers and clients talk to each other.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How packets are encoded between a server and its clients; both must agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parser {
    /// Socket.IO's own: JSON text and binary frames.
    #[default]
    Common,
    /// `socket.io-msgpack-parser`.
    Msgpack,
}

impl fmt::Display for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Common => "common",
            Self::Msgpack => "msgpack",
        })
    }
}

impl FromStr for Parser {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "common" => Ok(Self::Common),
            "msgpack" => Ok(Self::Msgpack),
            _ => Err(format!(
                "the parsers are `common` and `msgpack`, not `{text}`"
            )),
        }
    }
}
