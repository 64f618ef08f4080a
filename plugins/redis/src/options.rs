//! The operator's options: names and defaults of Node's adapters, plus `connection` and `mode`.

use serde_json::Value;
use switchboard_plugin::{
    Config, OpenFailure,
    option::{flag, name, shown, text},
    options,
};

use crate::wire::{SubscriptionMode, Wire};

/// Longest `key` or `channelPrefix`, in bytes: channels are named by it, and grants must be able
/// to name it.
const MAX_PREFIX_BYTES: usize = 256;
const DEFAULT_PREFIX: &str = "socket.io";
const DEFAULT_CONNECTION: &str = "main";

/// What the transport does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Which Redis, of those that the host's configuration names.
    pub(crate) connection: String,
    /// Begins the names of all channels.
    pub(crate) prefix: String,
    /// Which of Node's adapters it speaks with.
    pub(crate) wire: Wire,
}

/// As they are written. The values are taken apart here and not by serde, whose errors do not name
/// the key.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    connection: Option<Value>,
    mode: Option<Value>,
    key: Option<Value>,
    channel_prefix: Option<Value>,
    publish_on_specific_response_channel: Option<Value>,
    subscription_mode: Option<Value>,
    requests_timeout: Option<Value>,
}

impl Options {
    /// Reads the options.
    ///
    /// # Errors
    /// [`OpenFailure::InvalidConfig`] names the key and what would be right.
    pub(crate) fn read(config: &Config) -> Result<Self, OpenFailure> {
        let raw: Raw = options(config)?;
        Self::of(raw).map_err(invalid)
    }

    fn of(raw: Raw) -> Result<Self, String> {
        if raw.requests_timeout.is_some() {
            // It would have no effect, and an option that has none is a trap.
            return Err(
                "`requestsTimeout` is the server's affair here: take it out, and set \
                 `request_timeout_ms` under [cluster] in switchboard.toml"
                    .to_owned(),
            );
        }
        let connection = text("connection", raw.connection)?;
        let mode = text("mode", raw.mode)?;
        let (prefix, wire) = match mode.as_deref() {
            None | Some("classic") => {
                other_mode(
                    "channelPrefix",
                    &raw.channel_prefix,
                    "sharded",
                    "; `key` is the one",
                )?;
                other_mode("subscriptionMode", &raw.subscription_mode, "sharded", "")?;
                let specific_responses = flag(
                    "publishOnSpecificResponseChannel",
                    raw.publish_on_specific_response_channel,
                    false,
                )?;
                (
                    prefix("key", raw.key)?,
                    Wire::Classic { specific_responses },
                )
            }
            Some("sharded") => {
                other_mode("key", &raw.key, "classic", "; `channelPrefix` is the one")?;
                other_mode(
                    "publishOnSpecificResponseChannel",
                    &raw.publish_on_specific_response_channel,
                    "classic",
                    ", as sharded answers always go to the asking node alone",
                )?;
                (
                    prefix("channelPrefix", raw.channel_prefix)?,
                    Wire::Sharded(subscription_mode(raw.subscription_mode)?),
                )
            }
            Some(other) => {
                return Err(format!(
                    "`mode` is {}: it must be \"classic\" or \"sharded\"",
                    shown(other)
                ));
            }
        };
        Ok(Self {
            connection: connection.unwrap_or_else(|| DEFAULT_CONNECTION.to_owned()),
            prefix,
            wire,
        })
    }

    /// Whether a server can receive everything in this mode.
    ///
    /// # Errors
    /// [`OpenFailure::InvalidConfig`]: it would lose messages.
    pub(crate) fn check_receiving(&self) -> Result<(), OpenFailure> {
        let mode = match self.wire {
            Wire::Classic { .. } | Wire::Sharded(SubscriptionMode::Static) => return Ok(()),
            Wire::Sharded(SubscriptionMode::Dynamic) => {
                "`subscriptionMode` is \"dynamic\" (the default, as in Node)"
            }
            Wire::Sharded(SubscriptionMode::DynamicPrivate) => {
                "`subscriptionMode` is \"dynamic-private\""
            }
        };
        Err(invalid(format!(
            "{mode}: there a broadcast to one room has a channel of its own, which this server \
             could subscribe to only some time after a socket has joined, and would lose what is \
             sent in between. Set `subscriptionMode` to \"static\" here and on all Node servers; \
             only a process that only sends, an emitter, can use another mode"
        )))
    }
}

fn invalid(why: String) -> OpenFailure {
    OpenFailure::InvalidConfig(format!("in the transport's options: {why}"))
}

fn prefix(key: &str, value: Option<Value>) -> Result<String, String> {
    name(key, value, DEFAULT_PREFIX, MAX_PREFIX_BYTES)
}

fn subscription_mode(value: Option<Value>) -> Result<SubscriptionMode, String> {
    match text("subscriptionMode", value)?.as_deref() {
        None => Ok(SubscriptionMode::default()),
        Some("static") => Ok(SubscriptionMode::Static),
        Some("dynamic") => Ok(SubscriptionMode::Dynamic),
        Some("dynamic-private") => Ok(SubscriptionMode::DynamicPrivate),
        Some(other) => Err(format!(
            "`subscriptionMode` is {}: it must be \"static\", \"dynamic\" or \"dynamic-private\"",
            shown(other)
        )),
    }
}

/// Refuses an option that would have no effect.
fn other_mode(key: &str, value: &Option<Value>, mode: &str, hint: &str) -> Result<(), String> {
    match value {
        None => Ok(()),
        Some(_) => Err(format!(
            "`{key}` belongs to `mode` \"{mode}\": take it out, or change `mode`{hint}"
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

    fn problem<T: std::fmt::Debug>(result: Result<T, OpenFailure>) -> String {
        match result.unwrap_err() {
            OpenFailure::InvalidConfig(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_options_it_is_nodes_classic_adapter_as_it_comes() {
        let expected = Options {
            connection: "main".to_owned(),
            prefix: "socket.io".to_owned(),
            wire: Wire::Classic {
                specific_responses: false,
            },
        };
        assert_eq!(read("{}").unwrap(), expected);
        assert_eq!(read(r#"{"mode":"classic"}"#).unwrap(), expected);
    }

    #[test]
    fn options_have_nodes_names_and_values() {
        let classic =
            read(r#"{"connection":"events","key":"chat","publishOnSpecificResponseChannel":true}"#)
                .unwrap();
        assert_eq!(classic.connection, "events");
        assert_eq!(classic.prefix, "chat");
        let specific_responses = true;
        assert_eq!(classic.wire, Wire::Classic { specific_responses });

        for (text, mode) in [
            ("", SubscriptionMode::Dynamic),
            (r#","subscriptionMode":"static""#, SubscriptionMode::Static),
            (
                r#","subscriptionMode":"dynamic""#,
                SubscriptionMode::Dynamic,
            ),
            (
                r#","subscriptionMode":"dynamic-private""#,
                SubscriptionMode::DynamicPrivate,
            ),
        ] {
            let sharded = format!(r#"{{"mode":"sharded","channelPrefix":"io"{text}}}"#);
            let sharded = read(&sharded).unwrap();
            assert_eq!(sharded.prefix, "io");
            assert_eq!(sharded.wire, Wire::Sharded(mode), "{text}");
        }
    }

    #[test]
    fn a_wrong_option_is_named_together_with_what_would_be_right() {
        let long = format!(r#"{{"key":"{}"}}"#, "k".repeat(MAX_PREFIX_BYTES + 1));
        for (text, parts) in [
            (r#"{"kye":"a"}"#, ["`kye`", "`key`"]),
            (
                r#"{"subscription_mode":"a"}"#,
                ["`subscription_mode`", "`subscriptionMode`"],
            ),
            (r#"{"connection":7}"#, ["`connection` is 7", "text"]),
            (r#"{"key":""}"#, ["`key` is empty", "default"]),
            (long.as_str(), ["`key` has 257 bytes", "at most 256"]),
            (
                r#"{"mode":"shard"}"#,
                ["`mode` is \"shard\"", "\"sharded\""],
            ),
            (r#"{"mode":true}"#, ["`mode` is true", "text"]),
            (
                r#"{"publishOnSpecificResponseChannel":"yes"}"#,
                [
                    "`publishOnSpecificResponseChannel` is \"yes\"",
                    "`true` or `false`",
                ],
            ),
            (
                r#"{"mode":"sharded","subscriptionMode":"fixed"}"#,
                ["`subscriptionMode` is \"fixed\"", "\"static\""],
            ),
            (
                r#"{"requestsTimeout":5000}"#,
                ["`requestsTimeout`", "`request_timeout_ms`"],
            ),
        ] {
            let problem = problem(read(text));
            for part in parts {
                assert!(problem.contains(part), "{text}: {problem}");
            }
        }
    }

    #[test]
    fn an_option_of_the_other_mode_is_refused() {
        for (text, parts) in [
            (r#"{"channelPrefix":"a"}"#, ["`channelPrefix`", "`key`"]),
            (
                r#"{"subscriptionMode":"static"}"#,
                ["`subscriptionMode`", "\"sharded\""],
            ),
            (
                r#"{"mode":"sharded","key":"a"}"#,
                ["`key`", "`channelPrefix`"],
            ),
            (
                r#"{"mode":"sharded","publishOnSpecificResponseChannel":false}"#,
                ["`publishOnSpecificResponseChannel`", "\"classic\""],
            ),
        ] {
            let problem = problem(read(text));
            for part in parts {
                assert!(problem.contains(part), "{text}: {problem}");
            }
        }
    }

    #[test]
    fn a_server_refuses_a_mode_in_which_it_would_lose_messages() {
        for text in ["{}", r#"{"mode":"sharded","subscriptionMode":"static"}"#] {
            read(text).unwrap().check_receiving().unwrap();
        }
        for (text, mode) in [
            (r#"{"mode":"sharded"}"#, "\"dynamic\" (the default"),
            (
                r#"{"mode":"sharded","subscriptionMode":"dynamic-private"}"#,
                "\"dynamic-private\"",
            ),
        ] {
            let problem = problem(read(text).unwrap().check_receiving());
            assert!(problem.contains(mode), "{problem}");
            assert!(
                problem.contains("\"static\" here and on all Node servers"),
                "{problem}"
            );
        }
    }

    #[test]
    fn a_long_value_is_cut_in_a_message() {
        let problem = problem(read(&format!(r#"{{"mode":"{}"}}"#, "ä".repeat(5000))));
        assert!(problem.len() < 300, "{problem}");
    }
}
