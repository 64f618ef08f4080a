//! What a plugin may do with a Postgres: tables, channels, creating tables, free SQL. The manifest
//! says what it asks for, the operator what is allowed of that; both have to agree to every call.

use super::statement::{NewTable, Statement};
use crate::capabilities::prefix::Prefix;

/// Most entries of one list.
const MAX_ENTRIES: usize = 256;

/// What one grant is for. What is not given means, where a plugin **asks** (in its manifest, or in
/// the operator's grant if the manifest asks nothing): nothing; where an operator **allows** what a
/// manifest asks: all of it, but free SQL, which both must name.
///
/// ```toml
/// grants.postgres = [
///     { connection = "main", tables = ["socket_io_attachments"], channels = ["socket.io#*"] },
/// ]
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostgresRights {
    /// Tables, written as the plugin writes them (`table` or `schema.table`): exact, or with a `*`
    /// at the end all that begin so. A pattern without a dot means no table with one, but `"*"` means
    /// all.
    pub tables: Option<Vec<Prefix>>,
    /// The same for channels, to send to and to listen on.
    pub channels: Option<Vec<Prefix>>,
    /// Creating those of the tables that do not exist.
    pub create: Option<bool>,
    /// Any SQL that the role of the connection may execute, on any table.
    pub sql: Option<bool>,
}

impl PostgresRights {
    /// What cannot be meant, with the key; for the check of the configuration. `asks` as in
    /// [`PostgresPermit`].
    pub(crate) fn problems(&self, asks: bool) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        for (key, list) in [("tables", &self.tables), ("channels", &self.channels)] {
            if list.as_ref().is_some_and(|list| list.len() > MAX_ENTRIES) {
                problems.push((key, format!("holds more than {MAX_ENTRIES} entries")));
            }
        }
        let has = |list: &Option<Vec<Prefix>>| list.as_ref().is_some_and(|list| !list.is_empty());
        if asks && self.create == Some(true) && !has(&self.tables) {
            let problem = "has no effect without `tables`: name those that may be created";
            problems.push(("create", problem.to_owned()));
        }
        if asks && !has(&self.tables) && !has(&self.channels) && self.sql != Some(true) {
            let problem = "names nothing, and neither do `channels` and `sql`: nothing is granted";
            problems.push(("tables", problem.to_owned()));
        }
        problems
    }

    fn in_words(&self, asks: bool) -> String {
        let listed = |what: &str, list: &Option<Vec<Prefix>>| match list {
            Some(list) if !list.is_empty() => {
                let names: Vec<String> = list.iter().map(Prefix::shown).collect();
                format!("{what} {}", names.join(" "))
            }
            None if !asks => format!("all {what}"),
            _ => format!("no {what}"),
        };
        let mut words = vec![
            listed("tables", &self.tables),
            listed("channels", &self.channels),
        ];
        if self.create.unwrap_or(!asks) {
            words.push("may create them".to_owned());
        }
        if self.sql == Some(true) {
            words.push("free SQL".to_owned());
        }
        words.join(", ")
    }

    fn allows(&self, wanted: Wanted<'_>, asks: bool) -> bool {
        let listed = |list: &Option<Vec<Prefix>>, covers: &dyn Fn(&Prefix) -> bool| match list {
            Some(list) => list.iter().any(covers),
            None => !asks,
        };
        match wanted {
            Wanted::Table(name) => listed(&self.tables, &|prefix| covers_table(prefix, name)),
            Wanted::Channel(name) => {
                listed(&self.channels, &|prefix| prefix.covers(name.as_bytes()))
            }
            Wanted::Creation(name) => {
                self.create.unwrap_or(!asks) && self.allows(Wanted::Table(name), asks)
            }
            Wanted::Sql => self.sql == Some(true),
        }
    }
}

/// `socket*` must not mean `socket.passwords`, which is a table of another schema.
fn covers_table(prefix: &Prefix, name: &str) -> bool {
    let is_all = prefix.text().is_empty();
    prefix.covers(name.as_bytes()) && (is_all || prefix.text().contains('.') || !name.contains('.'))
}

/// What a call needs.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    Table(&'a str),
    Channel(&'a str),
    Creation(&'a str),
    Sql,
}

impl Wanted<'_> {
    /// The key that would grant it, and how to call it.
    fn named(self) -> (&'static str, String) {
        // Any text at all, so it is cut.
        let shown = |name: &str| format!("{:?}", name.chars().take(100).collect::<String>());
        match self {
            Self::Table(name) => ("tables", format!("the table {}", shown(name))),
            Self::Channel(name) => ("channels", format!("the channel {}", shown(name))),
            Self::Creation(name) => ("create", format!("creating the table {}", shown(name))),
            Self::Sql => ("sql", "free SQL".to_owned()),
        }
    }
}

/// What one plugin may do with one connection.
///
/// A grant in the manifest that covers the connection must allow a call, and one of the operator's
/// as well.
#[derive(Clone, Debug, PartialEq)]
pub struct PostgresPermit {
    plugin: String,
    connection: String,
    /// Any of these must agree: what is asked.
    asked: Vec<PostgresRights>,
    /// Any of these must agree: what is allowed. None: the operator's grant is what is asked.
    allowed: Option<Vec<PostgresRights>>,
}

impl PostgresPermit {
    /// `asked`: the grants of the manifest that cover the connection, or the operator's if the
    /// manifest has none at all; then `allowed` is none.
    pub(crate) fn new(
        plugin: &str,
        connection: &str,
        asked: Vec<PostgresRights>,
        allowed: Option<Vec<PostgresRights>>,
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

    /// For people, on one line.
    pub(crate) fn in_words(&self) -> String {
        let words = |all: &[PostgresRights], asks| {
            let each: Vec<String> = all.iter().map(|rights| rights.in_words(asks)).collect();
            each.join(", or ")
        };
        let asked = words(&self.asked, true);
        match &self.allowed {
            Some(allowed) if !allowed.contains(&PostgresRights::default()) => {
                format!("{asked}; of that {}", words(allowed, false))
            }
            _ => asked,
        }
    }

    /// May this statement be executed?
    ///
    /// # Errors
    /// For the plugin: what is missing, and which key would give it.
    pub(super) fn check_statement(&self, statement: &Statement) -> Result<(), String> {
        match statement {
            Statement::Notify(notify) => {
                if let Some(store) = &notify.store {
                    self.check(Wanted::Table(&store.table))?;
                }
                // Mostly the same one again and again.
                let mut last = None;
                for notice in &notify.notices {
                    if last != Some(notice.channel.as_str()) {
                        self.check_channel(&notice.channel)?;
                        last = Some(&notice.channel);
                    }
                }
                Ok(())
            }
            Statement::Insert(insert) => self.check(Wanted::Table(&insert.table)),
            Statement::Select(select) => self.check(Wanted::Table(&select.table)),
            Statement::Delete(delete) => self.check(Wanted::Table(&delete.table)),
            Statement::Sql(_) => self.check(Wanted::Sql),
        }
    }

    /// May it send to this channel, and listen on it?
    ///
    /// # Errors
    /// As [`check_statement`](Self::check_statement).
    pub(super) fn check_channel(&self, name: &str) -> Result<(), String> {
        self.check(Wanted::Channel(name))
    }

    /// May it use this table, if it exists?
    ///
    /// # Errors
    /// As [`check_statement`](Self::check_statement).
    pub(super) fn check_table(&self, table: &NewTable) -> Result<(), String> {
        self.check(Wanted::Table(&table.table))
    }

    /// May it create this table?
    ///
    /// # Errors
    /// As [`check_statement`](Self::check_statement).
    pub(super) fn check_creation(&self, table: &NewTable) -> Result<(), String> {
        self.check(Wanted::Creation(&table.table))
    }

    fn check(&self, wanted: Wanted<'_>) -> Result<(), String> {
        let agrees = |grants: &[PostgresRights], asks| {
            let mut grants = grants.iter();
            grants.any(|rights| rights.allows(wanted, asks))
        };
        let is_asked = agrees(&self.asked, true);
        let is_allowed = match &self.allowed {
            Some(allowed) => agrees(allowed, false),
            None => true,
        };
        if is_asked && is_allowed {
            return Ok(());
        }
        let (plugin, connection) = (&self.plugin, &self.connection);
        let (key, what) = wanted.named();
        Err(match (is_asked, &self.allowed) {
            (false, Some(_)) => format!(
                "the manifest of `{plugin}` does not ask for {what} on the Postgres \
                 `{connection}`: add it to `{key}` of its `grants.postgres` in {plugin}.toml \
                 beside the plugin"
            ),
            _ => format!(
                "`{plugin}` may not use {what} on the Postgres `{connection}`: allow it with \
                 `{key}` in `grants.postgres` of [transports.{plugin}]"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde::Deserialize;

    use super::*;

    fn rights(text: &str) -> PostgresRights {
        #[derive(Deserialize)]
        struct Grant {
            tables: Option<Vec<Prefix>>,
            channels: Option<Vec<Prefix>>,
            create: Option<bool>,
            sql: Option<bool>,
        }
        let grant: Grant = toml::from_str(text).unwrap();
        PostgresRights {
            tables: grant.tables,
            channels: grant.channels,
            create: grant.create,
            sql: grant.sql,
        }
    }

    fn permit(asked: &str, allowed: Option<&str>) -> PostgresPermit {
        let allowed = allowed.map(|text| vec![rights(text)]);
        PostgresPermit::new("pg", "main", vec![rights(asked)], allowed)
    }

    #[test]
    fn both_sides_must_agree_to_every_table_and_channel() {
        let asked = "tables = ['a*', 's.t']\nchannels = ['c#*']";
        for (asked, allowed, wanted, expected) in [
            ("", Some(""), Wanted::Table("a"), false),
            ("", None, Wanted::Table("a"), false),
            ("", Some(""), Wanted::Channel("c#/"), false),
            ("", None, Wanted::Channel("c#/"), false),
            (asked, Some(""), Wanted::Table("a"), true),
            (asked, Some(""), Wanted::Table("ab"), true),
            (asked, Some(""), Wanted::Table("b"), false),
            (asked, Some(""), Wanted::Table("A"), false),
            (asked, Some(""), Wanted::Table("a.b"), false),
            (asked, Some(""), Wanted::Table("s.t"), true),
            (asked, Some(""), Wanted::Table("s.t2"), false),
            (asked, Some(""), Wanted::Channel("c#/x"), true),
            (asked, Some(""), Wanted::Channel("c"), false),
            (asked, Some("tables = ['ab']"), Wanted::Table("a"), false),
            (asked, Some("tables = ['ab']"), Wanted::Table("ab"), true),
            (asked, Some("tables = ['ab']"), Wanted::Channel("c#"), true),
            (asked, Some("channels = []"), Wanted::Channel("c#"), false),
            (asked, None, Wanted::Table("a"), true),
            ("tables = ['*']", Some(""), Wanted::Table("any.thing"), true),
            ("tables = ['s.*']", Some(""), Wanted::Table("s.x"), true),
            ("tables = ['s*']", Some(""), Wanted::Table("s.x"), false),
        ] {
            let result = permit(asked, allowed).check(wanted);
            let (_, name) = wanted.named();
            assert_eq!(
                result.is_ok(),
                expected,
                "{name} with {asked:?} and {allowed:?}: {result:?}"
            );
        }
    }

    #[test]
    fn creation_and_free_sql_need_words_of_their_own() {
        let creates = "tables = ['t']\ncreate = true";
        for (asked, allowed, wanted, expected) in [
            ("tables = ['t']", Some(""), Wanted::Creation("t"), false),
            (creates, Some(""), Wanted::Creation("t"), true),
            (creates, None, Wanted::Creation("t"), true),
            (
                creates,
                Some("create = false"),
                Wanted::Creation("t"),
                false,
            ),
            (creates, Some(""), Wanted::Creation("u"), false),
            ("sql = true", Some(""), Wanted::Sql, false),
            ("sql = true", Some("sql = true"), Wanted::Sql, true),
            ("sql = true", None, Wanted::Sql, true),
            ("", Some("sql = true"), Wanted::Sql, false),
            ("tables = ['*']", None, Wanted::Sql, false),
            ("sql = true", None, Wanted::Table("t"), false),
        ] {
            let result = permit(asked, allowed).check(wanted);
            let (_, name) = wanted.named();
            assert_eq!(
                result.is_ok(),
                expected,
                "{name} with {asked:?} and {allowed:?}: {result:?}"
            );
        }
    }

    #[test]
    fn a_refusal_names_the_side_and_the_key() {
        let error = permit("", Some("")).check(Wanted::Table("t")).unwrap_err();
        assert!(
            error.contains("manifest of `pg`") && error.contains("`tables`"),
            "{error}"
        );
        let narrowed = permit("channels = ['*']", Some("channels = ['a']"));
        let error = narrowed.check_channel("b").unwrap_err();
        assert!(
            error.contains("\"b\"")
                && error.contains("`channels`")
                && error.contains("[transports.pg]"),
            "{error}"
        );
        let nothing = PostgresPermit::new("pg", "main", vec![], Some(vec![]));
        assert!(nothing.check_channel("c").is_err());
        let long = permit("", None).check_channel(&"x".repeat(100_000));
        assert!(long.unwrap_err().len() < 400);
    }

    #[test]
    fn grants_that_cannot_be_meant_are_pointed_out() {
        for (text, asks, key) in [
            ("", true, Some("tables")),
            ("", false, None),
            ("create = true\nchannels = ['a']", true, Some("create")),
            ("create = true", false, None),
            ("sql = true", true, None),
            ("channels = ['a']", true, None),
        ] {
            let problems = rights(text).problems(asks);
            let keys: Vec<_> = problems.iter().map(|(key, _)| *key).collect();
            assert_eq!(keys, key.into_iter().collect::<Vec<_>>(), "{text:?} {asks}");
        }
    }
}
