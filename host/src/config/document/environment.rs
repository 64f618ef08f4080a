//! Environment variables into the tree.
//!
//! `SWITCHBOARD_CLUSTER__HEARTBEAT_INTERVAL_MS=2000` is `cluster.heartbeat_interval_ms = 2000`.
//! Only variables with the prefix are looked at, and all of them must mean something: one that
//! does not is an error, like an unknown key of the file.

use std::{
    collections::btree_map::{BTreeMap, Entry as MapEntry},
    ffi::OsString,
    sync::Arc,
};

use super::{
    MAX_TEXT_BYTES,
    error::Problems,
    origin::Origin,
    toml_text,
    tree::{Entry, Node, Table, Value},
};

/// What the variables' names start with; case does not count.
pub(crate) const PREFIX: &str = "SWITCHBOARD_";

/// Stands between a table and its keys.
const NESTING: &str = "__";

/// Tables deeper than this are not made from a variable's name.
const MAX_DEPTH: usize = 16;

/// Tables whose keys are names: these hold hyphens, which no shell takes in a variable's name,
/// and no underscores. The depth is that of the names.
const NAMED: [(&str, usize); 2] = [("transports", 1), ("connections", 2)];

/// Reads the variables that are settings; the others are none of our business.
pub(super) fn parse(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Problems,
) -> Table {
    // Sorted, so that the same environment always gives the same report.
    let mut settings = BTreeMap::new();
    for (name, value) in variables {
        let name = name.to_string_lossy().into_owned();
        let Some(path) = setting(&name) else { continue };
        let origin = Origin::Variable(Arc::from(name.as_str()));
        let Some(value) = value
            .to_str()
            .filter(|value| value.len() as u64 <= MAX_TEXT_BYTES)
        else {
            problems.add(
                Some(&origin),
                format!("{origin} is not UTF-8 text of at most {MAX_TEXT_BYTES} bytes"),
            );
            continue;
        };
        settings.insert(name, (path, origin, value.to_owned()));
    }
    let mut root = Table::new();
    for (path, origin, value) in settings.into_values() {
        let node = read(value, &origin, problems);
        if let Err(why) = insert(&mut root, &path, node, &origin) {
            problems.add(Some(&origin), format!("{origin} {why}"));
        }
    }
    root
}

/// The setting that a variable means, as the lower-case rest of its name.
fn setting(name: &str) -> Option<String> {
    let (prefix, rest) = name.split_at_checked(PREFIX.len())?;
    if !prefix.eq_ignore_ascii_case(PREFIX) {
        return None;
    }
    let rest = rest.to_ascii_lowercase();
    // Not settings: where the settings are, how the programs log, what the tests use.
    if matches!(rest.as_str(), "config" | "log") || rest.starts_with("test_") {
        return None;
    }
    // What Kubernetes sets in every pod when a service is called "switchboard".
    if rest == "port" || rest.starts_with("port_") || rest.starts_with("service_") {
        return None;
    }
    Some(rest)
}

fn read(text: String, origin: &Origin, problems: &mut Problems) -> Node {
    let value = toml_text::parse_value(&text, origin, problems);
    let value = value.unwrap_or_else(|| Value::Text(text.clone()));
    Node {
        value,
        origin: origin.clone(),
        verbatim: Some(text.into()),
    }
}

fn insert(root: &mut Table, path: &str, node: Node, origin: &Origin) -> Result<(), &'static str> {
    let keys: Vec<&str> = path.split(NESTING).collect();
    if keys.len() > MAX_DEPTH || keys.iter().any(|key| key.is_empty()) {
        return Err("is no setting: `__` stands between a table and its key");
    }
    let named = |depth| NAMED.contains(&(keys[0], depth));
    let mut table = root;
    for (depth, key) in keys.iter().enumerate() {
        let key = if named(depth) {
            key.replace('_', "-")
        } else {
            (*key).to_owned()
        };
        let last = depth + 1 == keys.len();
        let entry = match table.entry(key) {
            MapEntry::Occupied(_) if last => {
                return Err("says again what another variable has said");
            }
            MapEntry::Occupied(taken) => taken.into_mut(),
            MapEntry::Vacant(free) => {
                let node = match last {
                    true => node.clone(),
                    false => Node::new(Value::Table(Table::new()), origin.clone()),
                };
                free.insert(Entry {
                    key_origin: origin.clone(),
                    node,
                })
            }
        };
        if last {
            return Ok(());
        }
        match &mut entry.node.value {
            Value::Table(inner) => table = inner,
            _ => return Err("sets a key of what another variable has set to a plain value"),
        }
    }
    Ok(())
}
