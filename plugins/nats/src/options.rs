//! The operator's options.

use serde_json::Value;
use switchboard_plugin::{
    Config, OpenFailure,
    option::{name, number, text},
    options,
};

use crate::wire::subject;

/// Longest `prefix`, in bytes.
const MAX_PREFIX_BYTES: usize = 256;
/// Longest secret, in bytes: more does not fit into one line of the protocol.
const MAX_SECRET_BYTES: usize = 1024;
/// Times are at least and at most so long.
const TIMES_MS: std::ops::RangeInclusive<u32> = 10..=20_000;

/// What the transport does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Which of the host's connections.
    pub connection: String,
    /// Begins the names of all subjects.
    pub prefix: String,
    /// Who this server is to NATS.
    pub login: Login,
    /// A connection over which nothing comes for so long is asked for a sign of life.
    pub ping_interval_ms: u32,
    /// How long that sign may take; then the connection counts as dead.
    pub ping_timeout_ms: u32,
    /// How long NATS may take to say that it has a batch.
    pub ack_timeout_ms: u32,
}

/// Who this server is to NATS. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// Nobody in particular.
    Nobody,
    /// A user and a password.
    User(String, String),
    /// A token.
    Token(String),
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nobody => "nobody",
            Self::User(..) => "a user",
            Self::Token(_) => "a token",
        })
    }
}

/// As they are written. The values are taken apart here and not by serde, whose errors do not name
/// the key.
#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    connection: Option<Value>,
    prefix: Option<Value>,
    user: Option<Value>,
    password: Option<Value>,
    token: Option<Value>,
    ping_interval: Option<Value>,
    ping_timeout: Option<Value>,
    ack_timeout: Option<Value>,
}

impl Options {
    /// Reads the options.
    ///
    /// # Errors
    /// [`OpenFailure::InvalidConfig`] names the key and what would be right.
    pub fn read(config: &Config) -> Result<Self, OpenFailure> {
        let raw: Raw = options(config)?;
        Self::of(raw)
            .map_err(|why| OpenFailure::InvalidConfig(format!("in the transport's options: {why}")))
    }

    fn of(raw: Raw) -> Result<Self, String> {
        let prefix = name("prefix", raw.prefix, "socket.io", MAX_PREFIX_BYTES)?;
        if !subject::is_prefix(&prefix) {
            return Err(format!(
                "`prefix` is {prefix:?}: it must be words of letters, digits, `-` and `_`, with dots \
                 between them"
            ));
        }
        Ok(Self {
            connection: text("connection", raw.connection)?.unwrap_or_else(|| "main".to_owned()),
            prefix,
            login: login(raw.user, raw.password, raw.token)?,
            ping_interval_ms: number("pingInterval", raw.ping_interval, 2_000, TIMES_MS)?,
            ping_timeout_ms: number("pingTimeout", raw.ping_timeout, 2_000, TIMES_MS)?,
            ack_timeout_ms: number("ackTimeout", raw.ack_timeout, 5_000, TIMES_MS)?,
        })
    }
}

fn login(
    user: Option<Value>,
    password: Option<Value>,
    token: Option<Value>,
) -> Result<Login, String> {
    let user = text("user", user)?;
    let password = secret("password", password)?;
    let token = secret("token", token)?;
    match (user, password, token) {
        (None, None, None) => Ok(Login::Nobody),
        (Some(user), Some(password), None) => Ok(Login::User(user, password)),
        (None, None, Some(token)) => Ok(Login::Token(token)),
        (_, _, Some(_)) => {
            Err("`token` is set beside `user` or `password`: use one of them".to_owned())
        }
        (Some(_), None, _) => Err("`user` is set without `password`".to_owned()),
        (None, Some(_), _) => Err("`password` is set without `user`".to_owned()),
    }
}

/// The value is not repeated, whatever it is.
fn secret(key: &str, value: Option<Value>) -> Result<Option<String>, String> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) if (1..=MAX_SECRET_BYTES).contains(&text.len()) => Ok(Some(text)),
        Some(_) => Err(format!(
            "`{key}` must be text in quotes, of 1 to {MAX_SECRET_BYTES} bytes"
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(options: &str) -> Result<Options, OpenFailure> {
        Options::read(&Config {
            node: "n".to_owned(),
            options: options.to_owned(),
            wants_offsets: false,
        })
    }

    #[test]
    fn options_have_defaults() {
        let options = read("{}").unwrap();
        assert_eq!(options.connection, "main");
        assert_eq!(options.prefix, "socket.io");
        assert_eq!(options.login, Login::Nobody);
        let options = read(r#"{"user":"u","password":"p","pingInterval":300}"#).unwrap();
        assert_eq!(options.login, Login::User("u".to_owned(), "p".to_owned()));
        assert_eq!(options.ping_interval_ms, 300);
    }

    #[test]
    fn what_cannot_work_is_named_by_its_key_and_secrets_are_not_repeated() {
        for (text, key) in [
            (r#"{"prefx":"a"}"#, "`prefx`"),
            (r#"{"prefix":"a..b"}"#, "`prefix`"),
            (r#"{"prefix":"a.*"}"#, "`prefix`"),
            (r#"{"user":"u"}"#, "`password`"),
            (r#"{"password":"hunter2"}"#, "`user`"),
            (r#"{"password":["hunter2"],"user":"u"}"#, "`password`"),
            (
                r#"{"token":"hunter2","user":"u","password":"p"}"#,
                "`token`",
            ),
            (r#"{"pingTimeout":0}"#, "`pingTimeout`"),
        ] {
            let Err(OpenFailure::InvalidConfig(why)) = read(text) else {
                panic!("{text}");
            };
            assert!(why.contains(key), "{text}: {why}");
            assert!(!why.contains("hunter2"), "{why}");
        }
        let shown = format!("{:?}", read(r#"{"token":"hunter2"}"#).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
