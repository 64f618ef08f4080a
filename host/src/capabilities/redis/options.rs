//! What an operator sets for a Redis, and what can be wrong with it.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::url::{Address, RedisUrl};
use crate::capabilities::{secret::Secret, tls::TlsOptions};

/// The most that a limit in bytes may be.
const MAX_BYTES: usize = 1 << 30;
const MIN_BYTES: usize = 1 << 10;
const MIN_TIME: Duration = Duration::from_millis(10);
const MAX_TIME: Duration = Duration::from_secs(600);
/// Most names in one subscription that may be configured.
const MAX_NAMES: usize = 1_000_000;
/// Most URLs of one connection.
const MAX_URLS: usize = 64;

/// One Redis: where it is, who this server is there, and limits. `[connections.redis.NAME]` in the
/// configuration.
///
/// Exactly one of `url`, `cluster` and `sentinel` is given. Secrets are better set by environment
/// variables (`SWITCHBOARD_CONNECTIONS__REDIS__MAIN__PASSWORD`) than in a file; they are never shown.
///
/// ```toml
/// [connections.redis.main]
/// url = "redis://redis.example.com:6379"
/// username = "chat"
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisOptions {
    /// A standalone server.
    pub url: Option<RedisUrl>,
    /// Some nodes of a Redis Cluster; the others are found through them. Credentials are those of
    /// `username` and `password`, or else of the first URL.
    pub cluster: Vec<RedisUrl>,
    /// Sentinels that know where the master is.
    pub sentinel: Option<SentinelOptions>,
    /// The user (Redis 6 and later). Goes before the one in the URL. Default: the user `default`.
    pub username: Option<String>,
    /// The password. Goes before the one in the URL.
    pub password: Option<Secret>,
    /// The database number; 0 in a cluster. Goes before the one in the URL. Pub/Sub channels are the
    /// same in all of them.
    pub database: Option<u32>,
    /// For `rediss://`.
    pub tls: TlsOptions,
    /// How long connecting may take, greeting included. Default 3 s.
    #[serde(rename = "connect_timeout_ms", deserialize_with = "millis")]
    pub connect_timeout: Duration,
    /// How long Redis may take for a reply; then the connection counts as dead. Default 5 s.
    #[serde(rename = "command_timeout_ms", deserialize_with = "millis")]
    pub command_timeout: Duration,
    /// A connection over which nothing comes for so long is asked for a sign of life. Default 2 s.
    #[serde(rename = "ping_interval_ms", deserialize_with = "millis")]
    pub ping_interval: Duration,
    /// How long that sign may take; then the connection counts as dead. Default 2 s.
    #[serde(rename = "ping_timeout_ms", deserialize_with = "millis")]
    pub ping_timeout: Duration,
    /// Bytes of commands that are not answered yet, on each connection to a server; then commands
    /// wait, up to `command_timeout_ms`. Also the most that one pipeline may hold. Default 64 MiB.
    pub max_pending_bytes: usize,
    /// Largest reply or message in bytes. Default 64 MiB.
    pub max_reply_bytes: usize,
    /// Bytes of messages and entries of streams that wait for the plugin, for each subscription; then
    /// this server stops reading, and Redis waits. Each counts 64 bytes more than it holds. Default
    /// 64 MiB.
    pub max_queued_bytes: usize,
    /// Names (channels, patterns, shard channels) of one subscription. Default 100,000.
    pub max_names: usize,
}

/// The sentinels of a master.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SentinelOptions {
    /// Where they are. Port 26379 if none is given. TLS is used with the master as with the
    /// sentinels.
    pub urls: Vec<RedisUrl>,
    /// The name by which they know the master.
    pub master: String,
    /// The user at the sentinels, if they want one; goes before the one in their URLs.
    pub username: Option<String>,
    /// The password at the sentinels.
    pub password: Option<Secret>,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            url: None,
            cluster: Vec::new(),
            sentinel: None,
            username: None,
            password: None,
            database: None,
            tls: TlsOptions::default(),
            connect_timeout: Duration::from_secs(3),
            command_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(2),
            ping_timeout: Duration::from_secs(2),
            max_pending_bytes: 64 << 20,
            max_reply_bytes: 64 << 20,
            max_queued_bytes: 64 << 20,
            max_names: 100_000,
        }
    }
}

fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

/// Which of the three forms is configured.
#[derive(Clone, Debug)]
pub(super) enum Form {
    Single(RedisUrl),
    Cluster(Vec<RedisUrl>),
    Sentinel(SentinelOptions),
}

impl RedisOptions {
    /// A standalone server with the defaults.
    pub fn new(url: RedisUrl) -> Self {
        Self {
            url: Some(url),
            ..Self::default()
        }
    }

    /// What is wrong, as the key and what is to be said about it; for the check of the whole
    /// configuration.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if let Err(problem) = self.form() {
            problems.push(problem);
        }
        for (key, value) in [
            ("max_pending_bytes", self.max_pending_bytes),
            ("max_reply_bytes", self.max_reply_bytes),
            ("max_queued_bytes", self.max_queued_bytes),
        ] {
            if !(MIN_BYTES..=MAX_BYTES).contains(&value) {
                problems.push((
                    key,
                    format!("must be {MIN_BYTES} to {MAX_BYTES}, not {value}"),
                ));
            }
        }
        if !(1..=MAX_NAMES).contains(&self.max_names) {
            let value = self.max_names;
            problems.push((
                "max_names",
                format!("must be 1 to {MAX_NAMES}, not {value}"),
            ));
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

    /// The form that is configured.
    pub(super) fn form(&self) -> Result<Form, (&'static str, String)> {
        let given = usize::from(self.url.is_some())
            + usize::from(!self.cluster.is_empty())
            + usize::from(self.sentinel.is_some());
        if given != 1 {
            let problem = "needs exactly one of `url` (a server), `cluster` (a list of URLs) and \
                           `sentinel` (a table with `urls` and `master`)";
            return Err(("url", problem.to_owned()));
        }
        let form = match (&self.url, &self.sentinel) {
            (Some(url), _) => Form::Single(url.clone()),
            (_, Some(sentinel)) => Form::Sentinel(sentinel.clone()),
            _ => Form::Cluster(self.cluster.clone()),
        };
        let (key, urls) = match &form {
            Form::Single(url) => ("url", std::slice::from_ref(url)),
            Form::Cluster(urls) => ("cluster", urls.as_slice()),
            Form::Sentinel(sentinel) => {
                if sentinel.master.is_empty() {
                    let problem = "needs `master`, the name by which the sentinels know it";
                    return Err(("sentinel", problem.to_owned()));
                }
                ("sentinel", sentinel.urls.as_slice())
            }
        };
        if urls.is_empty() || urls.len() > MAX_URLS {
            return Err((key, format!("needs 1 to {MAX_URLS} URLs")));
        }
        if urls.iter().any(|url| url.tls != self.tls(&form)) {
            let problem = "mixes URLs with TLS (rediss) and without: use one of them";
            return Err((key, problem.to_owned()));
        }
        if key != "url"
            && urls
                .iter()
                .any(|url| matches!(url.address, Address::Unix(_)))
        {
            return Err((key, "takes no Unix sockets: use `url`".to_owned()));
        }
        if !self.tls(&form) && self.tls != TlsOptions::default() {
            let problem = "is set, but the URL has no TLS: write rediss:// instead of redis://";
            return Err(("tls", problem.to_owned()));
        }
        if matches!(form, Form::Cluster(_)) && self.database(&form) != 0 {
            return Err(("database", "must be 0 in a cluster".to_owned()));
        }
        if self.username(&form).is_some() && self.password(&form).is_none() {
            let problem = "is set without `password`; a user without one is never let in";
            return Err(("username", problem.to_owned()));
        }
        Ok(form)
    }

    pub(super) fn tls(&self, form: &Form) -> bool {
        match form {
            Form::Single(url) => url.tls,
            Form::Cluster(urls) => urls.first().is_some_and(|url| url.tls),
            Form::Sentinel(sentinel) => sentinel.urls.first().is_some_and(|url| url.tls),
        }
    }

    /// URLs of sentinels are not the master's.
    fn own_url<'a>(&self, form: &'a Form) -> Option<&'a RedisUrl> {
        match form {
            Form::Single(url) => Some(url),
            Form::Cluster(urls) => urls.first(),
            Form::Sentinel(_) => None,
        }
    }

    pub(super) fn username(&self, form: &Form) -> Option<String> {
        let in_url = || self.own_url(form)?.username.clone();
        self.username
            .clone()
            .filter(|text| !text.is_empty())
            .or_else(in_url)
    }

    pub(super) fn password(&self, form: &Form) -> Option<Secret> {
        let in_url = || self.own_url(form)?.password.clone();
        let is_given = |secret: &Secret| !secret.expose().is_empty();
        self.password.clone().filter(is_given).or_else(in_url)
    }

    pub(super) fn database(&self, form: &Form) -> u32 {
        let in_url = || self.own_url(form)?.database;
        self.database.or_else(in_url).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn options(text: &str) -> RedisOptions {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn keys_are_checked_and_the_rest_has_defaults() {
        let read = options("url = 'redis://h'\ncommand_timeout_ms = 1500\npassword = 'p'");
        let expected = RedisOptions {
            command_timeout: Duration::from_millis(1500),
            password: Some("p".into()),
            ..RedisOptions::new("redis://h".parse().unwrap())
        };
        assert_eq!(read, expected);
        assert_eq!(read.problems(), []);
        assert!(toml::from_str::<RedisOptions>("uri = 'redis://h'").is_err());
    }

    #[test]
    fn separate_credentials_go_before_those_of_the_url() {
        let read = options("url = 'redis://u:p@h/3'\nusername = 'v'\npassword = 'q'\ndatabase = 4");
        let form = read.form().unwrap();
        assert_eq!(read.username(&form).as_deref(), Some("v"));
        assert_eq!(read.password(&form).unwrap().expose(), "q");
        assert_eq!(read.database(&form), 4);
        let read = options("url = 'redis://u:p@h/3'\nusername = ''");
        assert_eq!(read.username(&form).as_deref(), Some("u"));
        assert_eq!(read.password(&form).unwrap().expose(), "p");
        assert_eq!(read.database(&form), 3);
    }

    #[test]
    fn what_cannot_work_is_named_by_its_key() {
        for (text, key) in [
            ("", "url"),
            ("url = 'redis://h'\ncluster = ['redis://h']", "url"),
            ("sentinel = { urls = ['redis://h'] }", "sentinel"),
            ("sentinel = { urls = [], master = 'm' }", "sentinel"),
            ("cluster = ['redis://h', 'rediss://g']", "cluster"),
            ("cluster = ['unix:///s']", "cluster"),
            ("cluster = ['redis://h/1']", "database"),
            ("url = 'redis://h'\ntls.insecure = true", "tls"),
            ("url = 'redis://u@h'", "username"),
            ("url = 'redis://h'\nmax_names = 0", "max_names"),
            (
                "url = 'redis://h'\nmax_queued_bytes = 1",
                "max_queued_bytes",
            ),
            ("url = 'redis://h'\nping_timeout_ms = 0", "ping_timeout_ms"),
        ] {
            let problems = options(text).problems();
            let keys: Vec<_> = problems.iter().map(|(key, _)| *key).collect();
            assert_eq!(keys, [key], "{text:?}: {problems:?}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let read = options(
            "password = 'hunter2'\n\
             sentinel = { urls = ['redis://u:hunter2@h'], master = 'm', password = 'hunter2' }",
        );
        assert_eq!(read.problems(), []);
        assert!(!format!("{read:?}").contains("hunter2"), "{read:?}");
    }
}
