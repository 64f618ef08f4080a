//! The plugin folder: which plugins there are, and reading one whole and unspoiled.
//!
//! A plugin is `NAME.wasm`, optionally with a manifest `NAME.toml` beside it. What lives here:
//! discovery, defensive reading, digests, manifests, noticing changes. What does not: compiling and
//! running (`runtime`), what a plugin is granted (`config`), and what a change leads to
//! (`transport/follow.rs`). Everything in the folder is untrusted input.

mod digest;
mod error;
mod folder;
mod manifest;
mod stamp;
mod wasm;
mod watch;

pub(crate) use self::stamp::Stamp;
pub use self::{
    digest::{Digest, InvalidDigest},
    error::PluginError,
    folder::{MAX_FOLDER_ENTRIES, MAX_PLUGIN_BYTES, PluginFile, PluginFolder},
    manifest::Manifest,
    watch::{FolderChange, FolderWatch},
};
