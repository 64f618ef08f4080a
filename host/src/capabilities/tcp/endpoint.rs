//! Where a connection goes: `host:port`, and patterns of such places in grants.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer};

/// Longest host, in bytes; DNS has no longer names.
const MAX_HOST_BYTES: usize = 253;

/// A host, by its name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Lower case; an IPv6 address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

/// What is wrong with an endpoint, or with the pattern of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidEndpoint(&'static str);

const FORM: InvalidEndpoint = InvalidEndpoint(
    "must be HOST:PORT, with a port from 1 to 65535 and an IPv6 address in brackets",
);
const PATTERN_FORM: InvalidEndpoint = InvalidEndpoint(
    "must be HOST:PORT; HOST may be `*`, or begin with `*.` for all names that end so, and PORT may \
     be `*`",
);

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let (host, port) = split(text).ok_or(FORM)?;
        if !is_host(host) {
            return Err(FORM);
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port: port_number(port).ok_or(FORM)?,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Endpoints that a grant is for: one, all ports of a host, all hosts of a domain, all.
///
/// A name is compared as it is written: an address that some name stands for is another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPattern {
    host: HostPattern,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Any,
    /// With the dot in front.
    Ending(String),
    Exactly(String),
}

impl EndpointPattern {
    pub(super) fn covers(&self, endpoint: &Endpoint) -> bool {
        let is_host = match &self.host {
            HostPattern::Any => true,
            // The digits after the last dot of an address are no domain.
            HostPattern::Ending(end) => {
                endpoint.host.len() > end.len()
                    && endpoint.host.ends_with(end)
                    && endpoint.host.parse::<IpAddr>().is_err()
            }
            HostPattern::Exactly(host) => *host == endpoint.host,
        };
        is_host && self.port.is_none_or(|port| port == endpoint.port)
    }
}

impl FromStr for EndpointPattern {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let (host, port) = split(text).ok_or(PATTERN_FORM)?;
        let lower = || host.to_ascii_lowercase();
        let host = match host.strip_prefix('*') {
            Some("") => HostPattern::Any,
            Some(end) if end.starts_with('.') && is_host(&end[1..]) => {
                HostPattern::Ending(end.to_ascii_lowercase())
            }
            None if is_host(host) => HostPattern::Exactly(lower()),
            _ => return Err(PATTERN_FORM),
        };
        let port = match port {
            "*" => None,
            port => Some(port_number(port).ok_or(PATTERN_FORM)?),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for EndpointPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HostPattern::Any => f.write_str("*")?,
            HostPattern::Ending(end) => write!(f, "*{end}")?,
            HostPattern::Exactly(host) if host.contains(':') => write!(f, "[{host}]")?,
            HostPattern::Exactly(host) => f.write_str(host)?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => f.write_str(":*"),
        }
    }
}

impl<'de> Deserialize<'de> for EndpointPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn split(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:"),
        None => text.split_once(':').filter(|(_, port)| !port.contains(':')),
    }
}

/// A name as DNS has them, or an address.
fn is_host(text: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=MAX_HOST_BYTES).contains(&text.len())
        && (text.bytes().all(is_name) || text.parse::<IpAddr>().is_ok())
}

fn port_number(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port > 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for (text, shown) in [
            ("nats:4222", "nats:4222"),
            ("NATS-1.Example.com:1", "nats-1.example.com:1"),
            ("127.0.0.1:65535", "127.0.0.1:65535"),
            ("[::1]:4222", "[::1]:4222"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
        for wrong in [
            "",
            "nats",
            "nats:",
            ":4222",
            "nats:0",
            "nats:65536",
            "nats:+1",
            "::1:4222",
            "[::1]",
            "[nats:4222",
            "a b:1",
            "a/b:1",
            "nats:4222:1",
            "*:1",
            "u@h:1",
            "[x:y]:1",
        ] {
            assert!(wrong.parse::<Endpoint>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_pattern_is_for_the_names_that_are_meant_and_no_others() {
        for (pattern, covered, others) in [
            (
                "*.nats.internal:4222",
                ["a.nats.internal:4222", "A.B.nats.internal:4222"],
                ["nats.internal:4222", "a.nats.internal:4223"],
            ),
            (
                "nats:*",
                ["nats:1", "NATS:4222"],
                ["nats.evil:1", "xnats:1"],
            ),
            (
                "10.0.0.7:4222",
                ["10.0.0.7:4222", "10.0.0.7:4222"],
                ["10.0.0.70:4222", "a.10.0.0.7:4222"],
            ),
            ("*.7:1", ["a.7:1", "b.7:1"], ["10.0.0.7:1", "7:1"]),
            ("*:4222", ["10.0.0.7:4222", "[::1]:4222"], ["a:1", "b:2"]),
            ("[::1]:*", ["[::1]:1", "[::1]:2"], ["[::2]:1", "a:1"]),
        ] {
            let pattern: EndpointPattern = pattern.parse().unwrap();
            for endpoint in covered {
                let endpoint = endpoint.parse().unwrap();
                assert!(pattern.covers(&endpoint), "{pattern} is for {endpoint}");
            }
            for endpoint in others {
                let endpoint = endpoint.parse().unwrap();
                assert!(
                    !pattern.covers(&endpoint),
                    "{pattern} is not for {endpoint}"
                );
            }
        }
        for wrong in ["", "*", "a*:1", "*a:1", "*.:1", "a:b", "*.*:1", "a:0"] {
            assert!(wrong.parse::<EndpointPattern>().is_err(), "{wrong:?}");
        }
    }
}
