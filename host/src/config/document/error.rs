//! What is wrong with a configuration: every problem, its place, and how it is worded.

use std::fmt;

use super::origin::Origin;

/// More than this in one configuration are not listed.
const MAX_PROBLEMS: usize = 64;

/// A longer problem is cut: a key may have any length.
const MAX_PROBLEM_CHARS: usize = 2048;

/// A configuration that cannot be used. The fault is the configuration's; nothing was started.
///
/// Its text lists everything that is wrong, one problem to a line, each with the key, the place
/// (file, line and column, or environment variable) and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// What is wrong, in the order of the file, then of the environment. Never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(problem, f)?;
        }
        Ok(())
    }
}

/// One thing that is wrong with a configuration. Its text is one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    origin: Option<Origin>,
    text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One step from a table or a list to something in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// The entry of a table.
    Key(String),
    /// The element of a list, from 0.
    Index(usize),
}

/// `a.b[0].c`; empty for the whole document.
pub(crate) fn key_path(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.extend(key.escape_debug());
            }
            Segment::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// What is wrong about the thing at a path, before path and place are put into words.
#[derive(Clone, Debug)]
pub(crate) enum Wording {
    /// The last segment of the path is no key here.
    UnknownKey {
        /// What is one.
        known: Vec<String>,
    },
    /// Reads on after the name of the key: "must be …".
    Predicate(String),
    /// A sentence of its own.
    Sentence(String),
}

/// Problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    /// Keys that were left out, because their values could not be read, or (true) because there are
    /// no such keys.
    left_out: Vec<(Vec<Segment>, bool)>,
}

impl Problems {
    /// Adds a line that already names its place; the origin is for the order.
    pub(crate) fn add(&mut self, origin: Option<&Origin>, text: String) {
        if !self.is_full() {
            // One problem is one line, whatever stands in the configuration.
            let text = text.replace(['\n', '\r'], " ");
            let text = text.chars().take(MAX_PROBLEM_CHARS).collect();
            self.list.push(Problem {
                origin: origin.cloned(),
                text,
            });
        }
    }

    /// Words what is wrong about the key at a path.
    pub(crate) fn add_at(&mut self, origin: &Origin, path: &[Segment], wording: Wording) {
        let place = origin.in_parentheses();
        let key = key_path(path);
        let subject = match key.is_empty() {
            true => "the configuration".to_owned(),
            false => format!("`{key}`{place}"),
        };
        let text = match wording {
            Wording::UnknownKey { known } => unknown_key(origin, path, &known),
            Wording::Predicate(predicate) => format!("{subject} {predicate}"),
            Wording::Sentence(sentence) => format!("{subject}: {sentence}"),
        };
        self.add(Some(origin), text);
    }

    /// Remembers that a key was left out. That a setting is missing afterwards is no second mistake.
    pub(super) fn leave_out(&mut self, path: Vec<Segment>, is_unknown: bool) {
        self.left_out.push((path, is_unknown));
    }

    /// Was this key left out, or one beside it that may be its misspelt name?
    pub(super) fn was_left_out(&self, path: &[Segment]) -> bool {
        let parent = |path: &[Segment]| path.split_last().map(|(_, parent)| parent.to_vec());
        self.left_out
            .iter()
            .any(|(out, is_unknown)| out == path || (*is_unknown && parent(out) == parent(path)))
    }

    /// No more are taken.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= MAX_PROBLEMS
    }

    /// The error, if there is anything wrong.
    pub(crate) fn into_result(mut self) -> Result<(), ConfigError> {
        if self.list.is_empty() {
            return Ok(());
        }
        let full = self.is_full();
        self.list.sort();
        if full {
            let text = format!("there may be more: {MAX_PROBLEMS} problems are listed at most");
            self.list.push(Problem { origin: None, text });
        }
        Err(ConfigError {
            problems: self.list,
        })
    }
}

fn unknown_key(origin: &Origin, path: &[Segment], known: &[String]) -> String {
    let (key, parents) = match path.split_last() {
        Some((Segment::Key(key), parents)) => (key.as_str(), parents),
        _ => ("", path),
    };
    let table = match key_path(parents) {
        path if path.is_empty() => "at the top level".to_owned(),
        path => format!("in [{path}]"),
    };
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let hint = crate::suggest::hint(key, &known);
    format!(
        "unknown key `{}` {table}{}{hint}",
        key.escape_debug(),
        origin.in_parentheses()
    )
}
