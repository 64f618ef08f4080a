//! What differs between two readings of the configuration file, and what of that takes effect in a
//! server that runs.

use std::collections::BTreeMap;

use super::{Config, Connections, Transport};

/// See the module.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changes {
    /// Another transport is wanted.
    pub(crate) transport: Option<Transport>,
    /// Tables that hold for plugins that are loaded, and connections that are made, from now on.
    pub(crate) taken: Vec<&'static str>,
    /// Settings that take effect when the server starts again.
    pub(crate) at_restart: Vec<&'static str>,
}

impl Config {
    /// Takes over what has changed in the file between two readings. What was set in code and is not
    /// in the file stays.
    pub(crate) fn follow(&mut self, before: &Self, now: &Self) -> Changes {
        // Every setting is named, so that a new one does not compile until it has its place here.
        let Self {
            name,
            transport,
            plugins,
            watch_plugins,
            cache,
            cluster,
            limits,
            connections,
            transports,
            admin,
            file: _,
        } = now;
        let mut changes = Changes::default();
        if *transport != before.transport {
            changes.transport = Some(transport.clone());
        }
        if self.connections.follow(&before.connections, connections) {
            changes.taken.push("connections");
        }
        if follow(&mut self.transports, &before.transports, transports) {
            changes.taken.push("transports");
        }
        if *limits != before.limits {
            self.limits = limits.clone();
            changes.taken.push("limits");
        }
        let others = [
            ("name", *name != before.name),
            ("plugins", *plugins != before.plugins),
            ("watch_plugins_ms", *watch_plugins != before.watch_plugins),
            ("cache", *cache != before.cache),
            ("cluster", *cluster != before.cluster),
            ("admin", *admin != before.admin),
        ];
        let others = others.into_iter().filter(|(_, has_changed)| *has_changed);
        changes.at_restart = others.map(|(key, _)| key).collect();
        changes
    }
}

impl Connections {
    /// Takes over the connections that differ. True: there are some.
    fn follow(&mut self, before: &Self, now: &Self) -> bool {
        let Self {
            bus,
            redis,
            postgres,
            tcp,
        } = now;
        let changed = [
            follow(&mut self.bus, &before.bus, bus),
            follow(&mut self.redis, &before.redis, redis),
            follow(&mut self.postgres, &before.postgres, postgres),
            follow(&mut self.tcp, &before.tcp, tcp),
        ];
        changed.contains(&true)
    }
}

/// Takes over the entries that differ. True: there are some.
fn follow<K: Ord + Clone, V: PartialEq + Clone>(
    mine: &mut BTreeMap<K, V>,
    before: &BTreeMap<K, V>,
    now: &BTreeMap<K, V>,
) -> bool {
    let mut has_changed = false;
    for (key, value) in now {
        if before.get(key) != Some(value) {
            mine.insert(key.clone(), value.clone());
            has_changed = true;
        }
    }
    for key in before.keys().filter(|key| !now.contains_key(*key)) {
        mine.remove(key);
        has_changed = true;
    }
    has_changed
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(text: &str) -> Config {
        Config::from_toml(text, "/srv").unwrap()
    }

    #[test]
    fn what_the_file_adds_changes_and_drops_is_taken_over() {
        let before = of(
            "[connections.redis.a]\nurl = 'redis://a'\n[connections.redis.b]\n\
                         url = 'redis://b'\n[transports.redis]\ngrants = { redis = ['a'] }",
        );
        let now = of(
            "transport = 'redis'\n[connections.redis.b]\nurl = 'redis://other'\n\
                      [connections.redis.c]\nurl = 'redis://c'\n[transports.redis]\n\
                      grants = { redis = ['c'] }",
        );
        let mut mine = before.clone();
        let changes = mine.follow(&before, &now);
        assert_eq!(changes.transport, Some("redis".parse().unwrap()));
        assert_eq!(changes.taken, ["connections", "transports"]);
        assert_eq!(changes.at_restart, [""; 0]);
        assert_eq!(mine.connections, now.connections);
        assert_eq!(mine.transports, now.transports);
        // Which transport a server is on is the cluster's business.
        assert_eq!(mine.transport, before.transport);
    }

    #[test]
    fn what_was_set_in_code_stays() {
        let before = of("");
        let mut mine = of("[connections.redis.code]\nurl = 'redis://code'");
        mine.plugins = "/elsewhere".into();
        let now = of("[connections.redis.file]\nurl = 'redis://file'");
        mine.follow(&before, &now);
        let names: Vec<_> = mine
            .connections
            .redis
            .keys()
            .map(ToString::to_string)
            .collect();
        assert_eq!(names, ["code", "file"]);
        assert_eq!(mine.plugins, std::path::Path::new("/elsewhere"));
    }

    #[test]
    fn what_needs_a_new_start_is_named_and_not_taken_over() {
        let before = of("");
        let mut mine = before.clone();
        let now = of(
            "name = 'x'\nplugins = 'p'\nwatch_plugins_ms = 50\ncache = false\n\
                      [cluster]\nheartbeat_interval_ms = 1000\n[admin]\nsocket = 's'",
        );
        let changes = mine.follow(&before, &now);
        let named = [
            "name",
            "plugins",
            "watch_plugins_ms",
            "cache",
            "cluster",
            "admin",
        ];
        assert_eq!(changes.at_restart, named);
        assert_eq!(mine, before);
    }

    #[test]
    fn nothing_new_is_nothing_new() {
        let before = of("transport = 'redis'\n[limits]\ncpu_ms = 70");
        assert_eq!(
            before.clone().follow(&before, &before.clone()),
            Changes::default()
        );
        let mut mine = before.clone();
        let changes = mine.follow(&before, &of("transport = 'redis'"));
        assert_eq!(changes.taken, ["limits"]);
        assert_eq!(mine.limits, Config::default().limits);
    }
}
