//! A plugin folder of a test's own, in which it replaces the plugin.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use switchboard::plugins::Digest;
use switchboard_tests::{Error, Server, built, until};
use tempfile::TempDir;

use crate::Outcome;

/// How often the servers look at it: so often that a test does not wait for it.
pub(crate) const SETTINGS: &str = "watch_plugins_ms = 50";

/// A folder with one plugin of ours.
pub(crate) struct Folder {
    dir: TempDir,
    plugin: String,
    original: Vec<u8>,
}

impl Folder {
    /// A copy of one of our transports.
    pub(crate) fn of(plugin: &str) -> Result<Self, Error> {
        Self::copy(&built::plugins(plugin)?, plugin)
    }

    /// A copy of one of the plugins that only tests use.
    pub(crate) fn of_fixture(plugin: &str) -> Result<Self, Error> {
        Self::copy(&built::fixtures(plugin)?, plugin)
    }

    fn copy(from: &Path, plugin: &str) -> Result<Self, Error> {
        let dir = tempfile::tempdir().map_err(test_error)?;
        let file = |ending: &str| from.join(format!("{plugin}.{ending}"));
        let folder = Self {
            original: fs::read(file("wasm")).map_err(test_error)?,
            plugin: plugin.to_owned(),
            dir,
        };
        fs::copy(file("toml"), folder.manifest()).map_err(test_error)?;
        folder.put(&folder.original)?;
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The plugin's file.
    pub(crate) fn file(&self) -> PathBuf {
        self.path().join(format!("{}.wasm", self.plugin))
    }

    /// Its manifest.
    pub(crate) fn manifest(&self) -> PathBuf {
        self.path().join(format!("{}.toml", self.plugin))
    }

    /// The same plugin with other bytes: a section that nobody reads is added.
    pub(crate) fn variant(&self, name: &str) -> Vec<u8> {
        variant(&self.original, name)
    }

    /// Puts another file in the place of the plugin, in one step.
    pub(crate) fn put(&self, bytes: &[u8]) -> Outcome {
        let new = self.path().join("new");
        fs::write(&new, bytes).map_err(test_error)?;
        fs::rename(&new, self.file()).map_err(test_error)
    }

    /// Writes over the plugin.
    pub(crate) fn overwrite(&self, bytes: &[u8]) -> Outcome {
        fs::write(self.file(), bytes).map_err(test_error)
    }
}

/// A plugin with a custom section more.
pub(crate) fn variant(plugin: &[u8], name: &str) -> Vec<u8> {
    let name = format!("variant {name}");
    assert!(name.len() < 100, "its length is written as one byte");
    let mut bytes = plugin.to_vec();
    bytes.extend([0, name.len() as u8 + 1, name.len() as u8]);
    bytes.extend(name.as_bytes());
    bytes
}

/// What the status calls these bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

/// The digest of the plugin that a server runs.
pub(crate) async fn runs(server: &Server) -> Result<Value, Error> {
    Ok(server.status().await?["transport"]["digest"].clone())
}

/// Waits until a server runs exactly these bytes.
pub(crate) async fn wait_until_runs(server: &Server, bytes: &[u8]) -> Outcome {
    let digest = digest(bytes);
    let what = format!("{} to run {digest}", server.name());
    until(what, || runs(server), |runs| *runs == *digest).await?;
    Ok(())
}

pub(crate) fn test_error(error: impl std::fmt::Display) -> Error {
    Error::Test(error.to_string())
}
