//! The connections of one kind that a plugin may use, and why not the others. Every capability that
//! names connections has one of these; what differs is how a connection reads in messages.

use std::{collections::BTreeMap, fmt};

use super::{ConnectionName, InvalidName, MAX_NAME_BYTES, PluginName};
use crate::suggest;

/// A kind of connections, as it is written and as it is said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// Its key in `grants` and in `[connections]`.
    pub(super) key: &'static str,
    name: &'static str,
    /// What a new connection needs beside its name.
    needs: &'static str,
}

pub(super) const BUS: Kind = Kind {
    key: "bus",
    name: "bus",
    needs: "",
};

pub(super) const REDIS: Kind = Kind {
    key: "redis",
    name: "Redis",
    needs: " with url = \"redis://HOST\"",
};

pub(super) const POSTGRES: Kind = Kind {
    key: "postgres",
    name: "Postgres",
    needs: " with url = \"postgres://USER@HOST/DATABASE\"",
};

pub(super) const TCP: Kind = Kind {
    key: "tcp",
    name: "TCP connection",
    needs: " with addresses = [\"HOST:PORT\"]",
};

/// Who withholds a connection that is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The manifest does not ask for it.
    NotAsked,
    /// The operator does not allow it.
    NotAllowed,
}

/// A plugin may not use a connection. The fault is the configuration's, or the plugin asks for
/// more than it should; trying again is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(String);

/// What grants say of one connection: what is asked, and to what the operator narrows it. Either
/// may be silent; an empty list speaks, and denies.
///
/// # Errors
/// It is not granted.
pub(super) fn weigh<R>(
    asked: Option<Vec<R>>,
    allowed: Option<Vec<R>>,
) -> Result<(Vec<R>, Option<Vec<R>>), Refusal> {
    match (asked, allowed) {
        (Some(asked), _) if asked.is_empty() => Err(Refusal::NotAsked),
        (_, Some(allowed)) if allowed.is_empty() => Err(Refusal::NotAllowed),
        (None, None) => Err(Refusal::NotAllowed),
        (Some(asked), allowed) => Ok((asked, allowed)),
        (None, Some(allowed)) => Ok((allowed, None)),
    }
}

/// The configured connections of one kind, each with what it was granted or why not.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Granted<T> {
    kind: &'static Kind,
    connections: BTreeMap<ConnectionName, Result<T, Refusal>>,
}

impl<T> Granted<T> {
    /// Of the connections, each as `grant` has it.
    pub(super) fn new<O>(
        kind: &'static Kind,
        connections: impl IntoIterator<Item = (ConnectionName, O)>,
        grant: impl Fn(&ConnectionName, O) -> Result<T, Refusal>,
    ) -> Self {
        let connections = connections.into_iter();
        let connections = connections.map(|(name, options)| {
            let granted = grant(&name, options);
            (name, granted)
        });
        Self {
            kind,
            connections: connections.collect(),
        }
    }

    /// The granted ones.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ConnectionName, &T)> {
        let all = self.connections.iter();
        all.filter_map(|(name, granted)| Some((name, granted.as_ref().ok()?)))
    }

    /// The one that the plugin names. The name is any text.
    ///
    /// # Errors
    /// Why not, and which key would change that.
    pub(super) fn get(&self, plugin: &PluginName, name: &str) -> Result<&T, Denied> {
        let kind = self.kind;
        let Kind { key, name: a, .. } = kind;
        match self.connections.get(name) {
            Some(Ok(granted)) => Ok(granted),
            Some(Err(Refusal::NotAsked)) => Err(Denied(format!(
                "the manifest of `{plugin}` does not ask for the {a} `{name}`: add it to \
                 `grants.{key}` in {plugin}.toml beside the plugin"
            ))),
            Some(Err(Refusal::NotAllowed)) => Err(Denied(format!(
                "`{plugin}` may not use the {a} `{name}`: allow it with grants = {{ {key} = \
                 [\"{name}\"] }} in [transports.{plugin}]"
            ))),
            None => Err(Denied(self.unknown(name))),
        }
    }

    fn unknown(&self, name: &str) -> String {
        let Kind {
            key,
            name: a,
            needs,
        } = self.kind;
        if name.parse::<ConnectionName>().is_err() {
            // Any text at all, so it is cut before it gets into a log.
            let shown: String = name.chars().take(MAX_NAME_BYTES).collect();
            return format!("{shown:?} cannot be a {a}: {InvalidName}");
        }
        let known: Vec<&str> = self
            .connections
            .keys()
            .map(ConnectionName::as_str)
            .collect();
        let hint = suggest::hint(name, &known);
        format!("there is no {a} `{name}`: add [connections.{key}.{name}]{needs}{hint}")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key)
    }
}
