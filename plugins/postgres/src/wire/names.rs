//! Channels and tables.

use std::fmt;

/// Longest name of anything in Postgres, in bytes. It cuts longer ones in silence where they are
/// listened to.
pub const MAX_NAME_BYTES: usize = 63;

/// Longest prefix of channels, in bytes: it leaves room for what stands for a long namespace.
pub const MAX_PREFIX_BYTES: usize = 44;

/// The channel of a namespace.
///
/// One whose name would be too long has a channel that is made of a hash of it. Node's servers cannot
/// serve such a namespace at all, so nobody there is left out.
pub fn channel(prefix: &str, namespace: &str) -> String {
    let name = format!("{prefix}#{namespace}");
    match name.len() {
        ..=MAX_NAME_BYTES => name,
        // No namespace begins like this.
        _ => format!("{prefix}#~{:016x}", hash(namespace)),
    }
}

/// Whether Node's servers have this channel as well.
pub fn is_nodes(prefix: &str, namespace: &str) -> bool {
    prefix.len() + 1 + namespace.len() <= MAX_NAME_BYTES
}

/// FNV-1a. Two namespaces with one hash share a channel, and messages name their namespace.
fn hash(text: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    text.bytes().fold(OFFSET, step)
}

/// A table, and the names of those beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    schema: Option<String>,
    table: String,
}

impl TableName {
    /// Room that the names of tables beside it need.
    pub const MAX_SUFFIX_BYTES: usize = "_sessions".len();

    /// Reads a name as Node's adapter means it, which puts it into SQL as it is: without quotes it
    /// has no capital letters, with quotes it is exact, and a schema may stand before it.
    ///
    /// # Errors
    /// It can be no name, or not one of these.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut rest = text;
        let first = part(&mut rest)?;
        let (schema, table) = match rest.strip_prefix('.') {
            Some(after) => {
                rest = after;
                (Some(first), part(&mut rest)?)
            }
            None => (None, first),
        };
        if !rest.is_empty() {
            return Err(format!("{rest:?} cannot follow there"));
        }
        Ok(Self { schema, table })
    }

    /// As the host wants it: each part exact.
    pub fn exact(&self) -> String {
        self.beside("")
    }

    /// Another table of the same schema.
    pub fn beside(&self, suffix: &str) -> String {
        match &self.schema {
            Some(schema) => format!("{schema}.{}{suffix}", self.table),
            None => format!("{}{suffix}", self.table),
        }
    }

    /// Whether the tables beside it have names that are short enough.
    pub fn has_room(&self) -> bool {
        self.table.len() + Self::MAX_SUFFIX_BYTES <= MAX_NAME_BYTES
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.exact())
    }
}

/// Takes one name from the front of a text.
fn part(rest: &mut &str) -> Result<String, String> {
    let name = match rest.strip_prefix('"') {
        Some(quoted) => in_quotes(quoted, rest)?,
        None => {
            let end = rest.find('.').unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            *rest = after;
            plain(name)?
        }
    };
    match name.len() {
        1..=MAX_NAME_BYTES => Ok(name),
        0 => Err("a name in it is empty".to_owned()),
        len => Err(format!(
            "a name in it has {len} bytes: at most {MAX_NAME_BYTES} are allowed"
        )),
    }
}

fn plain(name: &str) -> Result<String, String> {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    let is_right = |c: char| is_letter(c) || c.is_ascii_digit() || c == '$';
    if name.starts_with(is_letter) && name.chars().all(is_right) {
        return Ok(name.to_ascii_lowercase());
    }
    Err(format!(
        "{name:?} is no name without double quotes around it"
    ))
}

fn in_quotes<'a>(quoted: &'a str, rest: &mut &'a str) -> Result<String, String> {
    let mut name = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if quoted
                .get(at + 1..)
                .is_some_and(|next| next.starts_with('"')) =>
            {
                chars.next();
                name.push('"');
            }
            '"' => {
                *rest = quoted.get(at + 1..).unwrap_or_default();
                return Ok(name);
            }
            // The host tells a schema from a table by it.
            '.' => return Err("a dot inside double quotes is not possible here".to_owned()),
            '\0' => return Err("a name cannot hold the character U+0000".to_owned()),
            other => name.push(other),
        }
    }
    Err("a double quote is not closed".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_the_channel_that_node_gives_it() {
        assert_eq!(channel("socket.io", "/"), "socket.io#/");
        assert_eq!(channel("socket.io", "/admin?x=1"), "socket.io#/admin?x=1");
        let longest = format!("/{}", "x".repeat(52));
        assert_eq!(channel("socket.io", &longest).len(), 63);
        assert!(is_nodes("socket.io", &longest));
    }

    #[test]
    fn a_long_namespace_has_a_channel_that_postgres_does_not_cut() {
        let long = |c: &str| format!("/{}", c.repeat(600));
        for prefix in ["socket.io", &"p".repeat(MAX_PREFIX_BYTES)] {
            let (one, other) = (channel(prefix, &long("x")), channel(prefix, &long("y")));
            assert!(one.len() <= MAX_NAME_BYTES && one != other);
            // Grants name what it begins with.
            assert!(one.starts_with(&format!("{prefix}#~")));
            assert_eq!(one, channel(prefix, &long("x")));
            assert!(!is_nodes(prefix, &long("x")));
        }
        // All servers have to agree on it for ever.
        assert_eq!(
            channel("socket.io", &long("x")),
            "socket.io#~22445c61f01c8efe"
        );
    }

    #[test]
    fn a_table_is_the_one_that_node_means() {
        for (written, exact, beside) in [
            (
                "socket_io_attachments",
                "socket_io_attachments",
                "socket_io_attachments_x",
            ),
            ("Attachments", "attachments", "attachments_x"),
            ("chat.Attachments", "chat.attachments", "chat.attachments_x"),
            ("\"My Table\"", "My Table", "My Table_x"),
            ("\"a\"\"b\"", "a\"b", "a\"b_x"),
            ("Chat.\"T\"", "chat.T", "chat.T_x"),
            ("\"S\".t1$", "S.t1$", "S.t1$_x"),
            ("täble", "täble", "täble_x"),
        ] {
            let name = TableName::read(written).unwrap();
            assert_eq!(
                (name.exact(), name.beside("_x")),
                (exact.into(), beside.into())
            );
        }
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let long = "x".repeat(64);
        for written in [
            "", ".", "a.", ".a", "a.b.c", "a b", "1a", "a;drop", "\"a", "\"\"", "\"a\"b",
            "\"a.b\"", "\"a\0\"", &long,
        ] {
            assert!(TableName::read(written).is_err(), "{written:?}");
        }
        assert!(TableName::read(&"x".repeat(63)).unwrap().exact().len() == 63);
        assert!(!TableName::read(&"x".repeat(55)).unwrap().has_room());
        assert!(TableName::read(&"x".repeat(54)).unwrap().has_room());
    }
}
