//! Where things are: the project's folders and the environment variables that carry them to the
//! tests. No command logic.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Tells the tests the folder of the built plugins.
pub(crate) const PLUGINS_VARIABLE: &str = "SWITCHBOARD_TEST_PLUGINS";
/// Tells the tests the folder of the built test plugins.
pub(crate) const FIXTURES_VARIABLE: &str = "SWITCHBOARD_TEST_FIXTURES";

/// The checkout that this command was built from.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    /// The folder with the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
}

impl Project {
    pub(crate) fn find() -> Result<Self> {
        // What Cargo says now: of clones that share a target folder, another one may have built this.
        let here = env::var_os("CARGO_MANIFEST_DIR");
        let here = here.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = here
            .parent()
            .context("the xtask crate lies in no folder; it belongs into the project's")?
            .to_owned();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            // Cargo takes a relative one from the folder it was called in, and so must we.
            Some(target) => env::current_dir()
                .context("the current folder is gone")?
                .join(target),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// Where plugins are put, ready for a server.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.target.join("plugins")
    }

    /// Where plugins that only tests use are put.
    pub(crate) fn fixtures(&self) -> PathBuf {
        self.target.join("fixtures")
    }

    /// Target folder of the Wasm builds: with one of their own, their flags and their toolchain
    /// never invalidate what the native builds have made.
    pub(crate) fn wasm_target(&self) -> PathBuf {
        self.target.join("wasm")
    }

    /// A path as the reader knows it: from the project's folder if it is inside.
    pub(crate) fn display(&self, path: &Path) -> String {
        path.strip_prefix(&self.root)
            .unwrap_or(path)
            .display()
            .to_string()
    }
}
