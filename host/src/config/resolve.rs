//! What the configuration comes to for one plugin: its options, its limits, and the connections
//! that it may use.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    Config, ConfigError, ConnectionName, Grants, Limits, PluginName, TransportConfig, Which,
    document::Problems,
    granted::{BUS, Denied, Granted, Kind, POSTGRES, REDIS, TCP, weigh},
};
use crate::{
    capabilities::{
        bus::BusOptions,
        postgres::{PostgresOptions, PostgresPermit},
        redis::{RedisOptions, RedisPermit},
        tcp::{TcpOptions, TcpPermit},
    },
    plugins::PluginFile,
    suggest,
};

/// The settings of one plugin, made of its manifest and of the operator's configuration.
///
/// A connection is granted when the manifest asks for it **and** the operator allows it:
///
/// | manifest's `grants` | operator's `grants` | granted |
/// |---|---|---|
/// | given | given | what is in both |
/// | given | not given | of what is asked, connections of the kind `bus` only |
/// | not given | given | what the operator allows |
/// | not given | not given | nothing |
///
/// A bus is the exception in the second line because it reaches processes of the same user on the
/// same machine only; whatever reaches a network must be allowed by the operator in so many words.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Resolved {
    /// The plugin.
    pub name: PluginName,
    /// Text of a JSON object: the manifest's options and the operator's over them.
    pub options: String,
    /// What the plugin may use of the machine.
    pub limits: Limits,
    /// For the log: settings that have no effect, and what the plugin asks for in vain. Each is
    /// one line.
    pub warnings: Vec<String>,
    buses: Granted<BusOptions>,
    redis: Granted<(RedisOptions, Arc<RedisPermit>)>,
    postgres: Granted<(PostgresOptions, Arc<PostgresPermit>)>,
    tcp: Granted<(TcpOptions, Arc<TcpPermit>)>,
}

impl Config {
    /// What this configuration comes to for a plugin.
    ///
    /// # Errors
    /// The configuration is wrong, or refuses this very file by its digest. The fault is the
    /// configuration's.
    pub fn resolve(&self, plugin: &PluginFile) -> Result<Resolved, ConfigError> {
        self.check()?;
        let unset = TransportConfig::default();
        let operator = self.transports.get(&plugin.name).unwrap_or(&unset);
        if let Some(digest) = &operator.digest {
            let wanted_by = format!("`transports.{}.digest`", plugin.name);
            if let Err(mismatch) = plugin.verify(digest, &wanted_by) {
                let mut problems = Problems::default();
                problems.add(None, mismatch.to_string());
                problems.into_result()?;
            }
        }
        let mut options = plugin.manifest.options.clone();
        lay_over(&mut options, &operator.options);
        let sides = Sides {
            asked: plugin.manifest.grants.as_ref(),
            allowed: operator.grants.as_ref(),
        };
        let mut resolved = Resolved {
            name: plugin.name.clone(),
            options: Value::Object(options).to_string(),
            limits: self.limits.with(&operator.limits),
            warnings: Vec::new(),
            buses: self.buses(&sides),
            redis: self.redis(&plugin.name, &sides),
            postgres: self.postgres(&plugin.name, &sides),
            tcp: self.tcp(&plugin.name, &sides),
        };
        resolved.warn(self, sides.asked);
        Ok(resolved)
    }

    fn buses(&self, sides: &Sides<'_>) -> Granted<BusOptions> {
        let names = self.connections.bus_names().into_iter();
        let buses = names.filter_map(|name| {
            let options = self.connections.bus(&self.name, &name)?;
            Some((name, options))
        });
        Granted::new(&BUS, buses, |name, options| {
            let (asked, allowed) = sides.of(name, |grants| {
                grants.bus.iter().map(|grant| (&grant.connection, ()))
            });
            // A bus leads to processes of the same user on the same machine: asking is enough.
            weigh(asked, allowed).map(|_| options)
        })
    }

    fn redis(
        &self,
        plugin: &PluginName,
        sides: &Sides<'_>,
    ) -> Granted<(RedisOptions, Arc<RedisPermit>)> {
        Granted::new(&REDIS, self.connections.redis.clone(), |name, options| {
            let (asked, allowed) = sides.of(name, |grants| {
                let all = grants.redis.iter();
                all.map(|grant| (&grant.connection, grant.rights.clone()))
            });
            // What reaches a network is allowed in so many words or not at all.
            let (asked, allowed) = weigh(asked, Some(allowed.unwrap_or_default()))?;
            let permit = RedisPermit::new(plugin.as_str(), name.as_str(), asked, allowed);
            Ok((options, Arc::new(permit)))
        })
    }

    fn postgres(
        &self,
        plugin: &PluginName,
        sides: &Sides<'_>,
    ) -> Granted<(PostgresOptions, Arc<PostgresPermit>)> {
        Granted::new(
            &POSTGRES,
            self.connections.postgres.clone(),
            |name, options| {
                let (asked, allowed) = sides.of(name, |grants| {
                    let all = grants.postgres.iter();
                    all.map(|grant| (&grant.connection, grant.rights.clone()))
                });
                // What reaches a network is allowed in so many words or not at all.
                let (asked, allowed) = weigh(asked, Some(allowed.unwrap_or_default()))?;
                let permit = PostgresPermit::new(plugin.as_str(), name.as_str(), asked, allowed);
                Ok((options, Arc::new(permit)))
            },
        )
    }
}

impl Config {
    fn tcp(&self, plugin: &PluginName, sides: &Sides<'_>) -> Granted<(TcpOptions, Arc<TcpPermit>)> {
        Granted::new(&TCP, self.connections.tcp.clone(), |name, options| {
            let (asked, allowed) = sides.of(name, |grants| {
                let all = grants.tcp.iter();
                all.map(|grant| (&grant.connection, grant.rights.clone()))
            });
            // What reaches a network is allowed in so many words or not at all.
            let (asked, allowed) = weigh(asked, Some(allowed.unwrap_or_default()))?;
            let permit = TcpPermit::new(plugin.as_str(), name.as_str(), asked, allowed);
            Ok((options, Arc::new(permit)))
        })
    }
}

/// What the manifest asks for, and what the operator allows.
struct Sides<'a> {
    asked: Option<&'a Grants>,
    allowed: Option<&'a Grants>,
}

impl<'a> Sides<'a> {
    /// What each of them says of one connection: of all its grants the rights of those that cover it.
    fn of<R, I: Iterator<Item = (&'a Which, R)>>(
        &self,
        name: &ConnectionName,
        all: impl Fn(&'a Grants) -> I,
    ) -> (Option<Vec<R>>, Option<Vec<R>>) {
        let covering = |grants| {
            let covering = all(grants).filter(|(connection, _)| connection.covers(name));
            covering.map(|(_, rights)| rights).collect()
        };
        (self.asked.map(covering), self.allowed.map(covering))
    }
}

impl Resolved {
    /// What the plugin may use, for people: a line for each connection.
    pub fn grants(&self) -> Vec<String> {
        let buses = self.buses().map(|(name, _)| format!("bus `{name}`"));
        let redis = self.redis.iter();
        let redis =
            redis.map(|(name, (_, permit))| format!("redis `{name}`: {}", permit.in_words()));
        let postgres = self.postgres.iter();
        let postgres =
            postgres.map(|(name, (_, permit))| format!("postgres `{name}`: {}", permit.in_words()));
        let tcp = self.tcp.iter();
        let tcp = tcp.map(|(name, (_, permit))| format!("tcp `{name}`: {}", permit.in_words()));
        buses.chain(redis).chain(postgres).chain(tcp).collect()
    }

    /// The buses that the plugin may use.
    pub fn buses(&self) -> impl Iterator<Item = (&ConnectionName, &BusOptions)> {
        self.buses.iter()
    }

    /// The bus that the plugin names, if it may use it. The name is the plugin's: any text.
    ///
    /// # Errors
    /// The text says why not, and which key would change that.
    pub fn bus(&self, name: &str) -> Result<&BusOptions, Denied> {
        self.buses.get(&self.name, name)
    }

    /// The Redis that the plugin names, and what it may do there. The name is the plugin's: any
    /// text.
    ///
    /// # Errors
    /// The text says why not, and which key would change that.
    pub fn redis(&self, name: &str) -> Result<&(RedisOptions, Arc<RedisPermit>), Denied> {
        self.redis.get(&self.name, name)
    }

    /// The Postgres that the plugin names, and what it may do there. The name is the plugin's: any
    /// text.
    ///
    /// # Errors
    /// The text says why not, and which key would change that.
    pub fn postgres(&self, name: &str) -> Result<&(PostgresOptions, Arc<PostgresPermit>), Denied> {
        self.postgres.get(&self.name, name)
    }

    /// The connection over TCP that the plugin names, and what it may reach besides its addresses.
    /// The name is the plugin's: any text.
    ///
    /// # Errors
    /// The text says why not, and which key would change that.
    pub fn tcp(&self, name: &str) -> Result<&(TcpOptions, Arc<TcpPermit>), Denied> {
        self.tcp.get(&self.name, name)
    }

    fn warn(&mut self, config: &Config, asked: Option<&Grants>) {
        let plugin = &self.name;
        if !config.transports.contains_key(plugin.as_str()) {
            let others = config.transports.keys().map(PluginName::as_str);
            if let Some(near) = suggest::nearest(plugin.as_str(), others) {
                self.warnings.push(format!(
                    "nothing is set for `{plugin}`, but there is [transports.{near}]: is it meant \
                     for `{plugin}`?"
                ));
            }
        }
        let Some(asked) = asked else { return };
        let mut warnings = Vec::new();
        for grant in &asked.bus {
            warnings.extend(in_vain(&grant.connection, |name| self.bus(name).err()));
        }
        for grant in &asked.redis {
            warnings.extend(self.pointless(&REDIS, grant.rights.problems(true)));
            warnings.extend(in_vain(&grant.connection, |name| self.redis(name).err()));
        }
        for grant in &asked.postgres {
            warnings.extend(self.pointless(&POSTGRES, grant.rights.problems(true)));
            warnings.extend(in_vain(&grant.connection, |name| self.postgres(name).err()));
        }
        for grant in &asked.tcp {
            warnings.extend(self.pointless(&TCP, grant.rights.problems()));
            warnings.extend(in_vain(&grant.connection, |name| self.tcp(name).err()));
        }
        self.warnings.extend(warnings);
    }

    /// Rights in the manifest that cannot be meant.
    fn pointless(&self, kind: &Kind, problems: Vec<(&str, String)>) -> Vec<String> {
        let plugin = &self.name;
        let problems = problems.into_iter();
        let lines = problems
            .map(|(key, problem)| format!("`{key}` of `grants.{kind}` in {plugin}.toml {problem}"));
        lines.collect()
    }
}

/// Why a plugin does not get what it asks for by name. Who asks for any gets what there is.
fn in_vain(connection: &Which, denied: impl Fn(&str) -> Option<Denied>) -> Option<String> {
    match connection {
        Which::Any => None,
        Which::Named(name) => denied(name.as_str()).map(|denied| denied.to_string()),
    }
}

/// Lays one object over another: objects are merged, everything else is replaced.
fn lay_over(below: &mut Map<String, Value>, above: &Map<String, Value>) {
    for (key, value) in above {
        match (below.get_mut(key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => lay_over(below, above),
            _ => {
                below.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
