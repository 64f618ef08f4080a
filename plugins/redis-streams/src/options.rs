//! The operator's options: names and defaults of Node's adapter, plus `connection`.

use serde_json::Value;
use switchboard_plugin::{
    Config, OpenFailure,
    option::{flag, name, number},
    options,
};

/// Longest name or prefix, in bytes: grants must be able to name what begins with it.
const MAX_NAME_BYTES: usize = 256;
/// The host reads at most 64 streams for one subscription, and each has a negative twin.
const MAX_STREAMS: u32 = 32;
/// The host asks for no more entries at a time.
const MAX_READ_COUNT: u32 = 1000;

const DEFAULT_CONNECTION: &str = "main";
const DEFAULT_NAME: &str = "socket.io";
const DEFAULT_SESSION_KEY_PREFIX: &str = "sio:session:";
const DEFAULT_MAX_LEN: u32 = 10_000;
const DEFAULT_READ_COUNT: u32 = 100;

/// What the transport does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Which Redis, of those that the host's configuration names.
    pub(crate) connection: String,
    /// The stream's name, or what the names of several begin with.
    pub(crate) stream_name: String,
    /// Over how many streams the namespaces are spread.
    pub(crate) stream_count: u32,
    /// Begins the names of all channels.
    pub(crate) channel_prefix: String,
    /// SPUBLISH and SSUBSCRIBE instead of PUBLISH and SUBSCRIBE.
    pub(crate) is_sharded: bool,
    /// About how many entries a stream keeps.
    pub(crate) max_len: u32,
    /// How many entries are read at a time.
    pub(crate) read_count: u32,
    /// Begins the keys of sessions.
    pub(crate) session_key_prefix: String,
    /// Binary parts of plain events are written as text.
    pub(crate) only_plaintext: bool,
}

/// As they are written. The values are taken apart here and not by serde, whose errors do not name
/// the key.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    connection: Option<Value>,
    stream_name: Option<Value>,
    stream_count: Option<Value>,
    channel_prefix: Option<Value>,
    // "PubSub" in Node's name has two capitals.
    #[serde(rename = "useShardedPubSub")]
    use_sharded_pubsub: Option<Value>,
    max_len: Option<Value>,
    read_count: Option<Value>,
    session_key_prefix: Option<Value>,
    only_plaintext: Option<Value>,
    block_time_in_ms: Option<Value>,
    heartbeat_interval: Option<Value>,
    heartbeat_timeout: Option<Value>,
}

impl Options {
    /// Reads the options.
    ///
    /// # Errors
    /// [`OpenFailure::InvalidConfig`] names the key and what would be right.
    pub(crate) fn read(config: &Config) -> Result<Self, OpenFailure> {
        let raw: Raw = options(config)?;
        Self::of(raw)
            .map_err(|why| OpenFailure::InvalidConfig(format!("in the transport's options: {why}")))
    }

    fn of(raw: Raw) -> Result<Self, String> {
        // They would have no effect, and an option that has none is a trap.
        if raw.block_time_in_ms.is_some() {
            return Err(
                "`blockTimeInMs` is not needed here: take it out. This server waits in Redis for \
                 as long as nothing comes, and notices within `ping_interval_ms` and \
                 `ping_timeout_ms`, under [connections.redis.NAME], that a connection is dead"
                    .to_owned(),
            );
        }
        no_heartbeats(
            "heartbeatInterval",
            "heartbeat_interval_ms",
            &raw.heartbeat_interval,
        )?;
        no_heartbeats(
            "heartbeatTimeout",
            "heartbeat_timeout_ms",
            &raw.heartbeat_timeout,
        )?;
        Ok(Self {
            connection: name(
                "connection",
                raw.connection,
                DEFAULT_CONNECTION,
                MAX_NAME_BYTES,
            )?,
            stream_name: name("streamName", raw.stream_name, DEFAULT_NAME, MAX_NAME_BYTES)?,
            stream_count: number("streamCount", raw.stream_count, 1, 1..=MAX_STREAMS)?,
            channel_prefix: name(
                "channelPrefix",
                raw.channel_prefix,
                DEFAULT_NAME,
                MAX_NAME_BYTES,
            )?,
            is_sharded: flag("useShardedPubSub", raw.use_sharded_pubsub, false)?,
            max_len: number("maxLen", raw.max_len, DEFAULT_MAX_LEN, 1..=u32::MAX)?,
            read_count: number(
                "readCount",
                raw.read_count,
                DEFAULT_READ_COUNT,
                1..=MAX_READ_COUNT,
            )?,
            session_key_prefix: name(
                "sessionKeyPrefix",
                raw.session_key_prefix,
                DEFAULT_SESSION_KEY_PREFIX,
                MAX_NAME_BYTES,
            )?,
            only_plaintext: flag("onlyPlaintext", raw.only_plaintext, false)?,
        })
    }
}

fn no_heartbeats(key: &str, setting: &str, value: &Option<Value>) -> Result<(), String> {
    match value {
        None => Ok(()),
        Some(_) => Err(format!(
            "`{key}` has no effect in Node's adapter 0.3 and is the server's affair here: take it \
             out, and set `{setting}` under [cluster] in switchboard.toml if you need to"
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

    fn problem(options: &str) -> String {
        match read(options).unwrap_err() {
            OpenFailure::InvalidConfig(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_options_it_is_nodes_adapter_as_it_comes() {
        let expected = Options {
            connection: "main".to_owned(),
            stream_name: "socket.io".to_owned(),
            stream_count: 1,
            channel_prefix: "socket.io".to_owned(),
            is_sharded: false,
            max_len: 10_000,
            read_count: 100,
            session_key_prefix: "sio:session:".to_owned(),
            only_plaintext: false,
        };
        assert_eq!(read("{}").unwrap(), expected);
    }

    #[test]
    fn options_have_nodes_names() {
        let expected = Options {
            connection: "events".to_owned(),
            stream_name: "st".to_owned(),
            stream_count: 3,
            channel_prefix: "cp".to_owned(),
            is_sharded: true,
            max_len: 100,
            read_count: 1000,
            session_key_prefix: "s:".to_owned(),
            only_plaintext: true,
        };
        let text = r#"{
            "connection": "events", "streamName": "st", "streamCount": 3, "channelPrefix": "cp",
            "useShardedPubSub": true, "maxLen": 100, "readCount": 1000, "sessionKeyPrefix": "s:",
            "onlyPlaintext": true
        }"#;
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn a_wrong_option_is_named_together_with_what_would_be_right() {
        let long = format!(r#"{{"streamName":"{}"}}"#, "k".repeat(MAX_NAME_BYTES + 1));
        for (text, parts) in [
            (r#"{"streamname":"a"}"#, ["`streamname`", "`streamName`"]),
            (r#"{"connection":7}"#, ["`connection` is 7", "text"]),
            (
                r#"{"channelPrefix":""}"#,
                ["`channelPrefix` is empty", "default"],
            ),
            (long.as_str(), ["`streamName` has 257 bytes", "at most 256"]),
            (
                r#"{"streamCount":0}"#,
                ["`streamCount` is 0", "from 1 to 32"],
            ),
            (
                r#"{"streamCount":33}"#,
                ["`streamCount` is 33", "from 1 to 32"],
            ),
            (r#"{"maxLen":-1}"#, ["`maxLen` is -1", "from 1 to"]),
            (r#"{"maxLen":1.5}"#, ["`maxLen` is 1.5", "whole number"]),
            (r#"{"readCount":1001}"#, ["`readCount` is 1001", "to 1000"]),
            (
                r#"{"useShardedPubSub":"yes"}"#,
                ["`useShardedPubSub` is \"yes\"", "`true` or `false`"],
            ),
            (
                r#"{"onlyPlaintext":1}"#,
                ["`onlyPlaintext` is 1", "`true` or `false`"],
            ),
        ] {
            let problem = problem(text);
            for part in parts {
                assert!(problem.contains(part), "{text}: {problem}");
            }
        }
    }

    #[test]
    fn an_option_that_would_have_no_effect_is_refused_with_the_setting_that_has_it() {
        for (text, setting) in [
            (r#"{"blockTimeInMs":5000}"#, "`ping_interval_ms`"),
            (r#"{"heartbeatInterval":5000}"#, "`heartbeat_interval_ms`"),
            (r#"{"heartbeatTimeout":10000}"#, "`heartbeat_timeout_ms`"),
        ] {
            let problem = problem(text);
            assert!(problem.contains(setting), "{text}: {problem}");
            assert!(problem.contains("take it out"), "{text}: {problem}");
        }
    }

    #[test]
    fn a_long_value_is_cut_in_a_message() {
        let problem = problem(&format!(r#"{{"maxLen":"{}"}}"#, "ä".repeat(5000)));
        assert!(problem.len() < 300, "{problem}");
    }
}
