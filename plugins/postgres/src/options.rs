//! The operator's options: names and defaults of Node's adapter, plus `connection` and what Node
//! has not.

use serde_json::Value;
use switchboard_plugin::{
    Config, OpenFailure,
    option::{flag, name, number},
    options,
};

use crate::wire::names::{MAX_PREFIX_BYTES, TableName};

const DEFAULT_CONNECTION: &str = "main";
const DEFAULT_PREFIX: &str = "socket.io";
const DEFAULT_TABLE: &str = "socket_io_attachments";
const DEFAULT_THRESHOLD: u32 = 8000;
const DEFAULT_CLEANUP_MS: u32 = 30_000;
const DEFAULT_RETENTION_MS: u32 = 5 * 60_000;

/// Longest name of a connection and longest table, in bytes: as written, with schema and quotes.
const MAX_TEXT_BYTES: usize = 256;
/// Shortest and longest time between two cleanups: 100 ms and a day.
const CLEANUP_MS: std::ops::RangeInclusive<u32> = 100..=86_400_000;
/// Shortest and longest time for which rows are kept: 10 s, which is what the slowest batch may take,
/// and a week.
const RETENTION_MS: std::ops::RangeInclusive<u32> = 10_000..=604_800_000;

/// What the transport does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Which Postgres, of those that the host's configuration names.
    pub(crate) connection: String,
    /// Begins the names of all channels.
    pub(crate) channel_prefix: String,
    /// Where large and binary messages go; with `durable`, all.
    pub(crate) table: TableName,
    /// What has more bytes goes into the table.
    pub(crate) payload_threshold: usize,
    /// How often the table is cleaned, in milliseconds.
    pub(crate) cleanup_interval_ms: u32,
    /// A missing table is created.
    pub(crate) create_table: bool,
    /// All messages go through the table, and a server that was cut off catches up. None: only what
    /// a notification cannot carry.
    pub(crate) durable: Option<Durable>,
}

/// What only a durable transport has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Durable {
    /// For how long rows are kept, in milliseconds.
    pub(crate) retention_ms: u32,
}

/// As they are written. The values are taken apart here and not by serde, whose errors do not name
/// the key.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    connection: Option<Value>,
    channel_prefix: Option<Value>,
    table_name: Option<Value>,
    payload_threshold: Option<Value>,
    cleanup_interval: Option<Value>,
    create_table: Option<Value>,
    durable: Option<Value>,
    retention: Option<Value>,
    uid: Option<Value>,
    requests_timeout: Option<Value>,
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
        for (key, value, setting) in [
            (
                "requestsTimeout",
                &raw.requests_timeout,
                "request_timeout_ms",
            ),
            (
                "heartbeatInterval",
                &raw.heartbeat_interval,
                "heartbeat_interval_ms",
            ),
            (
                "heartbeatTimeout",
                &raw.heartbeat_timeout,
                "heartbeat_timeout_ms",
            ),
        ] {
            if value.is_some() {
                return Err(format!(
                    "`{key}` is the server's affair here: take it out, and set `{setting}` under \
                     [cluster] in switchboard.toml"
                ));
            }
        }
        if raw.uid.is_some() {
            return Err(
                "`uid` cannot be chosen here: take it out, each server makes an id when it starts"
                    .to_owned(),
            );
        }
        let is_durable = flag("durable", raw.durable, false)?;
        if !is_durable && raw.retention.is_some() {
            return Err(
                "`retention` belongs to `durable` = true: set that, or take it out; without it \
                 rows are kept for `cleanupInterval`"
                    .to_owned(),
            );
        }
        let retention_ms = number(
            "retention",
            raw.retention,
            DEFAULT_RETENTION_MS,
            RETENTION_MS,
        )?;
        Ok(Self {
            connection: name(
                "connection",
                raw.connection,
                DEFAULT_CONNECTION,
                MAX_TEXT_BYTES,
            )?,
            channel_prefix: name(
                "channelPrefix",
                raw.channel_prefix,
                DEFAULT_PREFIX,
                MAX_PREFIX_BYTES,
            )?,
            table: table(raw.table_name, is_durable)?,
            payload_threshold: number(
                "payloadThreshold",
                raw.payload_threshold,
                DEFAULT_THRESHOLD,
                0..=DEFAULT_THRESHOLD,
            )? as usize,
            cleanup_interval_ms: number(
                "cleanupInterval",
                raw.cleanup_interval,
                DEFAULT_CLEANUP_MS,
                CLEANUP_MS,
            )?,
            create_table: flag("createTable", raw.create_table, true)?,
            durable: is_durable.then_some(Durable { retention_ms }),
        })
    }

    /// How old a row gets, in milliseconds.
    pub(crate) fn max_age_ms(&self) -> u32 {
        match self.durable {
            Some(durable) => durable.retention_ms,
            // As in Node.
            None => self.cleanup_interval_ms,
        }
    }
}

fn table(value: Option<Value>, is_durable: bool) -> Result<TableName, String> {
    let written = name("tableName", value, DEFAULT_TABLE, MAX_TEXT_BYTES)?;
    let table = TableName::read(&written).map_err(|why| format!("in `tableName`: {why}"))?;
    if is_durable && !table.has_room() {
        return Err(format!(
            "`tableName` is too long for `durable` = true, which needs tables beside it with {} \
             bytes more",
            TableName::MAX_SUFFIX_BYTES
        ));
    }
    Ok(table)
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
            channel_prefix: "socket.io".to_owned(),
            table: TableName::read("socket_io_attachments").unwrap(),
            payload_threshold: 8000,
            cleanup_interval_ms: 30_000,
            create_table: true,
            durable: None,
        };
        assert_eq!(read("{}").unwrap(), expected);
        assert_eq!(expected.max_age_ms(), 30_000);
    }

    #[test]
    fn options_have_nodes_names() {
        let expected = Options {
            connection: "events".to_owned(),
            channel_prefix: "cp".to_owned(),
            table: TableName::read("chat.T").unwrap(),
            payload_threshold: 100,
            cleanup_interval_ms: 1000,
            create_table: false,
            durable: Some(Durable {
                retention_ms: 60_000,
            }),
        };
        let text = r#"{
            "connection": "events", "channelPrefix": "cp", "tableName": "Chat.T",
            "payloadThreshold": 100, "cleanupInterval": 1000, "createTable": false,
            "durable": true, "retention": 60000
        }"#;
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(expected.max_age_ms(), 60_000);
        let durable = read(r#"{"durable":true}"#).unwrap().durable.unwrap();
        assert_eq!(durable.retention_ms, 300_000);
    }

    #[test]
    fn a_wrong_option_is_named_together_with_what_would_be_right() {
        let long_prefix = format!(r#"{{"channelPrefix":"{}"}}"#, "k".repeat(45));
        let long_table = format!(r#"{{"durable":true,"tableName":"{}"}}"#, "t".repeat(55));
        for (text, parts) in [
            (r#"{"tablename":"a"}"#, ["`tablename`", "`tableName`"]),
            (r#"{"connection":7}"#, ["`connection` is 7", "text"]),
            (&long_prefix, ["`channelPrefix` has 45 bytes", "at most 44"]),
            (r#"{"tableName":"a b"}"#, ["`tableName`", "double quotes"]),
            (&long_table, ["`tableName` is too long", "9 bytes more"]),
            (
                r#"{"payloadThreshold":8001}"#,
                ["`payloadThreshold` is 8001", "from 0 to 8000"],
            ),
            (
                r#"{"cleanupInterval":"30s"}"#,
                ["`cleanupInterval` is \"30s\"", "whole number"],
            ),
            (
                r#"{"createTable":1}"#,
                ["`createTable` is 1", "`true` or `false`"],
            ),
            (
                r#"{"retention":60000}"#,
                ["`retention`", "`durable` = true"],
            ),
            (
                r#"{"durable":true,"retention":9999}"#,
                ["`retention` is 9999", "from 10000 to"],
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
            (r#"{"uid":"a"}"#, "makes an id"),
            (r#"{"requestsTimeout":5000}"#, "`request_timeout_ms`"),
            (r#"{"heartbeatInterval":5000}"#, "`heartbeat_interval_ms`"),
            (r#"{"heartbeatTimeout":10000}"#, "`heartbeat_timeout_ms`"),
        ] {
            let problem = problem(text);
            assert!(problem.contains(setting), "{text}: {problem}");
            assert!(problem.contains("take it out"), "{text}: {problem}");
        }
    }
}
