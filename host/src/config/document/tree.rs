//! The tree that every source of settings is read into, and how one source is laid over another.

use std::collections::BTreeMap;

use super::{error::Segment, origin::Origin};

/// A table's entries by key.
pub(super) type Table = BTreeMap<String, Entry>;

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Where the key stands.
    pub(super) key_origin: Origin,
    /// Its value.
    pub(super) node: Node,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// What it is.
    pub(super) value: Value,
    /// Where it stands.
    pub(super) origin: Origin,
    /// The text of a variable, for when text is wanted: `SWITCHBOARD_NAME=1234` is a name.
    pub(super) verbatim: Option<Box<str>>,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// With each element's place in the list as it was written.
    List(Vec<(usize, Node)>),
    Table(Table),
}

impl Node {
    pub(super) fn new(value: Value, origin: Origin) -> Self {
        Self {
            value,
            origin,
            verbatim: None,
        }
    }

    /// Takes what stands at the path out of the tree. False when nothing does.
    pub(super) fn remove(&mut self, path: &[Segment]) -> bool {
        match (&mut self.value, path) {
            (Value::Table(table), [Segment::Key(key)]) => table.remove(key).is_some(),
            (Value::Table(table), [Segment::Key(key), rest @ ..]) => table
                .get_mut(key)
                .is_some_and(|entry| entry.node.remove(rest)),
            (Value::List(items), [Segment::Index(index)]) => {
                let before = items.len();
                items.retain(|(at, _)| at != index);
                items.len() < before
            }
            (Value::List(items), [Segment::Index(index), rest @ ..]) => {
                let item = items.iter_mut().find(|(at, _)| at == index);
                item.is_some_and(|(_, node)| node.remove(rest))
            }
            _ => false,
        }
    }
}

/// Lays one table over another: tables are merged, everything else is replaced.
pub(super) fn lay_over(below: &mut Table, above: Table) {
    for (key, entry) in above {
        match (below.get_mut(&key), entry) {
            (
                Some(Entry {
                    node:
                        Node {
                            value: Value::Table(inner),
                            ..
                        },
                    ..
                }),
                Entry {
                    node:
                        Node {
                            value: Value::Table(table),
                            ..
                        },
                    ..
                },
            ) => lay_over(inner, table),
            (_, entry) => {
                below.insert(key, entry);
            }
        }
    }
}
