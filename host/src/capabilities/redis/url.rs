//! Where a Redis is: `redis://`, `rediss://` and Unix sockets, as one line of the configuration.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Deserializer};

use super::secret::Secret;

/// The port where none is given.
const DEFAULT_PORT: u16 = 6379;
/// Sentinels listen elsewhere.
pub(super) const SENTINEL_PORT: u16 = 26379;
/// Longest URL, in bytes.
const MAX_URL_BYTES: usize = 2048;

/// An address to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Address {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The URL of a Redis. Its user and password are never shown.
///
/// | form | |
/// |---|---|
/// | `redis://[[user][:password]@]host[:port][/database]` | TCP |
/// | `rediss://…` | TLS over TCP |
/// | `unix:///path/redis.sock`, `redis+unix:///path/redis.sock` | Unix socket |
///
/// Characters that are special in a URL are written as `%40`; the separate keys `username`,
/// `password` and `database` need no such care.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    pub(super) address: Address,
    pub(super) has_port: bool,
    pub(super) tls: bool,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: Option<u32>,
}

/// What is wrong with a URL. Does not repeat it, because it may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the URL of a Redis: {0}")]
pub struct InvalidUrl(String);

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Without user and password.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (&self.address, self.tls) {
            (Address::Unix(_), _) => "unix",
            (_, true) => "rediss",
            (_, false) => "redis",
        };
        write!(f, "{scheme}://{}", self.address)
    }
}

impl std::str::FromStr for RedisUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let wrong = |why: &str| Err(InvalidUrl(why.to_owned()));
        if text.len() > MAX_URL_BYTES {
            return wrong("it is over 2048 bytes long");
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return wrong("it has to begin with redis://, rediss:// or unix://");
        };
        let tls = match scheme {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            "unix" | "redis+unix" => return unix(rest),
            _ => return wrong("it has to begin with redis://, rediss:// or unix://"),
        };
        if rest.contains(['?', '#']) {
            return wrong(
                "`?` and `#` have no meaning here; in a password write %3F and %23, or use the key \
                 `password`",
            );
        }
        // The last `@`, so that a password with one in it does not become a host.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        let (place, database) = match rest.split_once('/') {
            Some((place, "")) => (place, None),
            Some((place, number)) => match number.parse() {
                Ok(number) => (place, Some(number)),
                Err(_) => return wrong("what follows the host is no database number"),
            },
            None => (rest, None),
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((host, "")) => (host, None),
                Some((host, port)) if port.starts_with(':') => (host, port.get(1..)),
                _ => return wrong("an IPv6 address ends with `]`"),
            },
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return wrong("it has no host");
        }
        let port_number = match port.map(str::parse) {
            None => DEFAULT_PORT,
            Some(Ok(number)) if number > 0 => number,
            Some(_) => return wrong("the port is no number from 1 to 65535"),
        };
        let (username, password) = match user {
            Some(user) => credentials(user)?,
            None => (None, None),
        };
        Ok(Self {
            address: Address::Tcp {
                host: host.to_owned(),
                port: port_number,
            },
            has_port: port.is_some(),
            tls,
            username,
            password,
            database,
        })
    }
}

fn unix(rest: &str) -> Result<RedisUrl, InvalidUrl> {
    if !rest.starts_with('/') {
        return Err(InvalidUrl(
            "a Unix socket needs its whole path: unix:///path/redis.sock".to_owned(),
        ));
    }
    Ok(RedisUrl {
        address: Address::Unix(decoded(rest)?.into()),
        has_port: true,
        tls: false,
        username: None,
        password: None,
        database: None,
    })
}

fn credentials(text: &str) -> Result<(Option<String>, Option<Secret>), InvalidUrl> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(decoded(password)?)),
        None => (text, None),
    };
    let user = decoded(user)?;
    Ok((
        (!user.is_empty()).then_some(user),
        password.filter(|text| !text.is_empty()).map(Secret::from),
    ))
}

fn decoded(text: &str) -> Result<String, InvalidUrl> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
            return Err(InvalidUrl(
                "`%` is followed by two hexadecimal digits; write %25 for the sign itself"
                    .to_owned(),
            ));
        };
        out.push(u8::try_from(high * 16 + low).unwrap_or_default());
    }
    String::from_utf8(out).map_err(|_| InvalidUrl("it is not UTF-8".to_owned()))
}

impl<'de> Deserialize<'de> for RedisUrl {
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
    fn urls_of_all_forms_are_read() {
        for (text, address, tls, user, password, database) in [
            (
                "redis://localhost",
                "localhost:6379",
                false,
                None,
                None,
                None,
            ),
            ("rediss://h:1/", "h:1", true, None, None, None),
            (
                "redis://:p%40@h/3",
                "h:6379",
                false,
                None,
                Some("p@"),
                Some(3),
            ),
            (
                "redis://u:a@b@h:7",
                "h:7",
                false,
                Some("u"),
                Some("a@b"),
                None,
            ),
            (
                "redis://u@[::1]:9/0",
                "[::1]:9",
                false,
                Some("u"),
                None,
                Some(0),
            ),
            ("unix:///tmp/r.sock", "/tmp/r.sock", false, None, None, None),
        ] {
            let url: RedisUrl = text.parse().unwrap();
            assert_eq!(url.address.to_string(), address, "{text}");
            assert_eq!(url.tls, tls, "{text}");
            assert_eq!(url.username.as_deref(), user, "{text}");
            assert_eq!(
                url.password.as_ref().map(Secret::expose),
                password,
                "{text}"
            );
            assert_eq!(url.database, database, "{text}");
        }
    }

    #[test]
    fn a_wrong_url_is_refused_without_being_repeated() {
        for text in [
            "localhost:6379",
            "http://h",
            "redis://",
            "redis://u:hunter2@",
            "redis://u:hunter2@h:0",
            "redis://u:hunter2@h/x",
            "redis://u:hunter2%zz@h",
            "redis://u:hunter2@h?db=1",
            "redis://[::1",
            "unix://relative",
        ] {
            let error = text.parse::<RedisUrl>().unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_shown_url_has_no_credentials() {
        let url: RedisUrl = "rediss://alice:hunter2@h:1/2".parse().unwrap();
        for shown in [format!("{url}"), format!("{url:?}")] {
            assert_eq!(shown, "rediss://h:1");
        }
    }
}
