//! What serde cannot see: ranges, and settings that must fit one another.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::{
    Config, ConnectionName, LimitOverrides, Limits, Which,
    document::{Document, Problems},
    grants::MAX_GRANTS,
};
use crate::suggest;

/// Most connections of one kind, and most transports that have settings.
const MAX_ENTRIES: usize = 256;

/// How often the plugin folder may be looked at, in milliseconds, if at all.
const WATCH_MS: RangeInclusive<u64> = 10..=3_600_000;

/// Reports everything that is wrong. The document says where settings stand; an empty one will do.
pub(super) fn check(config: &Config, document: &Document, problems: &mut Problems) {
    let mut checker = Checker { document, problems };
    checker.cluster(config);
    if !config.watch_plugins.is_zero() {
        let every_ms = u64::try_from(config.watch_plugins.as_millis()).unwrap_or(u64::MAX);
        checker.range(&["watch_plugins_ms"], every_ms, WATCH_MS);
    }
    let socket = config.admin.socket.as_ref();
    if socket.is_some_and(|socket| socket.as_os_str().is_empty()) {
        checker.problem(&["admin", "socket"], "must be a path, or be left out");
    }
    checker.limits(
        &["limits"],
        &LimitOverrides::from(&config.limits),
        &config.limits,
    );
    checker.count(
        &["connections", "bus"],
        config.connections.bus.len(),
        MAX_ENTRIES,
    );
    let redis = &config.connections.redis;
    checker.count(&["connections", "redis"], redis.len(), MAX_ENTRIES);
    for (name, options) in redis {
        for (key, problem) in options.problems() {
            checker.problem(&["connections", "redis", name.as_str(), key], &problem);
        }
    }
    let postgres = &config.connections.postgres;
    checker.count(&["connections", "postgres"], postgres.len(), MAX_ENTRIES);
    for (name, options) in postgres {
        for (key, problem) in options.problems() {
            checker.problem(&["connections", "postgres", name.as_str(), key], &problem);
        }
    }
    let tcp = &config.connections.tcp;
    checker.count(&["connections", "tcp"], tcp.len(), MAX_ENTRIES);
    for (name, options) in tcp {
        for (key, problem) in options.problems() {
            checker.problem(&["connections", "tcp", name.as_str(), key], &problem);
        }
    }
    checker.count(&["transports"], config.transports.len(), MAX_ENTRIES);
    for (name, transport) in &config.transports {
        let path = ["transports", name.as_str()];
        let limits = config.limits.with(&transport.limits);
        checker.limits(&[path[0], path[1], "limits"], &transport.limits, &limits);
        let buses = config.connections.bus_names();
        let granted = transport.grants.iter().flat_map(|grants| &grants.bus);
        checker.grants(
            &[path[0], path[1], "grants", "bus"],
            granted.map(|grant| &grant.connection).collect(),
            &buses,
        );
        // Whether a grant asks or allows is known with the manifest only; what an allowing one may
        // hold is the less.
        let granted = transport.grants.iter().flat_map(|grants| &grants.redis);
        let granted = granted.map(|grant| (&grant.connection, grant.rights.problems(false)));
        let path = [path[0], path[1], "grants", "redis"];
        checker.rights(&path, granted.collect(), &names(redis));
        let granted = transport.grants.iter().flat_map(|grants| &grants.postgres);
        let granted = granted.map(|grant| (&grant.connection, grant.rights.problems(false)));
        let path = [path[0], path[1], "grants", "postgres"];
        checker.rights(&path, granted.collect(), &names(postgres));
        let granted = transport.grants.iter().flat_map(|grants| &grants.tcp);
        let granted = granted.map(|grant| (&grant.connection, grant.rights.problems()));
        let path = [path[0], path[1], "grants", "tcp"];
        checker.rights(&path, granted.collect(), &names(tcp));
    }
}

fn names<O>(connections: &BTreeMap<ConnectionName, O>) -> Vec<ConnectionName> {
    connections.keys().cloned().collect()
}

struct Checker<'a> {
    document: &'a Document,
    problems: &'a mut Problems,
}

impl Checker<'_> {
    fn problem(&mut self, path: &[&str], predicate: &str) {
        self.document.problem(path, predicate, self.problems);
    }

    fn cluster(&mut self, config: &Config) {
        if let Err(invalid) = config.cluster.validate() {
            let path: Vec<&str> = std::iter::once("cluster")
                .chain(invalid.option.split('.'))
                .collect();
            self.problem(&path, invalid.problem);
        }
    }

    /// `given` is what stands in this table, `all` what it comes to.
    fn limits(&mut self, table: &[&str], given: &LimitOverrides, all: &Limits) {
        for (key, number, range) in given.numbers() {
            self.range(&[table, &[key]].concat(), number, range);
        }
        let given_pause =
            given.restart_backoff_min.is_some() || given.restart_backoff_max.is_some();
        if given_pause && all.restart_backoff_min > all.restart_backoff_max {
            let predicate = format!(
                "must be at most `restart_backoff_max_ms`, which is {}",
                all.restart_backoff_max.as_millis()
            );
            self.problem(&[table, &["restart_backoff_min_ms"]].concat(), &predicate);
        }
    }

    fn range(&mut self, path: &[&str], number: u64, range: RangeInclusive<u64>) {
        if !range.contains(&number) {
            let (least, most) = range.into_inner();
            self.problem(path, &format!("must be {least} to {most}, not {number}"));
        }
    }

    fn count(&mut self, path: &[&str], count: usize, most: usize) {
        if count > most {
            self.problem(path, &format!("holds {count} entries: {most} are allowed"));
        }
    }

    /// The last part of the path is the kind of the connections.
    /// Grants of a kind that can be narrowed, each with what cannot be meant of its rights.
    fn rights(
        &mut self,
        path: &[&str],
        grants: Vec<(&Which, Vec<(&'static str, String)>)>,
        connections: &[ConnectionName],
    ) {
        for (key, problem) in grants.iter().flat_map(|(_, problems)| problems) {
            self.problem(path, &format!("has `{key}`, which {problem}"));
        }
        let grants = grants.into_iter().map(|(connection, _)| connection);
        self.grants(path, grants.collect(), connections);
    }

    fn grants(&mut self, path: &[&str], grants: Vec<&Which>, connections: &[ConnectionName]) {
        self.count(path, grants.len(), MAX_GRANTS);
        let kind = path.last().copied().unwrap_or_default();
        for grant in grants {
            let Which::Named(name) = grant else {
                continue;
            };
            if connections.contains(name) {
                continue;
            }
            let known: Vec<&str> = connections.iter().map(ConnectionName::as_str).collect();
            let predicate = format!(
                "names the connection `{name}`, and there is no [connections.{kind}.{name}]{}",
                suggest::hint(name.as_str(), &known)
            );
            self.problem(path, &predicate);
        }
    }
}
