//! What a plugin may do with a Redis: commands, keys and channels. The manifest says what it asks
//! for, the operator what is allowed of that; both have to agree to every call.

use serde::{Deserialize, Deserializer};

use super::{
    commands::{self, Kind, PUBSUB, Spec},
    subscription::Kind as NameKind,
};
use crate::capabilities::prefix::Prefix;

/// Most patterns, and most commands, of one grant.
const MAX_ENTRIES: usize = 256;

/// What one grant is for. What is not given means, where a plugin **asks** (in its manifest, or in
/// the operator's grant if the manifest asks nothing): the Pub/Sub commands, no keys, all channels;
/// where an operator **allows** what a manifest asks: all of it.
///
/// ```toml
/// grants.redis = [{ connection = "main", commands = ["PUBLISH", "XADD"], keys = ["sio:*"] }]
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisRights {
    /// Names of commands, as `"XADD"` or `"PUBSUB NUMSUB"`; `"PUBSUB"` means all its subcommands,
    /// `"*"` every command that is offered but scripts. Subscribing needs no entry: `channels`
    /// decides. A subscription that reads streams needs `XREAD`.
    pub commands: Option<Vec<CommandName>>,
    /// Keys that may be touched: exact, or with a `*` at the end everything that begins so.
    pub keys: Option<Vec<Prefix>>,
    /// The same for channels, shard channels and patterns. A pattern is granted if everything it
    /// matches is.
    pub channels: Option<Vec<Prefix>>,
}

/// The name of a command that is offered, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandName(String);

impl<'de> Deserialize<'de> for CommandName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?.to_ascii_uppercase();
        let is_known =
            name == "*" || commands::named(&name).is_some() || commands::is_container(&name);
        if !is_known {
            let shown: String = name.chars().take(32).collect();
            return Err(serde::de::Error::custom(format!(
                "{shown:?} is no command that plugins can be granted{}",
                commands::hint(&shown)
            )));
        }
        Ok(Self(name))
    }
}

impl RedisRights {
    /// `asks` as in [`RedisPermit`].
    fn in_words(&self, asks: bool) -> String {
        let listed = |what: &str, names: Vec<String>| match names.is_empty() {
            true => format!("no {what}"),
            false => format!("{what} {}", names.join(" ")),
        };
        let patterns = |what, all: &[Prefix]| listed(what, all.iter().map(Prefix::shown).collect());
        let commands = match &self.commands {
            Some(names) => {
                let names = names.iter().map(|name| name.0.replace(' ', "-"));
                listed("commands", names.collect())
            }
            None if asks => "Pub/Sub commands".to_owned(),
            None => "all commands".to_owned(),
        };
        let keys = match &self.keys {
            Some(keys) => patterns("keys", keys),
            None if asks => "no keys".to_owned(),
            None => "all keys".to_owned(),
        };
        let channels = match &self.channels {
            Some(channels) => patterns("channels", channels),
            None => "all channels".to_owned(),
        };
        format!("{commands}, {keys}, {channels}")
    }

    /// What cannot be meant, with the key; for the check of the configuration. `asks` as in
    /// [`RedisPermit`].
    pub(crate) fn problems(&self, asks: bool) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let counts = [
            ("commands", self.commands.as_ref().map(Vec::len)),
            ("keys", self.keys.as_ref().map(Vec::len)),
            ("channels", self.channels.as_ref().map(Vec::len)),
        ];
        for (key, count) in counts {
            if count.is_some_and(|count| count > MAX_ENTRIES) {
                problems.push((key, format!("holds more than {MAX_ENTRIES} entries")));
            }
        }
        if asks && self.commands.is_none() && self.keys.as_ref().is_some_and(|k| !k.is_empty()) {
            let problem = "has no effect without `commands`: name those that need the keys";
            problems.push(("keys", problem.to_owned()));
        }
        problems
    }
}

/// What one plugin may do with one connection.
///
/// A grant in the manifest that covers the connection must allow a call, and one of the operator's
/// as well.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisPermit {
    plugin: String,
    connection: String,
    /// Any of these must agree: what is asked.
    asked: Vec<RedisRights>,
    /// Any of these must agree: what is allowed. None: the operator's grant is what is asked.
    allowed: Option<Vec<RedisRights>>,
}

/// Which side says no.
#[derive(Clone, Copy)]
enum Side {
    Asked,
    Allowed,
}

impl RedisPermit {
    /// `asked`: the grants of the manifest that cover the connection, or the operator's if the
    /// manifest has none at all; then `allowed` is none.
    pub(crate) fn new(
        plugin: &str,
        connection: &str,
        asked: Vec<RedisRights>,
        allowed: Option<Vec<RedisRights>>,
    ) -> Self {
        Self {
            plugin: plugin.to_owned(),
            connection: connection.to_owned(),
            asked,
            allowed,
        }
    }

    pub(super) fn plugin(&self) -> &str {
        &self.plugin
    }

    /// What may be done, for people.
    pub(crate) fn in_words(&self) -> String {
        let words = |all: &[RedisRights], asks| {
            let each: Vec<String> = all.iter().map(|rights| rights.in_words(asks)).collect();
            each.join(", or ")
        };
        let asked = words(&self.asked, true);
        match &self.allowed {
            Some(allowed) if !allowed.contains(&RedisRights::default()) => {
                format!("{asked}; of that {}", words(allowed, false))
            }
            _ => asked,
        }
    }

    /// May this command be executed?
    ///
    /// # Errors
    /// For the plugin: what is missing, and which key would give it.
    pub(super) fn check_command<A: AsRef<[u8]>>(
        &self,
        spec: &Spec,
        args: &[A],
    ) -> Result<(), String> {
        let Some(touched) = spec.touched(args) else {
            return Err(format!("{} with arguments that do not fit it", spec.name));
        };
        let is_script = spec.kind == Kind::Script;
        self.sides(|rights, asks| {
            if !rights.has_command(spec, asks) {
                return Err(("commands", spec.name.to_owned()));
            }
            for key in &touched.keys {
                if !rights.has_key(key, asks) {
                    return Err(("keys", shown(key)));
                }
            }
            for channel in &touched.channels {
                if !rights.has_channel(channel, false, asks) {
                    return Err(("channels", shown(channel)));
                }
            }
            // A script may touch what it does not name.
            if is_script && !rights.has_all_keys(asks) {
                return Err(("keys", "*".to_owned()));
            }
            if (is_script || touched.all_channels) && !rights.has_channel(b"", true, asks) {
                return Err(("channels", "*".to_owned()));
            }
            Ok(())
        })
    }

    /// May it subscribe to this?
    ///
    /// # Errors
    /// As [`check_command`](Self::check_command).
    pub(super) fn check_name(&self, kind: NameKind, name: &str) -> Result<(), String> {
        let (beginning, is_open) = match kind {
            NameKind::Pattern => fixed_part(name),
            NameKind::Channel | NameKind::Shard => (name.as_bytes().to_vec(), false),
        };
        self.sides(
            |rights, asks| match rights.has_channel(&beginning, is_open, asks) {
                true => Ok(()),
                false => Err(("channels", shown(name.as_bytes()))),
            },
        )
    }

    fn sides(
        &self,
        check: impl Fn(&RedisRights, bool) -> Result<(), (&'static str, String)>,
    ) -> Result<(), String> {
        self.any(&self.asked, true, Side::Asked, &check)?;
        match &self.allowed {
            Some(allowed) => self.any(allowed, false, Side::Allowed, &check),
            None => Ok(()),
        }
    }

    fn any(
        &self,
        grants: &[RedisRights],
        asks: bool,
        side: Side,
        check: impl Fn(&RedisRights, bool) -> Result<(), (&'static str, String)>,
    ) -> Result<(), String> {
        let mut missing = ("connection", self.connection.clone());
        for rights in grants {
            match check(rights, asks) {
                Ok(()) => return Ok(()),
                Err(what) => missing = what,
            }
        }
        let (key, what) = missing;
        let (plugin, connection) = (&self.plugin, &self.connection);
        let what = format!("{what:?}");
        Err(match (side, &self.allowed) {
            (Side::Asked, Some(_)) => format!(
                "the manifest of `{plugin}` does not ask for {what} on the Redis `{connection}`: \
                 add it to `{key}` of its `grants.redis` in {plugin}.toml beside the plugin"
            ),
            _ => format!(
                "`{plugin}` may not use {what} on the Redis `{connection}`: allow it with `{key}` \
                 in `grants.redis` of [transports.{plugin}]"
            ),
        })
    }
}

impl RedisRights {
    fn has_command(&self, spec: &Spec, asks: bool) -> bool {
        let is_script = spec.kind == Kind::Script;
        match &self.commands {
            Some(names) => names.iter().any(|CommandName(name)| {
                name == spec.name
                    || (name == "*" && !is_script)
                    || spec
                        .name
                        .split_once(' ')
                        .is_some_and(|(first, _)| first == name)
            }),
            None if asks => PUBSUB.contains(&spec.name),
            None => true,
        }
    }

    fn has_key(&self, key: &[u8], asks: bool) -> bool {
        match &self.keys {
            Some(keys) => keys.iter().any(|prefix| prefix.covers(key)),
            None => !asks,
        }
    }

    fn has_all_keys(&self, asks: bool) -> bool {
        match &self.keys {
            Some(keys) => keys.iter().any(|prefix| prefix.covers_all_of(b"", true)),
            None => !asks,
        }
    }

    fn has_channel(&self, beginning: &[u8], is_open: bool, _asks: bool) -> bool {
        match &self.channels {
            Some(channels) => channels
                .iter()
                .any(|prefix| prefix.covers_all_of(beginning, is_open)),
            None => true,
        }
    }
}

/// What everything begins with that a pattern matches, and whether more may follow.
fn fixed_part(pattern: &str) -> (Vec<u8>, bool) {
    let mut fixed = Vec::new();
    let mut bytes = pattern.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => return (fixed, true),
            b'\\' => match bytes.next() {
                Some(byte) => fixed.push(byte),
                // What Redis makes of it is its own affair.
                None => return (fixed, true),
            },
            byte => fixed.push(byte),
        }
    }
    (fixed, false)
}

/// A key or channel in a message: any bytes at all, so they are cut.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[derive(Deserialize)]
    struct Grant {
        commands: Option<Vec<CommandName>>,
        keys: Option<Vec<Prefix>>,
        channels: Option<Vec<Prefix>>,
    }

    fn rights(text: &str) -> RedisRights {
        let grant: Grant = toml::from_str(text).unwrap();
        RedisRights {
            commands: grant.commands,
            keys: grant.keys,
            channels: grant.channels,
        }
    }

    fn permit(asked: &str, allowed: Option<&str>) -> RedisPermit {
        let allowed = allowed.map(|text| vec![rights(text)]);
        RedisPermit::new("redis", "main", vec![rights(asked)], allowed)
    }

    fn command(permit: &RedisPermit, text: &str) -> Result<(), String> {
        let args: Vec<_> = text.split(' ').collect();
        permit.check_command(commands::find(&args)?, &args)
    }

    const STREAMS: &str = "commands = ['XADD', 'xread', 'PUBSUB']\nkeys = ['socket.io', 'sio:*']";

    #[test]
    fn both_sides_must_agree_to_every_command_key_and_channel() {
        let narrow = "channels = ['a*']\nkeys = ['sio:s*']";
        for (asked, allowed, text, expected) in [
            ("", Some(""), "PUBLISH any hi", true),
            ("", Some(""), "PUBSUB NUMSUB any", true),
            ("", Some(""), "PUBSUB CHANNELS", false),
            ("", Some(""), "GET k", false),
            ("", None, "PUBLISH any hi", true),
            ("", None, "GET k", false),
            (STREAMS, Some(""), "XADD socket.io * a b", true),
            (STREAMS, Some(""), "XADD socket.io2 * a b", false),
            (STREAMS, Some(""), "XREAD STREAMS sio:1 sio:2 0 0", true),
            (STREAMS, Some(""), "XREAD STREAMS sio:1 other 0 0", false),
            (STREAMS, Some(""), "PUBSUB CHANNELS x*", true),
            (STREAMS, Some(""), "PUBLISH c x", false),
            (STREAMS, Some(narrow), "XADD sio:s1 * a b", true),
            (STREAMS, Some(narrow), "XADD sio:t1 * a b", false),
            (STREAMS, Some(narrow), "PUBSUB NUMSUB abc", true),
            (STREAMS, Some(narrow), "PUBSUB NUMSUB abc b", false),
            (STREAMS, Some(narrow), "PUBSUB CHANNELS a*", false),
            (
                STREAMS,
                Some("commands = ['XADD']"),
                "XREAD STREAMS sio:1 0",
                false,
            ),
            (STREAMS, Some("keys = []"), "XADD sio:1 * a b", false),
            ("commands = ['*']\nkeys = ['*']", Some(""), "GET k", true),
            (
                "commands = ['*']\nkeys = ['*']",
                Some(""),
                "EVAL s 0",
                false,
            ),
            (
                "commands = ['EVAL']\nkeys = ['*']",
                Some(""),
                "EVAL s 0",
                true,
            ),
            (
                "commands = ['EVAL']\nkeys = ['k']",
                Some(""),
                "EVAL s 1 k",
                false,
            ),
            (
                "commands = ['EVAL']\nkeys = ['*']",
                Some(narrow),
                "EVAL s 0",
                false,
            ),
            (
                "commands = ['*']\nkeys = ['*']",
                Some(""),
                "CONFIG GET x",
                false,
            ),
        ] {
            let result = command(&permit(asked, allowed), text);
            assert_eq!(
                result.is_ok(),
                expected,
                "{text:?} with {asked:?} and {allowed:?}: {result:?}"
            );
        }
    }

    #[test]
    fn a_pattern_is_granted_if_all_that_it_matches_is() {
        let permit = permit("channels = ['socket.io#*', 'exact']", Some(""));
        for (kind, name, expected) in [
            (NameKind::Channel, "socket.io#/#", true),
            (NameKind::Channel, "socket.io", false),
            (NameKind::Shard, "exact", true),
            (NameKind::Shard, "exact2", false),
            (NameKind::Pattern, "socket.io#/#*", true),
            (NameKind::Pattern, "socket.io#*", true),
            (NameKind::Pattern, "socket.io*", false),
            (NameKind::Pattern, "*", false),
            (NameKind::Pattern, "exact", true),
            (NameKind::Pattern, "exac?", false),
            (NameKind::Pattern, "socket.io\\#[ab]*", true),
            (NameKind::Pattern, "[s]ocket.io#*", false),
        ] {
            let result = permit.check_name(kind, name);
            assert_eq!(result.is_ok(), expected, "{kind:?} {name}: {result:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_side_and_the_key() {
        let error = command(&permit("", Some("")), "GET k").unwrap_err();
        assert!(
            error.contains("manifest of `redis`") && error.contains("`commands`"),
            "{error}"
        );
        let narrowed = permit(STREAMS, Some("keys = ['a']"));
        let error = command(&narrowed, "XADD sio:1 * a b").unwrap_err();
        assert!(
            error.contains("\"sio:1\"")
                && error.contains("`keys`")
                && error.contains("[transports.redis]"),
            "{error}"
        );
        let error = command(&permit("", None), "GET k").unwrap_err();
        assert!(error.contains("[transports.redis]"), "{error}");
        let nothing = RedisPermit::new("redis", "main", vec![], Some(vec![]));
        assert!(command(&nothing, "PUBLISH c m").is_err());
    }

    #[test]
    fn settings_that_cannot_be_meant_are_refused() {
        for text in [
            "commands = ['PUBLSH']",
            "commands = ['CONFIG']",
            "keys = ['']",
        ] {
            assert!(toml::from_str::<Grant>(text).is_err(), "{text}");
        }
        let problems = |asks| rights("keys = ['a']").problems(asks).len();
        assert_eq!((problems(true), problems(false)), (1, 0));
    }
}
