//! Where a setting was written, in the words of the people who wrote it.

use std::{fmt, sync::Arc};

/// Where a setting was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// Nowhere: the whole document, or a default.
    #[default]
    None,
    /// In a file.
    File {
        /// The file, as its reader called it.
        file: Arc<str>,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// In an environment variable.
    Variable(
        /// Its name.
        Arc<str>,
    ),
}

impl Origin {
    /// Text to put behind the name of a key: empty, or a place in parentheses after a space.
    pub(crate) fn in_parentheses(&self) -> String {
        match self {
            Self::None => String::new(),
            place => format!(" ({place})"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Variable(name) => write!(f, "environment variable {}", name.escape_debug()),
        }
    }
}
