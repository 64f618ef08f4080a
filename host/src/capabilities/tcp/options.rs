//! What an operator sets for connections over TCP, and what can be wrong with it.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::endpoint::Endpoint;
use crate::capabilities::tls::TlsOptions;

/// The most that a limit in bytes may be.
const MAX_BYTES: usize = 1 << 30;
const MIN_BYTES: usize = 1 << 10;
const MIN_TIME: Duration = Duration::from_millis(10);
const MAX_TIME: Duration = Duration::from_secs(600);
/// Most addresses of one connection.
const MAX_ADDRESSES: usize = 64;

/// Servers of one kind that plugins speak with over TCP: where they are, whether it is encrypted, and
/// limits. `[connections.tcp.NAME]` in the configuration.
///
/// The credentials of the protocol are not here: the plugin speaks it, so they are its options.
///
/// ```toml
/// [connections.tcp.main]
/// addresses = ["nats-1.example.com:4222", "nats-2.example.com:4222"]
/// encryption = "start"
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TcpOptions {
    /// One or more servers that stand for each other; they are tried in turn, beginning with the one
    /// that worked last.
    #[serde(deserialize_with = "endpoints")]
    pub addresses: Vec<Endpoint>,
    /// Whether TLS is spoken. Default: no.
    pub encryption: Encryption,
    /// Whom to trust, if it is.
    pub tls: TlsOptions,
    /// How long connecting to one address may take, TLS included. Default 3 s.
    #[serde(rename = "connect_timeout_ms", deserialize_with = "millis")]
    pub connect_timeout: Duration,
    /// Bytes that wait for the plugin on each connection, those included that it has read and not
    /// marked as consumed; then this server stops reading, and the peer waits. Default 64 MiB.
    pub max_read_bytes: usize,
    /// Bytes of the plugin that wait to be sent on each connection; then the plugin waits. Also the
    /// most that it may write at once. Default 64 MiB.
    pub max_write_bytes: usize,
}

/// Whether TLS is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// No.
    #[default]
    Off,
    /// From the first byte on.
    On,
    /// The protocol begins in plain text, and the plugin starts it (NATS, Postgres, SMTP and others
    /// do so). The host sees to it that it is TLS then, with a certificate that it trusts; that the
    /// plugin starts it before it sends secrets is up to the plugin.
    Start,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            encryption: Encryption::Off,
            tls: TlsOptions::default(),
            connect_timeout: Duration::from_secs(3),
            max_read_bytes: 64 << 20,
            max_write_bytes: 64 << 20,
        }
    }
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

/// A wrong one is an error of the whole list: the rest of it would be another list.
fn endpoints<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Endpoint>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let endpoints = texts.iter().map(|text| text.parse());
    let endpoints: Result<_, super::InvalidEndpoint> = endpoints.collect();
    endpoints.map_err(serde::de::Error::custom)
}

impl TcpOptions {
    /// What is wrong, as the key and what is to be said about it; for the check of the whole
    /// configuration.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let addresses = self.addresses.len();
        if !(1..=MAX_ADDRESSES).contains(&addresses) {
            problems.push((
                "addresses",
                format!("needs 1 to {MAX_ADDRESSES} texts such as \"localhost:4222\""),
            ));
        }
        if self.encryption == Encryption::Off && self.tls != TlsOptions::default() {
            let problem =
                "is set, but nothing is encrypted: set `encryption` to \"on\" or \"start\"";
            problems.push(("tls", problem.to_owned()));
        }
        for (key, value) in [
            ("max_read_bytes", self.max_read_bytes),
            ("max_write_bytes", self.max_write_bytes),
        ] {
            if !(MIN_BYTES..=MAX_BYTES).contains(&value) {
                let problem = format!("must be {MIN_BYTES} to {MAX_BYTES}, not {value}");
                problems.push((key, problem));
            }
        }
        if !(MIN_TIME..=MAX_TIME).contains(&self.connect_timeout) {
            let (least, most) = (MIN_TIME.as_millis(), MAX_TIME.as_millis());
            let value = self.connect_timeout.as_millis();
            let problem = format!("must be {least} to {most}, not {value}");
            problems.push(("connect_timeout_ms", problem));
        }
        problems
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn options(text: &str) -> TcpOptions {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn keys_are_checked_and_the_rest_has_defaults() {
        let read = options("addresses = ['h:1', '[::1]:2']\nencryption = 'start'");
        let expected = TcpOptions {
            addresses: vec!["h:1".parse().unwrap(), "[::1]:2".parse().unwrap()],
            encryption: Encryption::Start,
            ..TcpOptions::default()
        };
        assert_eq!(read, expected);
        assert_eq!(read.problems(), []);
        for wrong in ["adress = 'h:1'", "addresses = ['h']", "encryption = 'yes'"] {
            assert!(toml::from_str::<TcpOptions>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_work_is_named_by_its_key() {
        for (text, key) in [
            ("", "addresses"),
            ("addresses = ['h:1']\ntls.insecure = true", "tls"),
            ("addresses = ['h:1']\nmax_read_bytes = 1", "max_read_bytes"),
            (
                "addresses = ['h:1']\nmax_write_bytes = 1",
                "max_write_bytes",
            ),
            (
                "addresses = ['h:1']\nconnect_timeout_ms = 0",
                "connect_timeout_ms",
            ),
        ] {
            let problems = options(text).problems();
            let keys: Vec<_> = problems.iter().map(|(key, _)| *key).collect();
            assert_eq!(keys, [key], "{text:?}: {problems:?}");
        }
    }
}
