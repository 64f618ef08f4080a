//! Why a plugin cannot be had from the folder.

use std::{io, path::PathBuf};

use super::{Digest, MAX_FOLDER_ENTRIES, MAX_PLUGIN_BYTES};
use crate::{
    config::{ConfigError, MAX_NAME_BYTES, PluginName},
    error::Fault,
    suggest,
};

/// A plugin that cannot be read. Each text names the file and says what to do; each variant says
/// whose fault it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// There is no such plugin in the folder. The operator's fault: a wrong name, a wrong folder,
    /// or the plugins were not built.
    #[error("there is no plugin `{name}`: {} does not exist{}", path.display(), choices(name, there))]
    Missing {
        /// The plugin that was asked for.
        name: PluginName,
        /// Where it should be.
        path: PathBuf,
        /// What is in the folder.
        there: Vec<PluginName>,
    },
    /// The file is not called as a plugin is. The fault of who named it.
    #[error(
        "{} is not called as a plugin is, NAME.wasm: a name is 1 to {MAX_NAME_BYTES} lower-case letters, \
         digits and hyphens, and starts with a letter or a digit; rename it",
        path.display()
    )]
    Misnamed {
        /// Which file.
        path: PathBuf,
    },
    /// The folder or a file in it cannot be read. The fault of the operator, or of the machine.
    #[error("cannot read {}: {reason}; the server's user must be able to read it", path.display())]
    Unreadable {
        /// Which folder or file.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// The folder holds too much. The operator's fault.
    #[error(
        "{} holds more than {MAX_FOLDER_ENTRIES} entries: keep nothing but plugins in it",
        path.display()
    )]
    CrowdedFolder {
        /// Which folder.
        path: PathBuf,
    },
    /// A folder, a pipe or a device. The operator's fault.
    #[error("{} is not a regular file: put the plugin itself there", path.display())]
    NotAFile {
        /// Which file.
        path: PathBuf,
    },
    /// The file is too large. The fault of the plugin's author.
    #[error(
        "{} holds {bytes} bytes: a plugin holds at most {MAX_PLUGIN_BYTES}; build it in release \
         mode and strip its debug information",
        path.display()
    )]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The file holds something else. The fault of who put it there.
    #[error("{} is not WebAssembly: copy a built plugin there", path.display())]
    NotWasm {
        /// Which file.
        path: PathBuf,
    },
    /// The file ends in the middle, or changed while it was read. The fault of who put it there;
    /// trying again after a moment helps if it is still being written.
    #[error(
        "{} is not whole, or is still being written: write a new plugin under another name and \
         rename it, so that it appears in one step",
        path.display()
    )]
    Incomplete {
        /// Which file.
        path: PathBuf,
    },
    /// The manifest is wrong. The fault of who wrote it: the plugin's author or the operator.
    #[error(transparent)]
    Manifest(
        /// Everything that is wrong, one line each.
        ConfigError,
    ),
    /// The file is not the one that a digest allows. The fault of the operator: either the file
    /// was replaced without telling, or the digest is out of date.
    #[error(
        "{} is not the file that {wanted_by} allows: its digest is {found}, allowed is {expected}; \
         restore the file, or change the digest if the new one is meant",
        path.display()
    )]
    DigestMismatch {
        /// Which file.
        path: PathBuf,
        /// The digest that it has.
        found: Digest,
        /// The one that is allowed.
        expected: Digest,
        /// Where that is written.
        wanted_by: String,
    },
}

impl PluginError {
    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing { .. }
            | Self::CrowdedFolder { .. }
            | Self::NotAFile { .. }
            | Self::Misnamed { .. }
            | Self::DigestMismatch { .. } => Fault::Configuration,
            Self::Unreadable { .. } => Fault::Machine,
            Self::TooLarge { .. }
            | Self::NotWasm { .. }
            | Self::Incomplete { .. }
            | Self::Manifest(_) => Fault::Plugin,
        }
    }
}

fn choices(name: &PluginName, there: &[PluginName]) -> String {
    let there: Vec<&str> = there.iter().map(PluginName::as_str).collect();
    let build = "; `cargo xtask plugins` builds those of Switchboard";
    match suggest::nearest(name.as_str(), there.iter().copied()) {
        Some(near) => format!(
            "; did you mean `{near}`? There are {}{build}",
            suggest::listed(&there)
        ),
        None if there.is_empty() => format!("; the folder holds no plugins{build}"),
        None => format!("; there are {}{build}", suggest::listed(&there)),
    }
}
