//! What is said on the socket: a line of JSON for each request, and one or more lines of JSON for its
//! answer.
//!
//! ```text
//! {"command":"status","sample_ms":1000}
//! {"result":{"node":"…", …},"done":true}
//! ```
//!
//! An answer ends with a line that holds `result` and `"done":true`, or `error`. What takes a while
//! tells `progress` in lines before it. Requests on one connection are answered one after the other.
//! Readers ignore members that they do not know.

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

/// Longest request, in bytes.
pub const MAX_REQUEST_BYTES: usize = 64 << 10;

/// Longest line of an answer, in bytes: the status of a server in a cluster of thousands.
pub const MAX_ANSWER_BYTES: usize = 16 << 20;

/// What a server can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Request {
    /// How the server stands: a [`Status`](crate::Status).
    Status {
        /// Rates are measured for so long, at most 10 s; 0: none are measured.
        #[serde(default)]
        sample_ms: u32,
    },
    /// What is in the plugin folder: a list of [`PluginReport`](super::PluginReport)s.
    Plugins,
    /// Moves the whole cluster to another transport: tells each change of a
    /// [`SwitchReport`](crate::SwitchReport) as progress, and ends with a
    /// [`Switched`](crate::Switched). It goes on if the connection is closed.
    Switch {
        /// The plugin's name.
        transport: String,
        /// Although there are servers that cannot come along.
        #[serde(default)]
        force: bool,
    },
    /// Calls off a switch that this server was asked for: whether there was one that could be.
    Abort,
}

/// The names of the commands, for whoever gets one wrong.
pub(super) const COMMANDS: [&str; 4] = ["status", "plugins", "switch", "abort"];

/// One line of an answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// It goes on: a step is done.
    Progress(Value),
    /// The end: this is what was asked for.
    Done(Value),
    /// The end: it could not be done.
    Error(Failure),
}

/// Why a request could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Failure {
    /// What kind of reason it is, for programs.
    pub kind: ErrorKind,
    /// What went wrong and what to do, for people.
    pub message: String,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request cannot be understood: its sender's fault.
    BadRequest,
    /// Too many are connected. Try again later.
    Busy,
    /// The server is stopping.
    Closing,
    /// It was tried, and failed.
    Failed,
    /// A kind that a newer server knows.
    #[serde(other)]
    Unknown,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

impl Request {
    /// Reads a line.
    pub(super) fn read(line: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(line).map_err(|error| {
            let known = COMMANDS.join("`, `");
            let message = format!(
                "this is no request: {error}; a request is one line like \
                 {{\"command\":\"status\"}}, and the commands are `{known}`"
            );
            Failure::new(ErrorKind::BadRequest, message)
        })
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_map(None)?;
        match self {
            Self::Progress(step) => line.serialize_entry("progress", step)?,
            Self::Done(result) => {
                line.serialize_entry("result", result)?;
                line.serialize_entry("done", &true)?;
            }
            Self::Error(failure) => line.serialize_entry("error", failure)?,
        }
        line.end()
    }
}

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Line {
            progress: Option<Value>,
            result: Option<Value>,
            error: Option<Failure>,
        }
        let line = Line::deserialize(deserializer)?;
        match line {
            Line {
                error: Some(error), ..
            } => Ok(Self::Error(error)),
            Line {
                result: Some(result),
                ..
            } => Ok(Self::Done(result)),
            Line {
                progress: Some(step),
                ..
            } => Ok(Self::Progress(step)),
            _ => Err(serde::de::Error::custom(
                "a line without `progress`, `result` or `error`",
            )),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_are_what_the_documentation_says() {
        let read = |line: &str| Request::read(line.as_bytes());
        assert_eq!(read(r#"{"command":"plugins"}"#), Ok(Request::Plugins));
        let status = |sample_ms| Ok(Request::Status { sample_ms });
        assert_eq!(read(r#"{"command":"status"}"#), status(0));
        assert_eq!(
            read(r#"{"command":"status","sample_ms":5,"new":1}"#),
            status(5)
        );
    }

    #[test]
    fn what_is_no_request_is_refused_with_the_commands_that_there_are() {
        for line in [
            "",
            "status",
            "{}",
            r#"{"command":"stop"}"#,
            r#"{"command":7}"#,
            "[1]",
        ] {
            let failure = Request::read(line.as_bytes()).unwrap_err();
            assert_eq!(failure.kind, ErrorKind::BadRequest, "{line}");
            for command in COMMANDS {
                assert!(failure.message.contains(command), "{line}: {failure}");
            }
        }
    }

    #[test]
    fn every_command_is_listed() {
        for command in COMMANDS {
            // What some of them need besides; the others pass over it.
            let line = json!({ "command": command, "transport": "local" }).to_string();
            assert!(Request::read(line.as_bytes()).is_ok(), "{command}");
        }
    }

    #[test]
    fn answers_are_read_as_they_are_written() {
        let failure = Failure::new(ErrorKind::Failed, "why");
        for (answer, line) in [
            (
                Answer::Progress(json!("a step")),
                r#"{"progress":"a step"}"#,
            ),
            (Answer::Done(json!([1])), r#"{"result":[1],"done":true}"#),
            (
                Answer::Error(failure),
                r#"{"error":{"kind":"failed","message":"why"}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&answer).unwrap(), line);
            assert_eq!(serde_json::from_str::<Answer>(line).unwrap(), answer);
        }
        let newer = r#"{"error":{"kind":"of-tomorrow","message":"m"},"more":1}"#;
        let answer = serde_json::from_str(newer).unwrap();
        assert!(matches!(answer, Answer::Error(failure) if failure.kind == ErrorKind::Unknown));
        assert!(serde_json::from_str::<Answer>("{}").is_err());
    }
}
