//! Names in SQL: the one place where text of a plugin becomes part of it.

use super::invalid;
use crate::capabilities::postgres::PostgresError;

/// Longest name, in bytes. Postgres cuts longer ones off, without an error.
const MAX_NAME_BYTES: usize = 63;

/// A name in double quotes.
pub(super) fn quoted(name: &str) -> Result<String, PostgresError> {
    check("name", name)?;
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// `table` or `schema.table`, each part in double quotes.
pub(super) fn quoted_table(name: &str) -> Result<String, PostgresError> {
    match name.split_once('.') {
        None => quoted(name),
        Some((_, table)) if table.contains('.') => {
            invalid("a table is named as `table` or `schema.table`: there are too many dots")
        }
        Some((schema, table)) => Ok(format!("{}.{}", quoted(schema)?, quoted(table)?)),
    }
}

/// A text in single quotes, for where no parameter can stand. Without backslashes it means the same
/// whatever `standard_conforming_strings` is; names with them are refused there.
pub(super) fn literal(text: &str) -> Result<String, PostgresError> {
    if text.contains('\\') {
        return invalid("a name with a backslash cannot be used here");
    }
    Ok(format!("'{}'", text.replace('\'', "''")))
}

/// Can this be the name of a channel?
///
/// # Errors
/// It is empty, too long, or holds U+0000.
pub(in crate::capabilities::postgres) fn check_channel(name: &str) -> Result<(), PostgresError> {
    check("channel", name)
}

/// Commands for channels that were checked: `LISTEN "a";LISTEN "b";`.
pub(in crate::capabilities::postgres) fn channel_list<'a>(
    verb: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> String {
    let mut text = String::new();
    for name in names {
        text.push_str(verb);
        text.push_str(" \"");
        text.push_str(&name.replace('"', "\"\""));
        text.push_str("\";");
    }
    text
}

fn check(what: &str, name: &str) -> Result<(), PostgresError> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        let shown: String = name.chars().take(MAX_NAME_BYTES).collect();
        let bytes = name.len();
        return invalid(format!(
            "a {what} has 1 to {MAX_NAME_BYTES} bytes, and {shown:?} has {bytes}"
        ));
    }
    if name.contains('\0') {
        return invalid(format!("a {what} cannot hold the character U+0000"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn quotes_inside_a_name_are_doubled() {
        for (name, expected) in [
            ("t", "\"t\""),
            ("T", "\"T\""),
            ("a\"; drop table t; --", "\"a\"\"; drop table t; --\""),
            ("s.t", "\"s\".\"t\""),
            ("s\".\"t", "\"s\"\"\".\"\"\"t\""),
        ] {
            assert_eq!(quoted_table(name).unwrap(), expected);
        }
        assert_eq!(channel_list("LISTEN", ["a\"b"]), "LISTEN \"a\"\"b\";");
        assert_eq!(literal("it's").unwrap(), "'it''s'");
        assert!(literal("a\\'").is_err());
    }

    #[test]
    fn names_that_postgres_would_cut_or_misread_are_refused() {
        let long = "x".repeat(64);
        for name in ["", "a.b.c", ".t", "s.", "a\0", &long, &format!("s.{long}")] {
            let refused = quoted_table(name);
            assert!(
                matches!(refused, Err(PostgresError::Invalid(_))),
                "{name:?}: {refused:?}"
            );
        }
        assert!(quoted_table(&format!("s.{}", "x".repeat(63))).is_ok());
        assert!(check_channel(&"ö".repeat(32)).is_err(), "bytes count");
        assert!(check_channel(&"ö".repeat(31)).is_ok());
    }
}
