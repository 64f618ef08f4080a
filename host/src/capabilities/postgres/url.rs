//! Where a Postgres is: one line of the configuration, as other clients take it.

use std::fmt;

use serde::{Deserialize, Deserializer};
use tokio_postgres::config::{Config, Host, SslMode as ClientMode};

/// The port where none is given.
const DEFAULT_PORT: u16 = 5432;
/// Longest URL, in bytes.
const MAX_URL_BYTES: usize = 2048;
/// Parameters that mean something here. Times, TLS and the rest have keys of their own.
const PARAMETERS: [&str; 10] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "target_session_attrs",
    "user",
];
/// How this server calls itself, if the URL does not say otherwise.
const APPLICATION_NAME: &str = "switchboard";

/// When to use TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SslMode {
    /// Never.
    Disable,
    /// If the server has it, whoever it is: as all clients do that are not told anything.
    Prefer,
    /// Always, and with a certificate that is trusted.
    Require,
}

/// The URL of a Postgres. Its password is never shown.
///
/// `postgres://[user[:password]@]host[:port][/database][?parameters]`, also with several hosts
/// (`host1:5432,host2:5432`, tried in turn) or none and `?host=/run/postgresql` for a Unix socket.
///
/// | parameter | |
/// |---|---|
/// | `sslmode` | `disable`; `prefer` (default): TLS if the server has it, certificates are not checked; `require`, `verify-full`: TLS with a certificate that is checked, see the key `tls` |
/// | `target_session_attrs=read-write` | of several hosts, the one that takes writes |
/// | `application_name`, `options`, `dbname`, `user`, `password`, `host`, `hostaddr`, `port`, `load_balance_hosts` | as in libpq |
///
/// Characters that are special in a URL are written as `%40`; the separate keys `username` and
/// `password` need no such care.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    pub(super) config: Config,
    pub(super) ssl_mode: SslMode,
}

/// What is wrong with a URL. Does not repeat it, because it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the URL of a Postgres: {0}")]
pub struct InvalidUrl(String);

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Without user, password and parameters.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}", self.hosts())?;
        match self.config.get_dbname() {
            Some(name) => write!(f, "/{name}"),
            None => Ok(()),
        }
    }
}

impl PostgresUrl {
    /// The hosts with their ports, for messages.
    pub(super) fn hosts(&self) -> String {
        let ports = self.config.get_ports();
        let named = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let named: Vec<String> = match self.config.get_hosts().is_empty() {
            false => named.collect(),
            true => {
                let addresses = self.config.get_hostaddrs().iter();
                addresses.map(ToString::to_string).collect()
            }
        };
        let shown = named.into_iter().enumerate().map(|(index, host)| {
            let port = ports.get(index).or(ports.first());
            let port = port.copied().unwrap_or(DEFAULT_PORT);
            match host.contains(':') {
                true => format!("[{host}]:{port}"),
                false => format!("{host}:{port}"),
            }
        });
        shown.collect::<Vec<_>>().join(",")
    }
}

impl std::str::FromStr for PostgresUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let wrong = |why: &str| Err(InvalidUrl(why.to_owned()));
        if text.len() > MAX_URL_BYTES {
            return wrong("it is over 2048 bytes long");
        }
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return wrong("it has to begin with postgres://");
        }
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        if query.contains('@') || text.contains('#') {
            return wrong(
                "in a password write %3F for `?`, %23 for `#` and %40 for `@`, or use the key \
                 `password`",
            );
        }
        let mut ssl_mode = SslMode::Prefer;
        let mut kept = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (key, value) {
                ("sslmode", "disable") => ssl_mode = SslMode::Disable,
                ("sslmode", "prefer") => ssl_mode = SslMode::Prefer,
                ("sslmode", "require" | "verify-full") => ssl_mode = SslMode::Require,
                ("sslmode", _) => {
                    return wrong(
                        "`sslmode` is disable, prefer, require or verify-full; to accept any \
                         certificate, set the key `tls.insecure`",
                    );
                }
                (key, _) if PARAMETERS.contains(&key) => kept.push(pair),
                // It may be the rest of a password.
                _ => {
                    return Err(InvalidUrl(format!(
                        "of the parameters after `?` only these have a meaning: sslmode, {}",
                        PARAMETERS.join(", ")
                    )));
                }
            }
        }
        let rebuilt = format!("{place}?{}", kept.join("&"));
        // The parser's own message may repeat parts of the text.
        let Ok(mut config) = rebuilt.parse::<Config>() else {
            return wrong(
                "it has to be like postgres://user:password@host:5432/database; special characters \
                 are written as %40",
            );
        };
        let mut hosts = config.get_hosts().iter();
        let is_empty = hosts.any(|host| matches!(host, Host::Tcp(name) if name.is_empty()));
        if is_empty || (config.get_hosts().is_empty() && config.get_hostaddrs().is_empty()) {
            return wrong("it has no host");
        }
        if config.get_application_name().is_none() {
            config.application_name(APPLICATION_NAME);
        }
        config.ssl_mode(match ssl_mode {
            SslMode::Disable => ClientMode::Disable,
            SslMode::Prefer => ClientMode::Prefer,
            SslMode::Require => ClientMode::Require,
        });
        Ok(Self { config, ssl_mode })
    }
}

impl<'de> Deserialize<'de> for PostgresUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn urls_of_all_forms_are_read_and_shown_without_secrets() {
        for (text, shown, mode) in [
            ("postgres://h", "postgres://h:5432", SslMode::Prefer),
            (
                "postgresql://u:hunter2@h:1/d?sslmode=require",
                "postgres://h:1/d",
                SslMode::Require,
            ),
            (
                "postgres://u:hunter2%40%3F@h/d?application_name=x&sslmode=disable",
                "postgres://h:5432/d",
                SslMode::Disable,
            ),
            (
                "postgres://a:1,b:2/d?target_session_attrs=read-write&sslmode=verify-full",
                "postgres://a:1,b:2/d",
                SslMode::Require,
            ),
            (
                "postgres:///d?host=/run/postgresql&user=u&password=hunter2",
                "postgres:///run/postgresql:5432/d",
                SslMode::Prefer,
            ),
            (
                "postgres://[::1]:7/d",
                "postgres://[::1]:7/d",
                SslMode::Prefer,
            ),
        ] {
            let url: PostgresUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown, "{text}");
            assert_eq!(format!("{url:?}"), shown, "{text}");
            assert_eq!(url.ssl_mode, mode, "{text}");
        }
    }

    #[test]
    fn what_the_url_says_reaches_the_client() {
        let url: PostgresUrl = "postgres://u:p%40@h/d".parse().unwrap();
        assert_eq!(url.config.get_user(), Some("u"));
        assert_eq!(url.config.get_password(), Some(&b"p@"[..]));
        assert_eq!(url.config.get_dbname(), Some("d"));
        assert_eq!(url.config.get_application_name(), Some("switchboard"));
        let url: PostgresUrl = "postgres://h?application_name=x".parse().unwrap();
        assert_eq!(url.config.get_application_name(), Some("x"));
    }

    #[test]
    fn a_wrong_url_is_explained_and_not_repeated() {
        for (text, expected) in [
            ("mysql://u:hunter2@h", "begin with postgres://"),
            ("u:hunter2@h", "begin with postgres://"),
            ("host=h password=hunter2", "begin with postgres://"),
            ("postgres://u:hunter2?x@h/d", "%3F"),
            ("postgres://u:hunter2#x@h/d", "%23"),
            ("postgres://u@h/d?hunter2=x", "only these"),
            ("postgres://u@h/d?connect_timeout=3", "only these"),
            ("postgres://u@h/d?sslmode=allow", "sslmode"),
            ("postgres://u:hunter2@h:port/d", "like postgres://"),
            ("postgres:///d", "no host"),
            ("postgres://u:hunter2@/d", "no host"),
        ] {
            let error = text.parse::<PostgresUrl>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let long = format!("postgres://{}", "h".repeat(3000));
        assert!(long.parse::<PostgresUrl>().is_err());
    }
}
