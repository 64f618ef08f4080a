//! Reading configuration text: TOML and environment variables become one tree in which every value
//! remembers where it was written, and the tree becomes typed values.
//!
//! What may be written, its defaults and its limits are the business of the types that are read
//! (any `serde::Deserialize`); this folder makes sure that whatever is wrong with the text is
//! reported with its place, all at once, and with the nearest right key. It knows none of the
//! settings (but for the tables that are keyed by names, see `environment.rs`), so the plugins'
//! manifests are read by it too.

mod decode;
mod environment;
mod error;
mod origin;
mod toml_text;
mod tree;

use std::{borrow::Cow, path::Path, sync::Arc};

use serde::de::DeserializeOwned;

pub(crate) use self::error::Problems;
pub use self::error::{ConfigError, Problem};
pub(crate) use self::origin::Origin;
use self::{
    decode::decode,
    error::{Segment, Wording},
    tree::{Node, Table, Value},
};

/// Longest text that is read. Ours is two hundred lines.
pub(crate) const MAX_TEXT_BYTES: u64 = 1 << 20;

/// What was written, wherever it was written.
#[derive(Debug, Default)]
pub(crate) struct Document {
    root: Table,
}

impl Document {
    /// Reads TOML. `file` is the name that problems will give as the place.
    pub(crate) fn parse(text: &str, file: &str, problems: &mut Problems) -> Self {
        if text.len() as u64 > MAX_TEXT_BYTES {
            problems.add(
                None,
                format!("{file} holds more than {MAX_TEXT_BYTES} bytes"),
            );
            return Self::default();
        }
        Self {
            root: toml_text::parse(text, &Arc::from(file), problems),
        }
    }

    /// Reads a TOML file of at most [`MAX_TEXT_BYTES`].
    pub(crate) fn read(path: &Path, problems: &mut Problems) -> Self {
        let shown = path.display().to_string();
        match read_text(path) {
            Ok(text) => Self::parse(&text, &shown, problems),
            Err(why) => {
                problems.add(None, format!("cannot read {shown}: {why}"));
                Self::default()
            }
        }
    }

    /// Lays the variables that start with `SWITCHBOARD_` over what was read.
    pub(crate) fn apply_environment(
        &mut self,
        variables: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
        problems: &mut Problems,
    ) {
        tree::lay_over(&mut self.root, environment::parse(variables, problems));
    }

    /// The typed form. What is wrong is reported and left out, so that everything else is read
    /// too; none when nothing could be made of it.
    pub(crate) fn decode<T: DeserializeOwned>(&self, problems: &mut Problems) -> Option<T> {
        let mut root = Node::new(Value::Table(self.root.clone()), Origin::None);
        loop {
            let error = match decode(&root) {
                Ok(value) => return Some(value),
                Err(error) => error,
            };
            let path = error.path();
            let origin = error.origin();
            let wording = error.into_wording();
            let is_unknown = matches!(wording, Wording::UnknownKey { .. });
            problems.add_at(&origin, &path, wording);
            // Each round takes one thing out of the tree, so this ends.
            if problems.is_full() || !root.remove(&path) {
                return None;
            }
            problems.leave_out(path, is_unknown);
        }
    }

    /// Reports what is wrong with a key: `predicate` reads on after its name.
    pub(crate) fn problem(&self, path: &[&str], predicate: &str, problems: &mut Problems) {
        let origin = self.origin(path).cloned().unwrap_or_default();
        let path: Vec<Segment> = path
            .iter()
            .map(|&key| Segment::Key(key.to_owned()))
            .collect();
        if problems.was_left_out(&path) {
            return;
        }
        problems.add_at(&origin, &path, Wording::Predicate(predicate.to_owned()));
    }

    /// Where the value of a key was written; none when it was not.
    pub(crate) fn origin(&self, path: &[&str]) -> Option<&Origin> {
        let (last, parents) = path.split_last()?;
        let mut table = &self.root;
        for key in parents {
            let Value::Table(inner) = &table.get(*key)?.node.value else {
                return None;
            };
            table = inner;
        }
        table.get(*last).map(|entry| &entry.node.origin)
    }
}

fn read_text(path: &Path) -> Result<String, Cow<'static, str>> {
    use std::io::Read as _;

    let mut text = String::new();
    // A folder or a pipe would fail less clearly, or never.
    if !std::fs::metadata(path)
        .map_err(|e| e.to_string())?
        .is_file()
    {
        return Err("it is not a regular file".into());
    }
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    file.take(MAX_TEXT_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
            _ => e.to_string(),
        })?;
    Ok(text)
}
