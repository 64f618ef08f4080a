//! What an operator sets for a Postgres, and what can be wrong with it.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::url::{PostgresUrl, SslMode};
use crate::capabilities::{secret::Secret, tls::TlsOptions};

/// The most that a limit in bytes may be. Postgres takes no message over 1 GiB.
const MAX_BYTES: usize = 512 << 20;
const MIN_BYTES: usize = 1 << 10;
const MIN_TIME: Duration = Duration::from_millis(10);
const MAX_TIME: Duration = Duration::from_secs(600);
/// Most channels of one subscription that may be configured.
const MAX_CHANNELS: usize = 100_000;
/// Most connections of a pool.
const MAX_POOL: usize = 64;

/// One Postgres: where it is, who this server is there, and limits. `[connections.postgres.NAME]`
/// in the configuration.
///
/// Secrets are better set by environment variables
/// (`SWITCHBOARD_CONNECTIONS__POSTGRES__MAIN__PASSWORD`) than in a file; they are never shown.
///
/// ```toml
/// [connections.postgres.main]
/// url = "postgres://chat@db.example.com/chat?sslmode=require"
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresOptions {
    /// The database in which statements are executed. Needed. May lead through PgBouncer in
    /// transaction mode.
    pub url: Option<PostgresUrl>,
    /// The way to the same database for LISTEN, if it is another one: past PgBouncer, or through it
    /// in session mode. Default: `url`.
    pub listen_url: Option<PostgresUrl>,
    /// Are statements prepared once for each connection? Behind a pooler in transaction mode they
    /// must not be, unless it keeps track of them (PgBouncer 1.21 with `max_prepared_statements`).
    /// Default: if there is no `listen_url`, because such a pooler needs one.
    pub prepare: Option<bool>,
    /// The user. Goes before the one in the URLs.
    pub username: Option<String>,
    /// The password. Goes before the one in the URLs.
    pub password: Option<Secret>,
    /// Whom to trust, for `sslmode=require`.
    pub tls: TlsOptions,
    /// Connections for statements, made when they are needed. Subscriptions have one each beside
    /// them. Default 4.
    pub pool_size: usize,
    /// How long connecting may take, greeting included. Default 3 s.
    #[serde(rename = "connect_timeout_ms", deserialize_with = "millis")]
    pub connect_timeout: Duration,
    /// How long a batch may take, the wait for a free connection included; then it is cancelled.
    /// Default 5 s.
    #[serde(rename = "command_timeout_ms", deserialize_with = "millis")]
    pub command_timeout: Duration,
    /// A listening connection over which nothing comes for so long is asked for a sign of life.
    /// Default 2 s.
    #[serde(rename = "ping_interval_ms", deserialize_with = "millis")]
    pub ping_interval: Duration,
    /// How long that sign may take; then the connection counts as dead. Default 2 s.
    #[serde(rename = "ping_timeout_ms", deserialize_with = "millis")]
    pub ping_timeout: Duration,
    /// Largest batch in bytes. Default 64 MiB.
    pub max_batch_bytes: usize,
    /// Most bytes that the results of a batch may have. Default 64 MiB.
    pub max_reply_bytes: usize,
    /// Bytes of notifications that wait for the plugin, for each subscription; then this server
    /// stops reading, and Postgres keeps what comes. Each counts 64 bytes more than it holds.
    /// Default 64 MiB.
    pub max_queued_bytes: usize,
    /// Channels of one subscription. Default 10,000.
    pub max_channels: usize,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            url: None,
            listen_url: None,
            prepare: None,
            username: None,
            password: None,
            tls: TlsOptions::default(),
            pool_size: 4,
            connect_timeout: Duration::from_secs(3),
            command_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(2),
            ping_timeout: Duration::from_secs(2),
            max_batch_bytes: 64 << 20,
            max_reply_bytes: 64 << 20,
            max_queued_bytes: 64 << 20,
            max_channels: 10_000,
        }
    }
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

impl PostgresOptions {
    /// A database with the defaults.
    pub fn new(url: PostgresUrl) -> Self {
        Self {
            url: Some(url),
            ..Self::default()
        }
    }

    pub(super) fn prepares(&self) -> bool {
        self.prepare.unwrap_or(self.listen_url.is_none())
    }

    /// Where statements go, and where LISTEN goes.
    pub(super) fn urls(&self) -> Result<(&PostgresUrl, &PostgresUrl), (&'static str, String)> {
        match (&self.url, &self.listen_url) {
            (Some(url), None) => Ok((url, url)),
            (Some(url), Some(listen)) => Ok((url, listen)),
            (None, _) => Err((
                "url",
                "is needed, for example \"postgres://user@host/database\"".to_owned(),
            )),
        }
    }

    /// What is wrong, as the key and what is to be said about it; for the check of the whole
    /// configuration.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        match self.urls() {
            Err(problem) => problems.push(problem),
            Ok((url, listen)) => {
                let is_checked = |url: &PostgresUrl| url.ssl_mode == SslMode::Require;
                let is_set = self.tls != TlsOptions::default();
                if is_set && !is_checked(url) && !is_checked(listen) {
                    let problem = "is set, but the URL does not ask for TLS that is checked: add \
                                   ?sslmode=require to it";
                    problems.push(("tls", problem.to_owned()));
                }
            }
        }
        let mut range = |key, value: usize, least: usize, most: usize| {
            if !(least..=most).contains(&value) {
                problems.push((key, format!("must be {least} to {most}, not {value}")));
            }
        };
        range("pool_size", self.pool_size, 1, MAX_POOL);
        range("max_channels", self.max_channels, 1, MAX_CHANNELS);
        for (key, value) in [
            ("max_batch_bytes", self.max_batch_bytes),
            ("max_reply_bytes", self.max_reply_bytes),
            ("max_queued_bytes", self.max_queued_bytes),
        ] {
            range(key, value, MIN_BYTES, MAX_BYTES);
        }
        for (key, value) in [
            ("connect_timeout_ms", self.connect_timeout),
            ("command_timeout_ms", self.command_timeout),
            ("ping_interval_ms", self.ping_interval),
            ("ping_timeout_ms", self.ping_timeout),
        ] {
            if !(MIN_TIME..=MAX_TIME).contains(&value) {
                let (least, most) = (MIN_TIME.as_millis(), MAX_TIME.as_millis());
                let value = value.as_millis();
                problems.push((key, format!("must be {least} to {most}, not {value}")));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn options(text: &str) -> PostgresOptions {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn keys_are_checked_and_the_rest_has_defaults() {
        let read = options("url = 'postgres://h'\ncommand_timeout_ms = 1500\npassword = 'p'");
        let expected = PostgresOptions {
            command_timeout: Duration::from_millis(1500),
            password: Some("p".into()),
            ..PostgresOptions::new("postgres://h".parse().unwrap())
        };
        assert_eq!(read, expected);
        assert_eq!(read.problems(), []);
        assert!(toml::from_str::<PostgresOptions>("uri = 'postgres://h'").is_err());
    }

    #[test]
    fn what_cannot_work_is_named_by_its_key() {
        for (text, key) in [
            ("", "url"),
            ("listen_url = 'postgres://h'", "url"),
            ("url = 'postgres://h'\ntls.insecure = true", "tls"),
            ("url = 'postgres://h'\npool_size = 0", "pool_size"),
            ("url = 'postgres://h'\nmax_channels = 0", "max_channels"),
            (
                "url = 'postgres://h'\nmax_batch_bytes = 1",
                "max_batch_bytes",
            ),
            (
                "url = 'postgres://h'\nping_timeout_ms = 0",
                "ping_timeout_ms",
            ),
        ] {
            let problems = options(text).problems();
            let keys: Vec<_> = problems.iter().map(|(key, _)| *key).collect();
            assert_eq!(keys, [key], "{text:?}: {problems:?}");
        }
        let tls = "url = 'postgres://h?sslmode=require'\ntls.insecure = true";
        assert_eq!(options(tls).problems(), []);
    }

    #[test]
    fn secrets_are_not_shown() {
        let read = options(
            "url = 'postgres://u:hunter2@h/d'\nlisten_url = 'postgres://u:hunter2@g/d'\n\
             password = 'hunter2'",
        );
        assert_eq!(read.problems(), []);
        assert!(!format!("{read:?}").contains("hunter2"), "{read:?}");
    }
}
