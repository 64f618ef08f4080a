//! What the configuration comes to for one plugin: its options, its limits, and the connections
//! that it may use.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};

use super::{
    Config, ConfigError, ConnectionName, Grants, Limits, PluginName, TransportConfig,
    document::Problems,
};
use crate::{
    capabilities::{
        bus::BusOptions,
        postgres::{PostgresOptions, PostgresPermit, PostgresRights},
        redis::{RedisOptions, RedisPermit, RedisRights},
        tcp::{TcpOptions, TcpPermit, TcpRights},
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
    buses: BTreeMap<ConnectionName, Result<BusOptions, Refusal>>,
    redis: BTreeMap<ConnectionName, Result<GrantedRedis, Refusal>>,
    postgres: BTreeMap<ConnectionName, Result<GrantedPostgres, Refusal>>,
    tcp: BTreeMap<ConnectionName, Result<GrantedTcp, Refusal>>,
}

/// A Redis, and what may be done there.
type GrantedRedis = (RedisOptions, Arc<RedisPermit>);

/// A Postgres, and what may be done there.
type GrantedPostgres = (PostgresOptions, Arc<PostgresPermit>);

/// Servers to speak with over TCP, and what may be reached besides.
type GrantedTcp = (TcpOptions, Arc<TcpPermit>);

/// Who withholds a connection that is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
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
        let mut resolved = Resolved {
            name: plugin.name.clone(),
            options: Value::Object(options).to_string(),
            limits: self.limits.with(&operator.limits),
            warnings: Vec::new(),
            buses: self.buses(plugin.manifest.grants.as_ref(), operator.grants.as_ref()),
            redis: self.redis(
                &plugin.name,
                plugin.manifest.grants.as_ref(),
                operator.grants.as_ref(),
            ),
            postgres: self.postgres(
                &plugin.name,
                plugin.manifest.grants.as_ref(),
                operator.grants.as_ref(),
            ),
            tcp: self.tcp(
                &plugin.name,
                plugin.manifest.grants.as_ref(),
                operator.grants.as_ref(),
            ),
        };
        resolved.warn(self, plugin.manifest.grants.as_ref());
        Ok(resolved)
    }

    fn buses(
        &self,
        asked: Option<&Grants>,
        allowed: Option<&Grants>,
    ) -> BTreeMap<ConnectionName, Result<BusOptions, Refusal>> {
        let covers = |grants: &Grants, name: &ConnectionName| {
            grants.bus.iter().any(|grant| grant.covers(name))
        };
        let mut buses = BTreeMap::new();
        for name in self.connections.bus_names() {
            let Some(options) = self.connections.bus(&self.name, &name) else {
                continue;
            };
            let bus = match (asked, allowed) {
                (None, None) => Err(Refusal::NotAllowed),
                (Some(asked), _) if !covers(asked, &name) => Err(Refusal::NotAsked),
                (_, Some(allowed)) if !covers(allowed, &name) => Err(Refusal::NotAllowed),
                _ => Ok(options),
            };
            buses.insert(name, bus);
        }
        buses
    }

    fn redis(
        &self,
        plugin: &PluginName,
        asked: Option<&Grants>,
        allowed: Option<&Grants>,
    ) -> BTreeMap<ConnectionName, Result<GrantedRedis, Refusal>> {
        let rights = |grants: &Grants, name: &ConnectionName| -> Vec<RedisRights> {
            let covering = grants.redis.iter().filter(|grant| grant.covers(name));
            covering.map(|grant| grant.rights.clone()).collect()
        };
        let mut all = BTreeMap::new();
        for (name, options) in &self.connections.redis {
            let asked = asked.map(|grants| rights(grants, name));
            // Whatever reaches a network must be allowed in so many words.
            let allowed = allowed
                .map(|grants| rights(grants, name))
                .unwrap_or_default();
            let granted = match asked {
                Some(asked) if asked.is_empty() => Err(Refusal::NotAsked),
                _ if allowed.is_empty() => Err(Refusal::NotAllowed),
                Some(asked) => Ok((asked, Some(allowed))),
                None => Ok((allowed, None)),
            };
            let granted = granted.map(|(asked, allowed)| {
                let permit = RedisPermit::new(plugin.as_str(), name.as_str(), asked, allowed);
                (options.clone(), Arc::new(permit))
            });
            all.insert(name.clone(), granted);
        }
        all
    }
}

impl Config {
    fn postgres(
        &self,
        plugin: &PluginName,
        asked: Option<&Grants>,
        allowed: Option<&Grants>,
    ) -> BTreeMap<ConnectionName, Result<GrantedPostgres, Refusal>> {
        let rights = |grants: &Grants, name: &ConnectionName| -> Vec<PostgresRights> {
            let covering = grants.postgres.iter().filter(|grant| grant.covers(name));
            covering.map(|grant| grant.rights.clone()).collect()
        };
        let mut all = BTreeMap::new();
        for (name, options) in &self.connections.postgres {
            let asked = asked.map(|grants| rights(grants, name));
            // Whatever reaches a network must be allowed in so many words.
            let allowed = allowed
                .map(|grants| rights(grants, name))
                .unwrap_or_default();
            let granted = match asked {
                Some(asked) if asked.is_empty() => Err(Refusal::NotAsked),
                _ if allowed.is_empty() => Err(Refusal::NotAllowed),
                Some(asked) => Ok((asked, Some(allowed))),
                None => Ok((allowed, None)),
            };
            let granted = granted.map(|(asked, allowed)| {
                let permit = PostgresPermit::new(plugin.as_str(), name.as_str(), asked, allowed);
                (options.clone(), Arc::new(permit))
            });
            all.insert(name.clone(), granted);
        }
        all
    }
}

impl Config {
    fn tcp(
        &self,
        plugin: &PluginName,
        asked: Option<&Grants>,
        allowed: Option<&Grants>,
    ) -> BTreeMap<ConnectionName, Result<GrantedTcp, Refusal>> {
        let rights = |grants: &Grants, name: &ConnectionName| -> Vec<TcpRights> {
            let covering = grants.tcp.iter().filter(|grant| grant.covers(name));
            covering.map(|grant| grant.rights.clone()).collect()
        };
        let mut all = BTreeMap::new();
        for (name, options) in &self.connections.tcp {
            let asked = asked.map(|grants| rights(grants, name));
            let allowed = allowed
                .map(|grants| rights(grants, name))
                .unwrap_or_default();
            let granted = match asked {
                Some(asked) if asked.is_empty() => Err(Refusal::NotAsked),
                _ if allowed.is_empty() => Err(Refusal::NotAllowed),
                Some(asked) => Ok((asked, Some(allowed))),
                None => Ok((allowed, None)),
            };
            let granted = granted.map(|(asked, allowed)| {
                let permit = TcpPermit::new(plugin.as_str(), name.as_str(), asked, allowed);
                (options.clone(), Arc::new(permit))
            });
            all.insert(name.clone(), granted);
        }
        all
    }
}

impl Resolved {
    /// What the plugin may use, for people: a line for each connection.
    pub fn grants(&self) -> Vec<String> {
        let buses = self.buses().map(|(name, _)| format!("bus `{name}`"));
        let redis = self.redis.iter().filter_map(|(name, granted)| {
            let (_, permit) = granted.as_ref().ok()?;
            Some(format!("redis `{name}`: {}", permit.in_words()))
        });
        let postgres = self.postgres.iter().filter_map(|(name, granted)| {
            granted.as_ref().ok()?;
            Some(format!("postgres `{name}`"))
        });
        let tcp = self.tcp.iter().filter_map(|(name, granted)| {
            let (_, permit) = granted.as_ref().ok()?;
            Some(format!("tcp `{name}`: {}", permit.in_words()))
        });
        buses.chain(redis).chain(postgres).chain(tcp).collect()
    }

    /// The buses that the plugin may use.
    pub fn buses(&self) -> impl Iterator<Item = (&ConnectionName, &BusOptions)> {
        self.buses
            .iter()
            .filter_map(|(name, bus)| Some((name, bus.as_ref().ok()?)))
    }

    /// The bus that the plugin names, if it may use it. The name is the plugin's: any text.
    ///
    /// # Errors
    /// The text says why not, and which key would change that.
    pub fn bus(&self, name: &str) -> Result<&BusOptions, Denied> {
        let plugin = &self.name;
        let denied = |text| Err(Denied(text));
        match self.buses.get(name) {
            Some(Ok(options)) => Ok(options),
            Some(Err(Refusal::NotAsked)) => denied(format!(
                "the manifest of `{plugin}` does not ask for the bus `{name}`: add it to \
                 `grants.bus` in {plugin}.toml beside the plugin"
            )),
            Some(Err(Refusal::NotAllowed)) => denied(format!(
                "`{plugin}` may not use the bus `{name}`: allow it with grants = {{ bus = \
                 [\"{name}\"] }} in [transports.{plugin}]"
            )),
            None => denied(self.unknown_bus(name)),
        }
    }

    /// The Redis that the plugin names, and what it may do there. The name is the plugin's: any
    /// text.
    ///
    /// # Errors
    /// The text says why not, and which key would change that.
    pub fn redis(&self, name: &str) -> Result<&(RedisOptions, Arc<RedisPermit>), Denied> {
        let plugin = &self.name;
        let denied = |text| Err(Denied(text));
        match self.redis.get(name) {
            Some(Ok(granted)) => Ok(granted),
            Some(Err(Refusal::NotAsked)) => denied(format!(
                "the manifest of `{plugin}` does not ask for the Redis `{name}`: add it to \
                 `grants.redis` in {plugin}.toml beside the plugin"
            )),
            Some(Err(Refusal::NotAllowed)) => denied(format!(
                "`{plugin}` may not use the Redis `{name}`: allow it with grants = {{ redis = \
                 [\"{name}\"] }} in [transports.{plugin}]"
            )),
            None => denied(self.unknown_redis(name)),
        }
    }

    /// The Postgres that the plugin names, and what it may do there. The name is the plugin's: any
    /// text.
    ///
    /// # Errors
    /// The text says why not, and which key would change that.
    pub fn postgres(&self, name: &str) -> Result<&(PostgresOptions, Arc<PostgresPermit>), Denied> {
        let plugin = &self.name;
        let denied = |text| Err(Denied(text));
        match self.postgres.get(name) {
            Some(Ok(granted)) => Ok(granted),
            Some(Err(Refusal::NotAsked)) => denied(format!(
                "the manifest of `{plugin}` does not ask for the Postgres `{name}`: add it to \
                 `grants.postgres` in {plugin}.toml beside the plugin"
            )),
            Some(Err(Refusal::NotAllowed)) => denied(format!(
                "`{plugin}` may not use the Postgres `{name}`: allow it with grants = {{ postgres \
                 = [\"{name}\"] }} in [transports.{plugin}]"
            )),
            None => denied(self.unknown_postgres(name)),
        }
    }

    /// The connection over TCP that the plugin names, and what it may reach besides. The name is the
    /// plugin's: any text.
    ///
    /// # Errors
    /// The text says why not, and which key would change that.
    pub fn tcp(&self, name: &str) -> Result<&(TcpOptions, Arc<TcpPermit>), Denied> {
        let plugin = &self.name;
        let denied = |text| Err(Denied(text));
        match self.tcp.get(name) {
            Some(Ok(granted)) => Ok(granted),
            Some(Err(Refusal::NotAsked)) => denied(format!(
                "the manifest of `{plugin}` does not ask for the TCP connection `{name}`: add it to \
                 `grants.tcp` in {plugin}.toml beside the plugin"
            )),
            Some(Err(Refusal::NotAllowed)) => denied(format!(
                "`{plugin}` may not use the TCP connection `{name}`: allow it with grants = {{ tcp = \
                 [\"{name}\"] }} in [transports.{plugin}]"
            )),
            None => denied(self.unknown_tcp(name)),
        }
    }

    fn unknown_tcp(&self, name: &str) -> String {
        if name.parse::<ConnectionName>().is_err() {
            // Any text at all, so it is cut before it gets into a log.
            let shown: String = name.chars().take(super::MAX_NAME_BYTES).collect();
            return format!(
                "{shown:?} cannot be a TCP connection: {}",
                super::InvalidName
            );
        }
        let known: Vec<&str> = self.tcp.keys().map(ConnectionName::as_str).collect();
        let hint = suggest::hint(name, &known);
        format!(
            "there is no TCP connection `{name}`: add [connections.tcp.{name}] with addresses = \
             [\"HOST:PORT\"]{hint}"
        )
    }

    fn unknown_postgres(&self, name: &str) -> String {
        if name.parse::<ConnectionName>().is_err() {
            // Any text at all, so it is cut before it gets into a log.
            let shown: String = name.chars().take(super::MAX_NAME_BYTES).collect();
            return format!("{shown:?} cannot be a Postgres: {}", super::InvalidName);
        }
        let known: Vec<&str> = self.postgres.keys().map(ConnectionName::as_str).collect();
        let hint = suggest::hint(name, &known);
        format!(
            "there is no Postgres `{name}`: add [connections.postgres.{name}] with url = \
             \"postgres://USER@HOST/DATABASE\"{hint}"
        )
    }

    fn unknown_redis(&self, name: &str) -> String {
        if name.parse::<ConnectionName>().is_err() {
            // Any text at all, so it is cut before it gets into a log.
            let shown: String = name.chars().take(super::MAX_NAME_BYTES).collect();
            return format!("{shown:?} cannot be a Redis: {}", super::InvalidName);
        }
        let known: Vec<&str> = self.redis.keys().map(ConnectionName::as_str).collect();
        let hint = suggest::hint(name, &known);
        format!(
            "there is no Redis `{name}`: add [connections.redis.{name}] with url = \
             \"redis://HOST\"{hint}"
        )
    }

    fn unknown_bus(&self, name: &str) -> String {
        if name.parse::<ConnectionName>().is_err() {
            // Any text at all, so it is cut before it gets into a log.
            let shown: String = name.chars().take(super::MAX_NAME_BYTES).collect();
            return format!("{shown:?} cannot be a bus: {}", super::InvalidName);
        }
        let known: Vec<&str> = self.buses.keys().map(ConnectionName::as_str).collect();
        let hint = suggest::hint(name, &known);
        format!("there is no bus `{name}`: add [connections.bus.{name}]{hint}")
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
        for grant in asked.iter().flat_map(|grants| &grants.bus) {
            let super::Which::Named(name) = &grant.connection else {
                continue;
            };
            if let Err(denied) = self.bus(name.as_str()) {
                self.warnings.push(denied.to_string());
            }
        }
        for grant in asked.iter().flat_map(|grants| &grants.redis) {
            for (key, problem) in grant.rights.problems(true) {
                self.warnings.push(format!(
                    "`{key}` of `grants.redis` in {}.toml {problem}",
                    self.name
                ));
            }
            let super::Which::Named(name) = &grant.connection else {
                continue;
            };
            if let Err(denied) = self.redis(name.as_str()) {
                self.warnings.push(denied.to_string());
            }
        }
        for grant in asked.iter().flat_map(|grants| &grants.postgres) {
            for (key, problem) in grant.rights.problems(true) {
                self.warnings.push(format!(
                    "`{key}` of `grants.postgres` in {}.toml {problem}",
                    self.name
                ));
            }
            let super::Which::Named(name) = &grant.connection else {
                continue;
            };
            if let Err(denied) = self.postgres(name.as_str()) {
                self.warnings.push(denied.to_string());
            }
        }
        for grant in asked.iter().flat_map(|grants| &grants.tcp) {
            let super::Which::Named(name) = &grant.connection else {
                continue;
            };
            if let Err(denied) = self.tcp(name.as_str()) {
                self.warnings.push(denied.to_string());
            }
        }
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
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// What the configuration comes to for a plugin `local` with this manifest.
    fn resolve(manifest: &str, config: &str) -> Result<Resolved, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("local.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
        fs::write(folder.path().join("local.toml"), manifest).unwrap();
        let config = Config::from_toml(config, folder.path()).unwrap();
        let plugins = crate::plugins::PluginFolder::new(folder.path());
        config.resolve(&plugins.find(&PluginName::local()).unwrap())
    }

    #[test]
    fn a_connection_is_granted_when_it_is_asked_for_and_allowed() {
        let granted = |manifest: &str, operator: &str| {
            let config = format!("[connections.bus.b]\n[connections.bus.c]\n{operator}");
            let resolved = resolve(manifest, &config).unwrap();
            resolved
                .buses()
                .map(|(name, _)| name.to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let allowed = |buses: &str| format!("[transports.local.grants]\n{buses}");
        for (asked, operator, expected) in [
            ("", String::new(), ""),
            ("", "[transports.local]".to_owned(), ""),
            ("", allowed("bus = ['main', 'b']"), "b main"),
            ("grants.bus = ['main']", String::new(), "main"),
            ("grants.bus = ['*']", String::new(), "b c main"),
            (
                "grants.bus = ['main', 'b']",
                allowed("bus = ['b', 'c']"),
                "b",
            ),
            ("grants.bus = ['*']", allowed("bus = ['c']"), "c"),
            ("grants.bus = ['c']", allowed("bus = ['*']"), "c"),
            ("grants.bus = ['main']", allowed(""), ""),
            ("grants = {}", allowed("bus = ['main']"), ""),
        ] {
            assert_eq!(
                granted(asked, &operator),
                expected,
                "for {asked:?} and {operator:?}"
            );
        }
    }

    #[test]
    fn a_redis_is_granted_only_when_the_operator_says_so() {
        let granted = |manifest: &str, operator: &str| {
            let config = format!("connections.redis.main.url = 'redis://h'\n{operator}");
            let resolved = resolve(manifest, &config).unwrap();
            resolved.redis("main").is_ok()
        };
        let narrow = "grants.redis = [{ connection = 'main', commands = ['XADD'], keys = ['s*'] }]";
        for (asked, operator, expected) in [
            ("", "", false),
            ("grants.redis = ['main']", "", false),
            ("grants.redis = ['*']", "[transports.local]", false),
            (
                "grants.redis = ['main']",
                "transports.local.grants.redis = ['main']",
                true,
            ),
            (narrow, "transports.local.grants.redis = ['*']", true),
            ("", "transports.local.grants.redis = ['main']", true),
            (
                "grants.bus = ['main']",
                "transports.local.grants.redis = ['main']",
                false,
            ),
            (
                "grants.redis = ['main']",
                "transports.local.grants.bus = ['main']",
                false,
            ),
        ] {
            let is_granted = granted(asked, operator);
            assert_eq!(is_granted, expected, "for {asked:?} and {operator:?}");
        }
    }

    #[test]
    fn what_is_granted_can_be_told_to_people() {
        let manifest = "[grants]\nbus = ['main']\n\
                        redis = [{ connection = 'main', commands = ['XADD', 'PUBSUB NUMSUB'], \
                        keys = ['s*'] }]";
        let told = |operator: &str| {
            let config = format!(
                "connections.redis.main.url = 'redis://h'\n\
                 [transports.local.grants]\nbus = ['*']\nredis = [{operator}]"
            );
            resolve(manifest, &config).unwrap().grants()
        };
        let redis = "redis `main`: commands XADD PUBSUB-NUMSUB, keys s*, all channels";
        assert_eq!(told("'main'"), ["bus `main`", redis]);
        let narrower = "{ connection = 'main', commands = ['XADD'], channels = [] }";
        let of_that = format!("{redis}; of that commands XADD, all keys, no channels");
        assert_eq!(told(narrower), ["bus `main`", &of_that]);
        assert_eq!(told(""), ["bus `main`"]);
    }

    #[test]
    fn a_wrong_redis_is_refused_by_its_key_and_a_secret_is_not_repeated() {
        for (config, expected) in [
            (
                "connections.redis.main = {}",
                "`connections.redis.main.url`",
            ),
            (
                "connections.redis.main.uri = 'redis://h'",
                "did you mean `url`",
            ),
            (
                "connections.redis.main.url = 'http://u:hunter2@h'",
                "redis://",
            ),
            (
                "connections.redis.main.url = 'redis://h'\n\
                 transports.local.grants.redis = ['mian']",
                "did you mean `main`",
            ),
            (
                "connections.redis.main.url = 'redis://h'\n\
                 transports.local.grants.redis = [{ connection = 'main', commands = ['XAD'] }]",
                "did you mean `XADD`",
            ),
        ] {
            let error = Config::from_toml(config, "/").unwrap_err().to_string();
            assert!(
                error.contains(expected),
                "expected {expected:?} in {error:?}"
            );
            assert!(!error.contains("hunter2"), "{error:?}");
            assert_eq!(error.lines().count(), 1, "one mistake, one line: {error:?}");
        }
    }

    #[test]
    fn a_postgres_is_granted_only_when_the_operator_says_so() {
        let config = "connections.postgres.main.url = 'postgres://h'\n";
        let granted = |manifest: &str, operator: &str| {
            let resolved = resolve(manifest, &format!("{config}{operator}")).unwrap();
            (resolved.postgres("main").is_ok(), resolved.warnings.len())
        };
        let asks =
            "grants.postgres = [{ connection = 'main', tables = ['t*'], channels = ['c*'] }]";
        let allows = "transports.local.grants.postgres = ['main']";
        for (asked, operator, expected) in [
            ("", "", (false, 0)),
            (asks, "", (false, 1)),
            (asks, "transports.local.grants.bus = ['main']", (false, 1)),
            (asks, allows, (true, 0)),
            (asks, "transports.local.grants.postgres = ['*']", (true, 0)),
            ("", allows, (true, 0)),
            // The bus is asked for in vain, too.
            ("grants.bus = ['main']", allows, (false, 1)),
            // A name alone asks for nothing, and that is pointed out.
            ("grants.postgres = ['main']", allows, (true, 1)),
        ] {
            let is_granted = granted(asked, operator);
            assert_eq!(is_granted, expected, "for {asked:?} and {operator:?}");
        }
    }

    #[test]
    fn a_wrong_postgres_is_refused_by_its_key_and_a_secret_is_not_repeated() {
        let url = "connections.postgres.main.url = 'postgres://h'\n";
        let with_url = |rest: &str| format!("{url}{rest}");
        for (config, expected) in [
            (
                "connections.postgres.main = {}".to_owned(),
                "`connections.postgres.main.url`",
            ),
            (
                with_url("connections.postgres.main.uri = 'postgres://h'"),
                "did you mean `url`",
            ),
            (
                "connections.postgres.main.url = 'http://u:hunter2@h'".to_owned(),
                "postgres://",
            ),
            (
                "connections.postgres.main.url = 'postgres://u:hunter2@h:x/d'".to_owned(),
                "postgres://user:password@host",
            ),
            (
                with_url("connections.postgres.main.pool_size = 0"),
                "`connections.postgres.main.pool_size`",
            ),
            (
                with_url("transports.local.grants.postgres = ['mian']"),
                "did you mean `main`",
            ),
            (
                with_url(
                    "transports.local.grants.postgres = [{ connection = 'main', tabels = ['t'] }]",
                ),
                "did you mean `tables`",
            ),
            (
                with_url(
                    "transports.local.grants.postgres = [{ connection = 'main', tables = [''] }]",
                ),
                "1 to 512 bytes",
            ),
        ] {
            let error = Config::from_toml(&config, "/").unwrap_err().to_string();
            assert!(
                error.contains(expected),
                "expected {expected:?} in {error:?}"
            );
            assert!(!error.contains("hunter2"), "{error:?}");
            assert_eq!(error.lines().count(), 1, "one mistake, one line: {error:?}");
        }
    }

    #[test]
    fn an_empty_configuration_gives_the_local_plugin_its_bus() {
        let resolved = resolve("grants.bus = ['main']", "").unwrap();
        let path = BusOptions::default_path("default");
        assert_eq!(
            resolved.bus("main"),
            Ok(&BusOptions {
                path,
                ..BusOptions::default()
            })
        );
        assert_eq!(resolved.options, "{}");
        assert_eq!(resolved.limits, Limits::default());
        assert_eq!(resolved.warnings, [""; 0]);
    }

    #[test]
    fn a_bus_without_a_path_is_named_after_the_cluster() {
        let config = "name = 'chat'\nconnections.bus.b = {}\nconnections.bus.c.path = '/c'";
        let resolved = resolve("grants.bus = ['*']", config).unwrap();
        let path = |name| resolved.bus(name).unwrap().path.as_path();
        assert_eq!(path("main"), BusOptions::default_path("chat"));
        assert_eq!(path("b"), BusOptions::default_path("chat-b"));
        assert_eq!(path("c"), Path::new("/c"));
    }

    #[test]
    fn a_denial_says_which_key_would_change_it() {
        let manifest = "grants.bus = ['main', 'b']";
        let config = "connections.bus.b = {}\nconnections.bus.c = {}\n\
                      transports.local.grants.bus = ['main']";
        let resolved = resolve(manifest, config).unwrap();
        let not_allowed = "`local` may not use the bus `b`: allow it with grants = { bus = [\"b\"] \
                           } in [transports.local]";
        for (name, expected) in [
            ("b", not_allowed),
            (
                "c",
                "the manifest of `local` does not ask for the bus `c`: add it to `grants.bus` in \
                 local.toml beside the plugin",
            ),
            (
                "mian",
                "there is no bus `mian`: add [connections.bus.mian]; did you mean `main`?",
            ),
            (
                "a\nb",
                "\"a\\nb\" cannot be a bus: a name is 1 to 64 lower-case letters, digits and \
                 hyphens, and starts with a letter or a digit",
            ),
        ] {
            assert_eq!(resolved.bus(name).unwrap_err().to_string(), expected);
        }
        assert_eq!(resolved.warnings, [not_allowed]);
        assert!(
            resolved
                .bus(&"x".repeat(100_000))
                .unwrap_err()
                .to_string()
                .len()
                < 300
        );
    }

    #[test]
    fn the_operators_options_go_before_the_manifests() {
        let manifest = "[options]\na = 1\nb = [1, 2]\nc = { d = 1, e = 2 }";
        let config = "[transports.local.options]\nb = [3]\nc.e = 4\nf = true";
        let resolved = resolve(manifest, config).unwrap();
        let options: Value = serde_json::from_str(&resolved.options).unwrap();
        assert_eq!(
            options,
            serde_json::json!({ "a": 1, "b": [3], "c": { "d": 1, "e": 4 }, "f": true })
        );
    }

    #[test]
    fn the_limits_of_a_transport_go_before_those_of_all() {
        let config = "limits = { cpu_ms = 5, max_restarts = 3 }\n\
                      transports.local.limits.cpu_ms = 7";
        let limits = resolve("", config).unwrap().limits;
        assert_eq!((limits.cpu.as_millis(), limits.max_restarts), (7, 3));
    }

    #[test]
    fn a_file_that_the_operator_did_not_pin_is_refused() {
        let digest = crate::plugins::Digest::of(b"another");
        let config = format!("transports.local.digest = '{digest}'");
        let error = resolve("", &config).unwrap_err().to_string();
        assert!(
            error.contains("is not the file that `transports.local.digest` allows"),
            "{error}"
        );
        assert!(error.contains(&digest.to_string()), "{error}");
    }

    #[test]
    fn settings_under_a_name_that_is_nearly_right_are_pointed_out() {
        let resolved = resolve("", "[transports.lokal]").unwrap();
        assert_eq!(
            resolved.warnings,
            [
                "nothing is set for `local`, but there is [transports.lokal]: is it meant for \
              `local`?"
            ]
        );
    }
}
