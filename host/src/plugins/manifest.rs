//! The manifest `NAME.toml`: what a plugin's author says about it.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Digest;
use crate::config::{
    ConfigError, Grants,
    document::{Document, Problems},
};

/// What stands in `NAME.toml` beside `NAME.wasm`. Everything is optional.
///
/// ```toml
/// description = "Redis streams; no message is lost when a server restarts"
/// version = "0.1.0"
///
/// [options]
/// stream = "socket.io"
///
/// [grants]
/// bus = ["main"]
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Manifest {
    /// One line for people.
    pub description: Option<String>,
    /// The plugin's own version, for people.
    pub version: Option<String>,
    /// Options for the plugin that differ from its own defaults; the operator's go before them.
    pub options: Map<String, Value>,
    /// The connections that the plugin asks for (`"*"`: any one of its kind that the operator
    /// allows); none: whatever the operator allows, and nothing without that.
    pub grants: Option<Grants>,
    /// The digest of `NAME.wasm`.
    pub digest: Option<Digest>,
}

/// Longest description and version, in bytes: they end up in logs and on terminals.
const MAX_LINE_BYTES: usize = 1024;

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// Everything that is wrong with it. The fault is the manifest's.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let document = Document::read(path, &mut problems);
        let manifest: Self = document.decode(&mut problems).unwrap_or_default();
        let lines = [
            ("description", &manifest.description),
            ("version", &manifest.version),
        ];
        for (key, line) in lines {
            let fits =
                |line: &String| line.len() <= MAX_LINE_BYTES && !line.contains(char::is_control);
            if !line.as_ref().is_none_or(fits) {
                document.problem(
                    &[key],
                    &format!("must be one line of at most {MAX_LINE_BYTES} bytes"),
                    &mut problems,
                );
            }
        }
        problems.into_result()?;
        Ok(manifest)
    }
}
